/*
 * tests/sim/faults.c - what goes wrong, and how often: drawn from the seed.
 *
 * To add a fault: a name in enum fault, a function that lets it strike once, a line in
 * strike(), and a weight in plan_draw(), or nights of its own in themes.c. It must be undone, or
 * harmless, after faults_end().
 */
#include <string.h>

#include "tests/sim/sim.h"

/* A rate that is often nothing and sometimes all that is allowed. */
static uint32_t rate(struct sim *sim, uint32_t most)
{
    if (choice(sim, 4000))
        return 0;
    return (uint32_t)between(sim, 0, most);
}

/* Most nights have a bit of everything; some have one thing in plenty. */
enum theme {
    THEME_ANYTHING,
    THEME_ONE_PHASE,
    THEME_OWN_CONNECTIONS,
    THEME_READ_ONLY,
    THEME_POWER,
    THEME_OLD_LOG,
    THEME_COPIED_LOG,
    THEME_REWIND,
    THEME_BY_HAND,
    THEME_KEYS,
    THEMES,
};

/* Little else goes wrong, so that much is under way when these two strike. */
static void busy_with(struct sim *sim, enum fault one, enum fault other)
{
    struct plan *plan = &sim->plan;
    memset(plan->fault_weight, 0, sizeof plan->fault_weight);
    plan->fault_weight[one] = 6;
    plan->fault_weight[other] = 6;
    plan->fault_every_us = between(sim, 100 * MS, 1 * SECOND);
    plan->crash_in_turn /= 4;
    plan->loss /= 4;
    plan->txns = APP_TXNS;
}

static void draw_theme(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    enum theme theme = THEME_ANYTHING;
    if (choice(sim, 7000))
        theme = (enum theme)between(sim, 1, THEMES - 1);
    if (choice(sim, 3000)) {
        static const enum theme hard[] = {THEME_ONE_PHASE, THEME_OLD_LOG, THEME_COPIED_LOG};
        theme = hard[between(sim, 0, 2)];
    }
    switch (theme) {
    case THEME_ONE_PHASE:
        plan->one_branch = 9000;
        plan->own_connection = 500;
        plan->connection_cut = rate(sim, 2500);
        plan->lock_wait = rate(sim, 4000);
        plan->crash_in_turn = rate(sim, 600);
        plan->crash_at_work = rate(sim, 400);
        /* By the seed and not by a draw, here and below: the other nights stay what they are. */
        plan->noise = sim->seed % 5 == 0 ? 4000 : 0;
        break;
    case THEME_OWN_CONNECTIONS:
        plan->own_connection = 8000;
        plan->run_again = rate(sim, 8000);
        plan->refusal = rate(sim, 500);
        plan->by_hand = choice(sim, 3000) ? rate(sim, 2000) : 0;
        plan->noise = sim->seed % 5 == 0 ? 4000 : 0;
        if (sim->seed % 7 == 0) { /* who finishes by hand what is being put out */
            plan->run_again = 8000;
            plan->by_hand = 2000;
        }
        break;
    case THEME_READ_ONLY:
        plan->read_only = 7000;
        break;
    case THEME_POWER:
        memset(plan->fault_weight, 0, sizeof plan->fault_weight);
        plan->fault_weight[FAULT_TM_LOSES_POWER] = 1;
        plan->noise = rate(sim, 5000);
        plan->unsent = rate(sim, 800);
        plan->crash_at_work = choice(sim, 3000) ? rate(sim, 400) : 0;
        plan->fault_every_us = between(sim, 100 * MS, 800 * MS);
        plan->sync_stall = rate(sim, 6000);
        break;
    case THEME_OLD_LOG:
        busy_with(sim, FAULT_OLD_LOG, FAULT_TM_LOSES_POWER);
        plan->fault_weight[FAULT_PARTITION] = 6;
        plan->rms = 2;
        plan->one_branch = 0;
        plan->loss = rate(sim, 3000);
        if (choice(sim, 7000)) {
            plan->fault_weight[FAULT_OLD_LOG] = 0;
            plan->old_at_commit = (uint32_t)between(sim, 3000, 9000);
        }
        break;
    case THEME_COPIED_LOG:
        busy_with(sim, FAULT_COPIED_LOG, FAULT_TM_DIES);
        plan->rms = 2;
        plan->one_branch = 0;
        plan->read_only_all = 0;
        plan->sync_stall = rate(sim, 6000);
        plan->crash_in_turn = rate(sim, 800);
        plan->fault_weight[FAULT_PARTITION] = (uint32_t)between(sim, 0, 3);
        plan->copy_at_commit = rate(sim, 5000);
        break;
    case THEME_REWIND:
        plan->fault_weight[FAULT_REWIND] = 8;
        break;
    case THEME_BY_HAND:
        plan->fault_weight[FAULT_BY_HAND] = 3;
        plan->by_hand = rate(sim, 4000);
        plan->no_evidence = rate(sim, 6000);
        break;
    case THEME_KEYS:
        plan->keyed = 10000;
        plan->fault_weight[FAULT_APPLICATION_DIES] = 20;
        break;
    case THEME_ANYTHING:
    case THEMES:
        break;
    }
}

