/*
 * common/must.h - memory without which a process cannot go on.
 *
 * A daemon that has no memory ends, and recovery takes over: half of what it was about would be
 * a lie to whoever it deals with. It says what it wanted, and how much of it. What a peer asks for
 * is another matter: where a request can be refused it is, and asks malloc() itself.
 *
 * what is a plain noun with its article, for the line in the log: "a request from a peer".
 */
#ifndef ASSENT_COMMON_MUST_H
#define ASSENT_COMMON_MUST_H

#include <stddef.h>

/* So many bytes, zero; the caller frees them. */
void *must_alloc(size_t bytes, const char *what) __attribute__((malloc, returns_nonnull));
/* realloc(): old may be NULL, what is new is not zero. */
void *must_grow(void *old, size_t bytes, const char *what) __attribute__((returns_nonnull));
/* A copy of a text, or of so many of its bytes, with a zero behind it; the caller frees it. */
char *must_copy(const char *text, const char *what) __attribute__((malloc, returns_nonnull));
char *must_copy_bytes(const char *bytes, size_t length, const char *what)
    __attribute__((malloc, returns_nonnull));
/* What a library has allocated: NULL, and the process ends. */
void *must_have(void *memory, const char *what) __attribute__((returns_nonnull));

#endif
