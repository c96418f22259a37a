/*
 * tests/sim/checker.c - what must never be.
 *
 * It sees everything at once, which nobody in the world can: what is on the coordinators'
 * disks, what each database has committed, what each client has been told. After every such
 * fact it asks whether the facts still go together.
 *
 * Once a log has been put back or copied, promises that only the lost part knew of may be
 * broken (a disk that forgets cannot keep them), but never atomicity.
 */
#include <stdio.h>
#include <string.h>

#include "common/wire.h"
#include "tests/sim/sim.h"

enum { NON_BLOCKING_SECONDS = 60 };

/* ---- facts ---- */

struct fate *checker_fate(struct sim *sim, const struct gtrid *gtrid)
{
    struct checker *checker = &sim->checker;
    for (uint32_t i = 0; i < checker->count; i++)
        if (gtrid_equal(&checker->fates[i].gtrid, gtrid))
            return &checker->fates[i];
    if (checker->count == TXNS)
        __builtin_trap(); /* a night is not that long */
    struct fate *fate = &checker->fates[checker->count++];
    memset(fate, 0, sizeof *fate);
    fate->gtrid = *gtrid;
    return fate;
}

static struct fate_branch *branch_of(struct fate *fate, const char *rm, const char *name)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (text_equal(fate->branches[i].id.rm, rm, RM_NAME_BYTES) &&
            text_equal(fate->branches[i].id.branch, name, BRANCH_NAME_BYTES))
            return &fate->branches[i];
    if (fate->branch_count == TXN_BRANCHES * 2)
        __builtin_trap();
    struct fate_branch *branch = &fate->branches[fate->branch_count++];
    memset(branch, 0, sizeof *branch);
    branch->id.gtrid = fate->gtrid;
    memcpy(branch->id.rm, rm, RM_NAME_BYTES);
    memcpy(branch->id.branch, name, BRANCH_NAME_BYTES);
    return branch;
}

struct fate_branch *checker_branch(struct sim *sim, const struct branch_id *id)
{
    return branch_of(checker_fate(sim, &id->gtrid), id->rm, id->branch);
}

static bool lost_promises(struct sim *sim, const struct fate_branch *branch)
{
    return sim->databases[rm_number(branch->id.rm)].lost_promises;
}

static bool lost_something(struct sim *sim, const struct fate_branch *branch)
{
    return sim->databases[rm_number(branch->id.rm)].lost_something;
}

/* Nobody answers for this branch any more. */
static bool excused(struct sim *sim, const struct fate_branch *branch)
{
    return branch->by_hand || lost_promises(sim, branch) ||
           checker_fate(sim, &branch->id.gtrid)->heuristic;
}

static bool any_by_hand(struct sim *sim, const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (excused(sim, &fate->branches[i]))
            return true;
    return fate->heuristic;
}

/* The same, or its database has at least lost something, which may have been this. */
static bool any_touched(struct sim *sim, const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (lost_something(sim, &fate->branches[i]))
            return true;
    return any_by_hand(sim, fate);
}

static bool any_committed(const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (fate->branches[i].commits > 0)
            return true;
    return false;
}

static bool all_left(const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (!fate->branches[i].left && fate->branches[i].acknowledged > 0)
            return false;
    return true;
}

/* ---- rules ---- */

/* No two branches end differently. */
static void check_atomic(struct sim *sim, struct fate *fate)
{
    const struct fate_branch *committed = NULL, *undone = NULL;
    if (fate->excused)
        return;
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        const struct fate_branch *branch = &fate->branches[i];
        if (excused(sim, branch))
            continue;
        if (branch->commits > 0)
            committed = branch;
        else if (branch->rolled_back)
            undone = branch;
    }
    if (committed != NULL && undone != NULL)
        violation(sim, "%s is committed at %s and rolled back at %s", gtrid_word(&fate->gtrid),
                  committed->id.rm, undone->id.rm);
}

/* In one phase the only database decides, and loses with its WAL what it had decided. */
static bool lost_its_decision(struct sim *sim, const struct fate *fate)
{
    return fate->delegated_durable && any_touched(sim, fate);
}