/* Nothing fails, or only agents do, but every message is late, and the agents are impatient:
 * leaders everywhere. */
static void draw_duels(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    memset(plan->fault_weight, 0, sizeof plan->fault_weight);
    plan->dba = false;
    plan->three_phase = 10000;
    plan->silence_ms = 300;
    plan->delay = 9000;
    plan->delay_most_us = between(sim, 50 * MS, 700 * MS);
    plan->loss = rate(sim, 1500);
    if (choice(sim, 5500)) {
        plan->fault_weight[FAULT_AGENT_DIES] = 1;
        plan->fault_every_us = between(sim, 200 * MS, 1 * SECOND);
    }
    if (choice(sim, 5000))
        plan->rms = 4; /* five acceptors, of which two may not have heard */
    plan->data_rms = plan->rms;
    plan->quiet_us = between(sim, 10 * SECOND, 20 * SECOND);
    plan->at_precommit = 0;
    plan->read_only = 0;
    plan->crash_in_turn = 0;
    plan->one_branch = 0;
    plan->refusal = 0;
    plan->rollback = 0;
    plan->abandon = 0;
    plan->statement_fails = 0;
    plan->apps = APPS;
    plan->txns = APP_TXNS;
}

/* Databases crash as they answer a ballot, and others have to find out what they said. */
static void draw_brittle(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    memset(plan->fault_weight, 0, sizeof plan->fault_weight);
    plan->dba = false;
    plan->three_phase = 10000;
    plan->silence_ms = 1000;
    plan->at_precommit = 9000;
    plan->quiet_us = between(sim, 10 * SECOND, 20 * SECOND);
    plan->apps = APPS;
    plan->read_only = 0;
    plan->retention_ms = UINT64_C(1000) * 3600 * 24;
    plan->may_rewind = choice(sim, 7000);
    plan->crash_at_work = (uint32_t)between(sim, 500, 2500);
    plan->crash_in_turn = 0;
    plan->one_branch = 0;
    plan->rollback = 0;
    plan->abandon = 0;
    plan->refusal = 0;
    plan->txns = APP_TXNS;
}

/* What is asked of the acceptors needs a few of them, and that messages are late. */
static void draw_three_phase(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    plan->three_phase = choice(sim, 7000) ? 10000 : (uint32_t)between(sim, 1000, 9000);
    if (plan->rms > 2 && choice(sim, 3000))
        plan->data_rms--;
    if (choice(sim, 3000))
        plan->gone_us = between(sim, 200 * MS, plan->quiet_us);
    plan->may_go = choice(sim, 3000);
    plan->at_precommit = rate(sim, 6000);
    plan->one_branch /= 4;
    plan->read_only_all = 0;
    plan->noise = sim->seed % 2 == 0 ? 1000 : 0;
    if (choice(sim, 6000))
        plan->down_most_us = 15 * SECOND;
    if (choice(sim, 4000)) {
        plan->fault_weight[FAULT_PARTITION] += 4;
        plan->fault_weight[FAULT_AGENT_DIES] += 2;
    }
    if (choice(sim, 4000)) {
        /* Old questions and new ones under way together. */
        plan->delay = (uint32_t)between(sim, 3000, 9000);
        plan->delay_most_us = between(sim, 20 * MS, 800 * MS);
        plan->silence_ms = 300;
    }
    if (choice(sim, 3000))
        plan->crash_at_work = (uint32_t)between(sim, 100, 1200);
    plan->may_rewind = choice(sim, 2500);
    if (choice(sim, 3000)) {
        /* Clients that say all twice, while a vote is on its way to a slow disk. */
        plan->sync_stall = (uint32_t)between(sim, 3000, 8000);
        plan->duplicate = 9000;
        plan->impatient = 6000;
    }
    if (choice(sim, 5000)) {
        /* What is forgotten so soon is no key any more, and is not missed when it is lost. */
        plan->retention_ms = between(sim, 200, 3000) * (sim->seed % 4 == 1 ? 20 : 1);
        plan->scan_ms = 500;
        if (plan->rms > 2 && choice(sim, 3000)) {
            /* A witness, which is told by a message alone, hears of it when all is over. */
            plan->data_rms = plan->rms - 1;
            plan->repeat = 8000;
            plan->delay = (uint32_t)between(sim, 500, 5000);
            plan->delay_most_us = 5 * SECOND;
        }
        plan->txns = APP_TXNS;
        plan->may_rewind = false;
        plan->keyed = 0;
        plan->fault_weight[FAULT_REWIND] = 0;
        plan->fault_weight[FAULT_BY_HAND] = 0;
        plan->by_hand = 0;
    }
    if (sim->seed % 12 == 2)
        draw_duels(sim);
    else if (sim->seed % 12 == 6)
        draw_brittle(sim);
    /* A majority that may have forgotten what it said decides nothing any more, and a DBA who
     * releases it does not change that. */
    if (plan->dba) {
        plan->fault_weight[FAULT_REWIND] = 0;
        plan->may_rewind = false;
    }
}

