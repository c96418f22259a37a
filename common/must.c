/*
 * common/must.c - memory without which a process cannot go on.
 */
#include "common/must.h"

#include <stdlib.h>
#include <string.h>

#include "common/logger.h"

void *must_alloc(size_t bytes, const char *what)
{
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    if (memory == NULL)
        logger_abort("out of memory: %zu bytes for %s", bytes, what);
    return memory;
}

void *must_grow(void *old, size_t bytes, const char *what)
{
    void *memory = realloc(old, bytes > 0 ? bytes : 1);
    if (memory == NULL)
        logger_abort("out of memory: %zu bytes for %s", bytes, what);
    return memory;
}

char *must_copy(const char *text, const char *what)
{
    return must_copy_bytes(text, strlen(text), what);
}

char *must_copy_bytes(const char *bytes, size_t length, const char *what)
{
    char *copy = must_grow(NULL, length + 1, what);
    if (length > 0)
        memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

void *must_have(void *memory, const char *what)
{
    if (memory == NULL)
        logger_abort("out of memory for %s", what);
    return memory;
}