/* What a client was told is what happened. */
static void check_told(struct sim *sim, struct fate *fate)
{
    if (fate->excused)
        return;
    if (fate->told_rolled_back && !any_by_hand(sim, fate) &&
        ((fate->commit_durable && !sim->checker.forked) || any_committed(fate)))
        violation(sim, "a client was told that %s was rolled back, and it is committed",
                  gtrid_word(&fate->gtrid));
    if (sim->checker.forked)
        return;
    if (fate->told_committed && fate->told_rolled_back && !all_left(fate) &&
        !any_by_hand(sim, fate) && !lost_its_decision(sim, fate))
        violation(sim, "clients were told both outcomes of %s", gtrid_word(&fate->gtrid));
    if (fate->told_committed && !any_by_hand(sim, fate))
        for (uint32_t i = 0; i < fate->branch_count; i++)
            if (fate->branches[i].rolled_back)
                violation(sim, "%s was told committed and is rolled back at %s",
                          gtrid_word(&fate->gtrid), fate->branches[i].id.rm);
}

static bool prepared_now(struct sim *sim, const struct fate_branch *branch)
{
    const struct prepared *prepared =
        database_find(&sim->databases[rm_number(branch->id.rm)], &branch->id);
    return prepared != NULL && prepared->xid == branch->voted_xid;
}

/* When the COMMIT record is handed over, every branch is prepared, and holds all the work. */
static void check_votes(struct sim *sim, struct fate *fate)
{
    if (!fate->asked_to_commit)
        violation(sim, "%s is decided, and nobody asked to commit it", gtrid_word(&fate->gtrid));
    if (fate->abort_decided)
        return; /* the agents have ended it, and PRECOMMIT comes too late */
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        struct fate_branch *branch = &fate->branches[i];
        if (!branch->in_record) {
            /* A log that was put back gives its name to two transactions (doc/protocol.md). */
            if (branch->acknowledged > 0 && !branch->left && !excused(sim, branch) &&
                !sim->checker.forked)
                violation(sim, "%s is decided without %s, which has worked in it",
                          gtrid_word(&fate->gtrid), branch->id.rm);
            continue;
        }
        if (excused(sim, branch) || lost_something(sim, branch) || sim->checker.forked)
            continue;
        if (!prepared_now(sim, branch)) {
            violation(sim, "%s is decided, and its branch at %s is not prepared under xid %llu",
                      gtrid_word(&fate->gtrid), branch->id.rm,
                      (unsigned long long)branch->voted_xid);
            continue;
        }
        const struct prepared *prepared =
            database_find(&sim->databases[rm_number(branch->id.rm)], &branch->id);
        if (prepared->statements < branch->acknowledged)
            violation(sim, "%s is decided with %u of %u statements at %s", gtrid_word(&fate->gtrid),
                      prepared->statements, branch->acknowledged, branch->id.rm);
    }
}

/* Whoever claims that it is applied everywhere has to have noticed what was done by hand. */
static void check_applied(struct sim *sim, struct fate *fate, bool claimed, const char *why)
{
    if (sim->checker.forked || fate->excused)
        return;
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        const struct fate_branch *branch = &fate->branches[i];
        /* But who has the DBA's word for it may believe that. */
        bool other_way = claimed && branch->by_hand && branch->rolled_back && !fate->worded;
        if (branch->in_record && branch->commits == 0 && (other_way || !excused(sim, branch)) &&
            (!lost_something(sim, branch) || (branch->misjudged && !fate->worded)))
            violation(sim, "%s: %s, and it is not applied at %s", gtrid_word(&fate->gtrid), why,
                      branch->id.rm);
    }
}

/* ---- what is seen ---- */

void checker_worked(struct sim *sim, const struct branch_id *id, uint32_t statements,
                    bool own_connection)
{
    struct fate_branch *branch = checker_branch(sim, id);
    branch->acknowledged = statements;
    branch->own_prepared = own_connection;
}

void checker_asked_to_commit(struct sim *sim, const struct gtrid *gtrid, const char *key)
{
    struct fate *fate = checker_fate(sim, gtrid);
    fate->asked_to_commit = true;
    text_copy(fate->key, sizeof fate->key, key, text_length(key, KEY_BYTES));
}

static struct fate *fate_of_record(struct sim *sim, const struct record *record)
{
    struct gtrid gtrid;
    memset(&gtrid, 0, sizeof gtrid);
    memcpy(gtrid.tm, tm_name, sizeof gtrid.tm);
    gtrid.incarnation = record->incarnation;
    gtrid.sequence = record->sequence;
    return checker_fate(sim, &gtrid);
}

/* A key names one transaction. */
static void check_key(struct sim *sim, const struct fate *fate)
{
    for (uint32_t i = 0; i < sim->checker.count && fate->key[0] != '\0'; i++) {
        const struct fate *other = &sim->checker.fates[i];
        if (other != fate && text_equal(other->key, fate->key, KEY_BYTES) &&
            other->commit_durable && !sim->checker.forked)
            violation(sim, "%s and %s commit under one key, %s", gtrid_word(&other->gtrid),
                      gtrid_word(&fate->gtrid), fate->key);
    }
}

