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
#include "tests/sim/checker.h"

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

/* Its database was put back to before it was prepared. What was voted for since is not lost. */
bool branch_is_lost(const struct fate_branch *branch)
{
    return branch->lost_xid != 0 &&
           (branch->voted_xid == 0 || branch->voted_xid == branch->lost_xid);
}

/* Nobody answers for this branch any more. What excuses it excuses no other. */
bool branch_is_excused(struct sim *sim, const struct fate_branch *branch)
{
    return branch->by_hand || branch->heuristic || branch_is_lost(branch) ||
           checker_fate(sim, &branch->id.gtrid)->heuristic;
}

bool fate_is_touched(struct sim *sim, const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (branch_is_excused(sim, &fate->branches[i]) || fate->branches[i].lost_end)
            return true;
    return fate->heuristic;
}

/* By the protocol, and not by somebody's hand. */
bool any_is_committed(const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (fate->branches[i].commits > 0 && !fate->branches[i].by_hand)
            return true;
    return false;
}

bool all_have_left(const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (!fate->branches[i].left && fate->branches[i].acknowledged > 0)
            return false;
    return true;
}

/* ---- rules ---- */

/* No two branches end differently. */
void check_atomic(struct sim *sim, struct fate *fate)
{
    const struct fate_branch *committed = NULL, *undone = NULL;
    if (fate->excused)
        return;
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        const struct fate_branch *branch = &fate->branches[i];
        if (branch_is_excused(sim, branch))
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
static bool decision_is_lost(const struct fate *fate)
{
    return fate->delegated_durable && fate->branches[0].lost_end;
}

/* What a client was told is what happened. */
void check_told(struct sim *sim, struct fate *fate)
{
    if (fate->excused || fate->heuristic || decision_is_lost(fate))
        return;
    if (fate->told_rolled_back &&
        ((fate->commit_durable && !sim->checker.forked) || any_is_committed(fate)))
        violation(sim, "a client was told that %s was rolled back, and it is committed",
                  gtrid_word(&fate->gtrid));
    if (sim->checker.forked)
        return;
    if (fate->told_committed && fate->told_rolled_back && !all_have_left(fate))
        violation(sim, "clients were told both outcomes of %s", gtrid_word(&fate->gtrid));
    for (uint32_t i = 0; fate->told_committed && i < fate->branch_count; i++)
        if (fate->branches[i].rolled_back && !branch_is_excused(sim, &fate->branches[i]))
            violation(sim, "%s was told committed and is rolled back at %s",
                      gtrid_word(&fate->gtrid), fate->branches[i].id.rm);
}

static bool prepared_now(struct sim *sim, const struct fate_branch *branch)
{
    const struct prepared *prepared =
        database_find(&sim->databases[rm_number(branch->id.rm)], &branch->id);
    return prepared != NULL && prepared->xid == branch->voted_xid;
}

void checker_turn(struct sim *sim, struct host *host)
{
    for (uint32_t i = 0; i < sim->plan.rms; i++) {
        const struct rm *rm = &coordinator_registry(host->coordinator)->rms[host->index_of[i]];
        host->quarantined[i] = rm->quarantined || rm->state == RM_QUARANTINED;
    }
}

/* When this record was written: what the rest of its turn was about came after it. */
static bool is_quarantined(const struct host *host, const char *name)
{
    uint32_t i = rm_number(name);
    const struct rm *rm = &coordinator_registry(host->coordinator)->rms[host->index_of[i]];
    return rm->state == RM_QUARANTINED && host->quarantined[i];
}

/* When the COMMIT record is handed over, every branch is prepared, and holds all the work. */
static void check_votes(struct sim *sim, const struct host *host, struct fate *fate)
{
    if (!fate->asked_to_commit)
        violation(sim, "%s is decided, and nobody asked to commit it", gtrid_word(&fate->gtrid));
    if (fate->abort_decided)
        return; /* the agents have ended it, and PRECOMMIT comes too late */
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        struct fate_branch *branch = &fate->branches[i];
        if (!branch->in_record) {
            /* Where a log was put back one name is given to two transactions (doc/protocol.md). */
            if (branch->acknowledged > 0 && !branch->left && !branch_is_excused(sim, branch) &&
                !fate->excused)
                violation(sim, "%s is decided without %s, which has worked in it",
                          gtrid_word(&fate->gtrid), branch->id.rm);
            continue;
        }
        if (is_quarantined(host, branch->id.rm))
            violation(sim, "%s is decided on the vote of %s, which is in quarantine",
                      gtrid_word(&fate->gtrid), branch->id.rm);
        if (branch_is_excused(sim, branch) || sim->checker.forked)
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

/* Its database was left out when the log was lost, and follows no log that there is: the new one
 * does not know of this branch, which is ended by hand before its agent adopts it. */
static bool is_left_out(const struct sim *sim, const struct fate_branch *branch)
{
    const struct uuid *log = &sim->databases[rm_number(branch->id.rm)].row.log;
    return sim->recovery.losses > 0 && memcmp(log, &sim->hosts[0].disk.log, sizeof *log) != 0;
}

/* Whoever claims that it is applied everywhere has to have noticed what was done by hand. What a
 * database has lost since is not held against anybody, unless an xid's evidence was believed there
 * that may be another's by now. */
void check_applied(struct sim *sim, struct fate *fate, bool claimed, const char *why)
{
    if (sim->checker.forked || fate->excused)
        return;
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        const struct fate_branch *branch = &fate->branches[i];
        const struct database *database = &sim->databases[rm_number(branch->id.rm)];
        bool lost = branch_is_lost(branch) || branch->lost_end;
        /* The DBA was asked about what its database may have lost, and has said something. */
        bool taken = fate->worded && database->lost_something && database->released;
        /* But who has the DBA's word for it may believe that. */
        bool other_way = claimed && branch->by_hand && branch->rolled_back && !fate->worded;
        bool wrong =
            lost ? branch->misjudged && !fate->worded : !taken && !branch_is_excused(sim, branch);
        if (branch->in_record && branch->commits == 0 && !is_left_out(sim, branch) &&
            (other_way || wrong))
            violation(sim, "%s: %s, and it is not applied at %s", gtrid_word(&fate->gtrid), why,
                      branch->id.rm);
    }
}

/* For its time an outcome is remembered, counted in the coordinator's own running time. A jump of
 * its clock it may take for such, up to a bound. */
void check_retention(struct sim *sim, const struct fate *fate)
{
    uint64_t ran_us = tm_ran_us(sim) - fate->known_us + sim->jumped_ms * MS;
    if (!sim->checker.forked && !fate->excused && !fate->lost &&
        ran_us < sim->plan.retention_ms * MS)
        violation(sim,
                  "%s is forgotten %llu ms of running time after it %s, and is to be "
                  "remembered for %llu",
                  gtrid_word(&fate->gtrid), (unsigned long long)(ran_us / MS),
                  fate->commit_durable ? "was committed" : "was begun",
                  (unsigned long long)sim->plan.retention_ms);
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
        const struct fate *other =
            &sim->checker.fates[i]; /* For its time, which is as long as an outcome's here. */
        bool remembered =
            tm_ran_us(sim) - other->known_us + sim->jumped_ms * MS < sim->plan.retention_ms * MS;
        if (other != fate && !other->lost && text_equal(other->key, fate->key, KEY_BYTES) &&
            remembered && other->commit_durable && !sim->checker.forked)
            violation(sim, "%s and %s commit under one key, %s", gtrid_word(&other->gtrid),
                      gtrid_word(&fate->gtrid), fate->key);
    }
}

