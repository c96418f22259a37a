/*
 * common/logger.h - what the daemons say about themselves, on stderr, a line each.
 *
 * With journald (JOURNAL_STREAM set) a line opens with its priority as "<6>"; else
 * with the time and the level's name. Lines are written whole, from any thread.
 *
 * Whoever reads stderr may stop, and a disk may hang. A daemon's lines therefore wait in a queue
 * for a thread that writes them; those for which it has no room are dropped and counted, and the
 * count is a line as soon as there is room. Nobody waits but for logger_flush(). Never give it a
 * password, a token, a session ticket or a conninfo.
 */
#ifndef ASSENT_COMMON_LOGGER_H
#define ASSENT_COMMON_LOGGER_H

#include <stdint.h>

enum log_level {
    LEVEL_ERROR = 3,
    LEVEL_WARNING = 4,
    LEVEL_NOTICE = 5,
    LEVEL_INFO = 6,
    LEVEL_DEBUG = 7
};

/* Messages above this level are dropped; LEVEL_INFO unless set. */
void logger_set_level(enum log_level level);
/* From now on lines are queued; before, and where no thread can be had, each is written at once.
 * Call it once, when signals are blocked as they shall be. What is queued is flushed by exit(). */
void logger_start(void);
/* Waits until all lines are written, for so long at the most. Before an end that is not exit(). */
void logger_flush(uint32_t timeout_ms);

struct logger_counts {
    uint64_t dropped;  /* lines, since the start */
    uint64_t stuck_ms; /* for how long the line that is being written is; 0: none is */
};
void logger_counts(struct logger_counts *out);

void logger_write(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Says it as an error, waits for a moment until it is written, and ends the process by abort(). */
_Noreturn void logger_abort(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define log_error(...)   logger_write(LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) logger_write(LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  logger_write(LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    logger_write(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   logger_write(LEVEL_DEBUG, __VA_ARGS__)

#endif
