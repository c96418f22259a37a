/*
 * common/error.h - an error that climbs with its story.
 *
 * A function that can fail returns 0 or a negative number and fills one of these:
 * what was tried, on what, why it failed, and where it helps what to do.
 */
#ifndef ASSENT_COMMON_ERROR_H
#define ASSENT_COMMON_ERROR_H

#include <stdbool.h>

#include "core/base/errors.h"

struct error {
    char message[512]; /* "open /var/lib/assent/bank/LOCK: Permission denied" */
    char hint[256];    /* "" or what to do */
};

/* Fill *error (NULL is allowed) and return -1, to be returned in turn. */
int fail(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, followed by ": " and the words for errno. */
int fail_errno(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds what to do about it; returns -1. */
int fail_hint(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The wire's words for a code, and back (ERR_NONE if there is none such). */
const char *error_word(enum error_code code);
enum error_code error_from_word(const char *word);
int error_http_status(enum error_code code);
bool error_retryable(enum error_code code);
const char *error_meaning(enum error_code code);

#endif
