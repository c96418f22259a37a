/*
 * rm-agent/positions.c - the beat and the log position that the database remembers.
 *
 * Both are sequences: an UPDATEd row slows a hundredfold while prepared transactions keep its
 * dead versions. One connection alone sets them, only upwards. Whoever asks while a setval is
 * under way shares the next one, so that a batch costs one, however large it is.
 */
#include "rm-agent/positions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/point.h"
#include "rm-agent/control.h"

enum { SEQUENCE_BYTES = TM_NAME_BYTES + 32 };

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

static void raise_next(struct agent *agent, struct tm_link *tm);

static void raised(void *arg, const struct pg_reply *reply)
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

static void raise_next(struct agent *agent, struct tm_link *tm)
{
    if (tm->raising || tm->waiting == NULL)
        return;
    struct batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        abort();
    batch->agent = agent;
    batch->tm = tm;
    batch->waiters = tm->waiting;
    batch->beat = ++tm->beat;
    bool moves = false; /* the position too */
    for (const struct position_waiter *waiter = tm->waiting; waiter != NULL;
         waiter = waiter->next) {
        batch->durable |= waiter->durable;
        moves |= waiter->lsn > 0;
        /* While it is not registered, what comes late is of a start, or a log, that is over. */
        if (tm->registered && tm->position < waiter->lsn)
            tm->position = waiter->lsn;
    }
    tm->waiting = NULL;
    tm->raising = true;

    POINT("agent.before-setval");
    char beat[NUMBER_BYTES], position[NUMBER_BYTES];
    char beats[SEQUENCE_BYTES], positions[SEQUENCE_BYTES];
    snprintf(beat, sizeof beat, "%" PRIu64, batch->beat);
    snprintf(position, sizeof position, "%" PRIu64, tm->position);
    snprintf(beats, sizeof beats, "assent.\"beat_%s\"", tm->name);
    snprintf(positions, sizeof positions, "assent.\"position_%s\"", tm->name);
    static const char both[] = "SELECT setval($1::regclass, $2::bigint),"
                               " setval($3::regclass, $4::bigint)";
    const char *sql = moves ? both : "SELECT setval($1::regclass, $2::bigint)";
    (batch->durable ? control_ask : control_ask_lazily)(agent, raised, batch, sql, moves ? 4 : 2,
                                                        beats, beat, positions, position);
}

void positions_raise(struct agent *agent, struct tm_link *tm, uint64_t lsn, bool durable,
                     positions_done_fn *done, void *arg)
{
    struct position_waiter *waiter = malloc(sizeof *waiter);
    if (waiter == NULL)
        abort();
    *waiter = (struct position_waiter){tm->waiting, lsn, durable, done, arg};
    tm->waiting = waiter;
    raise_next(agent, tm);
}

void positions_flushed(struct agent *agent, const char *name, uint64_t beat)
{
    struct tm_link *tm = tms_known(agent, name);
    if (tm != NULL && tm->flushed_beat < beat)
        tm->flushed_beat = beat;
}
