/*
 * core/message/record.c - what the log says: the payload of each record, to and from bytes.
 *
 * One table says which fields a record has and in what order. Writing and reading both walk
 * along it, so what is written is what is read. Reading looks at no byte before it has seen
 * that it is there.
 */
#include "core/message/record.h"

#include <assert.h>
#include <string.h>

enum { FIELDS_MAX = 10, HEADER_LENGTH = 8 };

enum kind {
    KIND_U64,
    KIND_U32,
    KIND_OUTCOME,
    KIND_TEXT,
    KIND_UUID,
    KIND_HASH,
    KIND_BITS,
    KIND_BRANCHES,
    KIND_ROSTER,
    KIND_REST
};

enum field {
    NO_FIELD = 0,
    INCARNATION,
    SEQUENCE,
    INSTANCE,
    KEY,
    OUTCOME,
    RM,
    URL,
    WHO,
    WHY,
    BEAT,
    SYSTEM_IDENTIFIER,
    TIMELINE,
    FLAGS,
    OFFER_LSN,
    BITS,
    BRANCHES,
    ROSTER,
    BALLOT,
    LABEL,
    APPLICATION,
    DATE,
    KNOWN_LSN,
    SINCE,
    OUTCOMES_SINCE,
    HASH,
    MET,
    REST, /* whatever log/ says to itself: not for the core */
};

static const struct {
    enum kind kind;
    size_t offset;
    size_t room;
} fields[] = {
#define FIELD(kind, name)                                                                          \
    {                                                                                              \
        kind, offsetof(struct record, name), sizeof((struct record *)0)->name                      \
    }
    [INCARNATION] = FIELD(KIND_U64, incarnation),
    [SEQUENCE] = FIELD(KIND_U64, sequence),
    [INSTANCE] = FIELD(KIND_UUID, instance),
    [KEY] = FIELD(KIND_TEXT, key),
    [OUTCOME] = FIELD(KIND_OUTCOME, outcome),
    [RM] = FIELD(KIND_TEXT, rm),
    [URL] = FIELD(KIND_TEXT, url),
    [WHO] = FIELD(KIND_TEXT, who),
    [WHY] = FIELD(KIND_TEXT, why),
    [BEAT] = FIELD(KIND_U64, beat),
    [SYSTEM_IDENTIFIER] = FIELD(KIND_U64, system_identifier),
    [TIMELINE] = FIELD(KIND_U32, timeline),
    [FLAGS] = FIELD(KIND_U32, flags),
    [OFFER_LSN] = FIELD(KIND_U64, offer_lsn),
    [BITS] = FIELD(KIND_BITS, bits),
    [BRANCHES] = FIELD(KIND_BRANCHES, branches),
    [ROSTER] = FIELD(KIND_ROSTER, roster),
    [BALLOT] = FIELD(KIND_U64, ballot),
    [LABEL] = FIELD(KIND_TEXT, label),
    [APPLICATION] = FIELD(KIND_TEXT, application),
    [DATE] = FIELD(KIND_U64, date),
    [KNOWN_LSN] = FIELD(KIND_U64, known_lsn),
    [SINCE] = FIELD(KIND_U64, since),
    [OUTCOMES_SINCE] = FIELD(KIND_U64, outcomes_since),
    [HASH] = FIELD(KIND_HASH, hash),
    [MET] = FIELD(KIND_U64, met),
    [REST] = {KIND_REST, 0, 0},
#undef FIELD
};

