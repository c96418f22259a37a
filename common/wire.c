/*
 * common/wire.c - messages to and from JSON, by cJSON, strictly.
 *
 * A message is scanned once before cJSON sees it. The scan refuses every byte that JSON does
 * not allow and every bracket that does not match, so that cJSON, which is lenient and
 * recursive, only ever gets whole, shallow text and cannot be led astray. What needs the
 * decoded text (duplicate keys, numbers that overflow) is checked on the tree behind it.
 *
 * Each message is described once: a reader and a writer side by side, and where a message has
 * kinds, a table of what each kind needs that serves both.
 */
#include "common/wire.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { DAY_MS = 24 * 60 * 60 * 1000, WAIT_DEFAULT_MS = 10000, REQUEST_ID_LEAST = 16 };

static const char *const op_words[OPS] = {
    [OP_NONE] = "",           [OP_BEGIN] = "begin",       [OP_ENLIST] = "enlist",
    [OP_COMMIT] = "commit",   [OP_ROLLBACK] = "rollback", [OP_OUTCOME] = "outcome",
    [OP_SHOW] = "show",       [OP_LIST] = "list",         [OP_AGENTS] = "agents",
    [OP_STATUS] = "status",   [OP_IN_DOUBT] = "in-doubt", [OP_CHECK] = "check",
    [OP_RESOLVE] = "resolve", [OP_FORGET] = "forget",     [OP_WAIVE] = "waive",
    [OP_RELEASE] = "release", [OP_RETIRE] = "retire",     [OP_PAUSE] = "pause",
    [OP_RESUME] = "resume",
};

static const char *const protocol_words[] = {[PROTOCOL_2PC] = "2pc", [PROTOCOL_3PC] = "3pc"};

static const char *const wait_words[] = {[WAIT_APPLIED] = "applied", [WAIT_DECIDED] = "decided"};

/* What a DBA asks for, by the outcome that he wants. */
static const char *const resolution_words[] = {
    [OUTCOME_NONE] = "",
    [OUTCOME_IN_PROGRESS] = "",
    [OUTCOME_COMMITTED] = "commit",
    [OUTCOME_ROLLED_BACK] = "rollback",
};

static const char *const isolation_words[] = {
    [ISOLATION_DEFAULT] = "",
    [READ_COMMITTED] = "read committed",
    [REPEATABLE_READ] = "repeatable read",
    [SERIALIZABLE] = "serializable",
};

static const char *const outcome_words[] = {
    [OUTCOME_NONE] = "",
    [OUTCOME_IN_PROGRESS] = "in-progress",
    [OUTCOME_COMMITTED] = "committed",
    [OUTCOME_ROLLED_BACK] = "rolled-back",
    [OUTCOME_MIXED] = "mixed",
    [OUTCOME_FORGOTTEN] = "forgotten",
};

static const char *const state_words[] = {
    [SHOWN_ANY] = "any",
    [SHOWN_ACTIVE] = "active",
    [SHOWN_PREPARING] = "preparing",
    [SHOWN_PRECOMMITTING] = "precommitting",
    [SHOWN_COMMITTING] = "committing",
    [SHOWN_ROLLING_BACK] = "rolling-back",
    [SHOWN_COMMITTED] = "committed",
    [SHOWN_ROLLED_BACK] = "rolled-back",
    [SHOWN_MIXED] = "mixed",
};

static const char *const refusal_words[REFUSALS] = {
    [REFUSAL_NONE] = "",
    [REFUSAL_OTHER_LOG] = "other-log",
    [REFUSAL_INCARNATION] = "incarnation",
    [REFUSAL_INSTANCE] = "instance",
    [REFUSAL_POSITION] = "position",
    [REFUSAL_OTHER_RM] = "other-rm",
    [REFUSAL_WIRE] = "wire",
};

static const char *const refusal_meanings[REFUSALS] = {
    [REFUSAL_NONE] = "accepted",
    [REFUSAL_OTHER_LOG] = "the agent is registered under another log of this coordinator's name",
    [REFUSAL_INCARNATION] = "a later start of this coordinator is registered",
    [REFUSAL_INSTANCE] =
        "another copy of this log has been started, and the agent follows that one",
    [REFUSAL_POSITION] = "the agent has seen later records than this log holds: an old log",
    [REFUSAL_OTHER_RM] = "the agent serves another resource manager than the one configured",
    [REFUSAL_WIRE] = "the coordinator and the agent have no wire version in common",
};

/* What an order or a result cannot do without. Any other field is written when it is set. */
enum needs {
    NEEDS_GID = 1,
    NEEDS_NUMBER = 2,
    NEEDS_AGENT = 4,
    NEEDS_XID = 8,
    NEEDS_LSN = 16,
    NEEDS_TIMEOUT = 32,
    NEEDS_ACTUAL = 64,
    NEEDS_BALLOT = 128,
    NEEDS_FORGET = 256,
    TAKES_ACCEPTORS = 512, /* 3pc: who decides */
};

static const char *const order_words[ORDERS] = {
    [ORDER_NONE] = "",
    [ORDER_PREPARE] = "prepare",
    [ORDER_COMMIT] = "commit",
    [ORDER_ROLLBACK] = "rollback",
    [ORDER_COMMIT_ONE_PHASE] = "commit-one-phase",
    [ORDER_SETTLE] = "settle",
    [ORDER_RECOVER] = "recover",
    [ORDER_BALLOT] = "ballot",
    [ORDER_FORGET] = "forget",
};

static const unsigned order_needs[ORDERS] = {
    [ORDER_PREPARE] = NEEDS_GID | NEEDS_AGENT | NEEDS_TIMEOUT | TAKES_ACCEPTORS,
    [ORDER_COMMIT] = NEEDS_GID | NEEDS_XID | NEEDS_LSN,
    [ORDER_ROLLBACK] = NEEDS_GID | NEEDS_XID,
    [ORDER_COMMIT_ONE_PHASE] = NEEDS_GID | NEEDS_AGENT | NEEDS_LSN,
    [ORDER_SETTLE] = NEEDS_GID,
    [ORDER_RECOVER] = NEEDS_NUMBER,
    [ORDER_BALLOT] = NEEDS_BALLOT | NEEDS_LSN,
    [ORDER_FORGET] = NEEDS_FORGET,
};

static const char *const result_words[RESULTS] = {
    [RESULT_NONE] = "",           [RESULT_READY] = "ready",     [RESULT_READ_ONLY] = "read-only",
    [RESULT_NO] = "no",           [RESULT_DONE] = "done",       [RESULT_HEURISTIC] = "heuristic",
    [RESULT_UNKNOWN] = "unknown", [RESULT_LOST] = "lost",       [RESULT_OPENED] = "opened",
    [RESULT_FOUND] = "found",     [RESULT_SESSION] = "session", [RESULT_SCANNED] = "scanned",
    [RESULT_BALLOT] = "ballot",
};

static const unsigned result_needs[RESULTS] = {
    [RESULT_READY] = NEEDS_GID | NEEDS_XID,
    [RESULT_READ_ONLY] = NEEDS_GID,
    [RESULT_NO] = NEEDS_GID,
    [RESULT_DONE] = NEEDS_GID,
    [RESULT_HEURISTIC] = NEEDS_GID | NEEDS_ACTUAL,
    [RESULT_UNKNOWN] = NEEDS_GID,
    [RESULT_LOST] = NEEDS_GID,
    [RESULT_OPENED] = NEEDS_GID,
    [RESULT_FOUND] = NEEDS_GID | NEEDS_XID,
    [RESULT_SESSION] = NEEDS_GID,
    [RESULT_SCANNED] = NEEDS_NUMBER,
    [RESULT_BALLOT] = NEEDS_BALLOT,
};

/* ---- failures ---- */

int refuse(struct failure *failure, enum error_code code, const char *format, ...)
{
    char text[4 * REASON_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);

    memset(failure, 0, sizeof *failure);
    failure->code = code;
    text_copy(failure->message, sizeof failure->message, text, strlen(text));
    return -1;
}

/* Says in which element of a list the failure lies. */
static int refuse_within(struct failure *failure, const char *list, size_t index)
{
    struct failure inner = *failure;
    return refuse(failure, inner.code, "%s[%zu]: %s", list, index, inner.message);
}

/* What cannot be read here is the other side's fault and no fault of the caller's request. */
static int refuse_reply(struct failure *failure)
{
    struct failure inner = *failure;
    return refuse(failure, ERR_INTERNAL, "the reply cannot be read: %s", inner.message);
}

/* ---- scanning, before cJSON ---- */

/* Length of the well-formed UTF-8 character at the start of bytes, 0 if there is none: no
 * overlong form, no surrogate, nothing above U+10FFFF (Unicode, table 3-7). */
static size_t utf8_length(const unsigned char *bytes, size_t left)
{
    unsigned char first = bytes[0];
    if (first < 0x80)
        return 1;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0xc2 || first > 0xf4 || length > left)
        return 0;
    unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (bytes[1] < least || bytes[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xbf)
            return 0;
    return length;
}

void text_mend(char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t length = utf8_length((const unsigned char *)text, left);
        if (length == 0)
            *text = '?';
        length = length == 0 ? 1 : length;
        text += length;
        left -= length;
    }
}

struct scan {
    const unsigned char *start, *at, *end;
    uint32_t depth;
    bool is_array[NESTING_MAX];
    struct failure *failure;
};

static int scan_refuse(const struct scan *scan, const char *what)
{
    return refuse(scan->failure, ERR_INVALID_REQUEST, "not valid JSON: %s at byte %zu", what,
                  (size_t)(scan->at - scan->start));
}

