/*
 * core/coordinator/retention.c - for how long what is over is remembered.
 *
 * Promised is: at least its retention of running time (core/base/dates.h) since the commit. A new
 * start goes on from the last mark that its log has, so what ran behind that mark counts again; and
 * what committed between two marks is dated with the later one. So a start, a takeover by another
 * host or a host's clock may lengthen the time and never shorten it.
 *
 * A mark (CLOCK) says up to which lsn all that had committed was known when it was made. A commit
 * counts from when its record is durable, and the mark may overtake that.
 *
 * Nothing goes before its time to make room: above the limits no more is begun. There is room for
 * more than they allow, for what may commit all the same (each live transaction once), and for what
 * a start reads back and its predecessor had forgotten a little earlier: what was added between
 * three marks, which come often enough for that.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

enum {
    MARK_MS = 60 * 1000, /* of running time, while transactions commit */
    MARK_LEAST_MS = 1000,
    MARKS_A_RETENTION = 16,
    IDLE_MARKS = 10,      /* so many times rarer while nothing commits */
    MARKS_OF_KEYS = 128,  /* so many at least while the room for keys fills up once */
    GAP_MS = 2000,        /* the daemon looks at least once a second: else it has not run */
    EXPIRE_AT_ONCE = 2,   /* with each commit: more than it adds */
    EXPIRE_A_SCAN = 20000 /* some milliseconds */
};

uint32_t retention_chunks(const struct coordinator_limits *limits)
{
    return limits->outcome_chunks_max + 2 * limits->transactions_max + 64;
}

uint32_t retention_keys(const struct coordinator_limits *limits)
{
    return limits->keys_max + limits->keys_max / 32 + 3 * limits->transactions_max + 64;
}

static bool is_replaying(const struct coordinator *c)
{
    return c->start_ticket == 0;
}

void retention_time(struct coordinator *c, uint64_t now_ms)
{
    struct running *running = &c->running;
    uint64_t gone_ms = now_ms > running->seen_ms ? now_ms - running->seen_ms : 0;
    running->seen_ms = now_ms;
    if (MUTANT(DATED_BY_UPTIME))
        running->ms = now_ms;
    else if (!is_replaying(c))
        running->ms += gone_ms < GAP_MS ? gone_ms : GAP_MS;
}

/* ---- what is remembered ---- */

/* What is read back is dated by a later mark. */
static uint64_t date_of(const struct coordinator *c, uint64_t lsn)
{
    if (MUTANT(DATED_BY_UPTIME) && is_replaying(c))
        return 1;
    return is_replaying(c) ? date_at_lsn(lsn) : c->running.ms;
}

static bool retention_remember(struct coordinator *c, uint64_t incarnation, uint64_t sequence,
                               const char *key, uint64_t date)
{
    if (!outcomes_commit(&c->outcomes, incarnation, sequence, date))
        return false;
    if (key[0] == '\0')
        return true;
    keys_expire(&c->keys, c->running.ms, c->settings.key_retention_ms, EXPIRE_AT_ONCE);
    struct siphash hash = keys_hash(&c->keys, key);
    return keys_add(&c->keys, &hash, incarnation, sequence, date);
}

void retention_commit(struct step *s)
{
    struct coordinator *c = s->c;
    bool room =
        retention_remember(c, s->txn->incarnation, s->txn->sequence, s->txn->key, c->running.ms);
    assert(room);
    c->running.unmarked = true;
    c->running.unmarked_keys += s->txn->key[0] != '\0';
}

void retention_rollback(struct step *s)
{
    outcomes_touch(&s->c->outcomes, s->txn->incarnation, s->txn->sequence, s->c->running.ms);
}

void retention_resolved(struct coordinator *c, const struct txn *txn, uint64_t lsn)
{
    retention_remember(c, txn->incarnation, txn->sequence, txn->key, date_of(c, lsn));
}

bool retention_find_key(const struct coordinator *c, const char *key, uint64_t *incarnation,
                        uint64_t *sequence)
{
    struct siphash hash = keys_hash(&c->keys, key);
    return keys_find(&c->keys, &hash, incarnation, sequence);
}

uint64_t retention_keys_ms(const struct coordinator *c)
{
    return c->running.ms - c->keys.since_ms;
}

uint64_t retention_outcomes_ms(const struct coordinator *c)
{
    return c->running.ms - c->outcomes.since_ms;
}

enum error_code retention_full(struct coordinator *c, bool keyed)
{
    keys_expire(&c->keys, c->running.ms, c->settings.key_retention_ms, EXPIRE_AT_ONCE);
    if (c->outcomes.count >= c->outcome_chunks_max)
        return ERR_OUTCOMES_FULL;
    return keyed && c->keys.count >= c->keys_max ? ERR_KEYS_FULL : ERR_NONE;
}

/* ---- what is forgotten ---- */

/* The horizon does not pass what may still end either way. */
static struct txn_number lowest_undecided(const struct coordinator *c)
{
    struct txn_number lowest = {0, 0};
    for (uint32_t i = 0; i < c->live.txns_max; i++) {
        const struct txn *txn = &c->live.txns[i];
        struct txn_number number = {txn->incarnation, txn->sequence};
        bool over = txn->state == TXN_NONE || txn->state == TXN_COMMITTING ||
                    txn->state == TXN_ABORTING || txn->state == TXN_MIXED ||
                    txn->state == TXN_RESOLVED;
        if (!over && (lowest.incarnation == 0 || txn_not_after(&number, &lowest)))
            lowest = number;
    }
    return lowest;
}

