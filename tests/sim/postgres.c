/*
 * tests/sim/postgres.c - a stand-in for one PostgreSQL cluster, as far as doc/protocol.md
 * relies on it.
 *
 * Every change is an entry of its WAL; a crash keeps what was flushed and a part of the rest,
 * and the state is what replay makes of it. So an xid that was never flushed is given out
 * again, a sequence that was set asynchronously may fall back, and a restored backup is the
 * same replay, cut earlier. A command runs in a backend at one moment; its client may hear of
 * it later, or never, or be dead by then.
 */
#include <string.h>

#include "core/base/mutant.h"
#include "tests/sim/sim.h"

enum { FIRST_XID = 700 };

static struct database *db(struct sim *sim, uint32_t rm)
{
    return &sim->databases[rm];
}

/* ---- the WAL ---- */

static void note_xid(struct database *database, uint64_t xid, enum xid_state state)
{
    if (xid == 0)
        return;
    if (xid >= database->next_xid)
        database->next_xid = xid + 1;
    database->xids[xid % XIDS] = state;
}

static void drop_prepared(struct database *database, uint64_t xid)
{
    for (uint32_t i = 0; i < PREPARED_MAX; i++)
        if (database->prepared[i].used && database->prepared[i].xid == xid)
            database->prepared[i].used = false;
}

const struct row *database_row(const struct database *database, const struct gtrid *gtrid)
{
    for (uint32_t i = 0; i < TXNS; i++)
        if (database->rows[i].used && gtrid_equal(&database->rows[i].gtrid, gtrid))
            return &database->rows[i];
    return NULL;
}

static void put_row(struct database *database, const struct row *row)
{
    struct row *at = NULL;
    for (uint32_t i = 0; i < TXNS; i++) {
        struct row *here = &database->rows[i];
        if (here->used && gtrid_equal(&here->gtrid, &row->gtrid)) {
            at = here;
            break;
        }
        if (!here->used && at == NULL)
            at = here;
    }
    if (at == NULL)
        __builtin_trap(); /* a night is not that long */
    *at = *row;
}

/* The rows go, and so do the markers. */
static void sweep(struct database *database)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < TXNS; i++)
        if (database->rows[i].used &&
            forget_is_ended(&database->forgotten, &database->rows[i].gtrid))
            database->rows[i].used = false;
    for (uint32_t i = 0; i < database->marker_count; i++)
        if (!forget_is_ended(&database->forgotten, &database->markers[i]))
            database->markers[kept++] = database->markers[i];
    database->marker_count = kept;
}

static void apply(struct database *database, const struct wal_entry *entry)
{
    switch (entry->type) {
    case WAL_XID:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        break;
    case WAL_BEAT:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        database->beat = entry->value;
        break;
    case WAL_POSITION:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        database->row.lsn = entry->value;
        break;
    case WAL_REGISTER:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        if (!database->row.exists) {
            database->first_identity = entry->timeline;
            database->met = entry->met;
        }
        database->row.exists = true;
        database->row.log = entry->log;
        database->row.incarnation = entry->value;
        database->row.instance = entry->instance;
        break;
    case WAL_INCARNATION:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        database->agent_incarnation = entry->value;
        break;
    case WAL_PREPARE:
        note_xid(database, entry->xid, XID_RUNNING);
        for (uint32_t i = 0; i < PREPARED_MAX; i++) {
            struct prepared *prepared = &database->prepared[i];
            if (prepared->used)
                continue;
            *prepared = (struct prepared){
                .used = true,
                .branch = entry->branch,
                .xid = entry->xid,
                .statements = entry->statements,
                .through_agent = entry->through_agent,
            };
            break;
        }
        break;
    case WAL_COMMIT_PREPARED:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        drop_prepared(database, entry->xid);
        break;
    case WAL_ROLLBACK_PREPARED:
        note_xid(database, entry->xid, XID_DID_ABORT);
        drop_prepared(database, entry->xid);
        break;
    case WAL_COMMIT:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        if (entry->marked)
            database->markers[database->marker_count++] = entry->branch.gtrid;
        break;
    case WAL_ROW:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        put_row(database, &entry->row);
        break;
    case WAL_FORGET:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        database->forgotten = entry->forget;
        sweep(database);
        break;
    case WAL_IDENTITY:
        note_xid(database, entry->xid, XID_DID_COMMIT);
        database->identity = (uint32_t)entry->value;
        database->first_identity = entry->timeline;
        database->votes_after = entry->votes_after;
        break;
    }
}