static void decided_to_commit(struct sim *sim, struct fate *fate)
{
    if (!fate->commit_durable)
        fate->durable_us = sim->now_us;
    fate->commit_durable = true;
    check_key(sim, fate);
    check_told(sim, fate);
}

static void see_commit(struct sim *sim, const struct record *record, bool durable)
{
    struct fate *fate = fate_of_record(sim, record);
    if (durable && record->type == RECORD_COMMIT) {
        decided_to_commit(sim, fate);
        return;
    }
    if (durable)
        return;
    fate->commit_handed = true;
    for (uint32_t i = 0; i < record->branch_count; i++) {
        struct fate_branch *branch =
            branch_of(fate, record->branches[i].rm, record->branches[i].branch);
        branch->in_record = true;
        branch->voted_xid = record->branches[i].xid;
    }
    check_votes(sim, fate);
}

/* Only what a DBA has forced, and the log keeps, excuses branches that differ. */
static void see_resolved(struct sim *sim, struct fate *fate, const struct record *record)
{
    bool heuristic = (record->flags & RESOLVED_HEURISTIC) != 0;
    fate->worded = true; /* forgotten, too: it is mended by hand by now */
    if (record->outcome == OUTCOME_FORGOTTEN) {
        fate->forgotten = true;
        return;
    }
    if (heuristic && !fate->forced && !sim->checker.forked)
        violation(sim, "%s is settled against the evidence, and nobody forced it",
                  gtrid_word(&fate->gtrid));
    fate->heuristic |= heuristic;
    fate->kept |= heuristic && (record->flags & RESOLVED_STRAY) != 0;
}

/* What rested on its beats until now is given up by the DBA's word. */
static void see_released(struct sim *sim, const char *rm)
{
    sim->databases[rm_number(rm)].released = true;
    for (uint32_t i = 0; i < sim->checker.count; i++)
        for (uint32_t j = 0; j < sim->checker.fates[i].branch_count; j++) {
            struct fate_branch *branch = &sim->checker.fates[i].branches[j];
            if (text_equal(branch->id.rm, rm, RM_NAME_BYTES))
                branch->beat = 0;
        }
}

/* ---- three-phase commit: what a majority has on its disks is decided ---- */

static struct poll *poll_of(struct fate *fate, uint64_t number)
{
    for (uint32_t i = 0; i < fate->poll_count; i++)
        if (fate->polls[i].number == number)
            return &fate->polls[i];
    if (fate->poll_count == POLLS)
        return &fate->polls[POLLS - 1];
    fate->polls[fate->poll_count].number = number;
    return &fate->polls[fate->poll_count++];
}

static bool is_majority(const struct roster *roster, uint32_t bits)
{
    uint32_t count = 0;
    for (bits &= roster_all(roster); bits != 0; bits &= bits - 1)
        count++;
    return count >= roster_majority(roster);
}

void checker_poll(struct sim *sim, const struct gtrid *gtrid, uint32_t rank, uint64_t number,
                  enum outcome value, const struct roster *roster)
{
    struct fate *fate = checker_fate(sim, gtrid);
    struct poll *poll = poll_of(fate, number);
    if (fate->excused || rank == RANK_NONE)
        return;
    fate->three_phase = true;
    fate->roster = *roster;
    if (poll->accepted != 0 && poll->value != value && !sim->checker.forked)
        violation(sim, "%s: ballot %llu has proposed both outcomes", gtrid_word(gtrid),
                  (unsigned long long)number);
    poll->value = value;
    poll->accepted |= rank_bit(rank);
    if (!is_majority(roster, poll->accepted))
        return;
    note(sim, "acceptors", "%s is decided: %s", gtrid_word(gtrid),
         value == OUTCOME_COMMITTED ? "commit" : "abort");
    if (value == OUTCOME_COMMITTED)
        decided_to_commit(sim, fate);
    else
        fate->abort_decided = true;
    if (fate->commit_durable && fate->abort_decided && !sim->checker.forked)
        violation(sim, "%s is decided both ways", gtrid_word(gtrid));
}

