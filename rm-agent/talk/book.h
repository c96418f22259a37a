/*
 * rm-agent/talk/book.h - the book of coordinators: what an agent knows of each.
 */
#ifndef ASSENT_RM_AGENT_TALK_BOOK_H
#define ASSENT_RM_AGENT_TALK_BOOK_H

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

/* All of them, by their names. */
struct book {
    struct tm_link *by_name;
};

void book_create(struct agent *agent);

/* The coordinator of that name, NULL if nothing is known of it; the second adds it then. */
struct tm_link *book_any(struct agent *agent, const char *name);
struct tm_link *book_add(struct agent *agent, const char *name);
/* The coordinator of that name if it has registered with this start, else NULL. */
struct tm_link *book_find(struct agent *agent, const char *name);
/* One after the other; NULL: the first, or no more. */
const struct tm_link *book_next(const struct agent *agent, const struct tm_link *tm);
uint64_t book_flushed_beat(struct agent *agent, const char *name);
/* The same if the database has a row of it: it may be gone, and its transactions are still here. */
struct tm_link *book_known(struct agent *agent, const char *name);
/* At each connection: what the database stores of each, as BOOK_STORED_SQL asks for it. */
#define BOOK_STORED_SQL                                                                            \
    "SELECT name, assent.last('beat', name), assent.last('position', name), identity,"             \
    " votes_after_incarnation, votes_after_sequence, horizon_incarnation, horizon_sequence,"       \
    " horizon_live, peer_key FROM assent.tm"
void book_load(struct agent *agent, const struct pg_reply *reply);
/* A coordinator of which the database has a beat older than it had confirmed, or none at all, or
 * NULL; *beat: the one that it has. */
const struct tm_link *book_forgotten(const struct agent *agent, const struct pg_reply *reply,
                                     uint64_t *beat);
/* Which database this is, as it is compared with what a coordinator has accepted. */
enum { IDENTITY_BYTES = 2 * NUMBER_BYTES };
void book_write_identity(const struct agent *agent, char out[IDENTITY_BYTES]);

/* SQL: the database has lost data, so every coordinator has to accept it anew: `identity` of none,
 * and where no scan has shown yet that it has heard of us, that stays to be seen. */
#define BOOK_SUSPECT_SQL                                                                           \
    "UPDATE assent.tm SET identity = CASE WHEN identity IS NOT NULL THEN '' END,"                  \
    " first_identity = ''"

/* What the database keeps of the coordinator $1, in the order in which book_row() reads it; then
 * its beat, and what was drawn for it as long as it has not shown that it has heard that. */
#define BOOK_ROW_SQL                                                                               \
    "SELECT log, incarnation, instance, assent.last('position', $1), assent.last('beat', $1),"     \
    " CASE WHEN identity IS NULL THEN met END"                                                     \
    " FROM (SELECT) one LEFT JOIN assent.tm ON name = $1"
struct tm_row book_row(const struct pg_reply *reply);
enum { UUID_TEXT_BYTES = 37 };
void uuid_write(const struct uuid *uuid, char out[UUID_TEXT_BYTES]);

/* A transaction is over here: no session may be opened in it any more. */
void book_close(struct agent *agent, const struct gtrid *gtrid);
bool book_has_closed(struct agent *agent, const struct gtrid *gtrid);

/* Keep this coordinator from registering meanwhile; false: a registration is under way. */
bool book_hold(struct agent *agent, const char *name);
void book_release(struct agent *agent, const char *name);

#endif
