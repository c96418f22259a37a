/*
 * rm-agent/tms.h - the coordinators that an agent serves: who may speak, and their mail.
 */
#ifndef ASSENT_RM_AGENT_TMS_H
#define ASSENT_RM_AGENT_TMS_H

#include <uthash.h>

#include "core/coordinator/registry.h"
#include "core/participant/closed.h"
#include "rm-agent/agent.h"

enum { ORDERS_KEPT_MAX = 3 };

struct position_waiter;

/* A request that is answered when there are results, at the latest in its time. */
struct kept_request {
    struct net_request *request; /* NULL: none */
    uint64_t until_ms;
};

struct tm_link {
    char name[TM_NAME_BYTES];
    bool registered; /* with this start of the agent */
    bool registering;
    struct uuid log;
    uint64_t incarnation;
    struct uuid instance;
    uint8_t secret[SECRET_BYTES];

    struct closed *closed; /* its transactions that are over here; NULL until it has registered */

    /* What its two sequences hold (positions.c). */
    uint64_t beat;         /* the newest that was set, or is being set */
    uint64_t flushed_beat; /* the newest that is known to be on disk */
    uint64_t position;
    bool raising;
    struct position_waiter *waiting;

    /* What the database stores about it besides, for three-phase commit. */
    bool stored;  /* it has a row there, and so its sequences */
    bool suspect; /* this database may have forgotten what it promised: it says nothing yet */
    bool keyed;
    uint8_t peer_key[SECRET_BYTES]; /* of what agents say to each other about its transactions */
    struct txn_number votes_after;  /* no vote on what was begun up to here */
    struct forget forgotten;        /* what is over */

    /* Results that it has not been told yet, and what waits for them: orders, the oldest first,
     * and the poll. Orders are answered before it: only a poll costs another message. */
    struct result *results;
    uint32_t result_count, result_room;
    struct kept_request poll;
    struct kept_request orders[ORDERS_KEPT_MAX];
    uint32_t orders_kept;

    UT_hash_handle hh;
};

void tms_create(struct agent *agent);

/* The coordinator of that name if it has registered with this start, else NULL. */
struct tm_link *tms_find(struct agent *agent, const char *name);
/* One after the other; NULL: the first, or no more. */
const struct tm_link *tms_next(const struct agent *agent, const struct tm_link *tm);
uint64_t tms_flushed_beat(struct agent *agent, const char *name);
/* The same if the database has a row of it: it may be gone, and its transactions are still here. */
struct tm_link *tms_known(struct agent *agent, const char *name);
/* At each connection: what the database stores of each, as tms_stored_sql asks for it. */
extern const char tms_stored_sql[];
void tms_load(struct agent *agent, const struct pg_reply *reply);
/* A coordinator of which the database has a beat older than it had confirmed, or none at all, or
 * NULL; *beat: the one that it has. */
const struct tm_link *tms_forgotten(const struct agent *agent, const struct pg_reply *reply,
                                    uint64_t *beat);
/* By ordering a scan it has accepted this database. If that had to be seen, votes count for what it
 * begins from here on, and in any case after what it says that the database may have lost. */
void tms_accepted(struct agent *agent, struct tm_link *tm, const struct order *recover);
/* SQL: the database has lost data, so every coordinator has to accept it anew: `identity` of none,
 * and where no scan has shown yet that it has heard of us, that stays to be seen. */
#define TMS_SUSPECT_SQL                                                                            \
    "UPDATE assent.tm SET identity = CASE WHEN identity IS NOT NULL THEN '' END,"                  \
    " first_identity = ''"

void tms_register(struct agent *agent, struct net_request *request, const cJSON *object);
/* What the database keeps of the coordinator $1, in the order in which tms_row() reads it; then
 * its beat, and what was drawn for it as long as it has not shown that it has heard that. */
#define TMS_ROW_SQL                                                                                \
    "SELECT log, incarnation, instance, assent.last('position', $1), assent.last('beat', $1),"     \
    " CASE WHEN identity IS NULL THEN met END"                                                     \
    " FROM (SELECT) one LEFT JOIN assent.tm ON name = $1"
struct tm_row tms_row(const struct pg_reply *reply);
enum { UUID_TEXT_BYTES = 37 };
void uuid_write(const struct uuid *uuid, char out[UUID_TEXT_BYTES]);

/* A transaction is over here: no session may be opened in it any more. */
void tms_close(struct agent *agent, const struct gtrid *gtrid);
bool tms_has_closed(struct agent *agent, const struct gtrid *gtrid);

/* Keep this coordinator from registering meanwhile; false: a registration is under way. */
bool tms_hold(struct agent *agent, const char *name);
void tms_release(struct agent *agent, const char *name);
/* The log that it writes is lost: it is not listened to until it registers again, and positions in
 * that log mean nothing any more. */
void tms_turn_away(struct agent *agent, const char *name);

/* The coordinator that sent this, if it may; else NULL with *failure. */
struct tm_link *tms_sender(struct agent *agent, const cJSON *object, struct failure *failure);

/* Mail for the coordinator of the result's branch. What does not fit is dropped: it asks again. */
void tms_post(struct agent *agent, const char *tm, const struct result *result);
/* Answer once there is something, at the latest after wait_ms. */
void tms_keep_poll(struct agent *agent, struct tm_link *tm, struct net_request *request,
                   uint32_t wait_ms);
void tms_keep_orders(struct agent *agent, struct tm_link *tm, struct net_request *request,
                     uint32_t wait_ms);
/* At the end of each turn: answer what is due. */
void tms_deliver(struct agent *agent, uint64_t now_ms);
uint64_t tms_wake_ms(const struct agent *agent);
/* For `status`. */
void tms_list(const struct agent *agent, cJSON *out);

#endif