/* Our own log is an acceptor like any other, if it is one. */
static void see_vote(struct sim *sim, const struct record *record)
{
    struct fate *fate = fate_of_record(sim, record);
    if (record->type == RECORD_PRECOMMIT) {
        fate->precommit_durable = true;
        if (record->roster.tm)
            checker_poll(sim, &fate->gtrid, RANK_TM, 0, OUTCOME_COMMITTED, &record->roster);
    } else if (fate->roster.tm) {
        checker_poll(sim, &fate->gtrid, RANK_TM, record->ballot, record->outcome, &fate->roster);
    }
}

/* An agent leads because it hears nothing, or waits for too long. */
void checker_leads(struct sim *sim, const struct agent *agent, const struct gtrid *gtrid)
{
    const struct fate *fate = checker_fate(sim, gtrid);
    uint64_t now_ms = agent_ms(sim, agent);
    bool silent = agent->heard_incarnation != gtrid->incarnation ||
                  now_ms >= agent->heard_ms + sim->plan.silence_ms;
    bool late = false;
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (rm_number(fate->branches[i].id.rm) == agent->rm)
            late |= fate->branches[i].late_life != agent->life ||
                    now_ms >= fate->branches[i].late_ms + 5000;
    if (!silent && !late)
        violation(sim, "%s leads a ballot of %s, and has heard from its coordinator %llu ms ago",
                  rm_word(agent->rm), gtrid_word(gtrid),
                  (unsigned long long)(now_ms - agent->heard_ms));
}

void checker_record(struct sim *sim, uint32_t host, const struct record *record, bool durable)
{
    (void)host;
    switch (record->type) {
    case RECORD_PRECOMMIT:
        if (durable)
            see_vote(sim, record);
        /* fall through */
    case RECORD_COMMIT:
        see_commit(sim, record, durable);
        break;
    case RECORD_ACCEPT:
        if (durable)
            see_vote(sim, record);
        break;
    case RECORD_DELEGATED:
        if (durable)
            fate_of_record(sim, record)->delegated_durable = true;
        else if (!fate_of_record(sim, record)->asked_to_commit)
            violation(sim, "a one-phase commit that nobody asked for");
        break;
    case RECORD_RELEASED:
        if (durable)
            see_released(sim, record->rm);
        break;
    case RECORD_RESOLVED:
        if (durable)
            see_resolved(sim, fate_of_record(sim, record), record);
        break;
    case RECORD_END:
        if (!durable)
            check_applied(sim, fate_of_record(sim, record), true, "it is ended");
        else
            fate_of_record(sim, record)->ended = true;
        break;
    default:
        break;
    }
}

void checker_committed(struct sim *sim, const struct branch_id *id, uint64_t xid,
                       uint32_t statements, bool prepared, bool by_hand)
{
    struct fate *fate = checker_fate(sim, &id->gtrid);
    struct fate_branch *branch = checker_branch(sim, id);
    branch->commits++;
    branch->committed_xid = xid;
    branch->committed_statements = statements;
    if (by_hand) {
        branch->by_hand = true;
        return;
    }
    if (excused(sim, branch) || fate->excused)
        return;
    if (branch->commits > 1)
        violation(sim, "%s is committed twice", branch_word(id));
    if (prepared && !fate->commit_durable)
        violation(sim, "%s is committed, and nothing durable decides so", branch_word(id));
    if (prepared && branch->in_record && xid != branch->voted_xid)
        violation(sim, "%s: xid %llu is committed, and %llu was voted for", branch_word(id),
                  (unsigned long long)xid, (unsigned long long)branch->voted_xid);
    if (!prepared && !fate->delegated_durable)
        violation(sim, "%s is committed in one phase, and no DELEGATED record is durable",
                  branch_word(id));
    if (statements < branch->acknowledged)
        violation(sim, "%s is committed with %u of %u statements", branch_word(id), statements,
                  branch->acknowledged);
    check_atomic(sim, fate);
    check_told(sim, fate);
}

/* False if it was never voted for, but only had the same name. */
static bool see_undone(struct fate_branch *branch, uint64_t xid)
{
    if ((branch->in_record && xid != branch->voted_xid) || branch->commits > 0)
        return false;
    branch->rolled_back = true;
    return true;
}

void checker_undone(struct sim *sim, const struct branch_id *id, uint64_t xid, bool by_hand)
{
    struct fate *fate = checker_fate(sim, &id->gtrid);
    struct fate_branch *branch = checker_branch(sim, id);
    if (by_hand)
        branch->by_hand = true;
    if (!see_undone(branch, xid))
        return;
    if (excused(sim, branch) || fate->excused)
        return;
    if (fate->commit_durable && branch->in_record && !sim->checker.forked)
        violation(sim, "%s is rolled back, and it is decided to commit it", branch_word(id));
    check_atomic(sim, fate);
    check_told(sim, fate);
}