void plan_draw(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    memset(plan, 0, sizeof *plan);
    plan->rms = (uint32_t)between(sim, 2, choice(sim, 2000) ? RMS : 3);
    plan->apps = (uint32_t)between(sim, 1, APPS);
    plan->txns = (uint32_t)between(sim, 1, APP_TXNS);
    plan->loss = rate(sim, 3000);
    plan->repeat = rate(sim, 5000);
    plan->delay = rate(sim, 3000);
    plan->delay_most_us = between(sim, 5 * MS, 5 * SECOND);
    plan->sync_stall = rate(sim, 1500);
    plan->connection_cut = rate(sim, 1200);
    plan->lands_late = rate(sim, 10000);
    plan->lock_wait = rate(sim, 800);
    plan->refusal = rate(sim, 2000);
    plan->busy = rate(sim, 3000);
    plan->statement_fails = rate(sim, 1000);
    plan->no_evidence = rate(sim, 1000);
    plan->crash_in_turn = rate(sim, 150);
    plan->fault_every_us = between(sim, 100 * MS, 3 * SECOND);
    plan->own_connection = rate(sim, 8000);
    plan->read_only = rate(sim, 4000);
    plan->read_only_all = rate(sim, 1500);
    plan->one_branch = rate(sim, 5000);
    plan->rollback = rate(sim, 3000);
    plan->abandon = rate(sim, 1500);
    plan->duplicate = rate(sim, 5000);
    plan->impatient = rate(sim, 5000);
    plan->careless = rate(sim, 5000);
    plan->keyed = rate(sim, 10000);
    plan->run_again = rate(sim, 2000);
    plan->checkpoint = rate(sim, 2000);
    plan->quiet_us = between(sim, 1 * SECOND, 20 * SECOND);
    for (uint32_t i = 0; i < FAULT_OLD_LOG; i++)
        plan->fault_weight[i] = choice(sim, 5000) ? (uint32_t)between(sim, 0, 10) : 0;
    draw_theme(sim);
    plan->log_may_fork = plan->fault_weight[FAULT_OLD_LOG] > 0 ||
                         plan->fault_weight[FAULT_COPIED_LOG] > 0 || plan->old_at_commit > 0 ||
                         plan->copy_at_commit > 0;
    /* Not where much is run again: those nights have enough of their own. */
    plan->dba = sim->seed % 5 == 3 && plan->own_connection < 8000;
    if (plan->dba) {
        plan->fault_weight[FAULT_DBA] = 12;
        if (sim->seed % 10 == 3)
            plan->fault_weight[FAULT_REWIND] = 8;
        plan->fault_every_us = plan->fault_every_us / 3 + 30 * MS;
    }
    plan->data_rms = plan->rms;
    plan->retention_ms = UINT64_C(1000) * 3600 * 24;
    plan->down_most_us = 2 * SECOND;
    plan->silence_ms = 5000;
    plan->scan_ms = 2500;
    /* By the seed and not by a draw: nights of two-phase commit alone stay what they are. */
    if (sim->seed % 3 == 1)
        plan->unmarked = 4000;
    if (sim->seed % 4 == 2)
        draw_three_phase(sim);
    theme_draw(sim);
}

static uint32_t any_rm(struct sim *sim)
{
    return (uint32_t)between(sim, 0, sim->plan.rms - 1);
}

static uint32_t any_node(struct sim *sim)
{
    uint64_t at = between(sim, 0, 1 + sim->plan.rms + sim->plan.apps - 1);
    if (at == 0)
        return host_node(0);
    if (at <= sim->plan.rms)
        return agent_node((uint32_t)at - 1);
    return app_node((uint32_t)(at - 1 - sim->plan.rms));
}

