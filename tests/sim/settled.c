/*
 * tests/sim/settled.c - how a night has to end: everything settled, everybody told the truth.
 *
 * Once all is quiet the coordinator, the agents and, where data was lost, a DBA settle everything
 * within a bounded time. Then each transaction that there ever was is looked at once more.
 */
#include "common/wire.h"
#include "tests/sim/checker.h"

enum { NON_BLOCKING_SECONDS = 60 };

/* ---- is all settled? ---- */

static bool fate_is_excused(struct sim *sim, const struct fate *fate)
{
    return fate->excused || fate_is_touched(sim, fate);
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

/* Below the horizon nobody may presume anything: what is found there is a DBA's. */
static bool is_no_longer_remembered(const struct sim *sim, const struct gtrid *gtrid)
{
    const struct coordinator *coordinator = sim->hosts[0].coordinator;
    enum outcome outcome = OUTCOME_NONE;
    return coordinator != NULL && coordinator_outcome(coordinator, gtrid, &outcome) == ERR_NONE &&
           outcome == OUTCOME_FORGOTTEN;
}

static bool database_settled(struct sim *sim, uint32_t rm, bool complain)
{
    struct database *database = &sim->databases[rm];
    for (uint32_t i = 0; i < PREPARED_MAX; i++) {
        const struct prepared *prepared = &database->prepared[i];
        if (!prepared->used)
            continue;
        const struct fate *fate = checker_fate(sim, &prepared->branch.gtrid);
        const struct fate_branch *branch = checker_branch(sim, &prepared->branch);
        /* What a DBA has forgotten before its branch was seen is his to resolve again. */
        bool forgotten = fate->forgotten && !branch->shown;
        if (fate->excused || forgotten || of_the_lost_fork(sim, &prepared->branch) ||
            is_no_longer_remembered(sim, &prepared->branch.gtrid))
            continue;
        /* What was voted for is lost, and another under its gid is left to the DBA, too. */
        if (database->released && branch_is_lost(branch) && prepared->xid != branch->voted_xid)
            continue;
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
        struct txn_number number = {fate->gtrid.incarnation, fate->gtrid.sequence};
        /* Of what its database may have forgotten it does not even pledge to itself. */
        bool mute = txn_not_after(&number, &sim->databases[agent->rm].votes_after);
        count += (mute || fate_is_excused(sim, fate)) &&
                 terminator_state(agent->terminator, &fate->gtrid) != ENDING_NONE;
    }
    return count;
}

static bool agent_settled(struct sim *sim, uint32_t rm, bool complain)
{
    struct agent *agent = &sim->agents[rm];
    struct branch_id branch;
    enum branch_state state;
    if (!agent->serving || !agent->connected)
        return unsettled(sim, complain, "not serving", rm_word(rm));
    for (uint32_t i = participant_next(agent->participant, 0, &branch, &state); i != UINT32_MAX;
         i = participant_next(agent->participant, i + 1, &branch, &state))
        if (state != BRANCH_REFUSED && state != BRANCH_LEFT &&
            !(state == BRANCH_READY &&
              (checker_branch(sim, &branch)->commits > 0 || checker_branch(sim, &branch)->by_word ||
               is_no_longer_remembered(sim, &branch.gtrid))) &&
            !fate_is_excused(sim, checker_fate(sim, &branch.gtrid)))
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

/* ---- non-blocking: the coordinator is gone ---- */

/* Every agent lives, so those without a doubt. */
static uint32_t able_acceptors(const struct sim *sim, const struct gtrid *gtrid,
                               const struct roster *roster)
{
    struct txn_number number = {gtrid->incarnation, gtrid->sequence};
    uint32_t able = 0;
    for (uint32_t i = 0; i < roster->count; i++) {
        uint32_t rm = rm_number(roster->agents[i]);
        if (!sim->agents[rm].suspect && !txn_not_after(&number, &sim->databases[rm].votes_after))
            able |= rank_bit(i);
    }
    return able;
}

static bool finished_without_tm(struct sim *sim, uint32_t rm, bool complain)
{
    struct database *database = &sim->databases[rm];
    for (uint32_t i = 0; i < PREPARED_MAX && !sim->agents[rm].suspect; i++) {
        const struct prepared *prepared = &database->prepared[i];
        const struct row *row =
            prepared->used ? database_row(database, &prepared->branch.gtrid) : NULL;
        if (row == NULL ||
            !is_majority(&row->roster, able_acceptors(sim, &row->gtrid, &row->roster)))
            continue;
        const struct fate_branch *branch = checker_branch(sim, &prepared->branch);
        if (!branch->by_hand)
            return unsettled(sim, complain, "prepared, though a majority of its acceptors lives",
                             branch_word(&prepared->branch));
    }
    return true;
}

/* Too many of its acceptors may have forgotten what they said: that is for a DBA. */
bool checker_is_stuck(struct sim *sim, const struct gtrid *gtrid)
{
    const struct fate *fate = checker_fate(sim, gtrid);
    uint32_t able = fate->roster.tm ? rank_bit(RANK_TM) : 0;
    return !is_majority(&fate->roster, able | able_acceptors(sim, gtrid, &fate->roster));
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

/* ---- how soon: in its rows an agent reads what is decided, whoever else is there ---- */

static void look_at_due(struct sim *sim, const struct agent *agent, const struct prepared *prepared)
{
    const struct database *database = &sim->databases[agent->rm];
    const struct row *row = database_row(database, &prepared->branch.gtrid);
    struct fate_branch *branch = checker_branch(sim, &prepared->branch);
    bool due = row != NULL && row->acceptor.outcome != OUTCOME_NONE && !prepared->foreign_owner;
    if (!due || branch->due_life != agent->life || branch->due_xid != prepared->xid ||
        branch->due_us < agent->able_us) {
        branch->due_life = due ? agent->life : 0;
        branch->due_xid = prepared->xid;
        branch->due_us = sim->now_us;
        return;
    }
    if (sim->now_us - branch->due_us > sim->plan.carried_out_ms * MS)
        violation(sim, "%s is still prepared %llu ms after its agent could read how it was decided",
                  branch_word(&prepared->branch),
                  (unsigned long long)((sim->now_us - branch->due_us) / MS));
}

void checker_how_soon(struct sim *sim)
{
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++) {
        const struct agent *agent = &sim->agents[rm];
        const struct database *database = &sim->databases[rm];
        for (uint32_t i = 0; agent->serving && agent->connected && i < PREPARED_MAX; i++)
            if (database->prepared[i].used)
                look_at_due(sim, agent, &database->prepared[i]);
    }
}

bool checker_settled(struct sim *sim, bool complain)
{
    if (sim->tm_gone)
        return settled_without_tm(sim, complain);
    for (uint32_t i = 0; i < sim->plan.apps; i++)
        if (!sim->apps[i].up || sim->apps[i].step != APP_REST)
            return unsettled(sim, complain, "waiting for an answer", "an application");
    const struct host *host = in_charge(sim);
    if (host == NULL || !coordinator_started(host->coordinator))
        return unsettled(sim, complain, "not started", "the coordinator");
    if (recovery_needed(sim))
        return unsettled(sim, complain, "not followed by every agent", "the log");
    if (!registry_may_presume(coordinator_registry(host->coordinator), NULL))
        return unsettled(sim, complain, "not accepted by every agent", "the coordinator");
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        if (!database_settled(sim, rm, complain) || !agent_settled(sim, rm, complain))
            return false;
    return coordinator_settled(sim, host, complain);
}

/* ---- how has it ended? ---- */

/* Ask the coordinator of every transaction that there ever was. */
static void check_outcome(struct sim *sim, const struct host *host, const struct fate *fate)
{
    enum outcome outcome = OUTCOME_NONE;
    bool committed = any_is_committed(fate);
    bool touched = fate_is_touched(sim, fate);
    enum error_code error = coordinator_outcome(host->coordinator, &fate->gtrid, &outcome);
    if (fate->excused || fate->heuristic || sim->mended > MENDS_MAX ||
        (sim->checker.forked && !committed))
        return;
    if (outcome == OUTCOME_FORGOTTEN) {
        check_retention(sim, fate);
        return;
    }
    if (committed && outcome != OUTCOME_COMMITTED && !(touched && outcome == OUTCOME_MIXED))
        violation(sim, "%s is committed, and its outcome is given as %d (error %d)",
                  gtrid_word(&fate->gtrid), (int)outcome, (int)error);
    if (!committed && outcome == OUTCOME_COMMITTED && !all_have_left(fate) && !touched)
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
    /* What was over before a new log began is forgotten, and the DBA's word is in its audit trail.
     */
    if (outcome != OUTCOME_MIXED && !(fate->lost && outcome == OUTCOME_FORGOTTEN))
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
        if (fate->told_committed && !sim->tm_gone)
            check_applied(sim, fate, false, "a client was told that it is committed");
        if (host != NULL)
            check_outcome(sim, host, fate);
        if (host != NULL)
            check_reported(sim, host, fate);
    }
}
