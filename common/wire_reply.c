/*
 * common/wire_reply.c - what a coordinator answers to applications and DBAs.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/wire_fields.h"

static const char *const outcome_words[] = {
    [OUTCOME_NONE] = "",
    [OUTCOME_IN_PROGRESS] = "in-progress",
    [OUTCOME_COMMITTED] = "committed",
    [OUTCOME_ROLLED_BACK] = "rolled-back",
    [OUTCOME_MIXED] = "mixed",
    [OUTCOME_FORGOTTEN] = "forgotten",
};

/* ---- words ---- */

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

int field_outcome(const cJSON *object, const char *name, bool needed, enum outcome *out,
                  struct failure *failure)
{
    int word;
    int rc =
        field_word(object, name, needed, outcome_words, COUNT_OF(outcome_words), &word, failure);
    *out = (enum outcome)word;
    return rc;
}

/* ---- replies ---- */

static void wire_write_reason(struct json *json, const struct reason *reason)
{
    json_open_object(json, "reason");
    json_put_text_if_set(json, "rm", reason->rm);
    json_put_text_if_set(json, "sqlstate", reason->sqlstate);
    json_put_message_if_set(json, "message", reason->message);
    json_put_message_if_set(json, "detail", reason->detail);
    json_put_message_if_set(json, "hint", reason->hint);
    json_close_object(json);
}

static int wire_read_reason(const cJSON *object, struct reply *out, struct failure *failure)
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

/* Of a key that is not known: since when it would be, had it committed. */
static void wire_write_since(struct json *json, const struct reply *reply, struct failure *failure)
{
    char since[sizeof "2026-11-30T12:00:00Z"];
    struct tm utc;
    time_t seconds = (time_t)reply->remembered_since_s;
    if (!reply->has_remembered || seconds == 0 || gmtime_r(&seconds, &utc) == NULL ||
        strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        wire_begin_failure(json, failure);
        return;
    }
    snprintf(failure->detail, sizeof failure->detail,
             "keys that have committed since %s are remembered", since);
    wire_begin_failure(json, failure);
    json_put_text(json, "remembered_since", since);
}

static void wire_write_refused(struct json *json, const struct reply *reply)
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
    if (reply->error != ERR_KEY_IN_USE) {
        wire_write_since(json, reply, &failure);
        return;
    }
    char gtrid[GTRID_BYTES];
    gtrid_format(&reply->gtrid, gtrid);
    snprintf(failure.detail, sizeof failure.detail, "transaction %s is %s", gtrid,
             outcome_word(reply->outcome));
    wire_begin_failure(json, &failure);
    json_put_text(json, "gtrid", gtrid);
    json_put_text_if_set(json, "outcome", outcome_word(reply->outcome));
}

static void wire_write_branch(struct json *json, const struct gtrid *gtrid,
                              const struct enlisted *enlisted, const struct branch_access *access)
{
    struct branch_id branch = {.gtrid = *gtrid};
    char bqual[BQUAL_BYTES];
    memcpy(branch.rm, enlisted->rm, sizeof branch.rm);
    memcpy(branch.branch, enlisted->branch, sizeof branch.branch);
    bqual_format(&branch, bqual);

    json_put_text(json, "rm", enlisted->rm);
    json_put_text(json, "branch", enlisted->branch);
    json_put_gid(json, "gid", &branch);
    json_open_object(json, "xid");
    json_put_u64(json, "format_id", XID_FORMAT_ID);
    json_put_gtrid(json, "gtrid", gtrid);
    json_put_text(json, "bqual", bqual);
    json_close_object(json);
    if (access != NULL) {
        json_put_text_if_set(json, "agent", access->agent);
        json_put_text_if_set(json, "session", access->ticket);
    }
}

static void wire_write_branches(struct json *json, const struct reply *reply,
                                const struct branch_access *access)
{
    json_open_list(json, "branches");
    for (uint32_t i = 0; i < reply->branch_count; i++) {
        json_open_element(json);
        wire_write_branch(json, &reply->gtrid, &reply->branches[i],
                          access != NULL ? &access[i] : NULL);
        json_close_object(json);
    }
    json_close_list(json);
}

static int wire_read_branch(const cJSON *item, struct reply *out, struct failure *failure)
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