static void cut(struct sim *sim, bool both_ways)
{
    uint64_t until_us = sim->now_us + between(sim, 100 * MS, 5 * SECOND);
    uint32_t from = any_node(sim);
    uint32_t to = any_node(sim);
    bool from_all = choice(sim, 4000);
    note(sim, "network", "cut %s", both_ways ? "both ways" : "one way");
    for (uint32_t node = 0; node < NODES; node++) {
        if (!from_all && node != to)
            continue;
        sim->until_us[from][node] = until_us;
        if (both_ways)
            sim->until_us[node][from] = until_us;
    }
}

static void kill_backend(struct sim *sim)
{
    struct agent *agent = &sim->agents[any_rm(sim)];
    for (uint32_t i = 0; agent->serving && agent->connected && i < SESSIONS; i++) {
        struct session *session = &agent->sessions[i];
        if (!session->used || session->busy ||
            participant_state(agent->participant, &session->branch) != BRANCH_OPEN)
            continue;
        agent_lose_session(sim, agent->rm, i);
        return;
    }
}

static void cut_off_one(struct sim *sim)
{
    uint32_t agent = agent_node(any_rm(sim));
    uint64_t until_us = sim->now_us + between(sim, 0, 3 * SECOND);
    sim->until_us[host_node(0)][agent] = until_us;
    sim->until_us[agent][host_node(0)] = until_us;
}

/* A night may have one backup, taken when the first of these strikes; the next puts it back. */
void fault_old_log(struct sim *sim)
{
    struct host *host = &sim->hosts[0];
    if (sim->hosts[1].disk.end > 0 || sim->on_old_log)
        return;
    if (!sim->shelf_used) {
        note(sim, "tm", "a backup of its log is taken");
        sim->shelf = host->disk;
        sim->shelf_used = true;
        cut_off_one(sim); /* what is decided next, not everybody hears */
        return;
    }
    tm_crash(sim, 0, true);
    note(sim, "tm", "an old log is put in place of its own");
    struct disk old = sim->shelf;
    sim->shelf = host->disk;
    host->disk = old;
    sim->on_old_log = true;
    sim->checker.forked = true;
    cut_off_one(sim); /* who might know better, and cannot say so for a while */
}

void fault_copies_log(struct sim *sim)
{
    if (sim->hosts[1].disk.end > 0 || sim->shelf_used)
        return;
    note(sim, "tm2", "gets a copy of the log");
    sim->hosts[1].disk = sim->hosts[0].disk;
    sim->checker.forked = true;
    tm_start(sim, 1);
}

static void jump(struct sim *sim)
{
    uint64_t ms = between(sim, 1, choice(sim, 2000) ? 100000 : 5000);
    uint32_t rm = any_rm(sim);
    note(sim, "clock", "jumps by %llu ms", (unsigned long long)ms);
    if (choice(sim, 5000)) {
        sim->hosts[0].clock_ms += ms;
        sim->jumped_ms += ms < 2000 ? ms : 2000;
    } else {
        sim->agents[rm].clock_ms += ms;
    }
}

static void strike(struct sim *sim, enum fault fault)
{
    switch (fault) {
    case FAULT_TM_DIES:
        tm_crash(sim, 0, false);
        break;
    case FAULT_TM_LOSES_POWER:
        tm_crash(sim, 0, true);
        break;
    case FAULT_AGENT_DIES:
        agent_crash(sim, any_rm(sim));
        break;
    case FAULT_DATABASE_CRASHES:
        database_crash(sim, any_rm(sim));
        break;
    case FAULT_APPLICATION_DIES:
        application_crash(sim, (uint32_t)between(sim, 0, sim->plan.apps - 1));
        break;
    case FAULT_PARTITION:
        cut(sim, true);
        break;
    case FAULT_ONE_WAY:
        cut(sim, false);
        break;
    case FAULT_BACKEND_KILLED:
        kill_backend(sim);
        break;
    case FAULT_CLOCK_JUMPS:
        jump(sim);
        break;
    case FAULT_OLD_LOG:
        fault_old_log(sim);
        break;
    case FAULT_COPIED_LOG:
        fault_copies_log(sim);
        break;
    case FAULT_REWIND: {
        uint32_t rm = any_rm(sim);
        database_rewind(sim, rm, (uint32_t)between(sim, 0, choice(sim, 5000) ? 4 : 40));
        break;
    }
    case FAULT_BY_HAND:
        database_by_hand(sim, any_rm(sim));
        break;
    case FAULT_DBA:
        dba_strikes(sim);
        break;
    case FAULT_RESTORED:
        fault_restored(sim);
        break;
    case FAULT_LOST_LOG:
        fault_lost_log(sim);
        break;
    case FAULTS:
        break;
    }
}