static void append(struct database *database, const struct wal_entry *entry)
{
    if (database->wal_count == WAL_ENTRIES)
        __builtin_trap(); /* a night is not that long */
    database->wal[database->wal_count++] = *entry;
    apply(database, entry);
}

static void flush(struct database *database)
{
    database->wal_flushed = database->wal_count;
}

static uint64_t take_xid(struct database *database)
{
    uint64_t xid = database->next_xid++;
    database->xids[xid % XIDS] = XID_RUNNING;
    return xid;
}

static void replay(struct database *database, uint32_t entries)
{
    database->wal_count = entries;
    database->wal_flushed = entries;
    database->next_xid = FIRST_XID;
    database->agent_incarnation = 0;
    database->beat = 0;
    database->marker_count = 0;
    database->first_identity = 0;
    database->identity = 0;
    database->met = 0;
    memset(&database->votes_after, 0, sizeof database->votes_after);
    memset(&database->forgotten, 0, sizeof database->forgotten);
    for (uint32_t i = 0; i < TXNS; i++)
        database->rows[i].used = false;
    memset(&database->row, 0, sizeof database->row);
    memset(database->prepared, 0, sizeof database->prepared);
    memset(database->xids, 0, sizeof database->xids);
    for (uint32_t i = 0; i < entries; i++)
        apply(database, &database->wal[i]);
    /* What was neither committed nor prepared is aborted. */
    for (uint32_t i = 0; i < PREPARED_MAX; i++)
        if (database->prepared[i].used)
            database->xids[database->prepared[i].xid % XIDS] = XID_RUNNING;
}

void database_init(struct sim *sim, uint32_t rm)
{
    struct database *database = db(sim, rm);
    memset(database, 0, offsetof(struct database, wal));
    memset(database->backends, 0, sizeof database->backends);
    memset(database->sessions, 0, sizeof database->sessions);
    database->rm = rm;
    database->system_identifier = 7000 + rm;
    database->timeline = 1;
    replay(database, 0);
    database->up = true;
    database->run = 1;
}

void database_start(struct sim *sim, uint32_t rm)
{
    struct database *database = db(sim, rm);
    if (database->up)
        return;
    database->up = true;
    database->run++;
    note(sim, rm_word(rm), "PostgreSQL is up again");
}

static void stop(struct sim *sim, uint32_t rm)
{
    struct database *database = db(sim, rm);
    for (uint32_t i = 0; i < BACKENDS; i++)
        database->backends[i].used = false;
    memset(database->sessions, 0, sizeof database->sessions);
    database->up = false;
    agent_database_down(sim, rm);
    struct happening again = {.type = HAPPENS_DATABASE_START, .who = rm};
    schedule(sim, between(sim, 20 * MS, sim->quiet ? 50 * MS : 2 * SECOND), again);
}

void database_crash(struct sim *sim, uint32_t rm)
{
    struct database *database = db(sim, rm);
    if (!database->up)
        return;
    uint32_t survive = (uint32_t)between(sim, database->wal_flushed, database->wal_count);
    note(sim, rm_word(rm), "PostgreSQL crashes; %u of %u unflushed WAL entries survive",
         survive - database->wal_flushed, database->wal_count - database->wal_flushed);
    replay(database, survive);
    stop(sim, rm);
}

uint32_t database_to_lose_a_beat(const struct sim *sim, uint32_t rm)
{
    const struct database *database = &sim->databases[rm];
    for (uint32_t i = database->wal_flushed; i-- > 0;)
        if (database->wal[i].type == WAL_BEAT)
            return database->wal_flushed - i;
    return 0;
}

uint32_t database_to_lose(const struct sim *sim, uint32_t rm, uint64_t beat, uint64_t incarnation)
{
    const struct database *database = &sim->databases[rm];
    for (uint32_t i = database->wal_flushed; i-- > 0;) {
        const struct wal_entry *entry = &database->wal[i];
        if ((entry->type == WAL_BEAT && entry->value <= beat) ||
            (entry->type == WAL_INCARNATION && entry->value <= incarnation))
            return database->wal_flushed - i;
    }
    return database->wal_flushed + 1;
}

