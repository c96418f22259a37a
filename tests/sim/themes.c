/*
 * tests/sim/themes.c - nights that have one fault in plenty, each under a name.
 *
 * Every eighth night is one of these, by its seed; --theme NAME makes any night one of them. Each
 * has a planted mistake that its nights find (core/base/mutant.h), and most others' do not. To add
 * one: a function that draws it, and a line in the table. Little else goes wrong in these nights,
 * so that much is under way when the fault strikes.
 */
#include <string.h>

#include "tests/sim/sim.h"

static uint32_t some(struct sim *sim, uint32_t most)
{
    return choice(sim, 4000) ? 0 : (uint32_t)between(sim, 0, most);
}

/* All work, and messages that get lost now and then. */
static void draw_calm(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    memset(plan->fault_weight, 0, sizeof plan->fault_weight);
    plan->dba = false;
    plan->log_may_fork = false;
    plan->old_at_commit = plan->copy_at_commit = plan->by_hand = 0;
    plan->fault_every_us = between(sim, 200 * MS, 2 * SECOND);
    plan->quiet_us = between(sim, 6 * SECOND, 20 * SECOND);
    plan->loss /= 4;
    plan->crash_in_turn /= 4;
    plan->abandon = plan->read_only_all = 0;
    /* What is forgotten too soon is not missed when it is lost. */
    plan->retention_ms = UINT64_C(1000) * 3600 * 24;
    plan->apps = APPS;
    plan->txns = APP_TXNS;
}

/* A backup is put back, mostly without a new timeline: nothing but what was written since tells. */
static void draw_restored(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->fault_weight[FAULT_RESTORED] = 4;
    plan->fault_weight[FAULT_TM_DIES] = (uint32_t)between(sim, 0, 3);
    plan->fault_weight[FAULT_AGENT_DIES] = (uint32_t)between(sim, 0, 2);
    plan->keyed = some(sim, 10000);
    if (choice(sim, 6000)) {
        plan->three_phase = 10000;
        plan->silence_ms = (uint32_t)between(sim, 300, 3000);
        plan->down_most_us = 15 * SECOND;
        plan->one_branch = 0;
        plan->at_precommit = some(sim, 6000);
        plan->restored_at_precommit = 6000;
        plan->no_state_file = choice(sim, 5000);
        if (plan->no_state_file) {
            plan->at_precommit = (uint32_t)between(sim, 2000, 8000);
            plan->restored_at_precommit = 2000;
            plan->alone_at_precommit = 8000;
            plan->fault_every_us = between(sim, 1 * SECOND, 4 * SECOND);
            plan->silence_ms = (uint32_t)between(sim, 300, 1500);
        }
    }
}

/* The answer to a registration is lost, and the database knows no more than it says. */
static void draw_lost_answers(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->answer_loss = (uint32_t)between(sim, 2000, 8000);
    plan->fault_weight[FAULT_RESTORED] = 3;
    plan->fault_weight[FAULT_TM_DIES] = 1;
    plan->restored_to_nothing = 8000;
    if (choice(sim, 8000)) {
        /* A witness has no beat, by which it would be seen. */
        plan->three_phase = 10000;
        plan->rms = 3;
        plan->data_rms = (uint32_t)between(sim, 1, 2);
        plan->one_branch = plan->rollback = plan->refusal = 0;
        plan->silence_ms = (uint32_t)between(sim, 300, 3000);
        plan->at_precommit = (uint32_t)between(sim, 2000, 8000);
        plan->restored_at_precommit = 7000;
        plan->down_most_us = 15 * SECOND;
    }
}

/* A database loses what it has just voted for, while the other votes are slow. */
static void draw_quarantine(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->lost_at_vote = (uint32_t)between(sim, 500, 3000);
    plan->lock_wait = 4000;
    plan->one_branch = 0;
    plan->refusal = plan->statement_fails = 0;
    if (choice(sim, 4000))
        plan->three_phase = 10000;
}

/* Coordinators start again and again, on hosts that have been up for any time, and remember for no
 * longer than they run. */