static bool is_digit(unsigned char byte)
{
    return byte >= '0' && byte <= '9';
}

static int hex_digit(unsigned char byte)
{
    if (is_digit(byte))
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The four digits behind \u, -1 if they are not there. */
static int32_t scan_code_unit(struct scan *scan)
{
    int32_t unit = 0;
    if (scan->end - scan->at < 6 || scan->at[0] != '\\' || scan->at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(scan->at[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    scan->at += 6;
    return unit;
}

static int scan_escape(struct scan *scan)
{
    if (scan->end - scan->at < 2)
        return scan_refuse(scan, "the text ends early");
    if (scan->at[1] != 'u') {
        if (scan->at[1] == '\0' || strchr("\"\\/bfnrt", scan->at[1]) == NULL)
            return scan_refuse(scan, "an unknown escape");
        scan->at += 2;
        return 0;
    }
    int32_t unit = scan_code_unit(scan);
    if (unit < 0)
        return scan_refuse(scan, "an unknown escape");
    if (unit == 0)
        return scan_refuse(scan, "a NUL character");
    if (unit < 0xd800 || unit > 0xdfff)
        return 0;
    int32_t low = unit < 0xdc00 ? scan_code_unit(scan) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return scan_refuse(scan, "half of a surrogate pair");
    return 0;
}

static int scan_string(struct scan *scan)
{
    scan->at++;
    while (scan->at < scan->end) {
        unsigned char byte = *scan->at;
        if (byte == '"') {
            scan->at++;
            return 0;
        }
        if (byte == '\\') {
            if (scan_escape(scan) != 0)
                return -1;
            continue;
        }
        if (byte < 0x20)
            return scan_refuse(scan, "a control character in a text");
        size_t length = utf8_length(scan->at, (size_t)(scan->end - scan->at));
        if (length == 0)
            return scan_refuse(scan, "invalid UTF-8");
        scan->at += length;
    }
    return scan_refuse(scan, "the text ends early");
}

static size_t scan_digits(struct scan *scan)
{
    const unsigned char *first = scan->at;
    while (scan->at < scan->end && is_digit(*scan->at))
        scan->at++;
    return (size_t)(scan->at - first);
}

static bool scan_one_of(struct scan *scan, const char *bytes)
{
    if (scan->at == scan->end || *scan->at == '\0' || strchr(bytes, *scan->at) == NULL)
        return false;
    scan->at++;
    return true;
}

static int scan_number(struct scan *scan)
{
    scan_one_of(scan, "-");
    if (!scan_one_of(scan, "0") && scan_digits(scan) == 0)
        return scan_refuse(scan, "a malformed number");
    if (scan_one_of(scan, ".") && scan_digits(scan) == 0)
        return scan_refuse(scan, "a malformed number");
    if (scan_one_of(scan, "eE")) {
        scan_one_of(scan, "+-");
        if (scan_digits(scan) == 0)
            return scan_refuse(scan, "a malformed number");
    }
    if (scan->at < scan->end && is_digit(*scan->at))
        return scan_refuse(scan, "a malformed number");
    return 0;
}

static int scan_open(struct scan *scan)
{
    if (scan->depth == NESTING_MAX)
        return refuse(scan->failure, ERR_INVALID_REQUEST, "nested deeper than %d", NESTING_MAX);
    scan->is_array[scan->depth++] = *scan->at++ == '[';
    return 0;
}

static int scan_close(struct scan *scan)
{
    if (scan->depth == 0 || scan->is_array[scan->depth - 1] != (*scan->at == ']'))
        return scan_refuse(scan, "an unexpected bracket");
    scan->depth--;
    scan->at++;
    return 0;
}

static int scan_token(struct scan *scan)
{
    unsigned char byte = *scan->at;
    if (byte == '"')
        return scan_string(scan);
    if (byte == '{' || byte == '[')
        return scan_open(scan);
    if (byte == '}' || byte == ']')
        return scan_close(scan);
    if (byte == '-' || is_digit(byte))
        return scan_number(scan);
    /* Where these may stand is what cJSON knows. */
    if (byte == ',' || byte == ':' || (byte >= 'a' && byte <= 'z')) {
        scan->at++;
        return 0;
    }
    return scan_refuse(scan, "an unexpected byte");
}

static void scan_blanks(struct scan *scan)
{
    while (scan_one_of(scan, " \t\r\n"))
        continue;
}

/* One object with nothing but blanks around it, every bracket of it matched. */
static int scan_text(const char *bytes, size_t length, struct failure *failure)
{
    const unsigned char *start = (const unsigned char *)bytes;
    struct scan scan = {.start = start, .at = start, .end = start + length, .failure = failure};

    scan_blanks(&scan);
    if (scan.at == scan.end || *scan.at != '{')
        return refuse(failure, ERR_INVALID_REQUEST, "expected one JSON object");
    do {
        if (scan_token(&scan) != 0)
            return -1;
        scan_blanks(&scan);
    } while (scan.depth > 0 && scan.at < scan.end);
    if (scan.depth > 0)
        return scan_refuse(&scan, "the text ends early");
    if (scan.at < scan.end)
        return scan_refuse(&scan, "something behind the object");
    return 0;
}

/* ---- parsing ---- */

/* Quadratic in the fields of one object, of which there are few: see FIELDS_MAX. */
static int check_keys(const cJSON *object, struct failure *failure)
{
    size_t count = 0;
    const cJSON *field;
    cJSON_ArrayForEach(field, object)
    {
        if (++count > FIELDS_MAX)
            return refuse(failure, ERR_INVALID_REQUEST, "an object has more than %d fields",
                          FIELDS_MAX);
        for (const cJSON *other = object->child; other != field; other = other->next)
            if (strcmp(other->string, field->string) == 0)
                return refuse(failure, ERR_INVALID_REQUEST, "field \"%s\" is given twice",
                              field->string);
    }
    return 0;
}

/* Recursion is no deeper than NESTING_MAX, the scan has seen to that. */
static int check_tree(const cJSON *item, struct failure *failure)
{
    if (cJSON_IsNumber(item) && !isfinite(item->valuedouble))
        return refuse(failure, ERR_INVALID_REQUEST, "%s%s%sa number is out of range",
                      item->string != NULL ? "field \"" : "",
                      item->string != NULL ? item->string : "", item->string != NULL ? "\": " : "");
    if (cJSON_IsObject(item) && check_keys(item, failure) != 0)
        return -1;
    const cJSON *child;
    cJSON_ArrayForEach(child, item)
    {
        if (check_tree(child, failure) != 0)
            return -1;
    }
    return 0;
}

cJSON *wire_parse(const char *bytes, size_t length, struct failure *failure)
{
    if (scan_text(bytes, length, failure) != 0)
        return NULL;
    const char *stopped = bytes;
    cJSON *object = cJSON_ParseWithLengthOpts(bytes, length, &stopped, false);
    if (object == NULL) {
        refuse(failure, ERR_INVALID_REQUEST, "not valid JSON at byte %zu",
               (size_t)(stopped - bytes));
        return NULL;
    }
    if (check_tree(object, failure) != 0) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

/* ---- reading fields ---- */

/* The field's value, NULL when it is absent or null. */
static const cJSON *field_find(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(item) ? NULL : item;
}

static int field_missing(const char *name, bool needed, struct failure *failure)
{
    return needed ? refuse(failure, ERR_INVALID_REQUEST, "field \"%s\" is missing", name) : 0;
}

static int field_expected(const char *name, const char *what, struct failure *failure)
{
    return refuse(failure, ERR_INVALID_REQUEST, "field \"%s\": expected %s", name, what);
}

int field_text(const cJSON *object, const char *name, bool needed, char *out, size_t room,
               struct failure *failure)
{
    const cJSON *item = field_find(object, name);
    out[0] = '\0';
    if (item == NULL)
        return field_missing(name, needed, failure);
    if (!cJSON_IsString(item))
        return field_expected(name, "a text", failure);
    size_t length = strlen(item->valuestring);
    if (length >= room)
        return refuse(failure, ERR_INVALID_REQUEST,
                      "field \"%s\": expected at most %zu bytes, got %zu", name, room - 1, length);
    memcpy(out, item->valuestring, length + 1);
    return 0;
}

int field_bool(const cJSON *object, const char *name, bool *out, struct failure *failure)
{
    const cJSON *item = field_find(object, name);
    *out = cJSON_IsTrue(item);
    if (item != NULL && !cJSON_IsBool(item))
        return field_expected(name, "true or false", failure);
    return 0;
}

/* Doubles count without gaps up to here. */
static bool number_is_integral(const cJSON *item, uint64_t most)
{
    return item->valuedouble >= 0 && item->valuedouble <= (double)most &&
           item->valuedouble == floor(item->valuedouble);
}

int field_u64(const cJSON *object, const char *name, bool needed, uint64_t *out,
              struct failure *failure)
{
    const cJSON *item = field_find(object, name);
    *out = 0;
    if (item == NULL)
        return field_missing(name, needed, failure);
    if (cJSON_IsString(item) && u64_parse(item->valuestring, strlen(item->valuestring), out))
        return 0;
    if (cJSON_IsNumber(item) && number_is_integral(item, UINT64_C(1) << 53)) {
        *out = (uint64_t)item->valuedouble;
        return 0;
    }
    *out = 0;
    return field_expected(name, "a decimal number of 64 bits, as text", failure);
}

static int field_u32(const cJSON *object, const char *name, bool needed, uint32_t *out,
                     struct failure *failure)
{
    const cJSON *item = field_find(object, name);
    *out = 0;
    if (item == NULL)
        return field_missing(name, needed, failure);
    if (!cJSON_IsNumber(item) || !number_is_integral(item, UINT32_MAX))
        return field_expected(name, "a number from 0 to 4294967295", failure);
    *out = (uint32_t)item->valuedouble;
    return 0;
}

int field_ms(const cJSON *object, const char *name, uint32_t *out, struct failure *failure)
{
    const cJSON *item = field_find(object, name);
    *out = 0;
    if (item == NULL)
        return 0;
    if (cJSON_IsString(item) && duration_parse(item->valuestring, out))
        return 0;
    if (cJSON_IsNumber(item) && number_is_integral(item, UINT32_MAX)) {
        *out = (uint32_t)item->valuedouble;
        return 0;
    }
    *out = 0;
    return field_expected(name, "milliseconds, or a duration such as \"500ms\" or \"30s\"",
                          failure);
}

/* A duration between bounds that are not the type's own. */
static int field_ms_between(const cJSON *object, const char *name, uint32_t least, uint32_t preset,
                            uint32_t *out, struct failure *failure)
{
    if (field_find(object, name) == NULL) {
        *out = preset;
        return 0;
    }
    if (field_ms(object, name, out, failure) != 0)
        return -1;
    if (*out < least || *out > DAY_MS)
        return refuse(failure, ERR_INVALID_REQUEST, "field \"%s\": expected %u ms to 1 d", name,
                      least);
    return 0;
}

/* The index of a text among words, where "" is none; 0 when the field is absent. */
static int find_word(const char *const *words, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (words[i][0] != '\0' && strcmp(words[i], text) == 0)
            return (int)i;
    return -1;
}

static int field_word(const cJSON *object, const char *name, bool needed, const char *const *words,
                      size_t count, int *out, struct failure *failure)
{
    const cJSON *item = field_find(object, name);
    *out = 0;
    if (item == NULL)
        return field_missing(name, needed, failure);
    int found = cJSON_IsString(item) ? find_word(words, count, item->valuestring) : -1;
    if (found >= 0) {
        *out = found;
        return 0;
    }
    char list[REASON_BYTES] = "";
    for (size_t i = 0, used = 0; i < count; i++)
        if (words[i][0] != '\0' && used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s\"%s\"",
                                     used > 0 ? ", " : "", words[i]);
    return refuse(failure, ERR_INVALID_REQUEST, "field \"%s\": expected one of %s", name, list);
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* A text of the application's own choice: least bytes or more, in one printable line. */
static int field_label(const cJSON *object, const char *name, size_t least, char *out, size_t room,
                       struct failure *failure)
{
    if (field_text(object, name, false, out, room, failure) != 0)
        return -1;
    if (field_find(object, name) == NULL)
        return 0;
    if (strlen(out) < least || has_control(out))
        return refuse(failure, ERR_INVALID_REQUEST,
                      "field \"%s\": expected %zu to %zu bytes without control characters", name,
                      least, room - 1);
    return 0;
}

bool wire_is_traceparent(const char *text)
{
    static const char shape[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    size_t at = 0;
    for (; text[at] != '\0' && shape[at] != '\0'; at++)
        if (shape[at] == 'x' ? strchr("0123456789abcdef", text[at]) == NULL : text[at] != '-')
            return false;
    return text[at] == '\0' && shape[at] == '\0';
}

static int field_tm(const cJSON *object, const char *name, char out[TM_NAME_BYTES],
                    struct failure *failure)
{
    if (field_text(object, name, true, out, TM_NAME_BYTES, failure) != 0)
        return -1;
    if (!tm_name_valid(out, strlen(out)))
        return field_expected(name, "a coordinator's name, [a-z][a-z0-9-]{0,30}", failure);
    return 0;
}

static int field_rm(const cJSON *object, const char *name, bool needed, char out[RM_NAME_BYTES],
                    struct failure *failure)
{
    if (field_text(object, name, needed, out, RM_NAME_BYTES, failure) != 0)
        return -1;
    if (field_find(object, name) != NULL && !rm_name_valid(out, strlen(out)))
        return field_expected(name, "a resource manager's name, [a-z][a-z0-9-]{0,30}", failure);
    return 0;
}

static int field_branch(const cJSON *object, const char *name, char out[BRANCH_NAME_BYTES],
                        struct failure *failure)
{
    if (field_text(object, name, false, out, BRANCH_NAME_BYTES, failure) != 0)
        return -1;
    if (out[0] != '\0' && !branch_name_valid(out, strlen(out)))
        return field_expected(name, "a branch name, [a-z0-9-]{1,24}", failure);
    return 0;
}

static int field_gtrid(const cJSON *object, const char *name, bool needed, struct gtrid *out,
                       struct failure *failure)
{
    char text[GTRID_BYTES];
    memset(out, 0, sizeof *out);
    if (field_text(object, name, needed, text, sizeof text, failure) != 0)
        return -1;
    if (field_find(object, name) != NULL && !gtrid_parse(text, strlen(text), out))
        return field_expected(name, "a transaction, <tm>.<incarnation>.<sequence>", failure);
    return 0;
}

static int field_gid(const cJSON *object, const char *name, bool needed, struct branch_id *out,
                     struct failure *failure)
{
    char text[GID_BYTES];
    memset(out, 0, sizeof *out);
    if (field_text(object, name, needed, text, sizeof text, failure) != 0)
        return -1;
    if (field_find(object, name) != NULL && !gid_parse(text, strlen(text), out))
        return field_expected(name, "a branch's gid, as enlist gave it", failure);
    return 0;
}

static int field_sqlstate(const cJSON *object, const char *name, char out[SQLSTATE_BYTES],
                          struct failure *failure)
{
    if (field_text(object, name, false, out, SQLSTATE_BYTES, failure) != 0)
        return -1;
    for (size_t i = 0; out[0] != '\0' && i < SQLSTATE_BYTES - 1; i++)
        if (!is_digit((unsigned char)out[i]) && (out[i] < 'A' || out[i] > 'Z'))
            return field_expected(name, "an SQLSTATE, five digits or capitals", failure);
    return 0;
}

/* A message for people is worth having even if it has to be cut. */
static void field_message(const cJSON *object, const char *name, char *out, size_t room)
{
    const cJSON *item = field_find(object, name);
    const char *text = cJSON_IsString(item) ? item->valuestring : "";
    text_copy(out, room, text, strlen(text));
}

static int field_hex(const cJSON *object, const char *name, uint8_t *out, size_t bytes,
                     struct failure *failure)
{
    const cJSON *item = field_find(object, name);
    if (item == NULL)
        return field_missing(name, true, failure);
    const char *text = cJSON_IsString(item) ? item->valuestring : "";
    if (strlen(text) != 2 * bytes)
        return refuse(failure, ERR_INVALID_REQUEST, "field \"%s\": expected %zu hex digits", name,
                      2 * bytes);
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_digit((unsigned char)text[2 * i]);
        int low = hex_digit((unsigned char)text[2 * i + 1]);
        if (high < 0 || low < 0)
            return refuse(failure, ERR_INVALID_REQUEST, "field \"%s\": expected %zu hex digits",
                          name, 2 * bytes);
        out[i] = (uint8_t)(high * 16 + low);
    }
    return 0;
}

/* An absent list is an empty one unless it is needed; *out is its first element or NULL. */
static int field_list(const cJSON *object, const char *name, bool needed, size_t most,
                      const cJSON **out, struct failure *failure)
{
    const cJSON *list = field_find(object, name);
    *out = NULL;
    if (list == NULL)
        return field_missing(name, needed, failure);
    if (!cJSON_IsArray(list))
        return field_expected(name, "a list", failure);
    if ((size_t)cJSON_GetArraySize(list) > most)
        return refuse(failure, ERR_INVALID_REQUEST, "field \"%s\": expected at most %zu elements",
                      name, most);
    *out = list->child;
    return 0;
}

static int field_rms(const cJSON *object, const char *name, size_t most, char out[][RM_NAME_BYTES],
                     uint32_t *count, struct failure *failure)
{
    const cJSON *item;
    *count = 0;
    if (field_list(object, name, false, most, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next) {
        const char *text = cJSON_IsString(item) ? item->valuestring : "";
        if (!rm_name_valid(text, strlen(text)))
            return field_expected(name, "resource managers' names, [a-z][a-z0-9-]{0,30}", failure);
        text_copy(out[(*count)++], RM_NAME_BYTES, text, strlen(text));
    }
    return 0;
}

/* ---- writing fields ---- */

/* Out of memory within a message: half of it would be a lie to whoever reads it, so the process
 * ends and recovery takes over. */
static cJSON *whole(cJSON *item)
{
    if (item == NULL)
        abort();
    return item;
}

/* Names are literals: cJSON need not copy them. */
static cJSON *add(cJSON *object, const char *name, cJSON *item)
{
    cJSON_AddItemToObjectCS(object, name, whole(item));
    return item;
}

static cJSON *add_list(cJSON *object, const char *name)
{
    return add(object, name, cJSON_CreateArray());
}

static cJSON *add_element(cJSON *list)
{
    cJSON *item = whole(cJSON_CreateObject());
    cJSON_AddItemToArray(list, item);
    return item;
}

/* Text that is known to be UTF-8. */
static void add_text(cJSON *object, const char *name, const char *text)
{
    add(object, name, cJSON_CreateString(text));
}

static void add_text_if_set(cJSON *object, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0')
        add_text(object, name, text);
}

/* Words of a database's or a system's, in whatever encoding: what is no UTF-8 becomes '?', or
 * the receiver could not read the message that carries them. */
static void add_message_if_set(cJSON *object, const char *name, const char *text)
{
    char clean[REASON_BYTES];
    text_copy(clean, sizeof clean, text, strlen(text));
    text_mend(clean);
    add_text_if_set(object, name, clean);
}

static void add_bool(cJSON *object, const char *name, bool value)
{
    add(object, name, cJSON_CreateBool(value));
}

static void add_u32(cJSON *object, const char *name, uint32_t value)
{
    add(object, name, cJSON_CreateNumber(value));
}

/* 64 bits travel as text: a JSON number is a double to most who read it. */
static void add_u64(cJSON *object, const char *name, uint64_t value)
{
    char text[21];
    u64_format(value, text);
    add_text(object, name, text);
}

static void add_gtrid(cJSON *object, const char *name, const struct gtrid *gtrid)
{
    char text[GTRID_BYTES];
    gtrid_format(gtrid, text);
    add_text(object, name, text);
}

static void add_gid(cJSON *object, const char *name, const struct branch_id *branch)
{
    char text[GID_BYTES];
    gid_format(branch, text);
    add_text(object, name, text);
}

static void add_hex(cJSON *object, const char *name, const uint8_t *bytes, size_t count)
{
    char text[2 * SECRET_BYTES + 1];
    assert(count <= SECRET_BYTES);
    hex_write(bytes, count, text);
    add_text(object, name, text);
}

static void add_rms(cJSON *object, const char *name, const char rms[][RM_NAME_BYTES],
                    uint32_t count)
{
    cJSON *list = add_list(object, name);
    for (uint32_t i = 0; i < count; i++)
        cJSON_AddItemToArray(list, whole(cJSON_CreateString(rms[i])));
}

static cJSON *new_request(const char *op)
{
    cJSON *object = whole(cJSON_CreateObject());
    add_text(object, "op", op);
    return object;
}

char *wire_print(cJSON *object, size_t *length)
{
    char *text = cJSON_PrintBuffered(object, 1024, false);
    if (text == NULL)
        abort(); /* as whole() */
    cJSON_Delete(object);
    *length = strlen(text);
    return text;
}

/* ---- words ---- */

const char *member_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
}

const char *wire_op_text(const cJSON *object)
{
    return cJSON_GetStringValue(field_find(object, "op"));
}

enum op wire_op(const char *text)
{
    int found = text != NULL ? find_word(op_words, COUNT_OF(op_words), text) : -1;
    return found < 0 ? OP_NONE : (enum op)found;
}

const char *wire_op_name(enum op op)
{
    assert(op < OPS);
    return op_words[op];
}

const char *outcome_word(enum outcome outcome)
{
    assert(outcome < COUNT_OF(outcome_words));
    return outcome_words[outcome];
}

enum outcome outcome_from_word(const char *word)
{
    int found = find_word(outcome_words, COUNT_OF(outcome_words), word);
    return found < 0 ? OUTCOME_NONE : (enum outcome)found;
}

const char *protocol_word(enum protocol protocol)
{
    return protocol_words[protocol];
}

const char *state_word(enum shown_state state)
{
    assert(state < COUNT_OF(state_words));
    return state_words[state];
}

const char *refusal_word(enum refusal refusal)
{
    assert(refusal < REFUSALS);
    return refusal_words[refusal];
}

const char *refusal_meaning(enum refusal refusal)
{
    assert(refusal < REFUSALS);
    return refusal_meanings[refusal];
}

const char *isolation_word(enum isolation isolation)
{
    assert(isolation < COUNT_OF(isolation_words));
    return isolation_words[isolation];
}

/* ---- requests ---- */

static int check_rms_differ(const struct request *request, struct failure *failure)
{
    for (uint32_t i = 0; i < request->rm_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(request->rms[i], request->rms[j]) == 0)
                return refuse(failure, ERR_INVALID_REQUEST, "field \"rms\": %s is named twice",
                              request->rms[i]);
    return 0;
}

static int read_origin(const cJSON *object, struct origin *out, struct failure *failure)
{
    if (field_label(object, "label", 1, out->label, sizeof out->label, failure) != 0 ||
        field_label(object, "application", 1, out->application, sizeof out->application, failure) !=
            0 ||
        field_text(object, "traceparent", false, out->traceparent, sizeof out->traceparent,
                   failure) != 0)
        return -1;
    if (out->traceparent[0] != '\0' && !wire_is_traceparent(out->traceparent))
        return field_expected("traceparent", "the header of W3C Trace Context, 00-<32>-<16>-<2>",
                              failure);
    return 0;
}

static int read_begin(const cJSON *object, struct request *out, struct failure *failure)
{
    int protocol;
    if (field_ms_between(object, "timeout", 1, 0, &out->timeout_ms, failure) != 0 ||
        field_word(object, "protocol", false, protocol_words, COUNT_OF(protocol_words), &protocol,
                   failure) != 0 ||
        read_origin(object, &out->origin, failure) != 0 ||
        field_label(object, "key", 1, out->key, sizeof out->key, failure) != 0 ||
        field_label(object, "request_id", REQUEST_ID_LEAST, out->request_id, sizeof out->request_id,
                    failure) != 0 ||
        field_rms(object, "rms", BRANCHES_MAX, out->rms, &out->rm_count, failure) != 0)
        return -1;
    out->protocol = (enum protocol)protocol;
    return check_rms_differ(out, failure);
}

static int read_enlist(const cJSON *object, struct request *out, struct failure *failure)
{
    int isolation;
    if (field_rm(object, "rm", true, out->rm, failure) != 0 ||
        field_branch(object, "branch", out->branch, failure) != 0 ||
        field_label(object, "role", 1, out->role, sizeof out->role, failure) != 0 ||
        field_bool(object, "read_only", &out->read_only, failure) != 0 ||
        field_word(object, "isolation", false, isolation_words, COUNT_OF(isolation_words),
                   &isolation, failure) != 0)
        return -1;
    out->isolation = (enum isolation)isolation;
    return 0;
}

static int read_commit(const cJSON *object, struct request *out, struct failure *failure)
{
    int wait;
    if (field_word(object, "wait", false, wait_words, COUNT_OF(wait_words), &wait, failure) != 0 ||
        field_ms_between(object, "wait_ms", 0, WAIT_DEFAULT_MS, &out->wait_ms, failure) != 0)
        return -1;
    out->wait = (enum wait)wait;
    return 0;
}

static int read_outcome(const cJSON *object, struct request *out, struct failure *failure)
{
    if (field_label(object, "key", 1, out->key, sizeof out->key, failure) != 0)
        return -1;
    if (out->has_gtrid == (out->key[0] != '\0'))
        return refuse(failure, ERR_INVALID_REQUEST, "expected either field \"gtrid\" or \"key\"");
    return 0;
}

static int read_list(const cJSON *object, struct request *out, struct failure *failure)
{
    int state;
    if (field_word(object, "state", false, state_words, COUNT_OF(state_words), &state, failure) !=
        0)
        return -1;
    out->state = (enum shown_state)state;
    return 0;
}

/* Whatever a DBA decides, he says why; only a pause is no decision. */
static int read_settling(const cJSON *object, struct request *out, struct failure *failure)
{
    bool about_rm = out->op != OP_RESOLVE && out->op != OP_FORGET;
    bool needs_why = out->op != OP_PAUSE && out->op != OP_RESUME;
    int wanted;
    if (field_word(object, "outcome", out->op == OP_RESOLVE, resolution_words,
                   COUNT_OF(resolution_words), &wanted, failure) != 0 ||
        field_rm(object, "rm", about_rm, out->rm, failure) != 0 ||
        field_branch(object, "branch", out->branch, failure) != 0 ||
        field_label(object, "reason", 1, out->why, sizeof out->why, failure) != 0 ||
        field_bool(object, "force", &out->force, failure) != 0 ||
        field_bool(object, "dry_run", &out->dry_run, failure) != 0)
        return -1;
    if (needs_why && out->why[0] == '\0' && !out->dry_run)
        return field_missing("reason", true, failure);
    out->wanted = (enum outcome)wanted;
    return 0;
}

static bool op_needs_gtrid(enum op op)
{
    return op == OP_ENLIST || op == OP_COMMIT || op == OP_ROLLBACK || op == OP_SHOW ||
           op == OP_RESOLVE || op == OP_FORGET;
}

static bool op_takes_gtrid(enum op op)
{
    return op_needs_gtrid(op) || op == OP_OUTCOME;
}

static int read_op(const cJSON *object, enum op *out, struct failure *failure)
{
    const char *text = wire_op_text(object);
    if (text == NULL)
        return field_find(object, "op") == NULL ? field_missing("op", true, failure)
                                                : field_expected("op", "a text", failure);
    *out = wire_op(text);
    if (*out == OP_NONE)
        return refuse(failure, ERR_UNKNOWN_OPERATION, "no operation is called \"%.64s\"", text);
    return 0;
}

int wire_read_request(const cJSON *object, struct request *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (!cJSON_IsObject(object))
        return refuse(failure, ERR_INVALID_REQUEST, "expected a JSON object");
    if (read_op(object, &out->op, failure) != 0)
        return -1;
    if (op_takes_gtrid(out->op)) {
        if (field_gtrid(object, "gtrid", op_needs_gtrid(out->op), &out->gtrid, failure) != 0)
            return -1;
        out->has_gtrid = field_find(object, "gtrid") != NULL;
    }
    switch (out->op) {
    case OP_BEGIN:
        return read_begin(object, out, failure);
    case OP_ENLIST:
        return read_enlist(object, out, failure);
    case OP_COMMIT:
        return read_commit(object, out, failure);
    case OP_OUTCOME:
        return read_outcome(object, out, failure);
    case OP_LIST:
        return read_list(object, out, failure);
    case OP_RESOLVE:
    case OP_FORGET:
    case OP_WAIVE:
    case OP_RELEASE:
    case OP_RETIRE:
    case OP_PAUSE:
    case OP_RESUME:
        return read_settling(object, out, failure);
    default:
        return 0;
    }
}

static void write_begin(cJSON *object, const struct request *request)
{
    if (request->timeout_ms != 0)
        add_u32(object, "timeout", request->timeout_ms);
    if (request->protocol != PROTOCOL_2PC)
        add_text(object, "protocol", protocol_words[request->protocol]);
    add_text_if_set(object, "label", request->origin.label);
    add_text_if_set(object, "application", request->origin.application);
    add_text_if_set(object, "traceparent", request->origin.traceparent);
    add_text_if_set(object, "key", request->key);
    add_text_if_set(object, "request_id", request->request_id);
    if (request->rm_count > 0)
        add_rms(object, "rms", request->rms, request->rm_count);
}

static void write_enlist(cJSON *object, const struct request *request)
{
    add_text(object, "rm", request->rm);
    add_text_if_set(object, "branch", request->branch);
    add_text_if_set(object, "role", request->role);
    if (request->read_only)
        add_bool(object, "read_only", true);
    add_text_if_set(object, "isolation", isolation_word(request->isolation));
}

static void write_settling(cJSON *object, const struct request *request)
{
    if (request->wanted != OUTCOME_NONE)
        add_text(object, "outcome", resolution_words[request->wanted]);
    add_text_if_set(object, "rm", request->rm);
    add_text_if_set(object, "branch", request->branch);
    add_message_if_set(object, "reason", request->why);
    if (request->force)
        add_bool(object, "force", true);
    if (request->dry_run)
        add_bool(object, "dry_run", true);
}

cJSON *wire_write_request(const struct request *request)
{
    cJSON *object = new_request(wire_op_name(request->op));
    if (op_takes_gtrid(request->op) && request->has_gtrid)
        add_gtrid(object, "gtrid", &request->gtrid);
    switch (request->op) {
    case OP_BEGIN:
        write_begin(object, request);
        break;
    case OP_ENLIST:
        write_enlist(object, request);
        break;
    case OP_COMMIT:
        add_text(object, "wait", wait_words[request->wait]);
        add_u32(object, "wait_ms", request->wait_ms);
        break;
    case OP_OUTCOME:
        add_text_if_set(object, "key", request->key);
        break;
    case OP_LIST:
        add_text(object, "state", state_word(request->state));
        break;
    case OP_RESOLVE:
    case OP_FORGET:
    case OP_WAIVE:
    case OP_RELEASE:
    case OP_RETIRE:
    case OP_PAUSE:
    case OP_RESUME:
        write_settling(object, request);
        break;
    default:
        break;
    }
    return object;
}

/* ---- arrays ---- */

void array_sort(cJSON *array, int (*compare)(const void *left, const void *right))
{
    size_t count = (size_t)cJSON_GetArraySize(array);
    cJSON **items = calloc(count + 1, sizeof *items);
    if (items == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        items[i] = cJSON_DetachItemFromArray(array, 0);
    qsort(items, count, sizeof *items, compare);
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(array, items[i]);
    free(items);
}

/* ---- replies ---- */

cJSON *wire_ok(void)
{
    cJSON *object = whole(cJSON_CreateObject());
    add_bool(object, "ok", true);
    return object;
}

cJSON *wire_write_failure(const struct failure *failure)
{
    cJSON *object = whole(cJSON_CreateObject());
    add_bool(object, "ok", false);
    cJSON *error = add(object, "error", cJSON_CreateObject());
    add_text(error, "code", error_word(failure->code));
    add_message_if_set(error, "message", failure->message);
    add_message_if_set(error, "detail", failure->detail);
    add_message_if_set(error, "hint", failure->hint);
    add_text_if_set(error, "sqlstate", failure->sqlstate);
    add_bool(error, "retryable", error_retryable(failure->code));
    return object;
}

/* A newer peer's code is told by its message. */
static enum error_code read_error_code(const cJSON *error)
{
    const char *word = cJSON_GetStringValue(field_find(error, "code"));
    enum error_code code = word != NULL ? error_from_word(word) : ERR_NONE;
    return code == ERR_NONE ? ERR_INTERNAL : code;
}

int wire_read_failure(const cJSON *object, struct failure *failure)
{
    const cJSON *ok = field_find(object, "ok");
    if (cJSON_IsTrue(ok))
        return 0;
    const cJSON *error = field_find(object, "error");
    if (!cJSON_IsFalse(ok) || !cJSON_IsObject(error))
        return refuse(failure, ERR_INTERNAL, "the reply cannot be read: it has no \"ok\"");
    struct failure ignored;
    memset(failure, 0, sizeof *failure);
    failure->code = read_error_code(error);
    field_message(error, "message", failure->message, sizeof failure->message);
    field_message(error, "detail", failure->detail, sizeof failure->detail);
    field_message(error, "hint", failure->hint, sizeof failure->hint);
    if (field_sqlstate(error, "sqlstate", failure->sqlstate, &ignored) != 0)
        failure->sqlstate[0] = '\0';
    return -1;
}

static void write_reason(cJSON *object, const struct reason *reason)
{
    cJSON *item = add(object, "reason", cJSON_CreateObject());
    add_text_if_set(item, "rm", reason->rm);
    add_text_if_set(item, "sqlstate", reason->sqlstate);
    add_message_if_set(item, "message", reason->message);
    add_message_if_set(item, "detail", reason->detail);
    add_message_if_set(item, "hint", reason->hint);
}

static int read_reason(const cJSON *object, struct reply *out, struct failure *failure)
{
    const cJSON *item = field_find(object, "reason");
    out->has_reason = item != NULL;
    if (item == NULL)
        return 0;
    field_message(item, "message", out->reason.message, sizeof out->reason.message);
    field_message(item, "detail", out->reason.detail, sizeof out->reason.detail);
    field_message(item, "hint", out->reason.hint, sizeof out->reason.hint);
    if (field_rm(item, "rm", false, out->reason.rm, failure) != 0)
        return -1;
    return field_sqlstate(item, "sqlstate", out->reason.sqlstate, failure);
}

static cJSON *write_refused(const struct reply *reply)
{
    const struct reason *reason = &reply->reason;
    struct failure failure;
    bool told = reply->has_reason && reason->message[0] != '\0';
    refuse(&failure, reply->error, "%s", told ? reason->message : error_meaning(reply->error));
    if (reply->has_reason) {
        memcpy(failure.sqlstate, reason->sqlstate, sizeof failure.sqlstate);
        if (reason->rm[0] != '\0')
            snprintf(failure.detail, sizeof failure.detail, "at resource manager %s", reason->rm);
    }
    if (reply->error != ERR_KEY_IN_USE)
        return wire_write_failure(&failure);

    char gtrid[GTRID_BYTES];
    gtrid_format(&reply->gtrid, gtrid);
    snprintf(failure.detail, sizeof failure.detail, "transaction %s is %s", gtrid,
             outcome_word(reply->outcome));
    cJSON *object = wire_write_failure(&failure);
    add_text(object, "gtrid", gtrid);
    add_text_if_set(object, "outcome", outcome_word(reply->outcome));
    return object;
}

static void write_branch(cJSON *item, const struct gtrid *gtrid, const struct enlisted *enlisted,
                         const struct branch_access *access)
{
    struct branch_id branch = {.gtrid = *gtrid};
    char bqual[BQUAL_BYTES];
    memcpy(branch.rm, enlisted->rm, sizeof branch.rm);
    memcpy(branch.branch, enlisted->branch, sizeof branch.branch);
    bqual_format(&branch, bqual);

    add_text(item, "rm", enlisted->rm);
    add_text(item, "branch", enlisted->branch);
    add_gid(item, "gid", &branch);
    cJSON *xid = add(item, "xid", cJSON_CreateObject());
    add_u64(xid, "format_id", XID_FORMAT_ID);
    add_gtrid(xid, "gtrid", gtrid);
    add_text(xid, "bqual", bqual);
    if (access != NULL) {
        add_text_if_set(item, "agent", access->agent);
        add_text_if_set(item, "session", access->ticket);
    }
}

static void write_branches(cJSON *object, const struct reply *reply,
                           const struct branch_access *access)
{
    cJSON *list = add_list(object, "branches");
    for (uint32_t i = 0; i < reply->branch_count; i++)
        write_branch(add_element(list), &reply->gtrid, &reply->branches[i],
                     access != NULL ? &access[i] : NULL);
}

static int read_branch(const cJSON *item, struct reply *out, struct failure *failure)
{
    struct enlisted *enlisted = &out->branches[out->branch_count++];
    struct branch_id branch;
    if (field_gid(item, "gid", true, &branch, failure) != 0)
        return -1;
    out->gtrid = branch.gtrid;
    memcpy(enlisted->rm, branch.rm, sizeof enlisted->rm);
    memcpy(enlisted->branch, branch.branch, sizeof enlisted->branch);
    return 0;
}

static int read_branches(const cJSON *object, struct reply *out, struct failure *failure)
{
    const cJSON *item;
    if (field_list(object, "branches", false, BRANCHES_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next)
        if (read_branch(item, out, failure) != 0)
            return refuse_within(failure, "branches", out->branch_count - 1);
    return 0;
}

static void write_ending(cJSON *object, const struct reply *reply)
{
    add_text(object, "outcome", outcome_word(reply->outcome));
    bool of_dba = reply->op == OP_RESOLVE || reply->op == OP_FORGET;
    if ((reply->op == OP_OUTCOME || of_dba) && reply->gtrid.tm[0] != '\0')
        add_gtrid(object, "gtrid", &reply->gtrid);
    if (reply->op == OP_COMMIT || of_dba) {
        add_bool(object, "applied", reply->applied);
        add_rms(object, "pending", reply->pending, reply->pending_count);
    }
    if (reply->has_reason)
        write_reason(object, &reply->reason);
}

static int read_ending(const cJSON *object, struct reply *out, struct failure *failure)
{
    int outcome;
    if (field_word(object, "outcome", true, outcome_words, COUNT_OF(outcome_words), &outcome,
                   failure) != 0 ||
        field_gtrid(object, "gtrid", false, &out->gtrid, failure) != 0 ||
        field_bool(object, "applied", &out->applied, failure) != 0 ||
        field_rms(object, "pending", BRANCHES_MAX, out->pending, &out->pending_count, failure) != 0)
        return -1;
    out->outcome = (enum outcome)outcome;
    return read_reason(object, out, failure);
}

cJSON *wire_write_reply(const struct reply *reply, const struct branch_access *access)
{
    if (reply->error != ERR_NONE)
        return write_refused(reply);
    cJSON *object = wire_ok();
    switch (reply->op) {
    case OP_BEGIN:
        add_gtrid(object, "gtrid", &reply->gtrid);
        add_u32(object, "deadline_ms", reply->left_ms);
        write_branches(object, reply, access);
        break;
    case OP_ENLIST:
        assert(reply->branch_count == 1);
        write_branch(add(object, "branch", cJSON_CreateObject()), &reply->gtrid,
                     &reply->branches[0], access);
        break;
    case OP_COMMIT:
    case OP_ROLLBACK:
    case OP_OUTCOME:
    case OP_RESOLVE:
    case OP_FORGET:
        write_ending(object, reply);
        break;
    case OP_PAUSE:
    case OP_RETIRE:
        add_u32(object, "running", reply->running);
        break;
    default:
        break;
    }
    return object;
}

/* A refusal to begin under a key tells which transaction has it. */
static void read_refused(const cJSON *object, struct reply *out, enum error_code code)
{
    struct failure ignored;
    int outcome;
    out->error = code;
    if (code != ERR_KEY_IN_USE)
        return;
    if (field_gtrid(object, "gtrid", false, &out->gtrid, &ignored) != 0)
        memset(&out->gtrid, 0, sizeof out->gtrid);
    if (field_word(object, "outcome", false, outcome_words, COUNT_OF(outcome_words), &outcome,
                   &ignored) == 0)
        out->outcome = (enum outcome)outcome;
}

static int read_reply_of(const cJSON *object, struct reply *out, struct failure *failure)
{
    switch (out->op) {
    case OP_BEGIN:
        if (read_branches(object, out, failure) != 0 ||
            field_u32(object, "deadline_ms", true, &out->left_ms, failure) != 0)
            return -1;
        return field_gtrid(object, "gtrid", true, &out->gtrid, failure);
    case OP_ENLIST: {
        const cJSON *branch = field_find(object, "branch");
        if (branch == NULL)
            return field_missing("branch", true, failure);
        return read_branch(branch, out, failure);
    }
    case OP_COMMIT:
    case OP_ROLLBACK:
    case OP_OUTCOME:
    case OP_RESOLVE:
    case OP_FORGET:
        return read_ending(object, out, failure);
    case OP_PAUSE:
    case OP_RETIRE:
        return field_u32(object, "running", true, &out->running, failure);
    default:
        return 0;
    }
}

int wire_read_reply(const cJSON *object, enum op op, struct reply *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    out->op = op;
    if (wire_read_failure(object, failure) != 0) {
        read_refused(object, out, failure->code);
        return -1;
    }
    if (read_reply_of(object, out, failure) != 0)
        return refuse_reply(failure);
    return 0;
}

/* ---- registration ---- */

char *wire_write_offer(const struct offer *offer, size_t *length)
{
    cJSON *object = new_request("register");
    add_text(object, "tm", offer->tm);
    add_text_if_set(object, "rm", offer->rm);
    add_hex(object, "log", offer->log.bytes, sizeof offer->log.bytes);
    add_u64(object, "incarnation", offer->incarnation);
    add_hex(object, "instance", offer->instance.bytes, sizeof offer->instance.bytes);
    add_u64(object, "recovered_lsn", offer->recovered_lsn);
    add_hex(object, "secret", offer->secret, sizeof offer->secret);
    add_u32(object, "wire_least", offer->wire_least);
    add_u32(object, "wire_most", offer->wire_most);
    add_bool(object, "unfenced", offer->unfenced);
    cJSON *ancestors = add(object, "ancestors", cJSON_CreateArray());
    for (uint32_t i = 0; i < offer->ancestor_count; i++) {
        cJSON *ancestor = add_element(ancestors);
        add_u64(ancestor, "incarnation", offer->ancestors[i].incarnation);
        add_hex(ancestor, "instance", offer->ancestors[i].instance.bytes,
                sizeof offer->ancestors[i].instance.bytes);
    }
    return wire_print(object, length);
}

static int read_ancestors(const cJSON *object, struct offer *out, struct failure *failure)
{
    const cJSON *ancestors = cJSON_GetObjectItemCaseSensitive(object, "ancestors");
    const cJSON *ancestor;
    if (ancestors == NULL)
        return 0;
    if (!cJSON_IsArray(ancestors) || cJSON_GetArraySize(ancestors) > ANCESTORS_MAX)
        return refuse(failure, ERR_INVALID_REQUEST, "ancestors: an array of at most %d starts",
                      ANCESTORS_MAX);
    cJSON_ArrayForEach(ancestor, ancestors)
    {
        struct start_id *start = &out->ancestors[out->ancestor_count++];
        if (field_u64(ancestor, "incarnation", true, &start->incarnation, failure) != 0 ||
            field_hex(ancestor, "instance", start->instance.bytes, sizeof start->instance.bytes,
                      failure) != 0)
            return -1;
    }
    return 0;
}

int wire_read_offer(const cJSON *object, struct offer *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (field_tm(object, "tm", out->tm, failure) != 0 ||
        field_rm(object, "rm", false, out->rm, failure) != 0 ||
        field_hex(object, "log", out->log.bytes, sizeof out->log.bytes, failure) != 0 ||
        field_u64(object, "incarnation", true, &out->incarnation, failure) != 0 ||
        field_hex(object, "instance", out->instance.bytes, sizeof out->instance.bytes, failure) !=
            0 ||
        field_u64(object, "recovered_lsn", true, &out->recovered_lsn, failure) != 0 ||
        field_hex(object, "secret", out->secret, sizeof out->secret, failure) != 0 ||
        field_u32(object, "wire_least", true, &out->wire_least, failure) != 0 ||
        field_u32(object, "wire_most", true, &out->wire_most, failure) != 0 ||
        field_bool(object, "unfenced", &out->unfenced, failure) != 0)
        return -1;
    return read_ancestors(object, out, failure);
}

cJSON *wire_write_adoption(const struct adoption *adoption)
{
    cJSON *object = new_request("adopt");
    add_text(object, "tm", adoption->tm);
    add_hex(object, "from", adoption->from.bytes, sizeof adoption->from.bytes);
    add_hex(object, "log", adoption->log.bytes, sizeof adoption->log.bytes);
    add_u64(object, "incarnation", adoption->incarnation);
    add_hex(object, "instance", adoption->instance.bytes, sizeof adoption->instance.bytes);
    return object;
}

int wire_read_adoption(const cJSON *object, struct adoption *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (field_tm(object, "tm", out->tm, failure) != 0 ||
        field_hex(object, "from", out->from.bytes, sizeof out->from.bytes, failure) != 0 ||
        field_hex(object, "log", out->log.bytes, sizeof out->log.bytes, failure) != 0 ||
        field_u64(object, "incarnation", true, &out->incarnation, failure) != 0)
        return -1;
    return field_hex(object, "instance", out->instance.bytes, sizeof out->instance.bytes, failure);
}

static cJSON *write_refusal(enum refusal refusal)
{
    struct failure failure;
    refuse(&failure, ERR_RM_REFUSED, "%s", refusal_meaning(refusal));
    cJSON *object = wire_write_failure(&failure);
    add_text(object, "refusal", refusal_word(refusal));
    return object;
}

char *wire_write_answer(const struct answer *answer, size_t *length)
{
    cJSON *object = answer->refusal == REFUSAL_NONE ? wire_ok() : write_refusal(answer->refusal);
    add_text_if_set(object, "rm", answer->rm);
    add_u64(object, "agent", answer->agent_incarnation);
    add_u64(object, "beat", answer->beat);
    add_u64(object, "system_identifier", answer->system_identifier);
    add_u32(object, "timeline", answer->timeline);
    add_message_if_set(object, "database", answer->database);
    add_message_if_set(object, "server_version", answer->server_version);
    add_u64(object, "stored_incarnation", answer->stored_incarnation);
    add_u64(object, "stored_lsn", answer->stored_lsn);
    if (answer->newcomer)
        add_bool(object, "newcomer", true);
    if (answer->witness)
        add_bool(object, "witness", true);
    add_text_if_set(object, "peer_url", answer->peer_url);
    return wire_print(object, length);
}

/* An agent that refuses may be of a later version: it need not say more than why. */
static int read_answer_fields(const cJSON *object, struct answer *out, struct failure *failure)
{
    bool needed = out->refusal == REFUSAL_NONE;
    field_message(object, "database", out->database, sizeof out->database);
    field_message(object, "server_version", out->server_version, sizeof out->server_version);
    if (field_rm(object, "rm", needed, out->rm, failure) != 0 ||
        field_u64(object, "agent", needed, &out->agent_incarnation, failure) != 0 ||
        field_u64(object, "beat", needed, &out->beat, failure) != 0 ||
        field_u64(object, "system_identifier", needed, &out->system_identifier, failure) != 0 ||
        field_u32(object, "timeline", needed, &out->timeline, failure) != 0 ||
        field_u64(object, "stored_incarnation", false, &out->stored_incarnation, failure) != 0 ||
        field_u64(object, "stored_lsn", false, &out->stored_lsn, failure) != 0)
        return -1;
    if (field_bool(object, "newcomer", &out->newcomer, failure) != 0 ||
        field_bool(object, "witness", &out->witness, failure) != 0)
        return -1;
    return field_text(object, "peer_url", false, out->peer_url, sizeof out->peer_url, failure);
}

int wire_read_answer(const cJSON *object, struct answer *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (wire_read_failure(object, failure) != 0) {
        const char *word = cJSON_GetStringValue(field_find(object, "refusal"));
        int found = word != NULL ? find_word(refusal_words, REFUSALS, word) : -1;
        if (failure->code != ERR_RM_REFUSED || found < 0)
            return -1;
        out->refusal = (enum refusal)found;
    }
    if (read_answer_fields(object, out, failure) != 0)
        return refuse_reply(failure);
    return 0;
}

/* ---- orders and results ---- */

static void write_sender(cJSON *object, const struct sender *sender)
{
    add_text(object, "tm", sender->tm);
    add_u64(object, "incarnation", sender->incarnation);
    add_hex(object, "instance", sender->instance.bytes, sizeof sender->instance.bytes);
    add_u64(object, "agent", sender->agent_incarnation);
}

int wire_read_sender(const cJSON *object, struct sender *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (field_tm(object, "tm", out->tm, failure) != 0 ||
        field_u64(object, "incarnation", true, &out->incarnation, failure) != 0 ||
        field_hex(object, "instance", out->instance.bytes, sizeof out->instance.bytes, failure) !=
            0)
        return -1;
    return field_u64(object, "agent", true, &out->agent_incarnation, failure);
}

/* A branch by its gid; what concerns a whole resource manager, by its name. */
static void write_whom(cJSON *item, unsigned needs, const struct branch_id *branch)
{
    if (needs & NEEDS_GID)
        add_gid(item, "gid", branch);
    else
        add_text_if_set(item, "rm", branch->rm);
}

static int read_whom(const cJSON *item, unsigned needs, struct branch_id *out,
                     struct failure *failure)
{
    if (needs & NEEDS_GID)
        return field_gid(item, "gid", true, out, failure);
    return field_rm(item, "rm", false, out->rm, failure);
}

static void add_u64_if(cJSON *item, const char *name, bool needed, uint64_t value)
{
    if (needed || value != 0)
        add_u64(item, name, value);
}

/* ---- ballots of three-phase commit ---- */

/* A ballot decides one way or the other. */
static const char *const value_words[] = {
    [OUTCOME_NONE] = "",
    [OUTCOME_IN_PROGRESS] = "",
    [OUTCOME_COMMITTED] = "committed",
    [OUTCOME_ROLLED_BACK] = "rolled-back",
};

/* What a message of a ballot says besides its transaction. */
enum ballot_field {
    HAS_NUMBER = 1,
    HAS_VALUE = 2,
    HAS_ACCEPTED = 4,
    HAS_PROMISED = 8,
    HAS_ROSTER = 16
};

static const unsigned ballot_fields[BALLOTS] = {
    [BALLOT_JOIN] = HAS_ROSTER,
    [BALLOT_PLEDGE] = HAS_NUMBER | HAS_ROSTER,
    [BALLOT_ASK_PROMISE] = HAS_NUMBER | HAS_ROSTER,
    [BALLOT_ASK_ACCEPT] = HAS_NUMBER | HAS_VALUE | HAS_ROSTER,
    [BALLOT_TELL] = HAS_VALUE | HAS_ROSTER,
    [BALLOT_PROMISED] = HAS_NUMBER | HAS_ACCEPTED,
    [BALLOT_ACCEPTED] = HAS_NUMBER,
    [BALLOT_OUTBID] = HAS_NUMBER | HAS_PROMISED,
    [BALLOT_DECIDED] = HAS_VALUE,
    [BALLOT_ENDED] = 0,
};

static void write_roster(cJSON *object, const struct roster *roster)
{
    cJSON *item = add(object, "acceptors", cJSON_CreateObject());
    add_rms(item, "agents", roster->agents, roster->count);
    add_bool(item, "tm", roster->tm);
}

/* Absent: none, of a transaction by two-phase commit. */
static int read_roster(const cJSON *object, bool needed, struct roster *out,
                       struct failure *failure)
{
    const cJSON *item = field_find(object, "acceptors");
    memset(out, 0, sizeof *out);
    if (item == NULL)
        return field_missing("acceptors", needed, failure);
    if (!cJSON_IsObject(item))
        return field_expected("acceptors", "an object", failure);
    if (field_bool(item, "tm", &out->tm, failure) != 0)
        return -1;
    if (field_rms(item, "agents", ACCEPTORS_MAX, out->agents, &out->count, failure) != 0)
        return -1;
    return out->count > 0 ? 0 : field_expected("agents", "at least one", failure);
}

static void write_ballot(cJSON *object, const struct ballot *ballot)
{
    assert(ballot->type > BALLOT_NONE && ballot->type < BALLOTS);
    unsigned has = ballot_fields[ballot->type];
    add_text(object, "is", ballot_words[ballot->type]);
    add_gtrid(object, "gtrid", &ballot->gtrid);
    if (has & HAS_NUMBER)
        add_u64(object, "number", ballot->number);
    if (has & HAS_PROMISED)
        add_u64(object, "promised", ballot->promised);
    if (has & HAS_VALUE)
        add_text(object, "value", value_words[ballot->value]);
    if ((has & HAS_ACCEPTED) && ballot->value != OUTCOME_NONE) {
        add_text(object, "value", value_words[ballot->value]);
        add_u64(object, "accepted", ballot->accepted);
    }
    if (has & HAS_ROSTER)
        write_roster(object, &ballot->roster);
}

static int read_ballot(const cJSON *object, struct ballot *out, struct failure *failure)
{
    int type, value;
    memset(out, 0, sizeof *out);
    if (field_word(object, "is", true, ballot_words, BALLOTS, &type, failure) != 0)
        return -1;
    unsigned has = ballot_fields[type];
    out->type = (enum ballot_type)type;
    if (field_gtrid(object, "gtrid", true, &out->gtrid, failure) != 0 ||
        field_u64(object, "number", has & HAS_NUMBER, &out->number, failure) != 0 ||
        field_u64(object, "promised", has & HAS_PROMISED, &out->promised, failure) != 0 ||
        field_word(object, "value", has & HAS_VALUE, value_words, COUNT_OF(value_words), &value,
                   failure) != 0)
        return -1;
    out->value = (enum outcome)value;
    bool accepted = (has & HAS_ACCEPTED) && out->value != OUTCOME_NONE;
    if (field_u64(object, "accepted", accepted, &out->accepted, failure) != 0)
        return -1;
    return read_roster(object, has & HAS_ROSTER, &out->roster, failure);
}

static int field_ballot(const cJSON *item, struct ballot *out, struct failure *failure)
{
    const cJSON *ballot = field_find(item, "ballot");
    if (!cJSON_IsObject(ballot))
        return field_expected("ballot", "an object", failure);
    return read_ballot(ballot, out, failure);
}

static void add_txn_number(cJSON *object, const struct txn_number *number)
{
    add_u64(object, "incarnation", number->incarnation);
    add_u64(object, "sequence", number->sequence);
}

static int read_txn_number(const cJSON *object, struct txn_number *out, struct failure *failure)
{
    if (field_u64(object, "incarnation", true, &out->incarnation, failure) != 0)
        return -1;
    return field_u64(object, "sequence", true, &out->sequence, failure);
}

static void write_forget(cJSON *item, const struct forget *forget)
{
    add_txn_number(item, &forget->upto);
    cJSON *list = add_list(item, "live");
    for (uint32_t i = 0; i < forget->live_count; i++)
        add_txn_number(add_element(list), &forget->live[i]);
}

static int read_forget(const cJSON *item, struct forget *out, struct failure *failure)
{
    const cJSON *live;
    if (read_txn_number(item, &out->upto, failure) != 0 ||
        field_list(item, "live", true, FORGET_LIVE_MAX, &live, failure) != 0)
        return -1;
    for (out->live_count = 0; live != NULL; live = live->next, out->live_count++)
        if (read_txn_number(live, &out->live[out->live_count], failure) != 0)
            return refuse_within(failure, "live", out->live_count);
    return 0;
}

char *wire_write_ballots(const char *rm, const struct ballot *ballots, uint32_t count,
                         size_t *length)
{
    assert(count <= BALLOTS_MAX);
    cJSON *object = new_request("ballots");
    add_text(object, "rm", rm);
    cJSON *list = add_list(object, "ballots");
    for (uint32_t i = 0; i < count; i++)
        write_ballot(add_element(list), &ballots[i]);
    return wire_print(object, length);
}

int wire_read_ballots(const cJSON *object, char rm[RM_NAME_BYTES], struct ballot *out,
                      uint32_t *count, struct failure *failure)
{
    const cJSON *item;
    *count = 0;
    if (field_rm(object, "rm", true, rm, failure) != 0 ||
        field_list(object, "ballots", true, BALLOTS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next, (*count)++)
        if (read_ballot(item, &out[*count], failure) != 0)
            return refuse_within(failure, "ballots", *count);
    return 0;
}

/* ---- orders and results ---- */

static void write_order(cJSON *item, const struct order *order)
{
    assert(order->type > ORDER_NONE && order->type < ORDERS);
    unsigned needs = order_needs[order->type];
    add_text(item, "do", order_words[order->type]);
    write_whom(item, needs, &order->branch);
    add_u64_if(item, "number", needs & NEEDS_NUMBER, order->number);
    add_u64_if(item, "agent", needs & NEEDS_AGENT, order->agent_incarnation);
    add_u64_if(item, "xid", needs & NEEDS_XID, order->xid);
    add_u64_if(item, "lsn", needs & NEEDS_LSN, order->lsn);
    add_u64_if(item, "begun", false, order->begun);
    if ((needs & NEEDS_TIMEOUT) || order->timeout_ms != 0)
        add_u32(item, "timeout_ms", order->timeout_ms);
    if ((needs & TAKES_ACCEPTORS) && order->ballot.roster.count > 0)
        write_roster(item, &order->ballot.roster);
    if (needs & NEEDS_BALLOT)
        write_ballot(add(item, "ballot", cJSON_CreateObject()), &order->ballot);
    if (needs & NEEDS_FORGET)
        write_forget(item, &order->forget);
}

static int read_order(const cJSON *item, struct order *out, struct failure *failure)
{
    int type;
    memset(out, 0, sizeof *out);
    if (field_word(item, "do", true, order_words, ORDERS, &type, failure) != 0)
        return -1;
    unsigned needs = order_needs[type];
    out->type = (enum order_type)type;
    if (read_whom(item, needs, &out->branch, failure) != 0 ||
        field_u64(item, "number", needs & NEEDS_NUMBER, &out->number, failure) != 0 ||
        field_u64(item, "agent", needs & NEEDS_AGENT, &out->agent_incarnation, failure) != 0 ||
        field_u64(item, "xid", needs & NEEDS_XID, &out->xid, failure) != 0 ||
        field_u64(item, "lsn", needs & NEEDS_LSN, &out->lsn, failure) != 0 ||
        field_u64(item, "begun", false, &out->begun, failure) != 0)
        return -1;
    if (field_u32(item, "timeout_ms", needs & NEEDS_TIMEOUT, &out->timeout_ms, failure) != 0)
        return -1;
    if (needs & NEEDS_BALLOT)
        return field_ballot(item, &out->ballot, failure);
    if (needs & NEEDS_FORGET)
        return read_forget(item, &out->forget, failure);
    return needs & TAKES_ACCEPTORS ? read_roster(item, false, &out->ballot.roster, failure) : 0;
}

char *wire_write_orders(const struct sender *sender, const struct order *orders, uint32_t count,
                        size_t *length)
{
    assert(count <= ORDERS_MAX);
    cJSON *object = new_request("orders");
    write_sender(object, sender);
    cJSON *list = add_list(object, "orders");
    for (uint32_t i = 0; i < count; i++)
        write_order(add_element(list), &orders[i]);
    add_u32(object, "wait_ms", ORDERS_WAIT_MS);
    return wire_print(object, length);
}

static uint32_t count_list(const cJSON *object, const char *name, int most)
{
    int count = cJSON_GetArraySize(field_find(object, name));
    return (uint32_t)(count < most ? count : most);
}

uint32_t wire_count_orders(const cJSON *object)
{
    return count_list(object, "orders", ORDERS_MAX);
}

uint32_t wire_count_results(const cJSON *object)
{
    return count_list(object, "results", RESULTS_MAX);
}

int wire_read_orders(const cJSON *object, struct order *out, uint32_t *count,
                     struct failure *failure)
{
    const cJSON *item;
    *count = 0;
    if (field_list(object, "orders", true, ORDERS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next, (*count)++)
        if (read_order(item, &out[*count], failure) != 0)
            return refuse_within(failure, "orders", *count);
    return 0;
}

char *wire_write_poll(const struct sender *sender, uint32_t wait_ms, size_t *length)
{
    cJSON *object = new_request("results");
    write_sender(object, sender);
    add_u32(object, "wait_ms", wait_ms);
    return wire_print(object, length);
}

char *wire_write_peers(const struct sender *sender, const struct peers *peers, size_t *length)
{
    cJSON *object = new_request("peers");
    write_sender(object, sender);
    add_hex(object, "key", peers->key, sizeof peers->key);
    cJSON *list = add_list(object, "peers");
    for (uint32_t i = 0; i < peers->count; i++) {
        cJSON *item = add_element(list);
        add_text(item, "rm", peers->list[i].rm);
        add_text(item, "url", peers->list[i].url);
    }
    return wire_print(object, length);
}

int wire_read_peers(const cJSON *object, struct peers *out, struct failure *failure)
{
    const cJSON *item;
    memset(out, 0, sizeof *out);
    if (field_hex(object, "key", out->key, sizeof out->key, failure) != 0 ||
        field_list(object, "peers", true, RMS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next, out->count++) {
        struct peer *peer = &out->list[out->count];
        if (field_rm(item, "rm", true, peer->rm, failure) != 0 ||
            field_text(item, "url", true, peer->url, sizeof peer->url, failure) != 0)
            return refuse_within(failure, "peers", out->count);
    }
    return 0;
}

static void write_result(cJSON *item, const struct result *result)
{
    assert(result->type > RESULT_NONE && result->type < RESULTS);
    unsigned needs = result_needs[result->type];
    add_text(item, "is", result_words[result->type]);
    write_whom(item, needs, &result->branch);
    add_u64_if(item, "number", needs & NEEDS_NUMBER, result->number);
    add_u64_if(item, "xid", needs & NEEDS_XID, result->xid);
    add_u64_if(item, "beat", false, result->beat);
    add_text_if_set(item, "actual", outcome_word(result->actual));
    add_text_if_set(item, "sqlstate", result->sqlstate);
    add_message_if_set(item, "message", result->message);
    add_message_if_set(item, "detail", result->detail);
    add_message_if_set(item, "hint", result->hint);
    if (needs & NEEDS_BALLOT)
        write_ballot(add(item, "ballot", cJSON_CreateObject()), &result->ballot);
}

static int read_result(const cJSON *item, struct result *out, struct failure *failure)
{
    int type, actual;
    memset(out, 0, sizeof *out);
    if (field_word(item, "is", true, result_words, RESULTS, &type, failure) != 0)
        return -1;
    unsigned needs = result_needs[type];
    out->type = (enum result_type)type;
    field_message(item, "message", out->message, sizeof out->message);
    field_message(item, "detail", out->detail, sizeof out->detail);
    field_message(item, "hint", out->hint, sizeof out->hint);
    if (read_whom(item, needs, &out->branch, failure) != 0 ||
        field_u64(item, "number", needs & NEEDS_NUMBER, &out->number, failure) != 0 ||
        field_u64(item, "xid", needs & NEEDS_XID, &out->xid, failure) != 0 ||
        field_u64(item, "beat", false, &out->beat, failure) != 0 ||
        field_word(item, "actual", needs & NEEDS_ACTUAL, outcome_words, COUNT_OF(outcome_words),
                   &actual, failure) != 0)
        return -1;
    out->actual = (enum outcome)actual;
    if ((needs & NEEDS_BALLOT) && field_ballot(item, &out->ballot, failure) != 0)
        return -1;
    return field_sqlstate(item, "sqlstate", out->sqlstate, failure);
}

static void write_health(cJSON *object, const struct agent_health *health)
{
    cJSON *item = add(object, "health", cJSON_CreateObject());
    add_u32(item, "prepared", health->prepared);
    add_u32(item, "oldest_s", health->oldest_s);
    add_u32(item, "slots_max", health->slots_max);
    add_u32(item, "sessions", health->sessions);
    add_message_if_set(item, "last_error", health->last_error);
}

static int read_health(const cJSON *object, struct agent_health *out, struct failure *failure)
{
    const cJSON *item = field_find(object, "health");
    memset(out, 0, sizeof *out);
    if (item == NULL)
        return 0;
    field_message(item, "last_error", out->last_error, sizeof out->last_error);
    if (field_u32(item, "prepared", false, &out->prepared, failure) != 0 ||
        field_u32(item, "oldest_s", false, &out->oldest_s, failure) != 0 ||
        field_u32(item, "slots_max", false, &out->slots_max, failure) != 0)
        return -1;
    return field_u32(item, "sessions", false, &out->sessions, failure);
}

char *wire_write_results(const struct result *results, uint32_t count, uint64_t agent_incarnation,
                         const struct agent_health *health, size_t *length)
{
    assert(count <= RESULTS_MAX);
    cJSON *object = wire_ok();
    add_u64(object, "agent", agent_incarnation);
    cJSON *list = add_list(object, "results");
    for (uint32_t i = 0; i < count; i++)
        write_result(add_element(list), &results[i]);
    if (health != NULL)
        write_health(object, health);
    return wire_print(object, length);
}

static int read_results(const cJSON *object, struct result *out, uint32_t *count,
                        struct failure *failure)
{
    const cJSON *item;
    uint64_t agent;
    if (field_u64(object, "agent", true, &agent, failure) != 0 ||
        field_list(object, "results", true, RESULTS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next, (*count)++) {
        if (read_result(item, &out[*count], failure) != 0)
            return refuse_within(failure, "results", *count);
        out[*count].agent_incarnation = agent;
    }
    return 0;
}

int wire_read_results(const cJSON *object, struct result *out, uint32_t *count,
                      struct agent_health *health, struct failure *failure)
{
    *count = 0;
    if (wire_read_failure(object, failure) != 0)
        return -1;
    if (read_results(object, out, count, failure) != 0 || read_health(object, health, failure) != 0)
        return refuse_reply(failure);
    return 0;
}