void database_rewind(struct sim *sim, uint32_t rm, uint32_t entries_lost)
{
    database_put_back(sim, rm, entries_lost, true);
}

void database_put_back(struct sim *sim, uint32_t rm, uint32_t entries_lost, bool new_timeline)
{
    struct database *database = db(sim, rm);
    if (!database->up)
        return;
    if (entries_lost > database->wal_flushed)
        entries_lost = database->wal_flushed;
    uint32_t durable = database->wal_flushed;
    uint32_t keep = durable - entries_lost;
    uint64_t beat = database->beat;
    replay(database, keep);
    database->timeline += new_timeline;
    note(sim, rm_word(rm), "%s: timeline %u, %u WAL entries lost, beat %llu, was %llu",
         new_timeline ? "fails over" : "is put back", database->timeline, entries_lost,
         (unsigned long long)database->beat, (unsigned long long)beat);
    checker_rewound(sim, rm, durable);
    stop(sim, rm);
}

/* ---- backends ---- */

uint32_t backend_open(struct sim *sim, uint32_t rm, bool of_application, uint32_t app,
                      uint64_t client_life)
{
    struct database *database = db(sim, rm);
    for (uint32_t i = 0; i < BACKENDS; i++) {
        struct backend *backend = &database->backends[i];
        if (backend->used)
            continue;
        memset(backend, 0, sizeof *backend);
        backend->used = true;
        backend->serial = ++sim->next_serial;
        backend->of_application = of_application;
        backend->app = app;
        backend->client_life = client_life;
        return i;
    }
    return UINT32_MAX;
}

void backend_begin(struct sim *sim, uint32_t rm, uint32_t at, bool read_only)
{
    struct backend *backend = &db(sim, rm)->backends[at];
    backend->in_transaction = true;
    backend->read_only = read_only;
    if (!read_only)
        backend->xid = take_xid(db(sim, rm));
}

void backend_end(struct sim *sim, uint32_t rm, uint32_t at)
{
    struct backend *backend = &db(sim, rm)->backends[at];
    if (backend->used && backend->in_transaction && backend->xid != 0)
        db(sim, rm)->xids[backend->xid % XIDS] = XID_DID_ABORT;
    backend->used = false;
}

void backends_orphan(struct sim *sim, uint32_t rm, uint64_t client_life)
{
    struct database *database = db(sim, rm);
    for (uint32_t i = 0; i < BACKENDS; i++) {
        struct backend *backend = &database->backends[i];
        if (!backend->used || backend->client_life != client_life)
            continue;
        backend->client_dead = true;
        struct happening notice = {
            .type = HAPPENS_NOTICE, .who = rm, .which = i, .life = backend->serial};
        schedule(sim, between(sim, 1 * MS, sim->quiet ? 100 * MS : 3 * SECOND), notice);
    }
}

void backend_notices(struct sim *sim, uint32_t rm, uint32_t at, uint64_t serial)
{
    const struct backend *backend = &db(sim, rm)->backends[at];
    if (backend->used && backend->serial == serial && backend->pending == 0)
        backend_end(sim, rm, at);
}

/* ---- commands ---- */

uint32_t command_new(struct sim *sim, uint32_t rm, uint32_t type, const struct branch_id *branch)
{
    for (uint32_t i = 0; i < COMMANDS_MAX; i++) {
        struct statement *command = &sim->commands[i];
        if (command->used)
            continue;
        memset(command, 0, sizeof *command);
        command->used = true;
        command->serial = ++sim->next_serial;
        command->rm = rm;
        command->type = type;
        command->branch = *branch;
        command->backend = UINT32_MAX;
        command->run = sim->databases[rm].run;
        command->alive = true;
        return i;
    }
    __builtin_trap(); /* a night is not that busy */
}

void command_await(struct sim *sim, uint32_t at, enum happening_type what, uint64_t after_us)
{
    struct statement *command = &sim->commands[at];
    struct happening happening = {.type = what, .who = at, .life = command->serial};
    command->waits++;
    schedule(sim, after_us, happening);
}