/* A decision rests on what was said before it. The beat of a READY that is repeated afterwards is
 * in the log only once the next decision takes it along. */
void checker_voted(struct sim *sim, const struct result *result)
{
    if (result->type == RESULT_READY && !checker_fate(sim, &result->branch.gtrid)->commit_handed)
        checker_branch(sim, &result->branch)->beat = result->beat;
}

/* Once a DBA has released a database that lost data, an xid there may be another's. */
void checker_ended(struct sim *sim, const struct result *result)
{
    if (result->type != RESULT_DONE || !sim->databases[rm_number(result->branch.rm)].released)
        return;
    struct fate_branch *branch = checker_branch(sim, &result->branch);
    branch->misjudged |= branch->in_record && branch->commits == 0 && !branch->by_hand;
}

/* A database that shows less than what a decision rests on has to be refused. */
void checker_accepted(struct sim *sim, uint32_t rm, uint64_t beat)
{
    for (uint32_t i = 0; i < sim->checker.count && !sim->checker.forked; i++) {
        const struct fate *fate = &sim->checker.fates[i];
        for (uint32_t j = 0; j < fate->branch_count; j++) {
            const struct fate_branch *branch = &fate->branches[j];
            if (fate->commit_durable && branch->in_record && branch->beat > beat &&
                rm_number(branch->id.rm) == rm)
                violation(sim, "%s is accepted with beat %llu, and %s rests on its beat %llu",
                          rm_word(rm), (unsigned long long)beat, gtrid_word(&fate->gtrid),
                          (unsigned long long)branch->beat);
        }
    }
}

void checker_left(struct sim *sim, const struct branch_id *id)
{
    checker_branch(sim, id)->left = true;
}

/* An old or a copied log gives out gtrids anew before it is refused: what such a start says of
 * what it began itself is not said of the one that the agents know. */
static bool may_be_another(const struct sim *sim, const struct gtrid *gtrid)
{
    for (uint32_t i = 0; i < sizeof sim->hosts / sizeof *sim->hosts; i++)
        if (sim->checker.forked && sim->hosts[i].coordinator != NULL &&
            coordinator_incarnation(sim->hosts[i].coordinator) == gtrid->incarnation)
            return true;
    return false;
}

/* A gtrid is given out by one start. Only where a log was put back or copied may another give it
 * out again, before an agent refuses it; then two transactions have one name, and nobody can tell
 * their branches apart. */
static void see_begun(struct sim *sim, struct fate *fate, const struct uuid *instance)
{
    bool again = fate->begun && memcmp(&fate->begun_by, instance, sizeof *instance) != 0;
    fate->begun = true;
    fate->begun_by = *instance;
    if (again && !sim->checker.forked)
        violation(sim, "two starts give out %s", gtrid_word(&fate->gtrid));
    fate->excused |= again;
}

/* Nobody can have run for longer than there was time. */
static void check_remembered(struct sim *sim, const struct fate *fate, enum outcome outcome)
{
    uint64_t most_ms = (sim->now_us - fate->durable_us) / MS + sim->jumped_ms;
    if (outcome == OUTCOME_FORGOTTEN && fate->commit_durable && !sim->checker.forked &&
        !fate->excused && most_ms <= sim->plan.retention_ms)
        violation(sim, "%s is forgotten %llu ms after its commit", gtrid_word(&fate->gtrid),
                  (unsigned long long)most_ms);
}

void checker_told(struct sim *sim, const struct reply *reply, const struct uuid *instance)
{
    if (reply->gtrid.tm[0] == '\0' || (reply->op != OP_COMMIT && reply->op != OP_ROLLBACK &&
                                       reply->op != OP_OUTCOME && reply->op != OP_BEGIN))
        return;
    struct fate *fate = checker_fate(sim, &reply->gtrid);
    if (reply->op == OP_BEGIN && reply->error == ERR_NONE)
        see_begun(sim, fate, instance);
    if (reply->error == ERR_UNKNOWN_TRANSACTION && fate->commit_durable && !sim->checker.forked)
        violation(sim, "%s is committed, and a client is told that it is unknown",
                  gtrid_word(&fate->gtrid));
    check_remembered(sim, fate, reply->outcome);
    if (reply->outcome == OUTCOME_ROLLED_BACK && !may_be_another(sim, &reply->gtrid))
        fate->told_rolled_back = true;
    if (reply->outcome == OUTCOME_MIXED && !any_touched(sim, fate) && !sim->checker.forked)
        violation(sim, "%s is called mixed, and nobody touched it", gtrid_word(&fate->gtrid));
    if (reply->outcome == OUTCOME_COMMITTED) {
        fate->told_committed = true;
        if (!fate->commit_durable && !any_committed(fate) && !all_left(fate) &&
            !any_touched(sim, fate) && !sim->checker.forked)
            violation(sim, "a client is told that %s is committed, and nothing durable says so",
                      gtrid_word(&fate->gtrid));
        if (reply->applied)
            check_applied(sim, fate, true, "a client is told that it is applied");
    }
    check_told(sim, fate);
}

