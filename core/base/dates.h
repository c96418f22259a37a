/*
 * core/base/dates.h - when something committed: in running time, or not dated yet.
 *
 * Running time is that of all the coordinators that this log has had, in milliseconds, without the
 * pauses between them. No host's clock is in it: what counts is how long one of them has run since.
 *
 * While the log is read back, what commits gets its date from a mark that was written later (a
 * record CLOCK, or the next start), so that it may only be taken for younger than it is. Until then
 * its date says at which lsn it stands.
 */
#ifndef ASSENT_CORE_BASE_DATES_H
#define ASSENT_CORE_BASE_DATES_H

#include <stdbool.h>
#include <stdint.h>

#define DATE_UNKNOWN UINT64_C(0x8000000000000000)

static inline uint64_t date_at_lsn(uint64_t lsn)
{
    return DATE_UNKNOWN | lsn;
}

static inline bool is_dated(uint64_t date)
{
    return date < DATE_UNKNOWN;
}

/* Undated, and what the log knew at this lsn. */
static inline bool is_dated_by(uint64_t date, uint64_t lsn)
{
    return !is_dated(date) && date <= date_at_lsn(lsn);
}

/* All of its time has passed. */
static inline bool time_is_over(uint64_t date, uint64_t running_ms, uint64_t retention_ms)
{
    return is_dated(date) && running_ms > date && running_ms - date > retention_ms;
}

#endif