static void draw_uptime(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->fault_weight[FAULT_TM_DIES] = 6;
    plan->fault_weight[FAULT_CLOCK_JUMPS] = 1;
    plan->fault_weight[FAULT_APPLICATION_DIES] = 3;
    plan->fault_weight[FAULT_REWIND] = (uint32_t)between(sim, 0, 2);
    plan->retention_ms = between(sim, 2000, 30000);
    plan->keyed = 9000;
    plan->run_again = 0;
    plan->own_connection /= 4;
    plan->checkpoint = some(sim, 4000);
    if (choice(sim, 3000)) {
        plan->three_phase = 10000;
        plan->silence_ms = (uint32_t)between(sim, 300, 3000);
    }
}

/* An agent has room for few branches at once. */
static void draw_full_table(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->agent_branches = (uint32_t)between(sim, 2, 5); /* one of them for what ends branches */
    plan->own_connection = some(sim, 9000);
    plan->fault_weight[FAULT_AGENT_DIES] = 1;
    plan->fault_weight[FAULT_TM_DIES] = 1;
    plan->lock_wait = some(sim, 3000);
    if (choice(sim, 3000))
        plan->three_phase = 10000;
}

/* The commit is asked for while a statement runs, or is still on its way. */
static void draw_late_statement(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->hasty = (uint32_t)between(sim, 2000, 9000);
    plan->own_connection = 0;
    plan->lock_wait = some(sim, 4000);
    plan->repeat = some(sim, 6000);
    plan->delay = some(sim, 4000);
    plan->delay_most_us = 2 * SECOND;
    plan->one_branch = some(sim, 5000);
    plan->fault_weight[FAULT_AGENT_DIES] = (uint32_t)between(sim, 0, 1);
}

/* Somebody who may log in writes markers of transactions that come next. */
static void draw_markers(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->forged_markers = (uint32_t)between(sim, 1000, 6000);
    plan->one_branch = 8000;
    plan->own_connection = 0;
    plan->connection_cut = some(sim, 2500);
    plan->fault_weight[FAULT_TM_DIES] = 2;
    plan->fault_weight[FAULT_AGENT_DIES] = 2;
}

/* What an acceptor's row decides its agent carries out soon, whoever else is there. */
static void draw_how_soon(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->three_phase = 10000;
    plan->one_branch = plan->rollback = plan->refusal = 0;
    /* Whoever does not look, but leads, is slower. What is prepared late is seen at the next look.
     */
    plan->silence_ms = (uint32_t)between(sim, 3000, 6000);
    plan->carried_out_ms = choice(sim, 5000) ? 1500 : plan->silence_ms + 1500;
    plan->own_connection = plan->carried_out_ms == 1500 ? 0 : plan->own_connection;
    plan->connection_cut = plan->lock_wait = plan->crash_at_work = 0;
    plan->fault_weight[FAULT_AGENT_DIES] = 2;
    plan->fault_weight[FAULT_TM_DIES] = 1;
    plan->fault_weight[FAULT_PARTITION] = (uint32_t)between(sim, 0, 2);
    plan->down_most_us = 15 * SECOND;
    plan->at_precommit = some(sim, 6000);
    plan->busy = 0;
    if (choice(sim, 3000))
        plan->gone_us = between(sim, 500 * MS, plan->quiet_us);
}

/* What is over is soon forgotten, while other transactions, or messages, are still on their way. */
static void draw_horizon(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    /* Whatever commits keeps what began before it. */
    plan->apps = (uint32_t)between(sim, 1, 2);
    plan->retention_ms = between(sim, 100, 1500);
    plan->scan_ms = 500;
    /* What is forgotten so soon is no key any more, and is not missed when it is lost. */
    plan->keyed = 0;
    plan->may_rewind = false;
    plan->three_phase = 10000;
    plan->silence_ms = (uint32_t)between(sim, 1500, 5000);
    plan->one_branch = some(sim, 3000);
    plan->read_only = 0;
    plan->refusal = some(sim, 3000);
    plan->at_precommit = (uint32_t)between(sim, 2000, 9000);
    plan->quiet_us = between(sim, 10 * SECOND, 25 * SECOND);
    plan->down_most_us = 8 * SECOND;
    plan->fault_weight[FAULT_TM_DIES] = (uint32_t)between(sim, 0, 2);
    plan->fault_weight[FAULT_PARTITION] = (uint32_t)between(sim, 0, 3);
    plan->fault_weight[FAULT_AGENT_DIES] = (uint32_t)between(sim, 0, 1);
    plan->fault_weight[FAULT_DATABASE_CRASHES] = (uint32_t)between(sim, 0, 2);
    plan->fault_weight[FAULT_REWIND] = (uint32_t)between(sim, 0, 3);
    plan->own_connection = some(sim, 9000);
    plan->run_again = some(sim, 8000);
    plan->repeat = (uint32_t)between(sim, 3000, 9000);
    if (choice(sim, 3000))
        plan->gone_us = between(sim, 1 * SECOND, plan->quiet_us);
    plan->delay = (uint32_t)between(sim, 500, 5000);
    plan->delay_most_us = between(sim, 1 * SECOND, 5 * SECOND);
    if (plan->rms > 2 && choice(sim, 6000))
        plan->data_rms = plan->rms - 1; /* a witness is told by a message alone */
}

