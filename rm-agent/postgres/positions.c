/*
 * rm-agent/postgres/positions.c - the beat and the log position that the database remembers.
 *
 * Both are sequences: an UPDATEd row slows a hundredfold while prepared transactions keep its
 * dead versions. The control connection alone sets beats, only upwards. Whoever asks while a setval
 * is under way shares the next one, so that a batch costs one, however large it is.
 *
 * Positions are raised where they are needed, by the connection whose commit makes them durable:
 * here with a beat, in the transaction before COMMIT PREPARED (trip.c), with a row (acceptors.c).
 */
#include "rm-agent/postgres/positions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/point.h"
#include "rm-agent/postgres/control.h"

struct position_waiter {
    struct position_waiter *next;
    uint64_t lsn;
    bool durable;
    positions_done_fn *done;
    void *arg;
};

/* The waiters whose setval is under way. */
struct batch {
    struct agent *agent;
    struct tm_link *tm;
    struct position_waiter *waiters;
    uint64_t beat;
    bool durable;
};

void positions_sequence(const char *tm, char out[SEQUENCE_BYTES])
{
    snprintf(out, SEQUENCE_BYTES, "assent.\"position_%s\"", tm);
}

void positions_move(struct tm_link *tm, uint64_t lsn)
{
    /* While it is not registered, what comes late is of a start, or a log, that is over. */
    if (tm->registered && tm->position < lsn)
        tm->position = lsn;
}

static void raise_next(struct agent *agent, struct tm_link *tm);

static void positions_raised(void *arg, const struct pg_reply *reply)
{
    struct batch batch = *(struct batch *)arg;
    free(arg);
    bool refused = reply->sqlstate[0] != '\0';
    POINT("agent.setval-done");
    if (!refused && batch.durable && batch.tm->flushed_beat < batch.beat)
        batch.tm->flushed_beat = batch.beat;
    batch.tm->raising = false;
    while (batch.waiters != NULL) {
        struct position_waiter waiter = *batch.waiters;
        free(batch.waiters);
        batch.waiters = waiter.next;
        waiter.done(waiter.arg, refused ? 0 : batch.beat);
    }
    raise_next(batch.agent, batch.tm);
}

static void positions_set(struct batch *batch, bool moves)
{
    static const char one[] = "SELECT setval($1::regclass, $2::bigint)";
    static const char both[] =
        "SELECT setval($1::regclass, $2::bigint), " RAISE_POSITION("$3", "$4");
    const struct tm_link *tm = batch->tm;
    char beat[NUMBER_BYTES], position[NUMBER_BYTES];
    char beats[SEQUENCE_BYTES], positions[SEQUENCE_BYTES];
    u64_format(batch->beat, beat);
    u64_format(tm->position, position);
    snprintf(beats, sizeof beats, "assent.\"beat_%s\"", tm->name);
    positions_sequence(tm->name, positions);
    POINT("agent.before-setval");
    (batch->durable ? control_ask : control_ask_lazily)(batch->agent, positions_raised, batch,
                                                        moves ? both : one, moves ? 4 : 2, beats,
                                                        beat, positions, position);
}

static void raise_next(struct agent *agent, struct tm_link *tm)
{
    if (tm->raising || tm->waiting == NULL)
        return;
    struct batch *batch = must_alloc(sizeof *batch, "a batch of positions");
    batch->agent = agent;
    batch->tm = tm;
    batch->waiters = tm->waiting;
    bool moves = false;
    for (const struct position_waiter *waiter = tm->waiting; waiter != NULL;
         waiter = waiter->next) {
        batch->durable |= waiter->durable;
        moves |= waiter->lsn > 0;
        positions_move(tm, waiter->lsn);
    }
    batch->beat = ++tm->beat;
    tm->waiting = NULL;
    tm->raising = true;
    positions_set(batch, moves);
}

void positions_raise(struct agent *agent, struct tm_link *tm, uint64_t lsn, bool durable,
                     positions_done_fn *done, void *arg)
{
    struct position_waiter *waiter = must_alloc(sizeof *waiter, "a wait for a position");
    *waiter = (struct position_waiter){tm->waiting, lsn, durable, done, arg};
    tm->waiting = waiter;
    raise_next(agent, tm);
}

void positions_flushed(struct agent *agent, const char *name, uint64_t beat)
{
    struct tm_link *tm = book_known(agent, name);
    if (tm != NULL && tm->flushed_beat < beat)
        tm->flushed_beat = beat;
}
