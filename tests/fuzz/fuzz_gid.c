/*
 * tests/fuzz/fuzz_gid.c - names from strangers: gids, gtrids, branch qualifiers, tickets.
 *
 * Any manager's prepared transactions are seen in a database. Ours is only what we would have
 * written ourselves, byte for byte; a ticket is good only if it was made under the secret.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/ticket.h"

static void check_names(const char *text, size_t length)
{
    struct branch_id branch;
    struct gtrid gtrid;
    char again[GID_BYTES];
    if (gid_parse(text, length, &branch)) {
        assert(gid_format(&branch, again) == length && memcmp(again, text, length) == 0);
        assert(tm_name_valid(branch.gtrid.tm, strlen(branch.gtrid.tm)));
        assert(rm_name_valid(branch.rm, strlen(branch.rm)));
    }
    if (gtrid_parse(text, length, &gtrid))
        assert(gtrid_format(&gtrid, again) == length && memcmp(again, text, length) == 0);
    if (bqual_parse(text, length, &branch))
        assert(bqual_format(&branch, again) == length && memcmp(again, text, length) == 0);
}

/* The secret begins with what no input holds. */
static void check_ticket(const char *text)
{
    static const uint8_t secret[SECRET_BYTES] = {0x5a, 0xc3};
    struct branch_id branch = {.gtrid = {1, 1, "bank"}, .rm = "ledger"};
    struct ticket ticket;
    bool good = ticket_read(text, &branch, secret, &ticket);
    char again[TICKET_BYTES];
    if (good) {
        ticket_write(&ticket, &branch, secret, again);
        assert(strcmp(again, text) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    check_names(text, size);
    check_ticket(text);
    free(text);
    return 0;
}