/* The order is the format. */
static const struct {
    const char *name;
    enum field fields[FIELDS_MAX];
} layouts[RECORD_TYPES] = {
    [RECORD_START] = {"START", {INCARNATION, INSTANCE}},
    [RECORD_AGENT] = {"AGENT", {RM, URL, SYSTEM_IDENTIFIER, TIMELINE, MET}},
    [RECORD_COMMIT] = {"COMMIT", {INCARNATION, SEQUENCE, KEY, BRANCHES, LABEL, APPLICATION}},
    [RECORD_END] = {"END", {INCARNATION, SEQUENCE}},
    [RECORD_DELEGATED] = {"DELEGATED", {INCARNATION, SEQUENCE, KEY, BRANCHES, LABEL, APPLICATION}},
    [RECORD_OUTCOME] = {"OUTCOME", {INCARNATION, SEQUENCE, OUTCOME}},
    [RECORD_BEAT] = {"BEAT", {RM, BEAT, SYSTEM_IDENTIFIER, TIMELINE}},
    [RECORD_HORIZON] = {"HORIZON", {INCARNATION, SEQUENCE}},
    [RECORD_RETIRED] = {"RETIRED", {RM, WHO, WHY}},
    [RECORD_WAIVED] = {"WAIVED", {RM, WHO, WHY}},
    [RECORD_RELEASED] = {"RELEASED",
                         {RM, WHO, WHY, BEAT, SYSTEM_IDENTIFIER, TIMELINE, INCARNATION, SEQUENCE,
                          MET}},
    [RECORD_RESOLVED] = {"RESOLVED", {INCARNATION, SEQUENCE, OUTCOME, WHO, WHY, FLAGS, BRANCHES}},
    [RECORD_MIXED] = {"MIXED", {INCARNATION, SEQUENCE, OUTCOME, BRANCHES}},
    [RECORD_SEAL] = {"SEAL", {REST}},
    [RECORD_STOP] = {"STOP", {REST}},
    [RECORD_ESTABLISHED] = {"ESTABLISHED", {NO_FIELD}},
    [RECORD_RM] = {"RM",
                   {RM, URL, SYSTEM_IDENTIFIER, TIMELINE, BEAT, FLAGS, OFFER_LSN, INCARNATION,
                    INSTANCE, MET}},
    [RECORD_CHUNK] = {"CHUNK", {INCARNATION, SEQUENCE, BITS, DATE}},
    [RECORD_ANCESTOR] = {"ANCESTOR", {INCARNATION, INSTANCE}},
    [RECORD_FENCED] = {"FENCED", {RM, FLAGS}},
    [RECORD_KEY] = {"KEY", {INCARNATION, SEQUENCE, KEY}},
    [RECORD_QUARANTINED] = {"QUARANTINED", {RM}},
    [RECORD_PAUSED] = {"PAUSED", {RM, WHO, WHY, FLAGS}},
    [RECORD_PRECOMMIT] = {"PRECOMMIT",
                          {INCARNATION, SEQUENCE, KEY, BRANCHES, ROSTER, LABEL, APPLICATION}},
    [RECORD_PROMISE] = {"PROMISE", {INCARNATION, SEQUENCE, BALLOT}},
    [RECORD_ACCEPT] = {"ACCEPT", {INCARNATION, SEQUENCE, BALLOT, OUTCOME}},
    [RECORD_CLOCK] = {"CLOCK", {DATE, KNOWN_LSN, SINCE, OUTCOMES_SINCE}},
    [RECORD_HASHED_KEY] = {"HASHED_KEY", {INCARNATION, SEQUENCE, HASH, DATE}},
};

/* A type that has been given more fields is written as version 2; what version 1 wrote of it ends
 * before this one. */
static const enum field new_in_2[RECORD_TYPES] = {
    [RECORD_COMMIT] = LABEL, [RECORD_DELEGATED] = LABEL, [RECORD_CHUNK] = DATE,
    [RECORD_AGENT] = MET,    [RECORD_RELEASED] = MET,    [RECORD_RM] = MET,
};

static uint8_t newest_version(enum record_type type)
{
    return new_in_2[type] != NO_FIELD ? 2 : 1;
}

/* ---- writing ---- */

/* Write the lowest `bytes` bytes of value; return the place behind them. */
static uint8_t *put_number(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        *at++ = (uint8_t)(value >> 8 * i);
    return at;
}