void command_release(struct sim *sim, uint32_t at)
{
    if (--sim->commands[at].waits == 0)
        sim->commands[at].used = false;
}

void command_send(struct sim *sim, uint32_t at)
{
    struct statement *command = &sim->commands[at];
    struct database *database = db(sim, command->rm);
    if (command->backend != UINT32_MAX && database->backends[command->backend].used) {
        command->backend_serial = database->backends[command->backend].serial;
        database->backends[command->backend].pending++;
    }
    struct backend *backend =
        command->backend == UINT32_MAX ? NULL : &database->backends[command->backend];
    uint64_t until_us = between(sim, 100, 3 * MS);
    if (chance(sim, sim->plan.connection_cut)) {
        /* The client sees the connection fail; the command may still be on its way. */
        command->alive = false;
        command->answered = true;
        command_await(sim, at, HAPPENS_ANSWER, between(sim, 100, 5 * MS));
        until_us = between(sim, 100, chance(sim, sim->plan.lands_late) ? 3 * SECOND : 10 * MS);
    } else if (chance(sim, sim->plan.lock_wait)) {
        until_us += between(sim, 0, 2 * SECOND); /* it waits for a lock */
        if (!command->of_application && chance(sim, 10 * sim->plan.crash_at_work)) {
            struct happening death = {.type = HAPPENS_AGENT_DIES, .who = command->rm};
            schedule(sim, between(sim, 1 * MS, 20 * MS), death);
        }
    }
    if (backend != NULL && backend->used) {
        if (sim->now_us + until_us <= backend->busy_until_us)
            until_us = backend->busy_until_us + 1 - sim->now_us;
        backend->busy_until_us = sim->now_us + until_us;
    }
    command_await(sim, at, HAPPENS_EXECUTION, until_us);
}

struct prepared *database_find(struct database *database, const struct branch_id *branch)
{
    for (uint32_t i = 0; i < PREPARED_MAX; i++)
        if (database->prepared[i].used && branch_equal(&database->prepared[i].branch, branch))
            return &database->prepared[i];
    return NULL;
}

static void fail_with(struct statement *command, const char *sqlstate)
{
    memcpy(command->sqlstate, sqlstate, SQLSTATE_BYTES);
}

static void done_with(struct statement *command, const char *tag)
{
    strcpy(command->tag, tag);
}

static void run_prepare(struct sim *sim, struct statement *command, struct backend *backend)
{
    struct database *database = db(sim, command->rm);
    bool own = command->type == SQL_OWN_PREPARE;
    backend->in_transaction = false;
    if (backend->failed) {
        database->xids[backend->xid % XIDS] = XID_DID_ABORT;
        done_with(command, "ROLLBACK");
        return;
    }
    if (chance(sim, sim->plan.refusal) || database_find(database, &command->branch) != NULL) {
        static const char states[][SQLSTATE_BYTES] = {"53200", "23503", "40001", "0A000", "42710"};
        database->xids[backend->xid % XIDS] = XID_DID_ABORT;
        fail_with(command, states[between(sim, 0, 4)]);
        return;
    }
    struct wal_entry entry = {
        .type = WAL_PREPARE,
        .xid = backend->xid,
        .branch = command->branch,
        .statements = backend->statements,
        .through_agent = !own,
    };
    append(database, &entry);
    flush(database);
    if (own && chance(sim, sim->plan.refusal / 4))
        database_find(database, &command->branch)->foreign_owner = true;
    if (chance(sim, sim->plan.by_hand)) {
        struct happening hand = {.type = HAPPENS_BY_HAND, .who = command->rm};
        schedule(sim, between(sim, 0, 100 * MS), hand);
    }
    command->found_xid = backend->xid;
    done_with(command, "PREPARE TRANSACTION");
}

