/*
 * common/logger.c - what the daemons say about themselves, on stderr, a line each.
 *
 * A line is put together first and then written by one write(), so lines of several threads
 * never mix. Control characters become blanks: what a peer or a database says cannot forge a
 * line of its own.
 */
#include "common/logger.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 2048 };

static _Atomic int level_shown = LEVEL_INFO;

static const char *const level_names[] = {
    [LEVEL_ERROR] = "ERROR", [LEVEL_WARNING] = "WARNING", [LEVEL_NOTICE] = "NOTICE",
    [LEVEL_INFO] = "INFO",   [LEVEL_DEBUG] = "DEBUG",
};

void logger_set_level(enum log_level level)
{
    level_shown = (int)level;
}

/* "2026-11-23 05:27:12.345 WARNING: ", in the words of PostgreSQL's own log. */
static size_t write_time_and_name(enum log_level level, char *line)
{
    struct timespec now;
    struct tm local;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    size_t length = strftime(line, LINE_BYTES, "%Y-%m-%d %H:%M:%S", &local);
    length += (size_t)snprintf(line + length, LINE_BYTES - length,
                               ".%03ld %s: ", now.tv_nsec / 1000000, level_names[level]);
    return length;
}

static size_t write_opening(enum log_level level, char *line)
{
    if (getenv("JOURNAL_STREAM") != NULL)
        return (size_t)snprintf(line, LINE_BYTES, "<%d>", (int)level);
    return write_time_and_name(level, line);
}

void logger_write(enum log_level level, const char *format, ...)
{
    if ((int)level > level_shown)
        return;
    int saved_errno = errno;

    char line[LINE_BYTES];
    size_t opening = write_opening(level, line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + opening, sizeof line - opening, format, arguments);
    va_end(arguments);

    size_t length = strlen(line);
    for (size_t i = opening; i < length; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7F)
            line[i] = ' ';
    }
    line[length] = '\n';
    /* There is nobody to tell that stderr does not take it. */
    ssize_t ignored = write(STDERR_FILENO, line, length + 1);
    (void)ignored;
    errno = saved_errno;
}