static uint8_t *put_text(uint8_t *at, const char *text, size_t room)
{
    size_t length = text_length(text, room);
    assert(length <= UINT8_MAX);
    *at++ = (uint8_t)length;
    memcpy(at, text, length);
    return at + length;
}

static uint8_t *put_branches(uint8_t *at, const struct record *record)
{
    assert(record->branch_count <= BRANCHES_MAX);
    *at++ = (uint8_t)record->branch_count;
    for (uint32_t i = 0; i < record->branch_count; i++) {
        const struct record_branch *branch = &record->branches[i];
        at = put_text(at, branch->rm, sizeof branch->rm);
        at = put_text(at, branch->branch, sizeof branch->branch);
        at = put_number(at, branch->xid, 8);
    }
    return at;
}

static uint8_t *put_roster(uint8_t *at, const struct roster *roster)
{
    assert(roster->count <= ACCEPTORS_MAX);
    *at++ = (uint8_t)roster->count;
    *at++ = roster->tm;
    for (uint32_t i = 0; i < roster->count; i++)
        at = put_text(at, roster->agents[i], sizeof roster->agents[i]);
    return at;
}

static uint8_t *put_field(uint8_t *at, const struct record *record, enum field field)
{
    const uint8_t *value = (const uint8_t *)record + fields[field].offset;
    uint64_t u64;
    uint32_t u32;

    switch (fields[field].kind) {
    case KIND_U64:
        memcpy(&u64, value, sizeof u64);
        return put_number(at, u64, 8);
    case KIND_U32:
        memcpy(&u32, value, sizeof u32);
        return put_number(at, u32, 4);
    case KIND_OUTCOME:
        return put_number(at, record->outcome, 1);
    case KIND_TEXT:
        return put_text(at, (const char *)value, fields[field].room);
    case KIND_UUID:
        memcpy(at, value, sizeof(struct uuid));
        return at + sizeof(struct uuid);
    case KIND_HASH:
        at = put_number(at, record->hash.low, 8);
        return put_number(at, record->hash.high, 8);
    case KIND_BITS:
        memcpy(at, value, RECORD_BITS_BYTES);
        return at + RECORD_BITS_BYTES;
    case KIND_BRANCHES:
        return put_branches(at, record);
    case KIND_ROSTER:
        return put_roster(at, &record->roster);
    case KIND_REST:
        return at;
    }
    assert(false);
    return at;
}

size_t record_append(const struct record *record, uint8_t *out)
{
    assert(record->type > 0 && record->type < RECORD_TYPES);
    uint8_t *at = out + HEADER_LENGTH;
    for (size_t i = 0; i < FIELDS_MAX && layouts[record->type].fields[i] != NO_FIELD; i++)
        at = put_field(at, record, layouts[record->type].fields[i]);

    size_t length = (size_t)(at - out) - HEADER_LENGTH;
    uint8_t *header = put_number(out, length, 4);
    *header++ = (uint8_t)record->type;
    *header++ = newest_version(record->type);
    put_number(header, 0, 2);

    while ((at - out) % 8 != 0)
        *at++ = 0;
    assert(at - out <= RECORD_APPEND_MAX);
    return (size_t)(at - out);
}

/* ---- reading ---- */

struct input {
    const uint8_t *at;
    size_t left;
};

/* The next bytes, or NULL when there are fewer. */
static const uint8_t *record_take(struct input *input, size_t bytes)
{
    if (bytes > input->left)
        return NULL;
    const uint8_t *taken = input->at;
    input->at += bytes;
    input->left -= bytes;
    return taken;
}

static bool get_number(struct input *input, uint64_t *out, size_t bytes)
{
    const uint8_t *at = record_take(input, bytes);
    if (at == NULL)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << 8 * i;
    *out = value;
    return true;
}

static bool get_text(struct input *input, char *out, size_t room)
{
    uint64_t length;
    if (!get_number(input, &length, 1) || length >= room)
        return false;
    const uint8_t *text = record_take(input, (size_t)length);
    if (text == NULL)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == 0)
            return false;
    }
    memcpy(out, text, (size_t)length);
    out[length] = '\0';
    return true;
}

