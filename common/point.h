/*
 * common/point.h - the moments at which a crash is most interesting, by name.
 *
 * Around every send, record, sync and SQL command stands a POINT. In a build made with
 * `configure --enable-kill-points` the environment can have the process killed there, so that a
 * test meets the moment exactly and not by luck:
 *
 *     ASSENT_KILL_AT=tm.before-append        kill -9 at the first passing
 *     ASSENT_KILL_AT=tm.before-append:3      at the third
 *     ASSENT_KILL_AT=tm.before-append@4711   kill that process instead, and go on
 *
 * A POINT_OF is that of a value of an enumeration, by a table of names. In every other build a
 * POINT is nothing at all.
 */
#ifndef ASSENT_COMMON_POINT_H
#define ASSENT_COMMON_POINT_H

#ifdef ASSENT_KILL_POINTS

#include <stddef.h>

void point_pass(const char *name);

#define POINT(name) point_pass(name)
#define POINT_IF(condition, name)                                                                  \
    do {                                                                                           \
        if (condition)                                                                             \
            point_pass(name);                                                                      \
    } while (0)
#define POINT_OF(names, value)                                                                     \
    do {                                                                                           \
        if ((size_t)(value) < sizeof(names) / sizeof *(names) && (names)[value] != NULL)           \
            point_pass((names)[value]);                                                            \
    } while (0)

#else

#define POINT(name)               ((void)0)
#define POINT_IF(condition, name) ((void)0)
#define POINT_OF(names, value)    ((void)(names))

#endif

#endif
