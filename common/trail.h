/*
 * common/trail.h - the audit trail's file: lines that are only added, each bound to all before it.
 *
 *     <hash> {"lsn":"4711","at":"2026-03-01T03:12:45Z","who":"root","what":"resolve",...}
 *
 * hash is the SHA-256, in hex, of the line before's hash (64 zeros for the first) followed by this
 * line's JSON. So no line can be changed or taken out without every later one being written anew;
 * that lines were cut off at the end shows only by a hash that was kept elsewhere, for example in
 * the journal, where each line goes too.
 */
#ifndef ASSENT_COMMON_TRAIL_H
#define ASSENT_COMMON_TRAIL_H

#include <stdint.h>

#include "common/error.h"

#define TRAIL_NAME "audit.log" /* in the coordinator's data_dir */

enum { TRAIL_HASH_BYTES = 65, TRAIL_LINE_MAX = 4096 };

struct trail_end {
    char hash[TRAIL_HASH_BYTES]; /* of the last whole line, zeros without one */
    uint64_t lines;
    uint64_t whole_bytes; /* up to the end of the last whole line */
    uint64_t broken_line; /* the first whose hash is wrong, counted from 1; 0: all are right */
};

/* One line's JSON, without its hash; return other than 0 to stop. */
typedef int trail_each_fn(void *arg, const char *json);

/* Read the trail, which need not exist. each may be NULL. Returns 0 or -1 with *error. */
int trail_read(const char *path, trail_each_fn *each, void *arg, struct trail_end *out,
               struct error *error);

/* The hash of a line behind the one that has `before`. */
void trail_hash(const char before[TRAIL_HASH_BYTES], const char *json, char out[TRAIL_HASH_BYTES]);

#endif
