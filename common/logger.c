/*
 * common/logger.c - what the daemons say about themselves, on stderr, a line each.
 *
 * A line is put together first and then written by one write(), so lines of several threads
 * never mix. Control characters become blanks: what a peer or a database says cannot forge a
 * line of its own.
 *
 * The queue is a ring of bytes: each line with its length before it.
 */
#include "common/logger.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES = 2048,
    QUEUE_BYTES = 1024 * 1024, /* some thousand lines */
    LENGTH_BYTES = sizeof(uint16_t),
    LAST_WORDS_MS = 1000, /* at an end */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* All below under the lock. */
    bool started;
    bool writing; /* a line that is not in the queue any more */
    struct timespec since;
    char *bytes; /* QUEUE_BYTES */
    size_t first, used;
    uint64_t dropped, told; /* lines, and of how many the log says so */
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER};

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
static size_t logger_write_time_and_name(enum log_level level, char *line)
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

static size_t logger_write_opening(enum log_level level, char *line)
{
    if (getenv("JOURNAL_STREAM") != NULL)
        return (size_t)snprintf(line, LINE_BYTES, "<%d>", (int)level);
    return logger_write_time_and_name(level, line);
}

/* Any thread; the line ends with its newline. */
static void logger_write_line(const char *line, size_t length)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (write(STDERR_FILENO, line, length) < 0 && (errno == EAGAIN || errno == EINTR))
        if (errno == EAGAIN) /* somebody has made it so */
            poll(&ready, 1, -1);
    /* There is nobody to tell that stderr does not take it. */
}

/* ---- the queue: under its lock ---- */

static void ring_put(const void *from, size_t length)
{
    size_t at = (queue.first + queue.used) % QUEUE_BYTES;
    size_t before_end = QUEUE_BYTES - at < length ? QUEUE_BYTES - at : length;
    memcpy(queue.bytes + at, from, before_end);
    memcpy(queue.bytes, (const char *)from + before_end, length - before_end);
    queue.used += length;
}

static void ring_take(void *to, size_t length)
{
    size_t before_end = QUEUE_BYTES - queue.first < length ? QUEUE_BYTES - queue.first : length;
    memcpy(to, queue.bytes + queue.first, before_end);
    memcpy((char *)to + before_end, queue.bytes, length - before_end);
    queue.first = (queue.first + length) % QUEUE_BYTES;
    queue.used -= length;
}

static bool logger_queue_line(const char *line, size_t length)
{
    uint16_t bytes = (uint16_t)length;
    if (QUEUE_BYTES - queue.used < LENGTH_BYTES + length)
        return false;
    ring_put(&bytes, LENGTH_BYTES);
    ring_put(line, length);
    return true;
}

static size_t logger_put_together(char *line, enum log_level level, const char *format,
                                  va_list arguments);

__attribute__((format(printf, 3, 4))) static size_t logger_format(char *line, enum log_level level,
                                                                  const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t length = logger_put_together(line, level, format, arguments);
    va_end(arguments);
    return length;
}

/* That lines are missing stands where they do, once, when there is room for many again. */
static void logger_tell_dropped(void)
{
    char line[LINE_BYTES];
    if (queue.dropped == queue.told || queue.used > QUEUE_BYTES / 2)
        return;
    size_t length =
        logger_format(line, LEVEL_WARNING,
                      "%" PRIu64 " lines are missing here: standard error was not read as "
                      "fast as they came",
                      queue.dropped - queue.told);
    if (logger_queue_line(line, length))
        queue.told = queue.dropped;
}

static size_t logger_take_line(char *line)
{
    uint16_t bytes;
    ring_take(&bytes, LENGTH_BYTES);
    ring_take(line, bytes);
    return bytes;
}

/* ---- the thread ---- */

static void *logger_write_lines(void *arg)
{
    char line[LINE_BYTES];
    (void)arg;
    pthread_setname_np(pthread_self(), "logger");
    pthread_mutex_lock(&queue.lock);
    for (;;) {
        if (queue.used == 0)
            logger_tell_dropped();
        if (queue.used == 0) {
            pthread_cond_wait(&queue.changed, &queue.lock);
            continue;
        }
        size_t length = logger_take_line(line);
        queue.writing = true;
        clock_gettime(CLOCK_MONOTONIC, &queue.since);
        pthread_mutex_unlock(&queue.lock);
        logger_write_line(line, length);
        pthread_mutex_lock(&queue.lock);
        queue.writing = false;
        if (queue.used == 0)
            pthread_cond_broadcast(&queue.changed); /* to whoever flushes */
    }
    return NULL;
}

static void logger_flush_at_exit(void)
{
    logger_flush(LAST_WORDS_MS);
}

static bool logger_start_thread(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all,
                    &before); /* SIGPIPE too: a reader that is gone ends nobody */
    bool started = pthread_create(&thread, NULL, logger_write_lines, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    return started;
}

void logger_start(void)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    queue.bytes = malloc(QUEUE_BYTES);
    bool started = queue.bytes != NULL && logger_start_thread();
    pthread_mutex_lock(&queue.lock);
    queue.started = started;
    pthread_mutex_unlock(&queue.lock);
    if (started)
        atexit(logger_flush_at_exit);
}

void logger_flush(uint32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int rc = 0;
    pthread_mutex_lock(&queue.lock);
    while (queue.started && (queue.used > 0 || queue.writing) && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&queue.changed, &queue.lock, &until);
    pthread_mutex_unlock(&queue.lock);
}

void logger_counts(struct logger_counts *out)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&queue.lock);
    out->dropped = queue.dropped;
    out->stuck_ms = !queue.writing ? 0
                                   : (uint64_t)(now.tv_sec - queue.since.tv_sec) * 1000 +
                                         (uint64_t)((now.tv_nsec - queue.since.tv_nsec) / 1000000);
    pthread_mutex_unlock(&queue.lock);
}

/* ---- lines ---- */

static size_t logger_put_together(char *line, enum log_level level, const char *format,
                                  va_list arguments)
{
    size_t opening = logger_write_opening(level, line);
    vsnprintf(line + opening, LINE_BYTES - opening, format, arguments);
    size_t length = strlen(line);
    for (size_t i = opening; i < length; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7F)
            line[i] = ' ';
    }
    line[length] = '\n';
    return length + 1;
}

void logger_write(enum log_level level, const char *format, ...)
{
    char line[LINE_BYTES];
    if ((int)level > level_shown)
        return;
    int saved_errno = errno;
    va_list arguments;
    va_start(arguments, format);
    size_t length = logger_put_together(line, level, format, arguments);
    va_end(arguments);

    pthread_mutex_lock(&queue.lock);
    bool queued = queue.started;
    if (queued) {
        logger_tell_dropped();
        if (queue.dropped != queue.told || !logger_queue_line(line, length))
            queue.dropped++;
        else if (!queue.writing)
            pthread_cond_signal(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
    if (!queued)
        logger_write_line(line, length);
    errno = saved_errno;
}

void logger_abort(const char *format, ...)
{
    char what[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    log_error("%s", what);
    logger_flush(LAST_WORDS_MS);
    abort();
}

/* The C library's assert() ends here, with ours in place of its own: what it says goes the way of
 * all lines, and a reader that has stopped does not keep the process from its end. */
void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function)
{
    logger_abort("%s:%u: %s: Assertion `%s' failed.", file, line, function, assertion);
}