void fault_strikes(struct sim *sim)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < FAULTS; i++)
        sum += sim->plan.fault_weight[i];
    if (sim->quiet || sum == 0)
        return;
    uint64_t drawn = between(sim, 0, sum - 1);
    uint32_t fault = 0;
    while (drawn >= sim->plan.fault_weight[fault])
        drawn -= sim->plan.fault_weight[fault++];
    strike(sim, (enum fault)fault);
    struct happening next = {.type = HAPPENS_FAULT};
    schedule(sim, between(sim, 1 * MS, 2 * sim->plan.fault_every_us), next);
}

/* Two logs of one coordinator: the one whose start every agent has accepted is the true one,
 * the other is put away. */
static void end_fork(struct sim *sim)
{
    struct host *own = &sim->hosts[0], *copy = &sim->hosts[1];
    bool copy_is_true = copy->presumed;
    tm_crash(sim, 1, false);
    copy->gone = true;
    if (copy_is_true) {
        note(sim, "tm", "gets the log of the copy, which all agents have accepted");
        tm_crash(sim, 0, false);
        checker_log_swapped(sim, &own->disk, &copy->disk);
        sim->shelf = own->disk;
        own->disk = copy->disk;
    } else {
        checker_log_swapped(sim, &copy->disk, &own->disk);
        sim->shelf = copy->disk;
    }
    sim->shelf_used = true;
}

/* Somebody dies or is cut off just when all are ready. */
static void strike_at_precommit(struct sim *sim)
{
    uint32_t rm = any_rm(sim);
    uint64_t until_us = sim->now_us + between(sim, 0, 12 * SECOND);
    if (chance(sim, sim->plan.restored_at_precommit)) {
        fault_restored(sim);
        return;
    }
    if (chance(sim, sim->plan.alone_at_precommit)) {
        fault_alone(sim);
        return;
    }
    if (sim->plan.may_rewind && choice(sim, 3000)) {
        database_rewind(sim, rm, (uint32_t)between(sim, 1, 8));
        return;
    }
    switch (between(sim, 0, 7)) {
    case 0:
    case 1:
        tm_crash(sim, 0, choice(sim, 5000));
        break;
    case 2:
        if (sim->plan.may_go)
            tm_is_gone(sim);
        break;
    case 3:
        agent_crash(sim, rm);
        break;
    case 4:
        database_crash(sim, rm);
        break;
    case 5:
    case 6: /* cut off from its coordinator */
        sim->until_us[host_node(0)][agent_node(rm)] = until_us;
        if (choice(sim, 5000))
            sim->until_us[agent_node(rm)][host_node(0)] = until_us;
        break;
    default: /* from everybody */
        for (uint32_t node = 0; node < NODES; node++) {
            sim->until_us[node][agent_node(rm)] = until_us;
            sim->until_us[agent_node(rm)][node] = until_us;
        }
        break;
    }
}

void fault_at_precommit(struct sim *sim)
{
    strike_at_precommit(sim);
    while (choice(sim, 4000))
        strike_at_precommit(sim);
}

void faults_end(struct sim *sim)
{
    sim->quiet = true;
    note(sim, "world", "all is quiet from here on");
    memset(sim->until_us, 0, sizeof sim->until_us);
    if (sim->hosts[1].disk.end > 0)
        end_fork(sim);
    if (!sim->tm_gone)
        tm_start(sim, 0);
    /* The DBA grants what was missing. */
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        for (uint32_t i = 0; i < PREPARED_MAX; i++)
            sim->databases[rm].prepared[i].foreign_owner = false;
}

void faults_mend(struct sim *sim)
{
    struct host *host = &sim->hosts[0];
    if (!host->up || !coordinator_registry(host->coordinator)->fenced || recovery_needed(sim))
        return;
    const struct registry *registry = coordinator_registry(host->coordinator);
    enum refusal refusal = registry->rms[registry->fenced_by].refusal;
    bool old = refusal == REFUSAL_POSITION && sim->shelf_used;
    tm_crash(sim, 0, false);
    sim->mended++;
    host->unfence = true;
    if (!old)
        return; /* a restart raises the incarnation above what the agents have seen */
    note(sim, "tm", "the other log is put back");
    struct disk other = sim->shelf;
    sim->shelf = host->disk;
    host->disk = other;
    checker_log_swapped(sim, &sim->shelf, &host->disk);
}
