/*
 * common/error.c - an error that climbs with its story.
 *
 * A message may be made of the one that it replaces, fail(error, "...: %s", error->message),
 * so each is put together aside first. errno is left as it was found: who reports an error
 * may still want to look at it.
 */
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void error_set_message(struct error *error, const char *format, va_list arguments)
{
    char message[sizeof error->message];
    vsnprintf(message, sizeof message, format, arguments);
    memcpy(error->message, message, sizeof message);
    error->hint[0] = '\0';
}

int fail(struct error *error, const char *format, ...)
{
    if (error == NULL)
        return -1;
    int saved_errno = errno;
    va_list arguments;
    va_start(arguments, format);
    error_set_message(error, format, arguments);
    va_end(arguments);
    errno = saved_errno;
    return -1;
}

int fail_errno(struct error *error, const char *format, ...)
{
    if (error == NULL)
        return -1;
    int saved_errno = errno;
    va_list arguments;
    va_start(arguments, format);
    error_set_message(error, format, arguments);
    va_end(arguments);

    char words[128];
    size_t length = strlen(error->message);
    snprintf(error->message + length, sizeof error->message - length, ": %s",
             strerror_r(saved_errno, words, sizeof words));
    errno = saved_errno;
    return -1;
}

int fail_hint(struct error *error, const char *format, ...)
{
    if (error == NULL)
        return -1;
    int saved_errno = errno;
    char hint[sizeof error->hint];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(hint, sizeof hint, format, arguments);
    va_end(arguments);
    memcpy(error->hint, hint, sizeof hint);
    errno = saved_errno;
    return -1;
}

/* ---- the codes of the wire ---- */

static const struct {
    const char *word;
    int http_status;
    bool retryable;
    const char *meaning;
} codes[ERR_CODES] = {[ERR_NONE] = {"", 200, false, ""},
#define X(name, word, http, retryable, meaning) [ERR_##name] = {word, http, retryable, meaning},
                      ERROR_CODES(X)
#undef X
};

const char *error_word(enum error_code code)
{
    return codes[code].word;
}

enum error_code error_from_word(const char *word)
{
    for (int code = ERR_NONE + 1; code < ERR_CODES; code++) {
        if (strcmp(codes[code].word, word) == 0)
            return (enum error_code)code;
    }
    return ERR_NONE;
}

int error_http_status(enum error_code code)
{
    return codes[code].http_status;
}

bool error_retryable(enum error_code code)
{
    return codes[code].retryable;
}

const char *error_meaning(enum error_code code)
{
    return codes[code].meaning;
}
