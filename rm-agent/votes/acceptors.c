/*
 * rm-agent/votes/acceptors.c - this agent's votes in 3pc transactions: the rows of assent.acceptor.
 *
 * Everything that is asked waits in one queue. All of one coordinator that waits there is a batch:
 * the rows that are not known yet are read by one statement, core/ballot/acceptor.c judges each
 * question in its order, and one statement, one short transaction, writes what has changed. So
 * nothing else judges a row between its reading and its writing, and the cost of a vote falls under
 * load.
 */
#include "rm-agent/votes/acceptors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/point.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/forget.h"
#include "rm-agent/postgres/positions.h"
#include "rm-agent/talk/book.h"

enum {
    BATCH_MOST = 64,
    ROWS_KEPT = 1024,
    JUDGED_MOST = 4096, /* waiting; what is said beyond will be said again */
};

enum ask_kind { ASK_LOOK, ASK_JOIN, ASK_JUDGE, ASK_NOTE, ASK_FORGET };

struct ask {
    struct ask *next;
    enum ask_kind kind;
    struct ballot ballot; /* its gtrid; JOIN: its roster; JUDGE, NOTE: all of it */
    char branch[BRANCH_NAME_BYTES];
    uint64_t xid;
    uint64_t lsn;
    bool durable;
    struct forget forget;
    row_done_fn *done; /* or NULL */
    void *arg;
    struct row_answer answer;
    struct ballot said;
};

struct acceptors {
    struct agent *agent;
    struct known_rows known;
    struct ask *first, **last; /* waiting */
    uint32_t waiting;
    struct ask *batch;  /* being answered */
    struct tm_link *tm; /* whose batch it is */
    bool busy;
    bool doubtful; /* what is known may not be so any more */
};

static void acceptors_go_on(struct acceptors *acceptors);

/* ---- the queue ---- */

void acceptors_create(struct agent *agent)
{
    struct acceptors *acceptors = must_alloc(sizeof *acceptors, "the votes");
    acceptors->agent = agent;
    acceptors->last = &acceptors->first;
    agent->acceptors = acceptors;
}

void acceptors_doubt(struct agent *agent)
{
    struct acceptors *acceptors = agent->acceptors;
    acceptors->doubtful = acceptors->busy;
    if (!acceptors->busy)
        known_keep(&acceptors->known, 0);
}

static struct ask *ask_new(enum ask_kind kind, const struct gtrid *gtrid, row_done_fn *done,
                           void *arg)
{
    struct ask *ask = must_alloc(sizeof *ask, "a vote");
    ask->kind = kind;
    ask->ballot.gtrid = *gtrid;
    ask->done = done;
    ask->arg = arg;
    return ask;
}

static void enqueue(struct acceptors *acceptors, struct ask *ask)
{
    *acceptors->last = ask;
    acceptors->last = &ask->next;
    acceptors->waiting++;
    acceptors_go_on(acceptors);
}

/* What waits for the same coordinator as the first, in its order. What may be forgotten changes
 * what the others are told: it goes alone. */
static struct ask *acceptors_gather(struct acceptors *acceptors)
{
    struct ask *batch = NULL, **last = &batch, **at = &acceptors->first;
    const char *tm = acceptors->first->ballot.gtrid.tm;
    uint32_t count = 0;
    while (*at != NULL && count < BATCH_MOST) {
        struct ask *ask = *at;
        if (strcmp(ask->ballot.gtrid.tm, tm) != 0) {
            at = &ask->next;
            continue;
        }
        if (ask->kind == ASK_FORGET && count > 0)
            break;
        *at = ask->next;
        ask->next = NULL;
        *last = ask;
        last = &ask->next;
        count++;
        if (ask->kind == ASK_FORGET)
            break;
    }
    acceptors->waiting -= count;
    acceptors->last = &acceptors->first;
    while (*acceptors->last != NULL)
        acceptors->last = &(*acceptors->last)->next;
    return batch;
}

/* Every question has its answer; or, failed, it has none. */
static void batch_over(struct acceptors *acceptors, bool failed)
{
    struct ask *ask = acceptors->batch;
    while (ask != NULL) {
        struct ask *next = ask->next;
        ask->answer.failed = failed;
        if (ask->done != NULL)
            ask->done(ask->arg, &ask->answer);
        free(ask);
        ask = next;
    }
    acceptors->batch = NULL;
    acceptors->busy = false;
    known_keep(&acceptors->known, acceptors->doubtful || failed ? 0 : ROWS_KEPT);
    acceptors->doubtful = false;
    acceptors_go_on(acceptors);
}

/* ---- judging ---- */

/* A database that may have forgotten what it said does not vote on what was begun before. */
static bool may_vote(const struct tm_link *tm, const struct ballot *asked)
{
    struct txn_number number = {asked->gtrid.incarnation, asked->gtrid.sequence};
    return asked->type == BALLOT_TELL || !txn_not_after(&number, &tm->votes_after);
}

