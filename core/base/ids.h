/*
 * core/base/ids.h - the names of global transactions and their branches.
 *
 * A global transaction is `<tm>.<incarnation>.<sequence>`, its branch at a
 * resource manager is `<rm>` or `<rm>/<branch>`. PostgreSQL knows the branch by
 * a gid that is byte for byte what pgjdbc and psycopg make of the X/Open XID
 * (format id "ASNT", gtrid, bqual), so that those drivers join as they are.
 */
#ifndef ASSENT_CORE_BASE_IDS_H
#define ASSENT_CORE_BASE_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for each kind of text, its terminating zero included. */
enum {
    TM_NAME_BYTES = 32,
    RM_NAME_BYTES = 32,
    BRANCH_NAME_BYTES = 25,
    GTRID_BYTES = 65,
    BQUAL_BYTES = 65,
    GID_BYTES = 189,
    KEY_BYTES = 65,
    LABEL_BYTES = 65,
    TRACE_BYTES = 56, /* a traceparent of W3C Trace Context is 55 letters */
    ROLE_BYTES = 64,
    URL_BYTES = 160,
};

enum {
    BRANCHES_MAX = 32,          /* branches of one global transaction */
    XID_FORMAT_ID = 0x41534E54, /* "ASNT" */
};

struct gtrid {
    uint64_t incarnation; /* of the TM that began it, from 1 */
    uint64_t sequence;    /* in that incarnation, from 1 */
    char tm[TM_NAME_BYTES];
};

/* A transaction of one TM. */
struct txn_number {
    uint64_t incarnation, sequence;
};

struct branch_id {
    struct gtrid gtrid;
    char rm[RM_NAME_BYTES];
    char branch[BRANCH_NAME_BYTES]; /* "" for the only, or first, branch at its RM */
};

/* 128 bits drawn at random: the identity of a log, of one start of a TM. */
struct uuid {
    uint8_t bytes[16];
};

/* One start of a TM. */
struct start_id {
    uint64_t incarnation; /* 0: none */
    struct uuid instance;
};

/* Is text (length bytes, no terminating zero needed) a name of this kind? */
bool tm_name_valid(const char *text, size_t length);
bool rm_name_valid(const char *text, size_t length);
bool branch_name_valid(const char *text, size_t length);

/* Write the text form with its terminating zero; return its length without it. */
size_t gtrid_format(const struct gtrid *gtrid, char out[GTRID_BYTES]);
size_t bqual_format(const struct branch_id *branch, char out[BQUAL_BYTES]);
size_t gid_format(const struct branch_id *branch, char out[GID_BYTES]);

/* Read the text form; false, with *out undefined, unless every byte is as
 * *_format() would have written it. A gid of another manager is false too. */
bool gtrid_parse(const char *text, size_t length, struct gtrid *out);
bool bqual_parse(const char *text, size_t length, struct branch_id *out);
bool gid_parse(const char *text, size_t length, struct branch_id *out);

bool gtrid_equal(const struct gtrid *a, const struct gtrid *b);
/* Was a begun before b, or is it b? */
bool txn_not_after(const struct txn_number *a, const struct txn_number *b);
bool branch_equal(const struct branch_id *a, const struct branch_id *b);

/* Decimal without sign or leading zero; false when out of range or not so. */
bool u64_parse(const char *text, size_t length, uint64_t *out);
/* Writes value in decimal and a zero; returns the length. Room: 21 bytes. */
size_t u64_format(uint64_t value, char *out);

/* Copies text into a field of room bytes, cut at the last whole UTF-8 character
 * that fits, always terminated. */
void text_copy(char *out, size_t room, const char *text, size_t length);
/* Writes length bytes in hex, two small digits each, terminated: 2 * length + 1 bytes. */
void hex_write(const void *bytes, size_t length, char *out);
/* Length of a terminated text, at most room - 1 (core calls no strlen). */
size_t text_length(const char *text, size_t room);
bool text_equal(const char *a, const char *b, size_t room);

#endif