static void run_finish(struct sim *sim, struct statement *command)
{
    struct database *database = db(sim, command->rm);
    bool commit = command->type == COMMAND_COMMIT_PREPARED;
    struct prepared *prepared = database_find(database, &command->branch);
    if (prepared == NULL) {
        fail_with(command, "42704");
        return;
    }
    if (prepared->foreign_owner || chance(sim, sim->plan.busy)) {
        fail_with(command, prepared->foreign_owner ? "42501" : "55000");
        return;
    }
    struct wal_entry entry = {
        .type = commit ? WAL_COMMIT_PREPARED : WAL_ROLLBACK_PREPARED,
        .xid = prepared->xid,
        .branch = prepared->branch,
        .statements = prepared->statements,
    };
    struct prepared was = *prepared;
    append(database, &entry);
    flush(database);
    done_with(command, commit ? "COMMIT PREPARED" : "ROLLBACK PREPARED");
    if (commit)
        checker_committed(sim, &was.branch, was.xid, was.statements, true, false);
    else
        checker_undone(sim, &was.branch, was.xid, false);
}

static bool is_marked(const struct database *database, const struct gtrid *gtrid)
{
    for (uint32_t i = 0; i < database->marker_count; i++)
        if (gtrid_equal(&database->markers[i], gtrid))
            return true;
    return false;
}

/* assent.mark() demands the secret of the branch's own session, which nobody else can know. */
void database_forge_marker(struct sim *sim, uint32_t rm, const struct gtrid *gtrid)
{
    struct database *database = db(sim, rm);
    bool believed = MUTANT(MARKER_OF_ANYBODY);
    note(sim, rm_word(rm), "somebody marks %s as committed: %s", gtrid_word(gtrid),
         believed ? "INSERT 0 1" : "error 42501");
    if (!database->up || !believed)
        return;
    struct wal_entry entry = {
        .type = WAL_COMMIT, .xid = take_xid(database), .marked = true, .branch.gtrid = *gtrid};
    strcpy(entry.branch.rm, rm_word(rm));
    append(database, &entry);
    flush(database);
}

static void run_commit(struct sim *sim, struct statement *command, struct backend *backend)
{
    struct database *database = db(sim, command->rm);
    bool marked = command->type == COMMAND_COMMIT_ONE_PHASE;
    backend->in_transaction = false;
    bool again = marked && is_marked(database, &command->branch.gtrid);
    if (backend->failed || again || (marked && chance(sim, sim->plan.refusal))) {
        if (backend->xid != 0)
            database->xids[backend->xid % XIDS] = XID_DID_ABORT;
        if (backend->failed)
            done_with(command, "ROLLBACK");
        else
            fail_with(command, again ? "23505" : "23503"); /* the marker's primary key */
        return;
    }
    if (marked) {
        struct wal_entry entry = {.type = WAL_COMMIT,
                                  .xid = backend->xid,
                                  .branch = command->branch,
                                  .statements = backend->statements,
                                  .marked = true};
        append(database, &entry);
        flush(database);
        checker_committed(sim, &command->branch, backend->xid, backend->statements, false, false);
    } else {
        checker_left(sim, &command->branch);
    }
    done_with(command, "COMMIT");
}

/* The beat is raised in a transaction of its own, with synchronous_commit = on. */
static uint64_t raise_beat(struct sim *sim, uint32_t rm)
{
    uint64_t beat = database_setval_beat(sim, rm);
    flush(db(sim, rm));
    return beat;
}

static enum xid_status status_of(struct sim *sim, const struct statement *command)
{
    const struct database *database = db(sim, command->rm);
    if (command->xid == 0 || chance(sim, sim->plan.no_evidence))
        return XID_UNKNOWN;
    if (command->xid >= database->next_xid)
        return xid_status_of("", "22023");
    switch (database->xids[command->xid % XIDS]) {
    case XID_DID_COMMIT:
        return xid_status_of("committed", "");
    case XID_RUNNING:
        return xid_status_of("in progress", "");
    case XID_FREE:
    case XID_DID_ABORT:
        break;
    }
    return xid_status_of("aborted", "");
}

static struct row row_of(const struct database *database, const struct gtrid *gtrid,
                         const struct roster *roster)
{
    const struct row *found = database_row(database, gtrid);
    struct row row;
    if (found != NULL)
        return *found;
    memset(&row, 0, sizeof row);
    row.used = true;
    row.gtrid = *gtrid;
    row.roster = *roster;
    return row;
}

static void write_row(struct database *database, const struct row *row)
{
    struct wal_entry entry = {.type = WAL_ROW, .xid = take_xid(database), .row = *row};
    append(database, &entry);
}