static int wire_read_branches(const cJSON *object, struct reply *out, struct failure *failure)
{
    const cJSON *item;
    if (field_list(object, "branches", false, BRANCHES_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next)
        if (wire_read_branch(item, out, failure) != 0)
            return wire_refuse_within(failure, "branches", out->branch_count - 1);
    return 0;
}

static void wire_write_ending(struct json *json, const struct reply *reply)
{
    json_put_text(json, "outcome", outcome_word(reply->outcome));
    bool of_dba = reply->op == OP_RESOLVE || reply->op == OP_FORGET;
    if ((reply->op == OP_OUTCOME || of_dba) && reply->gtrid.tm[0] != '\0')
        json_put_gtrid(json, "gtrid", &reply->gtrid);
    if (reply->op == OP_COMMIT || of_dba) {
        json_put_bool(json, "applied", reply->applied);
        json_put_rms(json, "pending", reply->pending, reply->pending_count);
    }
    if (reply->has_reason)
        wire_write_reason(json, &reply->reason);
}

static int wire_read_ending(const cJSON *object, struct reply *out, struct failure *failure)
{
    if (field_outcome(object, "outcome", true, &out->outcome, failure) != 0 ||
        field_gtrid(object, "gtrid", false, &out->gtrid, failure) != 0 ||
        field_bool(object, "applied", &out->applied, failure) != 0 ||
        field_rms(object, "pending", BRANCHES_MAX, out->pending, &out->pending_count, failure) != 0)
        return -1;
    return wire_read_reason(object, out, failure);
}

static void wire_write_accepted(struct json *json, const struct reply *reply,
                                const struct branch_access *access)
{
    wire_begin_ok(json);
    switch (reply->op) {
    case OP_BEGIN:
        json_put_gtrid(json, "gtrid", &reply->gtrid);
        json_put_u32(json, "deadline_ms", reply->left_ms);
        wire_write_branches(json, reply, access);
        break;
    case OP_ENLIST:
        assert(reply->branch_count == 1);
        json_open_object(json, "branch");
        wire_write_branch(json, &reply->gtrid, &reply->branches[0], access);
        json_close_object(json);
        break;
    case OP_COMMIT:
    case OP_ROLLBACK:
    case OP_OUTCOME:
    case OP_RESOLVE:
    case OP_FORGET:
        wire_write_ending(json, reply);
        break;
    case OP_PAUSE:
    case OP_RETIRE:
        json_put_u32(json, "running", reply->running);
        break;
    default:
        break;
    }
}

char *wire_write_reply(const struct reply *reply, const struct branch_access *access,
                       size_t *length)
{
    struct json json;
    if (reply->error == ERR_NONE)
        wire_write_accepted(&json, reply, access);
    else
        wire_write_refused(&json, reply);
    return json_end(&json, length);
}

/* A refusal to begin under a key tells which transaction has it. */
static void wire_read_refused(const cJSON *object, struct reply *out, enum error_code code)
{
    struct failure ignored;
    out->error = code;
    if (code != ERR_KEY_IN_USE)
        return;
    if (field_gtrid(object, "gtrid", false, &out->gtrid, &ignored) != 0)
        memset(&out->gtrid, 0, sizeof out->gtrid);
    (void)field_outcome(object, "outcome", false, &out->outcome, &ignored);
}

static int wire_read_reply_of(const cJSON *object, struct reply *out, struct failure *failure)
{
    switch (out->op) {
    case OP_BEGIN:
        if (wire_read_branches(object, out, failure) != 0 ||
            field_u32(object, "deadline_ms", true, &out->left_ms, failure) != 0)
            return -1;
        return field_gtrid(object, "gtrid", true, &out->gtrid, failure);
    case OP_ENLIST: {
        const cJSON *branch = field_find(object, "branch");
        if (branch == NULL)
            return field_missing("branch", true, failure);
        return wire_read_branch(branch, out, failure);
    }
    case OP_COMMIT:
    case OP_ROLLBACK:
    case OP_OUTCOME:
    case OP_RESOLVE:
    case OP_FORGET:
        return wire_read_ending(object, out, failure);
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
        wire_read_refused(object, out, failure->code);
        return -1;
    }
    if (wire_read_reply_of(object, out, failure) != 0)
        return wire_refuse_reply(failure);
    return 0;
}