/* The coordinator's log is lost while much is under way, and a DBA recovers what he can. */
static void draw_lost_log(struct sim *sim)
{
    struct plan *plan = &sim->plan;
    draw_calm(sim);
    plan->fault_weight[FAULT_LOST_LOG] = 4;
    plan->fault_weight[FAULT_TM_DIES] = (uint32_t)between(sim, 0, 2);
    plan->fault_weight[FAULT_AGENT_DIES] = (uint32_t)between(sim, 0, 6);
    plan->fault_weight[FAULT_DATABASE_CRASHES] = (uint32_t)between(sim, 0, 4);
    plan->fault_weight[FAULT_PARTITION] = (uint32_t)between(sim, 0, 3);
    plan->fault_every_us = between(sim, 200 * MS, 1500 * MS);
    plan->quiet_us = between(sim, 10 * SECOND, 30 * SECOND);
    plan->recovery_killed = some(sim, 1500);
    plan->delay_most_us = between(sim, 5 * MS, 1 * SECOND);
    plan->lock_wait = some(sim, 3000);
    plan->busy = some(sim, 2000);
    plan->own_connection = some(sim, 8000);
    plan->run_again = 0;
    if (choice(sim, 3000)) {
        /* What was voted for under a name its agent alone recalls, as long as it lives, and of what
         * it has seen the end of. */
        plan->run_again = (uint32_t)between(sim, 2000, 8000);
        plan->own_connection = 8000;
        plan->fault_weight[FAULT_AGENT_DIES] = plan->fault_weight[FAULT_DATABASE_CRASHES] = 0;
        plan->crash_at_work = plan->connection_cut = plan->busy = plan->unsent = 0;
    }
    plan->gone_us = 0;
    plan->at_precommit = 0;
    plan->may_go = plan->may_rewind = false;
    plan->three_phase = 0;
    if (choice(sim, 4000)) {
        plan->three_phase = choice(sim, 5000) ? 10000 : 5000;
        plan->silence_ms = (uint32_t)between(sim, 300, 3000);
    }
}

static const struct {
    const char *name;
    void (*draw)(struct sim *sim);
} themes[] = {
    {"restored", draw_restored},     {"lost-answers", draw_lost_answers},
    {"quarantine", draw_quarantine}, {"uptime", draw_uptime},
    {"full-table", draw_full_table}, {"late-statement", draw_late_statement},
    {"markers", draw_markers},       {"how-soon", draw_how_soon},
    {"horizon", draw_horizon},       {"lost-log", draw_lost_log},
};

enum { THEMES = sizeof themes / sizeof *themes };

static const char ordinary[] = "ordinary";

uint32_t theme_find(const char *name)
{
    for (uint32_t i = 0; i < THEMES; i++)
        if (strcmp(themes[i].name, name) == 0)
            return i + 1;
    return strcmp(name, ordinary) == 0 ? (uint32_t)THEME_ORDINARY : 0;
}

const char *theme_name(uint32_t theme)
{
    return theme == THEME_ORDINARY ? ordinary
           : theme == 0            ? NULL
           : theme <= THEMES       ? themes[theme - 1].name
                                   : NULL;
}

void theme_draw(struct sim *sim)
{
    uint32_t theme = sim->theme;
    /* By the seed and not by a draw: the other nights stay what they are. */
    if (theme == 0 && sim->seed % 8 == 5)
        theme = 1 + (uint32_t)(sim->seed / 8 % THEMES);
    if (theme != 0 && theme != THEME_ORDINARY)
        themes[theme - 1].draw(sim);
}
