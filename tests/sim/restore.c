/*
 * tests/sim/restore.c - a database is put back to a backup, also while its agent is down.
 *
 * It may come back on a timeline of its own (a recovery, a promotion) or on the same one (its files
 * were copied back). The latter tells nobody but by what it does not know any more. In two phases
 * nothing rests on what is newer than the last beat. In three phases an acceptor's row may be newer
 * than what its agent knows to be durable, or has in its state file while it is down; and with the
 * coordinator gone nobody else could know. So there a restore of which neither would tell has a
 * timeline of its own, which the agent compares with the one that was accepted.
 */
#include "tests/sim/sim.h"

/* Will anybody tell who lives without the coordinator? */
static bool is_noticed(const struct sim *sim, uint32_t rm, uint32_t lost, bool *by_agent_alone)
{
    const struct agent *agent = &sim->agents[rm];
    bool kept = lost >= database_to_lose(sim, rm, agent->kept.beat, agent->kept.incarnation);
    bool known = lost >= database_to_lose(sim, rm, agent->flushed_beat, agent->incarnation);
    *by_agent_alone = agent->serving && known && !kept;
    return agent->serving ? known : kept;
}

static void put_back(struct sim *sim, uint32_t rm, uint32_t lost, bool new_timeline)
{
    struct database *database = &sim->databases[rm];
    if (sim->plan.three_phase > 0 && !new_timeline)
        new_timeline = !is_noticed(sim, rm, lost, &database->agent_alone_knows);
    database_put_back(sim, rm, lost, new_timeline);
}

void fault_restored(struct sim *sim)
{
    uint32_t rm = (uint32_t)between(sim, 0, sim->plan.rms - 1);
    uint32_t least = database_to_lose_a_beat(sim, rm);
    uint32_t lost = least + (uint32_t)between(sim, 0, choice(sim, 5000) ? 8 : 60);
    bool new_timeline = choice(sim, 3000);
    bool agent_down = choice(sim, 4000);
    if (!sim->databases[rm].up)
        return;
    if (choice(sim, sim->plan.restored_to_nothing))
        lost = sim->databases[rm].wal_flushed;
    if (agent_down)
        agent_crash(sim, rm);
    put_back(sim, rm, lost, new_timeline);
}

void fault_alone(struct sim *sim)
{
    uint32_t rm = (uint32_t)between(sim, 0, sim->plan.rms - 1);
    struct happening strike = {.type = HAPPENS_PUT_BACK, .who = rm};
    for (uint32_t other = 0; other < sim->plan.rms; other++)
        if (other != rm)
            sim->until_us[host_node(0)][agent_node(other)] = sim->now_us + 1 * SECOND;
    schedule(sim, between(sim, 3 * MS, 20 * MS), strike);
}

void fault_alone_is_put_back(struct sim *sim, uint32_t rm)
{
    uint32_t lost = database_to_lose_a_beat(sim, rm) + (uint32_t)between(sim, 0, 4);
    tm_crash(sim, 0, false);
    if (sim->databases[rm].up)
        put_back(sim, rm, lost, false);
}
