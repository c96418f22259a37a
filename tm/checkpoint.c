/*
 * tm/checkpoint.c - the coordinator's state for its log, so that older records need not be kept.
 */
#include "tm/checkpoint.h"

#include <stdlib.h>

#include "common/logger.h"

/* Records in the handed-over form. */
struct pile {
    uint8_t *bytes;
    size_t length, room;
    uint64_t newest; /* date */
};

static bool pile_put(struct pile *pile, const struct record *record)
{
    if (pile->room - pile->length < RECORD_APPEND_MAX) {
        size_t room = pile->room == 0 ? 64 * 1024 : pile->room * 2;
        uint8_t *larger = realloc(pile->bytes, room);
        if (larger == NULL)
            return false;
        pile->bytes = larger;
        pile->room = room;
    }
    pile->length += record_append(record, pile->bytes + pile->length);
    return true;
}

/* An archive opens with the running time, which says what of it is still to be remembered. */
static bool pile_put_archived(struct pile *pile, const struct record *clock,
                              const struct record *record)
{
    if (pile->newest < record->date)
        pile->newest = record->date;
    return (pile->length > 0 || pile_put(pile, clock)) && pile_put(pile, record);
}

static bool checkpoint_fill(struct server *server, struct pile *state, struct pile *outcomes,
                            struct pile *keys)
{
    struct record record, clock;
    uint64_t position = 0;
    bool fits = true;
    while (fits && coordinator_snapshot(server->coordinator, &position, &record)) {
        if (record.type == RECORD_CLOCK)
            clock = record;
        if (record.type == RECORD_CHUNK)
            fits = pile_put_archived(outcomes, &clock, &record);
        else if (record.type == RECORD_HASHED_KEY)
            fits = pile_put_archived(keys, &clock, &record);
        else
            fits = pile_put(state, &record);
    }
    return fits;
}

void checkpoint_take(struct server *server)
{
    struct pile state = {.length = 0}, outcomes = state, keys = state;
    coordinator_archived(server->coordinator, wal_archived(server->wal));
    struct wal_snapshot snapshot = {.number = coordinator_snapshot_begin(server->coordinator)};
    if (checkpoint_fill(server, &state, &outcomes, &keys)) {
        snapshot.state = (struct wal_records){state.bytes, state.length};
        snapshot.outcomes.records = (struct wal_records){outcomes.bytes, outcomes.length};
        snapshot.outcomes.newest = outcomes.newest;
        snapshot.keys.records = (struct wal_records){keys.bytes, keys.length};
        snapshot.keys.newest = keys.newest;
        coordinator_oldest(server->coordinator, &snapshot.outcomes.oldest, &snapshot.keys.oldest);
        wal_checkpoint(server->wal, &snapshot, server->handed_over);
    } else {
        log_warning("out of memory for a checkpoint of the log; it is tried again");
    }
    free(state.bytes);
    free(outcomes.bytes);
    free(keys.bytes);
}