bool checker_unfinished(struct sim *sim, struct gtrid *out)
{
    for (uint32_t i = sim->checker.count; i-- > 0;) {
        const struct fate *fate = &sim->checker.fates[i];
        *out = fate->gtrid;
        if ((fate->delegated_durable || fate->commit_durable) && !fate->ended)
            return true;
    }
    return false;
}

/* A database was put back: what it had done since is undone. */
void checker_rewound(struct sim *sim, uint32_t rm, uint32_t lost)
{
    struct database *database = &sim->databases[rm];
    database->lost_promises |= database->beat < database->promised_beat;
    database->lost_something |= lost > 0;
    for (uint32_t i = 0; i < sim->checker.count; i++) {
        struct fate *fate = &sim->checker.fates[i];
        for (uint32_t j = 0; j < fate->branch_count; j++) {
            struct fate_branch *branch = &fate->branches[j];
            if (rm_number(branch->id.rm) != rm)
                continue;
            branch->commits = 0;
            branch->rolled_back = false;
        }
    }
    for (uint32_t i = 0; i < database->wal_count; i++) {
        const struct wal_entry *entry = &database->wal[i];
        if (entry->type == WAL_COMMIT_PREPARED || entry->type == WAL_COMMIT)
            checker_branch(sim, &entry->branch)->commits++;
        else if (entry->type == WAL_ROLLBACK_PREPARED)
            see_undone(checker_branch(sim, &entry->branch), entry->xid);
    }
}

struct seen_records {
    struct sim *sim;
    bool seen[TXNS];
};

static void see_records(struct sim *sim, const struct disk *disk, bool seen[TXNS])
{
    struct chain chain;
    struct frame frame;
    struct record record;
    size_t at = 0;
    chain_begin(&chain, &disk->log);
    while (frame_read(disk->bytes + at, DISK_BYTES - at, chain.seed, &frame) &&
           chain_follows(&chain, &frame)) {
        if (record_decode(frame.type, frame.version, frame.payload, frame.length, &record) ==
                RECORD_OK &&
            (record.type == RECORD_COMMIT || record.type == RECORD_DELEGATED ||
             record.type == RECORD_PRECOMMIT))
            seen[fate_of_record(sim, &record) - sim->checker.fates] = true;
        chain_advance(&chain, &frame);
        at += frame.bytes;
    }
}

/* From one log to another: what was begun on the first and is not in the second is nobody's
 * any more. */
void checker_log_swapped(struct sim *sim, const struct disk *from, const struct disk *to)
{
    bool in_from[TXNS] = {false}, in_to[TXNS] = {false};
    see_records(sim, from, in_from);
    see_records(sim, to, in_to);
    for (uint32_t i = 0; i < sim->checker.count; i++)
        if (in_from[i] && !in_to[i])
            sim->checker.fates[i].excused = true;
}

/* ---- the end ---- */

static bool fate_excused(struct sim *sim, const struct fate *fate)
{
    return fate->excused || any_by_hand(sim, fate);
}

/* The coordinator that is in charge, or NULL. */
static const struct host *in_charge(struct sim *sim)
{
    for (uint32_t i = 0; i < HOSTS; i++) {
        const struct host *host = &sim->hosts[i];
        if (host->up && !coordinator_registry(host->coordinator)->fenced)
            return host;
    }
    return NULL;
}

static bool unsettled(struct sim *sim, bool complain, const char *what, const char *name)
{
    if (complain)
        violation(sim, "after %llu s of quiet %s is still %s",
                  (unsigned long long)((sim->now_us - sim->plan.quiet_us) / SECOND), name, what);
    return false;
}

/* Begun by the fork that is gone, in a start above those of the log that goes on: nobody may say
 * what became of it, and the coordinator raises an alarm. */
