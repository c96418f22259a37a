/*
 * core/message/record.h - what the log says: the payload of each record, to and from bytes.
 *
 * Numbers are little-endian, texts a length byte and their bytes. The framing
 * (length, checksums, lsn) belongs to log/, which takes records in the
 * handed-over form that record_append() writes. A log that holds a type this
 * version does not know is refused, unless the type says it may be ignored.
 */
#ifndef ASSENT_CORE_MESSAGE_RECORD_H
#define ASSENT_CORE_MESSAGE_RECORD_H

#include "core/base/siphash.h"
#include "core/message/message.h"

/* The numbers are the format: never used again for something else. */
enum record_type {
    RECORD_NONE = 0,
    RECORD_START = 1,        /* a start of the TM */
    RECORD_AGENT = 2,        /* an RM takes part in this log from here on */
    RECORD_COMMIT = 3,       /* the decision: from here on nothing aborts */
    RECORD_END = 4,          /* every branch has applied it */
    RECORD_DELEGATED = 5,    /* one-phase: the only branch's database decides */
    RECORD_OUTCOME = 6,      /* what the database decided */
    RECORD_BEAT = 7,         /* the highest beat that an RM has reported durable */
    RECORD_HORIZON = 8,      /* outcomes up to here are forgotten */
    RECORD_RETIRED = 9,      /* an RM no longer takes part */
    RECORD_WAIVED = 10,      /* a DBA: do not wait for this RM to register */
    RECORD_RELEASED = 11,    /* a DBA: this RM's quarantine is over */
    RECORD_RESOLVED = 12,    /* a DBA's decision about a transaction */
    RECORD_MIXED = 13,       /* a branch ended differently from the decision */
    RECORD_SEAL = 14,        /* log/ itself: all before me was durable */
    RECORD_STOP = 15,        /* log/ itself: a clean end */
    RECORD_ESTABLISHED = 16, /* every configured agent has accepted this log */
    RECORD_RM = 17,          /* snapshot: all that is known of an RM */
    RECORD_CHUNK = 18,       /* snapshot: the outcomes of a run of sequence numbers */
    RECORD_KEY = 19,         /* snapshot, until version 1.0: the key of a committed transaction */
    RECORD_FENCED = 20,      /* an agent refused this log; flags 0: an operator took it back */
    RECORD_ANCESTOR = 21,    /* snapshot: an earlier start */
    RECORD_QUARANTINED = 22, /* the database of an RM has lost durable data */
    RECORD_PAUSED = 23,      /* a DBA: no new branches at this RM; flags 0: resumed */
    RECORD_PRECOMMIT = 24,   /* 3pc: all are ready; from here on a majority decides */
    RECORD_PROMISE = 25,     /* 3pc: no lower ballot is heard, and this one was used */
    RECORD_ACCEPT = 26,      /* 3pc: the TM's log accepts this outcome at this ballot */
    RECORD_CLOCK = 27,       /* for how long coordinators have run on this log */
    RECORD_HASHED_KEY = 28,  /* archive: the same of a key, of which the hash is enough */
    RECORD_TYPES
};

enum {
    RECORD_PAYLOAD_MAX = 64 * 1024,
    RECORD_IGNORABLE =
        0x80, /* a type with this bit may be skipped by a reader that does not know it */
};

enum { RECORD_BITS_BYTES = 1024 };

enum record_flag {
    FLAG_LOGGED = 1, /* struct rm's fields of these names */
    FLAG_RETIRED = 2,
    FLAG_WAIVED = 4,
    FLAG_PROVED = 8,
    FLAG_QUARANTINED = 16,
};

/* Of RESOLVED. */
enum resolved_flag {
    RESOLVED_HEURISTIC = 1, /* against the log or the evidence, or without any */
    RESOLVED_STRAY = 2,     /* of a transaction that was not live */
    RESOLVED_RECOVERED =
        4, /* by a new log in place of a lost one: is over once all have been asked */
};