static void join(struct ask *ask, struct row *row)
{
    ask->answer.barred = !acceptor_may_prepare(&row->acceptor, ask->answer.ended) ||
                         !row_vote(row, ask->branch, ask->xid);
    if (ask->answer.barred)
        return;
    row->acceptor.exists = true;
    row->changed = true;
}

static void judge_one(struct acceptors *acceptors, struct ask *ask)
{
    struct row *row = known_find(&acceptors->known, &ask->ballot.gtrid);
    ask->answer.row = row;
    ask->answer.said = &ask->said;
    ask->answer.ended = forget_is_ended(&acceptors->tm->forgotten, &ask->ballot.gtrid);
    if (!row->acceptor.exists)
        row->roster = ask->ballot.roster;
    if (ask->kind == ASK_JOIN)
        join(ask, row);
    else if (ask->kind == ASK_LOOK)
        return;
    else if (!may_vote(acceptors->tm, &ask->ballot))
        ask->answer.may_not_vote = true;
    else
        row->changed |= acceptor_judge(&row->acceptor, ask->answer.ended, &ask->ballot, &ask->said);
}

/* ---- the database ---- */

static void written(void *arg, const struct pg_reply *reply)
{
    struct acceptors *acceptors = arg;
    bool failed = reply->sqlstate[0] != '\0';
    POINT("agent.votes-written");
    batch_over(acceptors, failed);
}

#define RAISE RAISE_POSITION("$3", "$4")

static const char write_sql[] =
    "INSERT INTO assent.acceptor AS a (tm, incarnation, sequence, agents, with_tm,"
    " branches, xids, promised, accepted, value, outcome)"
    " SELECT $1, r.* FROM (SELECT " RAISE " AS position) s,"
    " json_to_recordset($2::json) AS r (incarnation bigint, sequence bigint,"
    " agents text[], with_tm boolean, branches text[], xids bigint[], promised bigint,"
    " accepted bigint, value text, outcome text)"
    " WHERE s.position >= $4::bigint"
    " ON CONFLICT (tm, incarnation, sequence) DO UPDATE SET"
    " branches = excluded.branches, xids = excluded.xids, promised = excluded.promised,"
    " accepted = excluded.accepted, value = excluded.value, outcome = excluded.outcome";

/* A promise to the coordinator is stored with the position of its own: a log that was turned back
 * behind that is refused. */
static void write_rows(struct acceptors *acceptors, cJSON *rows, bool durable)
{
    char sequence[SEQUENCE_BYTES], position[NUMBER_BYTES];
    struct tm_link *tm = acceptors->tm;
    size_t length;
    char *text = wire_print(rows, &length);
    positions_sequence(tm->name, sequence);
    u64_format(tm->position, position);
    POINT("agent.before-votes-written");
    (durable ? control_ask : control_ask_lazily)(acceptors->agent, written, acceptors, write_sql, 4,
                                                 tm->name, text, sequence, position);
    free(text);
}

static void acceptors_judge_batch(struct acceptors *acceptors)
{
    cJSON *rows = NULL;
    bool durable = false;
    for (struct ask *ask = acceptors->batch; ask != NULL; ask = ask->next) {
        judge_one(acceptors, ask);
        durable |= ask->durable;
        positions_move(acceptors->tm, ask->lsn);
    }
    for (struct ask *ask = acceptors->batch; ask != NULL; ask = ask->next) {
        struct row *row = known_find(&acceptors->known, &ask->ballot.gtrid);
        if (!row->changed)
            continue;
        row->changed = false; /* once in this statement */
        if (rows == NULL)
            rows = cJSON_CreateArray();
        cJSON_AddItemToArray(rows, row_write(row));
    }
    if (rows == NULL)
        batch_over(acceptors, false);
    else
        write_rows(acceptors, rows, durable);
}

static void acceptors_took_rows(void *arg, const struct pg_reply *reply)
{
    struct acceptors *acceptors = arg;
    if (reply->sqlstate[0] != '\0') {
        batch_over(acceptors, true);
        return;
    }
    for (int i = 0; i < pg_rows(reply); i++) {
        struct row found = {.changed = false};
        if (!row_read(pg_value(reply, i, 0), &found))
            continue;
        memcpy(found.gtrid.tm, acceptors->tm->name, sizeof found.gtrid.tm);
        struct row *row = known_find(&acceptors->known, &found.gtrid);
        if (row == NULL)
            continue;
        row->roster = found.roster;
        row->acceptor = found.acceptor;
        row->vote_count = found.vote_count;
        memcpy(row->votes, found.votes, sizeof row->votes);
    }
    acceptors_judge_batch(acceptors);
}