static bool of_the_lost_fork(const struct sim *sim, const struct branch_id *branch)
{
    const struct coordinator *coordinator = sim->hosts[0].coordinator;
    return sim->checker.forked && coordinator != NULL &&
           branch->gtrid.incarnation >= coordinator_incarnation(coordinator);
}

static bool database_settled(struct sim *sim, uint32_t rm, bool complain)
{
    struct database *database = &sim->databases[rm];
    if (database->lost_something)
        return true;
    for (uint32_t i = 0; i < PREPARED_MAX; i++) {
        const struct prepared *prepared = &database->prepared[i];
        const struct fate_branch *branch;
        const struct fate *fate = checker_fate(sim, &prepared->branch.gtrid);
        /* What a DBA has forgotten before its branch was seen is his to resolve again. */
        if (!prepared->used || fate->excused || fate->forgotten ||
            of_the_lost_fork(sim, &prepared->branch))
            continue;
        branch = checker_branch(sim, &prepared->branch);
        /* A block that was run again under a gid that has committed is left to the DBA. */
        if (!branch->by_hand && (branch->commits == 0 || prepared->xid == branch->voted_xid))
            return unsettled(sim, complain, "prepared", branch_word(&prepared->branch));
    }
    return true;
}

/* What a DBA has finished by hand its agent goes on watching, while the coordinator lives. */
static uint32_t excused_endings(struct sim *sim, const struct agent *agent)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim->checker.count; i++) {
        const struct fate *fate = &sim->checker.fates[i];
        count += fate_excused(sim, fate) &&
                 terminator_state(agent->terminator, &fate->gtrid) != ENDING_NONE;
    }
    return count;
}

static bool agent_settled(struct sim *sim, uint32_t rm, bool complain)
{
    struct agent *agent = &sim->agents[rm];
    struct branch_id branch;
    enum branch_state state;
    if (sim->databases[rm].lost_something)
        return true;
    if (!agent->serving || !agent->connected)
        return unsettled(sim, complain, "not serving", rm_word(rm));
    for (uint32_t i = participant_next(agent->participant, 0, &branch, &state); i != UINT32_MAX;
         i = participant_next(agent->participant, i + 1, &branch, &state))
        if (state != BRANCH_REFUSED && state != BRANCH_LEFT &&
            !(state == BRANCH_READY && checker_branch(sim, &branch)->commits > 0) &&
            !fate_excused(sim, checker_fate(sim, &branch.gtrid)))
            return unsettled(sim, complain, branch_state_word(state), branch_word(&branch));
    if (terminator_count(agent->terminator) > excused_endings(sim, agent))
        return unsettled(sim, complain, "busy with a transaction's end", rm_word(rm));
    return true;
}

/* What is durable, and the coordinator has not heard of, is not in effect yet. */
static bool all_is_logged(const struct sim *sim, const struct host *host)
{
    bool turn_is_near = host->turn_us <= sim->now_us + MS;
    return !host->writer.writing && !turn_is_near;
}

static bool coordinator_settled(struct sim *sim, const struct host *host, bool complain)
{
    static struct txn_view view;
    for (uint32_t i = 0; coordinator_list(host->coordinator, &i, 0, &view); i++) {
        if (!view.resolved && view.state != SHOWN_MIXED && !checker_fate(sim, &view.gtrid)->excused)
            return unsettled(sim, complain, "live", gtrid_word(&view.gtrid));
    }
    return all_is_logged(sim, host) ||
           unsettled(sim, complain, "writing its log", "the coordinator");
}

/* A quarantined database waits for its DBA, and with it every presumption. */
static bool any_quarantine(struct sim *sim)
{
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        if (sim->databases[rm].lost_something)
            return true;
    return false;
}

/* ---- non-blocking: the coordinator is gone ---- */

/* Every agent lives, so those without a doubt must be a majority. */
static bool has_majority(const struct sim *sim, const struct row *row)
{
    struct txn_number number = {row->gtrid.incarnation, row->gtrid.sequence};
    uint32_t able = 0;
    for (uint32_t i = 0; i < row->roster.count; i++) {
        uint32_t rm = rm_number(row->roster.agents[i]);
        if (!sim->agents[rm].suspect && !txn_not_after(&number, &sim->databases[rm].votes_after))
            able |= rank_bit(i);
    }
    return is_majority(&row->roster, able);
}

