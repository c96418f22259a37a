/*
 * rm-agent/talk/book.c - the book of coordinators: what is known of each.
 *
 * Filled at each connection from what the database stores, and by registration (tms.c). It calls
 * nothing that acts on it.
 */
#include "rm-agent/talk/book.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/wire_fields.h"

void book_create(struct agent *agent)
{
    agent->book = must_alloc(sizeof *agent->book, "the book of coordinators");
}

struct tm_link *book_any(struct agent *agent, const char *name)
{
    struct tm_link *tm;
    HASH_FIND_STR(agent->book->by_name, name, tm);
    return tm;
}

struct tm_link *book_add(struct agent *agent, const char *name)
{
    struct tm_link *tm = book_any(agent, name);
    if (tm != NULL)
        return tm;
    tm = must_alloc(sizeof *tm, "a coordinator");
    text_copy(tm->name, sizeof tm->name, name, strlen(name));
    HASH_ADD_STR(agent->book->by_name, name, tm);
    return tm;
}

struct tm_link *book_find(struct agent *agent, const char *name)
{
    struct tm_link *tm = book_any(agent, name);
    return tm != NULL && tm->registered ? tm : NULL;
}

const struct tm_link *book_next(const struct agent *agent, const struct tm_link *tm)
{
    return tm == NULL ? agent->book->by_name : tm->hh.next;
}

uint64_t book_flushed_beat(struct agent *agent, const char *name)
{
    struct tm_link *tm = book_any(agent, name);
    return tm == NULL ? 0 : tm->flushed_beat;
}

struct tm_link *book_known(struct agent *agent, const char *name)
{
    struct tm_link *tm = book_any(agent, name);
    return tm != NULL && tm->stored ? tm : NULL;
}

/* ---- what the database stores ---- */

void book_write_identity(const struct agent *agent, char out[IDENTITY_BYTES])
{
    snprintf(out, IDENTITY_BYTES, "%" PRIu64 "/%" PRIu32, agent->identity.system_identifier,
             agent->identity.timeline);
}

/* Dashes mean nothing; false if there are too few digits. */
static bool hex_read(const char *text, uint8_t *out, size_t bytes)
{
    size_t count = 0;
    for (; count < bytes && *text != '\0'; text++) {
        unsigned byte;
        if (*text == '-')
            continue;
        if (text[1] == '\0' || sscanf(text, "%2x", &byte) != 1)
            return false;
        out[count++] = (uint8_t)byte;
        text++;
    }
    return count == bytes;
}

static void book_read_live(const char *text, struct forget *out)
{
    struct failure failure;
    cJSON *list = cJSON_Parse(text);
    const cJSON *item;
    out->live_count = 0;
    cJSON_ArrayForEach(item, list)
    {
        struct txn_number *live = &out->live[out->live_count];
        if (out->live_count < FORGET_LIVE_MAX &&
            field_u64(item, "incarnation", true, &live->incarnation, &failure) == 0 &&
            field_u64(item, "sequence", true, &live->sequence, &failure) == 0)
            out->live_count++;
    }
    cJSON_Delete(list);
}

static void book_load_row(struct agent *agent, const struct pg_reply *reply, int row)
{
    char identity[IDENTITY_BYTES];
    struct tm_link *tm = book_add(agent, pg_value(reply, row, 0));
    book_write_identity(agent, identity);
    tm->stored = true;
    if (tm->beat < pg_number(reply, row, 1))
        tm->beat = pg_number(reply, row, 1);
    if (tm->position < pg_number(reply, row, 2))
        tm->position = pg_number(reply, row, 2);
    tm->suspect = strcmp(pg_value(reply, row, 3), identity) != 0;
    tm->votes_after = (struct txn_number){pg_number(reply, row, 4), pg_number(reply, row, 5)};
    tm->forgotten.upto = (struct txn_number){pg_number(reply, row, 6), pg_number(reply, row, 7)};
    book_read_live(pg_value(reply, row, 8), &tm->forgotten);
    tm->keyed = hex_read(pg_value(reply, row, 9), tm->peer_key, sizeof tm->peer_key);
}

void book_load(struct agent *agent, const struct pg_reply *reply)
{
    for (int row = 0; row < pg_rows(reply); row++)
        book_load_row(agent, reply, row);
}

static uint64_t book_stored_beat(const struct pg_reply *reply, const char *name)
{
    for (int row = 0; row < pg_rows(reply); row++)
        if (strcmp(pg_value(reply, row, 0), name) == 0)
            return pg_number(reply, row, 1);
    return 0;
}

const struct tm_link *book_forgotten(const struct agent *agent, const struct pg_reply *reply,
                                     uint64_t *beat)
{
    for (const struct tm_link *tm = agent->book->by_name; tm != NULL; tm = tm->hh.next) {
        *beat = book_stored_beat(reply, tm->name);
        if (*beat < tm->flushed_beat)
            return tm;
    }
    return NULL;
}

/* ---- one of them, as it is judged ---- */

void uuid_write(const struct uuid *uuid, char out[UUID_TEXT_BYTES])
{
    char *at = out;
    for (size_t i = 0; i < sizeof uuid->bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        at += sprintf(at, "%02x", uuid->bytes[i]);
    }
}

static void uuid_read(const char *text, struct uuid *out)
{
    memset(out, 0, sizeof *out);
    hex_read(text, out->bytes, sizeof out->bytes);
}

struct tm_row book_row(const struct pg_reply *reply)
{
    struct tm_row row = {.exists = pg_value(reply, 0, 0)[0] != '\0'};
    uuid_read(pg_value(reply, 0, 0), &row.log);
    row.incarnation = strtoull(pg_value(reply, 0, 1), NULL, 10);
    uuid_read(pg_value(reply, 0, 2), &row.instance);
    row.lsn = strtoull(pg_value(reply, 0, 3), NULL, 10);
    return row;
}

/* ---- what is noted ---- */

void book_close(struct agent *agent, const struct gtrid *gtrid)
{
    struct tm_link *tm = book_find(agent, gtrid->tm);
    if (tm != NULL && tm->incarnation == gtrid->incarnation)
        closed_note(tm->closed, gtrid->sequence);
}

bool book_has_closed(struct agent *agent, const struct gtrid *gtrid)
{
    struct tm_link *tm = book_find(agent, gtrid->tm);
    return tm != NULL && tm->incarnation == gtrid->incarnation &&
           closed_has(tm->closed, gtrid->sequence);
}

bool book_hold(struct agent *agent, const char *name)
{
    struct tm_link *tm = book_add(agent, name);
    bool free = !tm->registering;
    tm->registering = true;
    return free;
}

void book_release(struct agent *agent, const char *name)
{
    book_any(agent, name)->registering = false;
}
