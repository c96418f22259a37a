/*
 * common/ticket.c - session tickets: who may run SQL in a branch through the agent.
 *
 * The MAC covers the gid, which is not in the ticket, and then the ticket's own text as it
 * stands. A gid holds no zero byte, so one between the two keeps them apart.
 */
#include "common/ticket.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/logger.h"
#include "common/seal.h"

enum { MAC_TEXT_LENGTH = MAC_TEXT_BYTES - 1 };

/*
 * Options are one word: `w` or `r` (read only), a digit for the isolation, then the role:
 * "w0", "r3app". A role is whatever the application asked for, dots included: the options
 * reach to the last dot.
 */
enum { OPTION_ACCESS = 0, OPTION_ISOLATION = 1, OPTION_ROLE = 2 };

static void ticket_write_mac(const struct branch_id *branch, const char *text, size_t length,
                             const uint8_t secret[SECRET_BYTES], char out[MAC_TEXT_BYTES])
{
    uint8_t covered[GID_BYTES + TICKET_BYTES];
    size_t gid_length = gid_format(branch, (char *)covered);
    assert(gid_length + 1 + length <= sizeof covered);
    memcpy(covered + gid_length + 1, text, length);
    seal_mac_write(secret, covered, gid_length + 1 + length, out);
}

void ticket_write(const struct ticket *ticket, const struct branch_id *branch,
                  const uint8_t secret[SECRET_BYTES], char out[TICKET_BYTES])
{
    int length = snprintf(out, TICKET_BYTES, "%" PRIu64 ".%" PRIu32 ".%c%d%s.",
                          ticket->agent_incarnation, ticket->allowed_ms,
                          ticket->read_only ? 'r' : 'w', (int)ticket->isolation, ticket->role);
    assert(length > 0 && length + MAC_TEXT_LENGTH < TICKET_BYTES);
    ticket_write_mac(branch, out, (size_t)length, secret, out + length);
}

/* A number and the dot behind it; *text moves past them. */
static bool ticket_read_number(const char **text, uint64_t most, uint64_t *out)
{
    const char *dot = strchr(*text, '.');
    if (dot == NULL || !u64_parse(*text, (size_t)(dot - *text), out) || *out > most)
        return false;
    *text = dot + 1;
    return true;
}

static bool ticket_read_options(const char *options, size_t length, struct ticket *out)
{
    if (length < OPTION_ROLE || length - OPTION_ROLE >= sizeof out->role)
        return false;
    char access = options[OPTION_ACCESS];
    char isolation = options[OPTION_ISOLATION];
    if ((access != 'r' && access != 'w') || isolation < '0' || isolation > '0' + SERIALIZABLE)
        return false;
    out->read_only = access == 'r';
    out->isolation = (enum isolation)(isolation - '0');
    text_copy(out->role, sizeof out->role, options + OPTION_ROLE, length - OPTION_ROLE);
    return true;
}

bool ticket_read(const char *text, const struct branch_id *branch,
                 const uint8_t secret[SECRET_BYTES], struct ticket *out)
{
    size_t text_bytes = strnlen(text, TICKET_BYTES);
    if (text_bytes <= MAC_TEXT_LENGTH || text_bytes == TICKET_BYTES)
        return false;
    size_t covered = text_bytes - MAC_TEXT_LENGTH;
    char mac[MAC_TEXT_BYTES];
    ticket_write_mac(branch, text, covered, secret, mac);
    if (!seal_mac_equal(mac, text + covered))
        return false;

    const char *options = text;
    uint64_t allowed_ms;
    memset(out, 0, sizeof *out);
    if (!ticket_read_number(&options, UINT64_MAX, &out->agent_incarnation) ||
        !ticket_read_number(&options, UINT32_MAX, &allowed_ms))
        return false;
    out->allowed_ms = (uint32_t)allowed_ms;
    /* Only we can have made this MAC, and we end the options with a dot. */
    const char *last_dot = text + covered - 1;
    return options < last_dot && ticket_read_options(options, (size_t)(last_dot - options), out);
}

void random_bytes(void *out, size_t bytes)
{
    uint8_t *at = out;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        /* Without randomness an instance could pass for another and a ticket be guessed. */
        if (got <= 0)
            logger_abort("getrandom() gave nothing: %s", strerror(errno));
        at += got;
        bytes -= (size_t)got;
    }
}