static bool expire_outcomes(struct coordinator *c)
{
    if (!outcomes_expired(&c->outcomes, c->running.ms, c->settings.retention_ms))
        return false;
    struct txn_number live = lowest_undecided(c);
    return outcomes_expire(&c->outcomes, c->running.ms, c->settings.retention_ms, &live);
}

void retention_forget(struct step *s)
{
    struct coordinator *c = s->c;
    keys_expire(&c->keys, c->running.ms, c->settings.key_retention_ms, EXPIRE_A_SCAN);
    if (!expire_outcomes(c))
        return;
    struct record *record = output_record(s, RECORD_HORIZON);
    record->incarnation = c->outcomes.horizon_incarnation;
    record->sequence = c->outcomes.horizon_sequence;
}

/* ---- marks ---- */

static uint64_t mark_interval(const struct coordinator *c)
{
    uint64_t retention_ms = timers_earlier(c->settings.retention_ms, c->settings.key_retention_ms);
    uint64_t interval_ms = timers_earlier(MARK_MS, retention_ms / MARKS_A_RETENTION);
    return interval_ms < MARK_LEAST_MS ? MARK_LEAST_MS : interval_ms;
}

bool retention_clock_is_due(const struct coordinator *c)
{
    const struct running *running = &c->running;
    uint64_t interval_ms = mark_interval(c) * (running->unmarked ? 1 : IDLE_MARKS);
    bool many = running->unmarked_keys > c->keys_max / MARKS_OF_KEYS + 16;
    return c->started && !c->registry.fenced && c->outcomes.count > 0 &&
           (many || running->ms - running->marked_ms >= interval_ms);
}

/* Up to where all that is in the log has been remembered. What is with the log has not. */
static uint64_t known_lsn(const struct coordinator *c)
{
    uint32_t first = c->logging_first;
    return first != NO_ITEM && c->live.txns[first].lsn != 0 ? c->live.txns[first].lsn - 1
                                                            : c->durable_lsn;
}

void retention_clock_event(struct step *s)
{
    struct coordinator *c = s->c;
    struct record *record = output_record(s, RECORD_CLOCK);
    retention_snapshot_clock(c, record);
    record->known_lsn = known_lsn(c);
    c->running.marked_ms = c->running.ms;
    c->running.unmarked = false;
    c->running.unmarked_keys = 0;
    retention_forget(s);
}

void retention_snapshot_clock(const struct coordinator *c, struct record *out)
{
    out->type = RECORD_CLOCK;
    out->date = c->running.ms;
    out->since = c->keys.since_ms;
    out->outcomes_since = c->outcomes.since_ms;
}

/* ---- read back ---- */

static const char too_many_keys[] =
    "more keys than max_keys allows are still remembered: raise it to what it was";
static const char too_many_outcomes[] =
    "more outcomes than max_outcomes allows are still remembered: raise it to what it was";

/* What is live may commit, and needs its room. */
static const char *room_left(const struct coordinator *c)
{
    if (c->outcomes.count >= c->outcomes.room - c->live.txns_max)
        return too_many_outcomes;
    return c->keys.count >= c->keys.room - c->live.txns_max ? too_many_keys : NULL;
}

const char *retention_replay_commit(struct coordinator *c, const struct record *record,
                                    const char *key)
{
    const char *why = room_left(c);
    if (why == NULL)
        retention_remember(c, record->incarnation, record->sequence, key, date_of(c, record->lsn));
    return why;
}

const char *retention_replay_chunk(struct coordinator *c, const struct record *record)
{
    const char *why = room_left(c);
    if (MUTANT(ARCHIVE_NOT_READ) && record->archived)
        return NULL;
    uint64_t date = record->dated ? record->date : date_of(c, record->lsn);
    if (why == NULL)
        outcomes_add_chunk(&c->outcomes, record->incarnation, record->sequence, record->bits, date,
                           record->archived);
    return why;
}

const char *retention_replay_key(struct coordinator *c, const struct record *record)
{
    const char *why = room_left(c);
    struct siphash hash = record->hash;
    uint64_t date = record->date;
    if (why != NULL)
        return why;
    if (record->type == RECORD_KEY) {
        hash = keys_hash(&c->keys, record->key);
        date = date_of(c, record->lsn);
    }
    bool in_order = c->keys.archived == c->keys.removed + c->keys.count;
    keys_add(&c->keys, &hash, record->incarnation, record->sequence, date);
    if (record->archived && in_order)
        c->keys.archived = c->keys.removed + c->keys.count;
    return NULL;
}

static void date_all(struct coordinator *c, uint64_t lsn)
{
    outcomes_date(&c->outcomes, c->running.ms, lsn);
    keys_date(&c->keys, c->running.ms, lsn);
}

void retention_replay_clock(struct coordinator *c, const struct record *record)
{
    if (c->running.ms < record->date)
        c->running.ms = record->date;
    c->running.marked_ms = c->running.ms;
    if (c->outcomes.since_ms < record->outcomes_since)
        c->outcomes.since_ms = record->outcomes_since;
    date_all(c, record->known_lsn);
    keys_forget_until(&c->keys, record->since);
    keys_expire(&c->keys, c->running.ms, c->settings.key_retention_ms, UINT32_MAX);
    expire_outcomes(c);
}

void retention_restart(struct coordinator *c)
{
    /* It counts from 1: at 0 nothing has committed. */
    if (c->running.ms == 0)
        c->running.ms = 1;
    date_all(c, DATE_UNKNOWN - 1);
    outcomes_touch_newest(&c->outcomes, c->replayed_incarnation, c->running.ms);
}