/* The xid that is voted for; false if it was another one before. */
static bool add_vote(struct row *row, const char *branch, uint64_t xid)
{
    for (uint32_t i = 0; i < row->vote_count; i++)
        if (text_equal(row->votes[i].branch, branch, BRANCH_NAME_BYTES))
            return row->votes[i].xid == xid;
    if (row->vote_count == VOTES)
        return false;
    memcpy(row->votes[row->vote_count].branch, branch, BRANCH_NAME_BYTES);
    row->votes[row->vote_count++].xid = xid;
    return true;
}

bool database_join(struct sim *sim, uint32_t rm, const struct branch_id *branch, uint64_t xid,
                   const struct roster *roster)
{
    struct database *database = db(sim, rm);
    struct row row = row_of(database, &branch->gtrid, roster);
    if (!acceptor_may_prepare(&row.acceptor,
                              forget_is_ended(&database->forgotten, &branch->gtrid)) ||
        !add_vote(&row, branch->branch, xid))
        return false;
    if (row.acceptor.promised > 0)
        violation(sim, "%s is prepared, and its acceptor has promised ballot %llu",
                  branch_word(branch), (unsigned long long)row.acceptor.promised);
    row.acceptor.exists = true;
    write_row(database, &row);
    return true;
}

/* A short transaction with synchronous_commit = on, unless nobody waits for it. */
static void run_ballot(struct sim *sim, struct statement *command)
{
    struct database *database = db(sim, command->rm);
    const struct ballot *asked = &command->ballot;
    struct txn_number number = {asked->gtrid.incarnation, asked->gtrid.sequence};
    if (txn_not_after(&number, &database->votes_after) && asked->type != BALLOT_TELL &&
        !MUTANT(SUSPECT_VOTES)) {
        command->barred = true; /* it may have forgotten what it said */
        return;
    }
    struct row row = row_of(database, &asked->gtrid, &asked->roster);
    bool ended = forget_is_ended(&database->forgotten, &asked->gtrid);
    if (!acceptor_judge(&row.acceptor, ended, asked, &command->answer))
        return;
    write_row(database, &row);
    if (command->answer.type != BALLOT_NONE && !command->lazy && !MUTANT(ROW_VOLATILE))
        flush(database);
    if (command->answer.type == BALLOT_ACCEPTED)
        checker_poll(sim, &asked->gtrid, roster_rank(&row.roster, rm_word(command->rm)),
                     asked->number, asked->value, &row.roster);
}

void database_forget(struct sim *sim, uint32_t rm, const struct forget *forget)
{
    struct database *database = db(sim, rm);
    if (!forget_is_news(&database->forgotten, forget))
        return;
    struct wal_entry entry = {.type = WAL_FORGET, .xid = take_xid(database), .forget = *forget};
    append(database, &entry);
    flush(database);
}

static struct wal_entry identity_entry(struct database *database, uint32_t identity)
{
    return (struct wal_entry){.type = WAL_IDENTITY,
                              .xid = take_xid(database),
                              .value = identity,
                              .timeline = database->first_identity,
                              .votes_after = database->votes_after};
}

void database_identify(struct sim *sim, uint32_t rm, const struct order *recover)
{
    struct database *database = db(sim, rm);
    struct wal_entry entry = identity_entry(database, database->timeline);
    uint32_t known = database->identity != 0 ? database->identity : database->first_identity;
    if (known != database->timeline)
        entry.votes_after = (struct txn_number){sim->agents[rm].heard_incarnation, recover->begun};
    else if (!txn_not_after(&recover->released, &database->votes_after))
        entry.votes_after = recover->released;
    append(database, &entry);
    flush(database);
}

void database_suspect(struct sim *sim, uint32_t rm)
{
    enum { NO_TIMELINE = UINT16_MAX };
    struct database *database = db(sim, rm);
    struct wal_entry entry = identity_entry(database, database->identity == 0 ? 0 : NO_TIMELINE);
    entry.timeline = NO_TIMELINE;
    append(database, &entry);
    flush(database);
}