static bool finished_without_tm(struct sim *sim, uint32_t rm, bool complain)
{
    struct database *database = &sim->databases[rm];
    for (uint32_t i = 0; i < PREPARED_MAX && !sim->agents[rm].suspect; i++) {
        const struct prepared *prepared = &database->prepared[i];
        const struct row *row =
            prepared->used ? database_row(database, &prepared->branch.gtrid) : NULL;
        if (row == NULL || !has_majority(sim, row))
            continue;
        const struct fate_branch *branch = checker_branch(sim, &prepared->branch);
        if (!branch->by_hand && !lost_something(sim, branch))
            return unsettled(sim, complain, "prepared, though a majority of its acceptors lives",
                             branch_word(&prepared->branch));
    }
    return true;
}

static bool settled_without_tm(struct sim *sim, bool complain)
{
    bool settled = true;
    for (uint32_t rm = 0; rm < sim->plan.rms && settled; rm++)
        settled = finished_without_tm(sim, rm, complain);
    if (!settled && sim->now_us > sim->plan.quiet_us + NON_BLOCKING_SECONDS * SECOND)
        complain = true;
    for (uint32_t rm = 0; rm < sim->plan.rms && complain && !settled; rm++)
        finished_without_tm(sim, rm, true);
    return settled && sim->now_us > sim->plan.quiet_us + SECOND;
}

bool checker_settled(struct sim *sim, bool complain)
{
    if (sim->tm_gone)
        return settled_without_tm(sim, complain);
    if (any_quarantine(sim) && !sim->plan.dba)
        return sim->now_us > sim->plan.quiet_us + 20 * SECOND;
    for (uint32_t i = 0; i < sim->plan.apps; i++)
        if (!sim->apps[i].up || sim->apps[i].step != APP_REST)
            return unsettled(sim, complain, "waiting for an answer", "an application");
    const struct host *host = in_charge(sim);
    if (host == NULL || !coordinator_started(host->coordinator))
        return unsettled(sim, complain, "not started", "the coordinator");
    if (!registry_may_presume(coordinator_registry(host->coordinator), NULL))
        return unsettled(sim, complain, "not accepted by every agent", "the coordinator");
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        if (!database_settled(sim, rm, complain) || !agent_settled(sim, rm, complain))
            return false;
    return coordinator_settled(sim, host, complain);
}

/* Ask the coordinator of every transaction that there ever was. */
static void check_outcome(struct sim *sim, const struct host *host, struct fate *fate)
{
    enum outcome outcome = OUTCOME_NONE;
    bool committed = any_committed(fate);
    enum error_code error = coordinator_outcome(host->coordinator, &fate->gtrid, &outcome);
    if (fate_excused(sim, fate) || any_quarantine(sim) || sim->mended > MENDS_MAX ||
        (sim->checker.forked && !committed))
        return;
    check_remembered(sim, fate, outcome);
    if (outcome == OUTCOME_FORGOTTEN && sim->plan.three_phase > 0)
        return;
    if (committed && outcome != OUTCOME_COMMITTED)
        violation(sim, "%s is committed, and its outcome is given as %d (error %d)",
                  gtrid_word(&fate->gtrid), (int)outcome, (int)error);
    if (!committed && outcome == OUTCOME_COMMITTED && !all_left(fate))
        violation(sim, "%s is given as committed, and no database has it",
                  gtrid_word(&fate->gtrid));
}

/* Branches that differ by a DBA's word are told to whoever asks, until he has dealt with it. */
static void check_reported(struct sim *sim, const struct host *host, const struct fate *fate)
{
    bool committed = false, undone = false;
    enum outcome outcome = OUTCOME_NONE;
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        committed |= fate->branches[i].commits > 0;
        undone |= fate->branches[i].commits == 0 && fate->branches[i].rolled_back;
        if (fate->branches[i].by_hand)
            return;
    }
    bool differs = fate->heuristic && committed && undone;
    if ((!differs && !fate->kept) || fate->forgotten || fate->excused || sim->checker.forked)
        return;
    coordinator_outcome(host->coordinator, &fate->gtrid, &outcome);
    if (outcome != OUTCOME_MIXED)
        violation(sim, "%s was settled by force, and is told as %s", gtrid_word(&fate->gtrid),
                  outcome_word(outcome));
}

void checker_final(struct sim *sim)
{
    const struct host *host = in_charge(sim);
    for (uint32_t i = 0; i < sim->checker.count; i++) {
        struct fate *fate = &sim->checker.fates[i];
        check_atomic(sim, fate);
        check_told(sim, fate);
        if (fate->told_committed && !any_quarantine(sim) && !sim->tm_gone)
            check_applied(sim, fate, false, "a client was told that it is committed");
        if (host != NULL)
            check_outcome(sim, host, fate);
        if (host != NULL)
            check_reported(sim, host, fate);
    }
}
