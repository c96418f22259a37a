/*
 * common/ticket.h - session tickets: who may run SQL in a branch through the agent.
 *
 * `<agent incarnation>.<ms allowed>.<options>.<MAC>`: the TM makes one at enlist, under the
 * secret that it gave the agent at registration (HMAC-SHA-256 of Nettle, hex); the agent
 * checks it with no round trip, and nobody can guess into another's transaction. The MAC
 * covers the gid and everything before it.
 */
#ifndef ASSENT_COMMON_TICKET_H
#define ASSENT_COMMON_TICKET_H

#include "core/message/message.h"

enum { TICKET_BYTES = 256 };

struct ticket {
    uint64_t agent_incarnation;
    uint32_t allowed_ms; /* from the branch's first exec */
    bool read_only;
    enum isolation isolation;
    char role[ROLE_BYTES]; /* the [exec ROLE] section of the agent's configuration; "" the only one
                            */
};

void ticket_write(const struct ticket *ticket, const struct branch_id *branch,
                  const uint8_t secret[SECRET_BYTES], char out[TICKET_BYTES]);
/* False unless it was made for this branch under this secret. Constant-time in the MAC. */
bool ticket_read(const char *text, const struct branch_id *branch,
                 const uint8_t secret[SECRET_BYTES], struct ticket *out);
/* bytes random ones from the kernel (getrandom). */
void random_bytes(void *out, size_t bytes);

#endif