static void run_look(struct sim *sim, struct statement *command)
{
    struct database *database = db(sim, command->rm);
    const struct prepared *prepared = database_find(database, &command->branch);
    command->seen = prepared != NULL;
    if (command->seen && chance(sim, sim->plan.by_hand)) {
        struct happening hand = {.type = HAPPENS_BY_HAND, .who = command->rm};
        schedule(sim, between(sim, 0, 3 * MS), hand);
    }
    if (command->seen) {
        command->found_xid = prepared->xid;
        command->foreign_owner = prepared->foreign_owner;
    } else {
        command->status = status_of(sim, command);
    }
    for (uint32_t i = 0; command->late && i < SESSIONS * 2; i++)
        if (database->sessions[i].used &&
            branch_equal(&database->sessions[i].branch, &command->branch))
            command->had_session = true;
    if (command->joins && command->seen)
        command->barred = !database_join(sim, command->rm, &command->branch, command->found_xid,
                                         &command->ballot.roster);
    if (command->flush && (command->seen || command->status == XID_COMMITTED))
        command->beat = raise_beat(sim, command->rm);
}

static void run_look_marker(struct sim *sim, struct statement *command)
{
    const struct database *database = db(sim, command->rm);
    command->seen = is_marked(database, &command->branch.gtrid);
    command->beat = raise_beat(sim, command->rm);
}

static void run_exec(struct sim *sim, struct statement *command, struct backend *backend)
{
    if (backend->failed) {
        fail_with(command, "25P02");
        return;
    }
    if (chance(sim, sim->plan.statement_fails)) {
        backend->failed = true;
        fail_with(command, "23514");
        return;
    }
    if (!backend->in_transaction)
        violation(sim, "%s: a statement runs behind the end of its transaction",
                  branch_word(&command->branch));
    backend->statements++;
    done_with(command, "UPDATE 1");
}

static void run(struct sim *sim, struct statement *command, struct backend *backend)
{
    struct database *database = db(sim, command->rm);
    if (backend != NULL && command->type <= COMMAND_COMMIT_ONE_PHASE && !backend->in_transaction) {
        done_with(command, "ROLLBACK"); /* and WARNING 25P01 */
        return;
    }
    switch (command->type) {
    case COMMAND_PREPARE:
    case SQL_OWN_PREPARE:
        run_prepare(sim, command, backend);
        break;
    case COMMAND_COMMIT_ONE_PHASE:
        if (command->or_prepare && backend->xid != 0 && sim->plan.unmarked > 0 &&
            chance(sim, sim->plan.unmarked)) {
            command->type = COMMAND_PREPARE; /* behind ROLLBACK TO SAVEPOINT */
            run_prepare(sim, command, backend);
            break;
        }
        /* fall through */
    case COMMAND_COMMIT_READ_ONLY:
        run_commit(sim, command, backend);
        break;
    case COMMAND_COMMIT_PREPARED:
    case COMMAND_ROLLBACK_PREPARED:
        run_finish(sim, command);
        break;
    case COMMAND_ROLLBACK:
        if (backend->in_transaction && backend->xid != 0)
            database->xids[backend->xid % XIDS] = XID_DID_ABORT;
        backend->in_transaction = false;
        done_with(command, "ROLLBACK");
        break;
    case SQL_EXEC:
        run_exec(sim, command, backend);
        break;
    case SQL_LOOK:
        run_look(sim, command);
        break;
    case SQL_LOOK_MARKER:
        run_look_marker(sim, command);
        break;
    case SQL_BALLOT:
        run_ballot(sim, command);
        break;
    }
    mix(sim, command->type);
    mix_bytes(sim, command->tag, strlen(command->tag));
    note(sim, rm_word(command->rm), "%s: %s%s%s", branch_word(&command->branch), command->tag,
         command->sqlstate[0] != '\0' ? " error " : "", command->sqlstate);
}