static bool get_branches(struct input *input, struct record *out)
{
    uint64_t count;
    if (!get_number(input, &count, 1) || count > BRANCHES_MAX)
        return false;
    out->branch_count = (uint32_t)count;
    for (uint32_t i = 0; i < count; i++) {
        struct record_branch *branch = &out->branches[i];
        memset(branch, 0, sizeof *branch);
        if (!get_text(input, branch->rm, sizeof branch->rm) ||
            !get_text(input, branch->branch, sizeof branch->branch) ||
            !get_number(input, &branch->xid, 8))
            return false;
    }
    return true;
}

static bool get_roster(struct input *input, struct roster *out)
{
    uint64_t count, tm;
    if (!get_number(input, &count, 1) || count > ACCEPTORS_MAX || !get_number(input, &tm, 1) ||
        tm > 1)
        return false;
    out->count = (uint32_t)count;
    out->tm = tm == 1;
    for (uint32_t i = 0; i < count; i++)
        if (!get_text(input, out->agents[i], sizeof out->agents[i]))
            return false;
    return true;
}

static bool get_outcome(struct input *input, enum outcome *out)
{
    uint64_t value;
    if (!get_number(input, &value, 1) || value > OUTCOME_FORGOTTEN)
        return false;
    *out = (enum outcome)value;
    return true;
}

static bool get_field(struct input *input, struct record *out, enum field field)
{
    uint8_t *value = (uint8_t *)out + fields[field].offset;
    uint64_t u64;
    uint32_t u32;
    const uint8_t *bytes;

    switch (fields[field].kind) {
    case KIND_U64:
        if (!get_number(input, &u64, 8))
            return false;
        memcpy(value, &u64, sizeof u64);
        return true;
    case KIND_U32:
        if (!get_number(input, &u64, 4))
            return false;
        u32 = (uint32_t)u64;
        memcpy(value, &u32, sizeof u32);
        return true;
    case KIND_OUTCOME:
        return get_outcome(input, &out->outcome);
    case KIND_TEXT:
        return get_text(input, (char *)value, fields[field].room);
    case KIND_UUID:
        bytes = record_take(input, sizeof(struct uuid));
        if (bytes == NULL)
            return false;
        memcpy(value, bytes, sizeof(struct uuid));
        return true;
    case KIND_HASH:
        return get_number(input, &out->hash.low, 8) && get_number(input, &out->hash.high, 8);
    case KIND_BITS:
        bytes = record_take(input, RECORD_BITS_BYTES);
        if (bytes == NULL)
            return false;
        memcpy(value, bytes, RECORD_BITS_BYTES);
        return true;
    case KIND_BRANCHES:
        return get_branches(input, out);
    case KIND_ROSTER:
        return get_roster(input, &out->roster);
    case KIND_REST:
        input->left = 0;
        return true;
    }
    assert(false);
    return false;
}

enum record_read record_decode(uint8_t type, uint8_t version, const uint8_t *payload, size_t length,
                               struct record *out)
{
    if (type == 0 || type >= RECORD_TYPES || version == 0 || version > newest_version(type))
        return (type & RECORD_IGNORABLE) != 0 ? RECORD_MAY_IGNORE : RECORD_NOT_KNOWN;

    memset(out, 0, offsetof(struct record, bits));
    out->type = (enum record_type)type;
    out->dated = version > 1;
    struct input input = {.at = payload, .left = length};
    for (size_t i = 0; i < FIELDS_MAX && layouts[type].fields[i] != NO_FIELD; i++) {
        if (version == 1 && layouts[type].fields[i] == new_in_2[type])
            break;
        if (!get_field(&input, out, layouts[type].fields[i]))
            return RECORD_MALFORMED;
    }
    return input.left == 0 ? RECORD_OK : RECORD_MALFORMED;
}

const char *record_name(uint8_t type)
{
    return type > 0 && type < RECORD_TYPES ? layouts[type].name : "?";
}
