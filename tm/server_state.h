/*
 * tm/server_state.h - what the daemon consists of: for its own files only.
 */
#ifndef ASSENT_TM_SERVER_STATE_H
#define ASSENT_TM_SERVER_STATE_H

#include "common/descriptors.h"
#include "common/loop.h"
#include "common/net.h"
#include "core/coordinator/turn.h"
#include "log/wal.h"
#include "tm/audit.h"
#include "tm/http.h"
#include "tm/links.h"
#include "tm/settings.h"

enum server_post { POST_CALL = 1, POST_LINK, POST_DURABLE, POST_ASKED };

struct alarms;
struct inquiries;

struct server {
    const struct settings *settings;
    struct loop *loop;
    struct net_server *net;
    struct http *http;              /* NULL: not served */
    struct descriptors descriptors; /* for connections over the socket */
    uint32_t http_connections_max, http_waiting_max;
    struct wal *wal;
    struct wal_info wal_info;
    struct links *links;
    struct inquiries *inquiries;
    struct alarms *alarms;
    struct coordinator *coordinator;
    struct turn *turn;
    struct audit *audit;
    struct record *recovered; /* of DBAs, read from the log at the start, for the trail */
    size_t recovered_count;
    uint64_t ended_seen;  /* transactions that have been looked at for their duration */
    uint64_t handed_over; /* records given to the log in this start */
    uint64_t started_ms;
    uint64_t now_ms; /* of this turn */
};

/* ---- server.c: requests, wherever they come from ---- */

#define CALLER_UNKNOWN UINT64_MAX       /* its uid cannot be told */
#define CALLER_HTTP    (UINT64_MAX - 1) /* nor can that of one who comes over HTTP */

/* Gets the answer to a call, JSON that ends with a zero byte, and frees it; in any thread, perhaps
 * within server_call(). */
typedef void answer_fn(void *origin, char *text, size_t length);

/* Any thread. Has one message served, a request or a batch of them. It is answered exactly once,
 * unless the daemon stops first. The message is only read. */
void server_call(struct server *server, const cJSON *message, uint64_t caller, answer_fn *answer,
                 void *origin);

/* Answers a request by its `client`. In the loop's thread; takes the reply. */
void server_answer(uint64_t client, cJSON *reply);

/* ---- admin.c: what the daemon says about itself ---- */

/* Why a fenced coordinator is fenced, and what to do. */
enum { FENCE_BYTES = 512 };
void admin_fence_sentence(const struct registry *registry, char out[FENCE_BYTES]);

/* Answers show, list, agents and status. The caller deletes the object. */
cJSON *admin_answer(const struct server *server, const struct request *request);

/* ---- dba.c: what changes by a person's word ---- */

/* Is the caller a DBA? Then his name is put into the request, and true is only returned for what
 * can be answered at once: a refusal, or what a decision would do. */
bool dba_answers(const struct server *server, struct request *request, cJSON **reply);
/* What a resolve or forget would do, branch by branch. */
cJSON *dba_plan(const struct server *server, const struct request *request);

#endif