void command_execute(struct sim *sim, uint32_t at)
{
    struct statement *command = &sim->commands[at];
    struct database *database = db(sim, command->rm);
    struct backend *backend =
        command->backend == UINT32_MAX ? NULL : &database->backends[command->backend];
    bool here = database->up && database->run == command->run &&
                (backend == NULL || (backend->used && backend->serial == command->backend_serial));
    if (here) {
        run(sim, command, backend);
        if (backend != NULL) {
            backend->pending--;
            if (backend->client_dead && backend->pending == 0)
                backend_end(sim, command->rm, command->backend);
        }
    } else {
        command->alive = false;
    }
    if (command->answered)
        return; /* its client has been told that the connection failed */
    command->answered = true;
    if (chance(sim, sim->plan.connection_cut / 2)) {
        command->alive = false;
        command->tag[0] = '\0';
        command->sqlstate[0] = '\0';
    }
    command_await(sim, at, HAPPENS_ANSWER, between(sim, 50, 2 * MS));
    if (chance(sim, sim->plan.crash_at_work))
        agent_crash(sim, command->rm);
    else if (chance(sim, sim->plan.crash_at_work / 2))
        database_crash(sim, command->rm);
}

/* ---- the agent's own rows ---- */

uint64_t database_setval_beat(struct sim *sim, uint32_t rm)
{
    struct database *database = db(sim, rm);
    struct wal_entry entry = {
        .type = WAL_BEAT, .xid = take_xid(database), .value = database->beat + 1};
    append(database, &entry);
    return database->beat;
}

void database_setval_position(struct sim *sim, uint32_t rm, uint64_t lsn)
{
    struct database *database = db(sim, rm);
    if (lsn <= database->row.lsn)
        return;
    struct wal_entry entry = {.type = WAL_POSITION, .xid = take_xid(database), .value = lsn};
    append(database, &entry);
}

void database_register(struct sim *sim, uint32_t rm, const struct offer *offer, uint64_t met)
{
    struct database *database = db(sim, rm);
    struct wal_entry entry = {.type = WAL_REGISTER,
                              .xid = take_xid(database),
                              .value = offer->incarnation,
                              .timeline = database->timeline,
                              .met = met,
                              .log = offer->log,
                              .instance = offer->instance};
    append(database, &entry);
    flush(database);
}

void database_adopt(struct sim *sim, uint32_t rm, const struct adoption *adoption)
{
    struct database *database = db(sim, rm);
    struct offer offer = {
        .log = adoption->log, .incarnation = adoption->incarnation, .instance = adoption->instance};
    struct wal_entry entry = {.type = WAL_POSITION, .xid = take_xid(database), .value = 0};
    if (!MUTANT(ADOPTED_BEHIND))
        append(database, &entry);
    database_register(sim, rm, &offer, 0);
}

void database_raise_incarnation(struct sim *sim, uint32_t rm, uint64_t above)
{
    struct database *database = db(sim, rm);
    if (above < database->agent_incarnation)
        above = database->agent_incarnation;
    struct wal_entry entry = {
        .type = WAL_INCARNATION, .xid = take_xid(database), .value = above + 1};
    append(database, &entry);
    flush(database);
}

/* A DBA finishes whatever is prepared first, one way or the other. */
static void finish_by_hand(struct sim *sim, uint32_t rm, const struct prepared *which, bool commit,
                           bool on_his_own)
{
    struct database *database = db(sim, rm);
    const struct prepared was = *which;
    struct wal_entry entry = {
        .type = commit ? WAL_COMMIT_PREPARED : WAL_ROLLBACK_PREPARED,
        .xid = was.xid,
        .branch = was.branch,
        .statements = was.statements,
    };
    append(database, &entry);
    flush(database);
    note(sim, rm_word(rm), "a DBA %s %s by hand", commit ? "commits" : "rolls back",
         branch_word(&was.branch));
    if (commit)
        checker_committed(sim, &was.branch, was.xid, was.statements, true, on_his_own);
    else
        checker_undone(sim, &was.branch, was.xid, on_his_own);
}

void database_ended_by_word(struct sim *sim, uint32_t rm, const struct branch_id *branch,
                            bool commit)
{
    const struct prepared *prepared = database_find(db(sim, rm), branch);
    if (prepared == NULL)
        return;
    checker_branch(sim, branch)->by_word = true;
    finish_by_hand(sim, rm, prepared, commit, false);
}

void database_by_hand(struct sim *sim, uint32_t rm)
{
    struct database *database = db(sim, rm);
    bool commit = choice(sim, 5000);
    uint32_t at = 0;
    while (at < PREPARED_MAX && !database->prepared[at].used)
        at++;
    if (!database->up || at == PREPARED_MAX)
        return;
    finish_by_hand(sim, rm, &database->prepared[at], commit, true);
}