static void decided_to_commit(struct sim *sim, struct fate *fate)
{
    if (!fate->commit_durable) {
        fate->known_us = tm_ran_us(sim);
        check_key(sim, fate);
    }
    fate->commit_durable = true;
    check_told(sim, fate);
}

static void see_commit(struct sim *sim, uint32_t host, const struct record *record, bool durable)
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
    check_votes(sim, &sim->hosts[host], fate);
}

/* Only what a DBA has forced, and the log keeps, excuses branches that differ. */
static void see_resolved(struct sim *sim, struct fate *fate, const struct record *record)
{
    bool heuristic = (record->flags & RESOLVED_HEURISTIC) != 0;
    if (fate->said != OUTCOME_NONE && fate->said == record->outcome && record->branch_count == 0)
        return;          /* when its log was lost: he is held to that like the log itself */
    fate->worded = true; /* forgotten, too: it is mended by hand by now */
    for (uint32_t i = 0; i < fate->branch_count && record->outcome != OUTCOME_FORGOTTEN; i++)
        fate->branches[i].shown = false;
    if (record->outcome == OUTCOME_FORGOTTEN) {
        fate->forgotten = true;
        return;
    }
    if (heuristic && !fate->forced && !sim->checker.forked)
        violation(sim, "%s is settled against the evidence, and nobody forced it",
                  gtrid_word(&fate->gtrid));
    if (record->branch_count == 1)
        branch_of(fate, record->branches[0].rm, record->branches[0].branch)->heuristic |= heuristic;
    else
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

bool is_majority(const struct roster *roster, uint32_t bits)
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
    switch (record->type) {
    case RECORD_PRECOMMIT:
        if (durable)
            see_vote(sim, record);
        /* fall through */
    case RECORD_COMMIT:
        see_commit(sim, host, record, durable);
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
    case RECORD_QUARANTINED:
        if (!durable)
            sim->hosts[host].quarantined[rm_number(record->rm)] = true;
        if (!durable && !sim->databases[rm_number(record->rm)].lost_something &&
            !sim->checker.forked)
            violation(sim, "%s is quarantined, and has lost nothing", record->rm);
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
    if (branch_is_excused(sim, branch) || fate->excused)
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
    if (branch_is_excused(sim, branch) || fate->excused)
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
    if ((result->type == RESULT_READY || result->type == RESULT_FOUND) &&
        !checker_fate(sim, &result->branch.gtrid)->forgotten)
        checker_branch(sim, &result->branch)->shown = true;
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
    if (!fate->begun || again) /* and not when it is only said again */
        fate->known_us = tm_ran_us(sim);
    fate->begun = true;
    fate->begun_by = *instance;
    if (again && !sim->checker.forked)
        violation(sim, "two starts give out %s", gtrid_word(&fate->gtrid));
    fate->excused |= again;
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
    if (reply->outcome == OUTCOME_FORGOTTEN)
        check_retention(sim, fate);
    if (reply->outcome == OUTCOME_ROLLED_BACK && !may_be_another(sim, &reply->gtrid))
        fate->told_rolled_back = true;
    if (reply->outcome == OUTCOME_MIXED && !fate_is_touched(sim, fate) && !sim->checker.forked)
        violation(sim, "%s is called mixed, and nobody touched it", gtrid_word(&fate->gtrid));
    if (reply->outcome == OUTCOME_COMMITTED) {
        fate->told_committed = true;
        if (!fate->commit_durable && !any_is_committed(fate) && !all_have_left(fate) &&
            !fate_is_touched(sim, fate) && !sim->checker.forked)
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

/* What is remembered is over with it, and keys may be used again. */
void checker_log_lost(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->checker.count; i++) {
        sim->checker.fates[i].was_decided = sim->checker.fates[i].commit_durable;
        sim->checker.fates[i].lost = true;
        sim->checker.fates[i].said = OUTCOME_NONE;
    }
}

static bool is_known_to_have_committed(const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (fate->branches[i].commits > 0)
            return true;
    return fate->told_committed;
}

/* A decision of which nobody had heard is lost with its log where a DBA says so, and with it
 * alone. What he says without having seen what contradicts it is his, and is no rule's fault. */
void checker_recovered(struct sim *sim, const struct lost *lost)
{
    for (uint32_t i = 0; i < lost->count; i++) {
        const struct lost_txn *txn = &lost->txns[i];
        struct fate *fate = checker_fate(sim, &txn->gtrid);
        bool committed = is_known_to_have_committed(fate);
        bool against = txn->by_word && txn->outcome == OUTCOME_ROLLED_BACK;
        fate->said = txn->outcome;
        fate->commit_durable = fate->was_decided && (!against || committed);
        fate->heuristic |= against && committed;
    }
}

/* Entries that were durable are gone: what they did is undone, and that they were there is known to
 * nobody any more. */
static void see_lost(struct sim *sim, const struct wal_entry *entry)
{
    struct fate_branch *branch = NULL;
    if (entry->type == WAL_PREPARE || entry->type == WAL_COMMIT ||
        entry->type == WAL_COMMIT_PREPARED || entry->type == WAL_ROLLBACK_PREPARED)
        branch = checker_branch(sim, &entry->branch);
    if (entry->type == WAL_PREPARE && !(branch->in_record && branch->voted_xid != entry->xid))
        branch->lost_xid = entry->xid;
    else if (branch != NULL)
        branch->lost_end = true;
}

void checker_rewound(struct sim *sim, uint32_t rm, uint32_t durable)
{
    struct database *database = &sim->databases[rm];
    database->lost_something |= durable > database->wal_count;
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
    for (uint32_t i = database->wal_count; i < durable; i++)
        see_lost(sim, &database->wal[i]);
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
