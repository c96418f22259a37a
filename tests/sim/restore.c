/*
 * tests/sim/restore.c - a database is put back to a backup, also while its agent is down.
 *
 * It may come back on a timeline of its own (a recovery, a promotion) or on the same one (its files
 * were copied back). The latter tells nobody but by what it does not know any more: the loss goes
 * back behind a beat that was confirmed, for what is newer than the last beat nothing rests on in
 * two phases. In three phases an acceptor's row may be newer; if its agent is away just then, and
 * the coordinator gone, nobody is left who could know. So there a restore that finds the agent down
 * has a timeline of its own, which the agent compares with the one that was accepted.
 */
#include "tests/sim/sim.h"

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
        lost = UINT32_MAX;
    if (agent_down)
        agent_crash(sim, rm);
    if (sim->plan.three_phase > 0)
        new_timeline |= !sim->agents[rm].up || !sim->agents[rm].connected;
    database_put_back(sim, rm, lost, new_timeline);
}
