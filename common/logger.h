/*
 * common/logger.h - what the daemons say about themselves, on stderr, a line each.
 *
 * With journald (JOURNAL_STREAM set) a line opens with its priority as "<6>"; else
 * with the time and the level's name. Lines are written whole, from any thread.
 * Never give it a password, a token, a session ticket or a conninfo.
 */
#ifndef ASSENT_COMMON_LOGGER_H
#define ASSENT_COMMON_LOGGER_H

enum log_level {
    LEVEL_ERROR = 3,
    LEVEL_WARNING = 4,
    LEVEL_NOTICE = 5,
    LEVEL_INFO = 6,
    LEVEL_DEBUG = 7
};

/* Messages above this level are dropped; LEVEL_INFO unless set. */
void logger_set_level(enum log_level level);
void logger_write(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define log_error(...)   logger_write(LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) logger_write(LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  logger_write(LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    logger_write(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   logger_write(LEVEL_DEBUG, __VA_ARGS__)

#endif