/* Those that are not known yet; true if there are any. */
static bool read_rows(struct acceptors *acceptors)
{
    cJSON *wanted = NULL;
    size_t length;
    for (struct ask *ask = acceptors->batch; ask != NULL; ask = ask->next) {
        if (known_find(&acceptors->known, &ask->ballot.gtrid) != NULL)
            continue;
        if (wanted == NULL)
            wanted = cJSON_CreateArray();
        cJSON_AddItemToArray(wanted, row_write(known_add(&acceptors->known, &ask->ballot.gtrid)));
    }
    if (wanted == NULL)
        return false;
    char *text = wire_print(wanted, &length);
    control_ask(acceptors->agent, acceptors_took_rows, acceptors,
                "SELECT json_build_object('incarnation', a.incarnation::text, 'sequence',"
                " a.sequence::text, 'agents', a.agents, 'with_tm', a.with_tm, 'branches',"
                " a.branches, 'xids', a.xids::text[], 'promised', a.promised::text, 'accepted',"
                " a.accepted::text, 'value', a.value, 'outcome', a.outcome)"
                " FROM json_to_recordset($2::json) AS r (incarnation bigint, sequence bigint)"
                " JOIN assent.acceptor a ON a.tm = $1 AND a.incarnation = r.incarnation"
                " AND a.sequence = r.sequence",
                2, acceptors->tm->name, text);
    free(text);
    return true;
}

/* ---- the horizon ---- */

/* So far; what is left has its turn behind whoever waits. */
static void forgotten(void *arg, const struct pg_reply *reply)
{
    struct acceptors *acceptors = arg;
    struct tm_link *tm = acceptors->tm;
    const struct forget forget = acceptors->batch->forget;
    bool failed = pg_rows(reply) != 1;
    if (!failed) {
        tm->forgotten = forget;
        tm->forgotten.upto = (struct txn_number){strtoull(pg_value(reply, 0, 0), NULL, 10),
                                                 strtoull(pg_value(reply, 0, 1), NULL, 10)};
    }
    acceptors->doubtful = true; /* rows are gone */
    batch_over(acceptors, failed);
    if (!failed && !txn_not_after(&forget.upto, &tm->forgotten.upto))
        acceptors_forget(acceptors->agent, tm->name, &forget);
}

static void sweep(struct acceptors *acceptors)
{
    const struct forget *forget = &acceptors->batch->forget;
    if (forget_is_news(&acceptors->tm->forgotten, forget))
        forget_sweep(acceptors->agent, acceptors->tm, forget, forgotten, acceptors);
    else
        batch_over(acceptors, false);
}

/* ---- what is next ---- */

static void acceptors_go_on(struct acceptors *acceptors)
{
    if (acceptors->busy || acceptors->first == NULL)
        return;
    acceptors->busy = true;
    acceptors->batch = acceptors_gather(acceptors);
    acceptors->tm = book_known(acceptors->agent, acceptors->batch->ballot.gtrid.tm);
    if (acceptors->tm == NULL)
        batch_over(acceptors, true);
    else if (acceptors->batch->kind == ASK_FORGET)
        sweep(acceptors);
    else if (!read_rows(acceptors))
        acceptors_judge_batch(acceptors);
}

/* ---- what may be asked ---- */

void acceptors_look(struct agent *agent, const struct gtrid *gtrid, row_done_fn *done, void *arg)
{
    enqueue(agent->acceptors, ask_new(ASK_LOOK, gtrid, done, arg));
}

void acceptors_join(struct agent *agent, const struct branch_id *branch, uint64_t xid,
                    const struct roster *roster, bool durable, row_done_fn *done, void *arg)
{
    struct ask *ask = ask_new(ASK_JOIN, &branch->gtrid, done, arg);
    ask->ballot.roster = *roster;
    memcpy(ask->branch, branch->branch, sizeof ask->branch);
    ask->xid = xid;
    ask->durable = durable;
    enqueue(agent->acceptors, ask);
}

void acceptors_judge(struct agent *agent, const struct ballot *ballot, uint64_t lsn,
                     row_done_fn *done, void *arg)
{
    if (agent->acceptors->waiting >= JUDGED_MOST) {
        done(arg, &(struct row_answer){.failed = true});
        return;
    }
    struct ask *ask = ask_new(ASK_JUDGE, &ballot->gtrid, done, arg);
    ask->ballot = *ballot;
    ask->lsn = lsn;
    ask->durable = ballot->type != BALLOT_JOIN;
    enqueue(agent->acceptors, ask);
}

void acceptors_note_committed(struct agent *agent, const struct gtrid *gtrid)
{
    struct ask *ask = ask_new(ASK_NOTE, gtrid, NULL, NULL);
    ask->ballot.type = BALLOT_TELL;
    ask->ballot.value = OUTCOME_COMMITTED;
    enqueue(agent->acceptors, ask);
}

void acceptors_forget(struct agent *agent, const char *tm, const struct forget *forget)
{
    struct gtrid gtrid = {.incarnation = forget->upto.incarnation};
    text_copy(gtrid.tm, sizeof gtrid.tm, tm, strlen(tm));
    struct ask *ask = ask_new(ASK_FORGET, &gtrid, NULL, NULL);
    ask->forget = *forget;
    enqueue(agent->acceptors, ask);
}
