/*
 * tm/peers.h - what the coordinator tells its agents of each other.
 *
 * Agents that finish a 3pc transaction without it have to find each other, and to know that it is
 * an agent that speaks. So each is told where the others are, and one key for their messages.
 */
#ifndef ASSENT_TM_PEERS_H
#define ASSENT_TM_PEERS_H

#include "common/error.h"
#include "core/coordinator/registry.h"

/* The key in the file `peer-key` of this directory, drawn when there is none: agents keep it over
 * our restarts, and some may hear of the next one later than others. Returns 0, or -1 with *error.
 */
int peers_key(const char *dir, uint8_t key[SECRET_BYTES], struct error *error);

/* The agents that have accepted this start: what is not known by their own word is left as each
 * agent has stored it. Sets all but the key. */
void peers_list(const struct registry *registry, struct peers *out);

#endif
