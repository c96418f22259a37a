/*
 * tests/sim/world.c - one night: everything that happens, in its order, until all is settled.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/table.h"
#include "tests/sim/sim.h"

enum { QUIET_SECONDS = 240 };

/* ---- chance, and what is written down ---- */

bool choice(struct sim *sim, uint32_t per_ten_thousand)
{
    return per_ten_thousand > 0 && random_u64(&sim->random) % 10000 < per_ten_thousand;
}

bool chance(struct sim *sim, uint32_t per_ten_thousand)
{
    return !sim->quiet && choice(sim, per_ten_thousand);
}

uint64_t between(struct sim *sim, uint64_t least, uint64_t most)
{
    return random_between(&sim->random, least, most);
}

void draw_uuid(struct sim *sim, struct uuid *out)
{
    for (size_t i = 0; i < sizeof out->bytes; i += 8) {
        uint64_t value = random_u64(&sim->random);
        for (size_t j = 0; j < 8; j++)
            out->bytes[i + j] = (uint8_t)(value >> (8 * j));
    }
}

void mix(struct sim *sim, uint64_t value)
{
    sim->digest = (sim->digest ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    sim->digest ^= sim->digest >> 29;
}

void mix_bytes(struct sim *sim, const void *bytes, size_t length)
{
    mix(sim, hash_bytes(bytes, length, sim->now_us));
}

void note(struct sim *sim, const char *who, const char *format, ...)
{
    if (!sim->verbose)
        return;
    va_list args;
    va_start(args, format);
    printf("%9.3f  %-8s ", (double)sim->now_us / 1e6, who);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

void violation(struct sim *sim, const char *format, ...)
{
    if (sim->violated)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(sim->violation, sizeof sim->violation, format, args);
    va_end(args);
    sim->violated = true;
    note(sim, "CHECKER", "%s", sim->violation);
}

const char *rm_word(uint32_t rm)
{
    static const char *const words[RMS] = {"accounts", "ledger", "stock", "orders", "audit"};
    return words[rm];
}

uint32_t rm_number(const char *name)
{
    uint32_t rm = 0;
    while (strcmp(rm_word(rm), name) != 0)
        rm++;
    return rm;
}

const char *gtrid_word(const struct gtrid *gtrid)
{
    static char words[4][GTRID_BYTES];
    static unsigned next;
    char *word = words[next++ % 4];
    gtrid_format(gtrid, word);
    return word;
}

const char *branch_word(const struct branch_id *branch)
{
    static char words[4][GTRID_BYTES + BQUAL_BYTES + 4];
    static unsigned next;
    char *word = words[next++ % 4];
    char bqual[BQUAL_BYTES];
    bqual_format(branch, bqual);
    snprintf(word, sizeof words[0], "%s at %s", gtrid_word(&branch->gtrid), bqual);
    return word;
}

/* ---- what happens ---- */

static void to_command(struct sim *sim, const struct happening *what)
{
    struct statement *command = &sim->commands[what->who];
    const struct agent *agent = &sim->agents[command->rm];
    bool for_agent = !command->of_application && agent->up && agent->serving &&
                     agent->life == command->client_life;
    if (what->type == HAPPENS_EXECUTION)
        command_execute(sim, what->who);
    else if (what->type == HAPPENS_GONE && for_agent)
        agent_backend_gone(sim, what->who);
    else if (what->type == HAPPENS_ANSWER && command->of_application)
        application_answer(sim, what->who);
    else if (what->type == HAPPENS_ANSWER && for_agent)
        agent_answer(sim, what->who);
    command_release(sim, what->who);
}

static void happen(struct sim *sim, const struct happening *what)
{
    uint32_t who = what->who;
    switch (what->type) {
    case HAPPENS_DELIVERY:
        deliver(sim, what->message);
        break;
    case HAPPENS_TURN:
        if (sim->hosts[who].up && sim->hosts[who].life == what->life)
            tm_turn(sim, who);
        break;
    case HAPPENS_SYNCED:
        if (sim->hosts[who].up && sim->hosts[who].life == what->life)
            tm_synced(sim, who);
        break;
    case HAPPENS_TM_START:
        tm_start(sim, who);
        break;
    case HAPPENS_LINK:
        if (sim->hosts[who].up && sim->hosts[who].links[what->which].generation == what->life)
            tm_link(sim, who, what->which);
        break;
    case HAPPENS_AGENT_START:
        agent_start(sim, who);
        break;
    case HAPPENS_AGENT_SERVES:
        if (sim->agents[who].up && sim->agents[who].life == what->life)
            agent_serves(sim, who);
        break;
    case HAPPENS_AGENT_TIMER:
        if (sim->agents[who].serving && sim->agents[who].life == what->life)
            agent_timer(sim, who);
        break;
    case HAPPENS_RECONNECT:
        if (sim->agents[who].up && sim->agents[who].life == what->life)
            agent_reconnects(sim, who);
        break;
    case HAPPENS_EXECUTION:
    case HAPPENS_ANSWER:
    case HAPPENS_GONE:
        to_command(sim, what);
        break;
    case HAPPENS_NOTICE:
        backend_notices(sim, who, what->which, what->life);
        break;
    case HAPPENS_DATABASE_START:
        database_start(sim, who);
        break;
    case HAPPENS_APPLICATION:
        if (sim->apps[who].up && sim->apps[who].generation == what->life)
            application_timer(sim, who);
        break;
    case HAPPENS_APPLICATION_START:
        application_start(sim, who);
        break;
    case HAPPENS_FAULT:
        fault_strikes(sim);
        break;
    case HAPPENS_BY_HAND:
        database_by_hand(sim, who);
        break;
    case HAPPENS_AGENT_DIES:
        agent_crash(sim, who);
        break;
    case HAPPENS_COPY:
        if (!sim->quiet)
            fault_copies_log(sim);
        break;
    case HAPPENS_OLD_LOG:
        if (!sim->quiet)
            fault_old_log(sim);
        break;
    case HAPPENS_TM_GONE:
        tm_is_gone(sim);
        break;
    case HAPPENS_REWIND:
        if (!sim->quiet)
            database_rewind(sim, who, what->which);
        break;
    case HAPPENS_DBA:
        if (sim->recovery.life == what->life)
            recovery_comes(sim);
        break;
    case HAPPENS_DBA_TIMEOUT:
        if (sim->recovery.serial == what->life)
            recovery_timeout(sim);
        break;
    case HAPPENS_AT_PRECOMMIT:
        if (!sim->quiet)
            fault_at_precommit(sim);
        break;
    case HAPPENS_PUT_BACK:
        if (!sim->quiet)
            fault_alone_is_put_back(sim, who);
        break;
    }
}

/* Forget the last night. What it grew is kept, to be used again. */
static void begin(struct sim *sim, uint64_t seed, bool verbose)
{
    sim->seed = seed;
    sim->verbose = verbose;
    sim->now_us = 0;
    sim->queue.order = 0;
    sim->quiet = false;
    sim->violated = false;
    sim->digest = 0;
    sim->happenings = 0;
    sim->crashes = 0;
    sim->next_life = 0;
    sim->next_serial = 0;
    sim->shelf_used = false;
    sim->on_old_log = false;
    sim->tm_gone = false;
    sim->mended = 0;
    sim->jumped_ms = 0;
    memset(sim->until_us, 0, sizeof sim->until_us);
    memset(sim->apps, 0, sizeof sim->apps);
    memset(sim->commands, 0, sizeof sim->commands);
    sim->checker.count = 0;
    sim->checker.forked = false;
    memset(&sim->recovery, 0, offsetof(struct recovery, listed));
    random_seed(&sim->random, seed);
    plan_draw(sim);
    for (uint32_t i = 0; i < HOSTS; i++) {
        struct host *host = &sim->hosts[i];
        void *room = host->room;
        memset(host, 0, offsetof(struct host, disk));
        memset(&host->disk, 0, offsetof(struct disk, checkpoint));
        host->index = i;
        host->room = room;
        host->coordinator = NULL;
        host->token_next = 0;
        memset(host->clients, 0, sizeof host->clients);
        memset(host->links, 0, sizeof host->links);
        host->writer.writing = false;
        host->inbox_count = 0;
    }
    draw_uuid(sim, &sim->hosts[0].disk.log);
    for (uint32_t rm = 0; rm < RMS; rm++) {
        struct agent *agent = &sim->agents[rm];
        void *room = agent->room;
        void *terminator_room = agent->terminator_room;
        memset(agent, 0, sizeof *agent);
        agent->rm = rm;
        agent->room = room != NULL ? room : malloc(participant_bytes(64));
        agent->terminator_room =
            terminator_room != NULL ? terminator_room : malloc(terminator_bytes(PREPARED_MAX));
        database_init(sim, rm);
    }
}

static void start_all(struct sim *sim)
{
    struct happening tm = {.type = HAPPENS_TM_START};
    schedule(sim, between(sim, 0, 20 * MS), tm);
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++) {
        struct happening agent = {.type = HAPPENS_AGENT_START, .who = rm};
        schedule(sim, between(sim, 0, 20 * MS), agent);
    }
    for (uint32_t i = 0; i < sim->plan.apps; i++) {
        sim->apps[i].index = i;
        struct happening app = {.type = HAPPENS_APPLICATION_START, .who = i};
        schedule(sim, between(sim, 60 * MS, 200 * MS), app);
    }
    if (sim->plan.gone_us > 0) {
        struct happening gone = {.type = HAPPENS_TM_GONE};
        schedule(sim, sim->plan.gone_us, gone);
    }
    struct happening fault = {.type = HAPPENS_FAULT};
    schedule(sim, between(sim, 50 * MS, 50 * MS + 2 * sim->plan.fault_every_us), fault);
}

/* Until the checker has nothing more to wait for. */
static void live_through(struct sim *sim)
{
    struct happening what;
    uint64_t look_us = 0, soon_us = 0;
    while (!sim->violated && next_happening(sim, &what)) {
        sim->now_us = what.at_us;
        sim->happenings++;
        if (!sim->quiet && sim->now_us >= sim->plan.quiet_us)
            faults_end(sim);
        happen(sim, &what);
        if (sim->plan.carried_out_ms > 0 && sim->now_us >= soon_us) {
            soon_us = sim->now_us + 100 * MS;
            checker_how_soon(sim);
        }
        if (!sim->quiet || sim->now_us < look_us)
            continue;
        look_us = sim->now_us + 500 * MS;
        faults_mend(sim);
        dba_tidies(sim);
        if (checker_settled(sim, false))
            return;
        if (sim->now_us > sim->plan.quiet_us + QUIET_SECONDS * SECOND || sim->mended > MENDS_MAX)
            return;
    }
}

bool sim_run(struct sim *sim, uint64_t seed, bool verbose)
{
    begin(sim, seed, verbose);
    start_all(sim);
    live_through(sim);
    if (!sim->violated && sim->mended <= MENDS_MAX)
        checker_settled(sim, true);
    if (!sim->violated)
        checker_final(sim);
    mix(sim, sim->now_us);
    forget_happenings(sim);
    for (uint32_t i = 0; i < HOSTS; i++)
        for (uint32_t j = 0; j < sim->hosts[i].inbox_count; j++)
            if (sim->hosts[i].inbox[j].message != NULL)
                release_message(sim->hosts[i].inbox[j].message);
    return !sim->violated;
}