struct record_branch {
    char rm[RM_NAME_BYTES];
    char branch[BRANCH_NAME_BYTES];
    uint64_t xid; /* that was voted for */
};

/* One record; which fields hold is said behind each. */
struct record {
    enum record_type type;
    uint64_t lsn;         /* where it was read, set by the reader; not in the payload */
    uint64_t incarnation; /* START; of the gtrid: COMMIT, END, DELEGATED, OUTCOME, RESOLVED, MIXED,
                             PRECOMMIT, PROMISE, ACCEPT; HORIZON; RELEASED: of the newest gtrid */
    uint64_t sequence;    /* the same but START */
    struct uuid instance; /* START */
    char key[KEY_BYTES];  /* COMMIT, DELEGATED, PRECOMMIT */
    char label[LABEL_BYTES];       /* the same: for people */
    char application[LABEL_BYTES]; /* the same */
    enum outcome outcome;   /* OUTCOME, ACCEPT, MIXED (how the branch ended), RESOLVED (FORGOTTEN:
                               forget) */
    char rm[RM_NAME_BYTES]; /* AGENT, BEAT, RETIRED, WAIVED, RELEASED, QUARANTINED, PAUSED */
    char url[URL_BYTES];    /* AGENT */
    char who[LABEL_BYTES];  /* RETIRED, WAIVED, RELEASED, RESOLVED, PAUSED */
    char why[REASON_BYTES]; /* the same */
    uint64_t beat;          /* BEAT, RELEASED */
    uint64_t system_identifier; /* AGENT, BEAT, RELEASED */
    uint32_t timeline;          /* the same */
    uint32_t branch_count;      /* COMMIT, PRECOMMIT; DELEGATED, MIXED: 1; RESOLVED: 1 or 0, all */
    uint32_t flags;       /* RM: enum record_flag; FENCED: enum refusal; RESOLVED; PAUSED: 1 or 0 */
    uint64_t offer_lsn;   /* RM: see struct rm */
    struct roster roster; /* PRECOMMIT */
    uint64_t ballot;      /* PROMISE, ACCEPT */
    bool archived;        /* it was read from an archive, set by the reader; not in the payload */
    uint64_t date;        /* CHUNK, HASHED_KEY: of the commit, in running time; CLOCK: now */
    uint64_t known_lsn;   /* CLOCK: what committed up to here is no younger than this record */
    uint64_t since;       /* CLOCK: keys of that date and before are forgotten */
    uint64_t outcomes_since; /* CLOCK: the same of outcomes */
    bool dated;              /* CHUNK: not written by a version that had no dates */
    struct siphash hash;     /* HASHED_KEY */
    uint64_t met;            /* AGENT, RELEASED, RM: see struct rm */
    /* What is large is not cleared: it holds as far as the record says that it does. */
    uint8_t
        bits[RECORD_BITS_BYTES]; /* CHUNK: a bit a sequence, lowest first; sequence: its number */
    struct record_branch branches[BRANCHES_MAX];
};

/* Room that holds any one record in its handed-over form. */
enum { RECORD_APPEND_MAX = 8 + 4096 };

/* The handed-over form: this header, length payload bytes, zeros to a multiple of 8. */
struct record_header {
    uint32_t length; /* of the payload */
    uint8_t type;
    uint8_t version;
    uint16_t zero;
};

/* Appends the record at out, which has room for RECORD_APPEND_MAX bytes; returns
 * the bytes used, a multiple of 8. */
size_t record_append(const struct record *record, uint8_t *out);

enum record_read {
    RECORD_OK = 0,
    RECORD_MALFORMED, /* the checksum was right but the contents are not: our fault */
    RECORD_NOT_KNOWN, /* type or version of a later Assent: refuse the log */
    RECORD_MAY_IGNORE,
};

enum record_read record_decode(uint8_t type, uint8_t version, const uint8_t *payload, size_t length,
                               struct record *out);

/* "COMMIT", "END", ... for people; "?" for a number that is none. */
const char *record_name(uint8_t type);

#endif
