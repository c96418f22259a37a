/*
 * common/wire_request.c - what applications and DBAs ask of a coordinator.
 */
#include <assert.h>
#include <string.h>

#include "common/wire_fields.h"

enum { WAIT_DEFAULT_MS = 10000, REQUEST_ID_LEAST = 16 };

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

/* ---- words ---- */

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

const char *protocol_word(enum protocol protocol)
{
    return protocol_words[protocol];
}

const char *state_word(enum shown_state state)
{
    assert(state < COUNT_OF(state_words));
    return state_words[state];
}

const char *isolation_word(enum isolation isolation)
{
    assert(isolation < COUNT_OF(isolation_words));
    return isolation_words[isolation];
}

/* ---- reading ---- */

static int wire_check_rms_differ(const struct request *request, struct failure *failure)
{
    for (uint32_t i = 0; i < request->rm_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(request->rms[i], request->rms[j]) == 0)
                return refuse(failure, ERR_INVALID_REQUEST, "field \"rms\": %s is named twice",
                              request->rms[i]);
    return 0;
}

static int wire_read_origin(const cJSON *object, struct origin *out, struct failure *failure)
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

static int wire_read_begin(const cJSON *object, struct request *out, struct failure *failure)
{
    int protocol;
    if (field_ms_between(object, "timeout", 1, 0, &out->timeout_ms, failure) != 0 ||
        field_word(object, "protocol", false, protocol_words, COUNT_OF(protocol_words), &protocol,
                   failure) != 0 ||
        wire_read_origin(object, &out->origin, failure) != 0 ||
        field_label(object, "key", 1, out->key, sizeof out->key, failure) != 0 ||
        field_label(object, "request_id", REQUEST_ID_LEAST, out->request_id, sizeof out->request_id,
                    failure) != 0 ||
        field_rms(object, "rms", BRANCHES_MAX, out->rms, &out->rm_count, failure) != 0)
        return -1;
    out->protocol = (enum protocol)protocol;
    return wire_check_rms_differ(out, failure);
}

static int wire_read_enlist(const cJSON *object, struct request *out, struct failure *failure)
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

static int wire_read_commit(const cJSON *object, struct request *out, struct failure *failure)
{
    int wait;
    if (field_word(object, "wait", false, wait_words, COUNT_OF(wait_words), &wait, failure) != 0 ||
        field_ms_between(object, "wait_ms", 0, WAIT_DEFAULT_MS, &out->wait_ms, failure) != 0)
        return -1;
    out->wait = (enum wait)wait;
    return 0;
}

static int wire_read_outcome(const cJSON *object, struct request *out, struct failure *failure)
{
    if (field_label(object, "key", 1, out->key, sizeof out->key, failure) != 0)
        return -1;
    if (out->has_gtrid == (out->key[0] != '\0'))
        return refuse(failure, ERR_INVALID_REQUEST, "expected either field \"gtrid\" or \"key\"");
    return 0;
}

static int wire_read_list(const cJSON *object, struct request *out, struct failure *failure)
{
    int state;
    if (field_word(object, "state", false, state_words, COUNT_OF(state_words), &state, failure) !=
        0)
        return -1;
    out->state = (enum shown_state)state;
    return 0;
}

/* Whatever a DBA decides, he says why; only a pause is no decision. */
static int wire_read_settling(const cJSON *object, struct request *out, struct failure *failure)
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

static bool wire_op_needs_gtrid(enum op op)
{
    return op == OP_ENLIST || op == OP_COMMIT || op == OP_ROLLBACK || op == OP_SHOW ||
           op == OP_RESOLVE || op == OP_FORGET;
}

static bool wire_op_takes_gtrid(enum op op)
{
    return wire_op_needs_gtrid(op) || op == OP_OUTCOME;
}

static int wire_read_op(const cJSON *object, enum op *out, struct failure *failure)
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
    if (wire_read_op(object, &out->op, failure) != 0)
        return -1;
    if (wire_op_takes_gtrid(out->op)) {
        if (field_gtrid(object, "gtrid", wire_op_needs_gtrid(out->op), &out->gtrid, failure) != 0)
            return -1;
        out->has_gtrid = field_find(object, "gtrid") != NULL;
    }
    switch (out->op) {
    case OP_BEGIN:
        return wire_read_begin(object, out, failure);
    case OP_ENLIST:
        return wire_read_enlist(object, out, failure);
    case OP_COMMIT:
        return wire_read_commit(object, out, failure);
    case OP_OUTCOME:
        return wire_read_outcome(object, out, failure);
    case OP_LIST:
        return wire_read_list(object, out, failure);
    case OP_RESOLVE:
    case OP_FORGET:
    case OP_WAIVE:
    case OP_RELEASE:
    case OP_RETIRE:
    case OP_PAUSE:
    case OP_RESUME:
        return wire_read_settling(object, out, failure);
    default:
        return 0;
    }
}

/* ---- writing ---- */

static void wire_write_begin(struct json *json, const struct request *request)
{
    if (request->timeout_ms != 0)
        json_put_u32(json, "timeout", request->timeout_ms);
    if (request->protocol != PROTOCOL_2PC)
        json_put_text(json, "protocol", protocol_words[request->protocol]);
    json_put_text_if_set(json, "label", request->origin.label);
    json_put_text_if_set(json, "application", request->origin.application);
    json_put_text_if_set(json, "traceparent", request->origin.traceparent);
    json_put_text_if_set(json, "key", request->key);
    json_put_text_if_set(json, "request_id", request->request_id);
    if (request->rm_count > 0)
        json_put_rms(json, "rms", request->rms, request->rm_count);
}

static void wire_write_enlist(struct json *json, const struct request *request)
{
    json_put_text(json, "rm", request->rm);
    json_put_text_if_set(json, "branch", request->branch);
    json_put_text_if_set(json, "role", request->role);
    if (request->read_only)
        json_put_bool(json, "read_only", true);
    json_put_text_if_set(json, "isolation", isolation_word(request->isolation));
}

static void wire_write_settling(struct json *json, const struct request *request)
{
    if (request->wanted != OUTCOME_NONE)
        json_put_text(json, "outcome", resolution_words[request->wanted]);
    json_put_text_if_set(json, "rm", request->rm);
    json_put_text_if_set(json, "branch", request->branch);
    json_put_message_if_set(json, "reason", request->why);
    if (request->force)
        json_put_bool(json, "force", true);
    if (request->dry_run)
        json_put_bool(json, "dry_run", true);
}

char *wire_write_request(const struct request *request, size_t *length)
{
    struct json json;
    wire_begin_request(&json, wire_op_name(request->op));
    if (wire_op_takes_gtrid(request->op) && request->has_gtrid)
        json_put_gtrid(&json, "gtrid", &request->gtrid);
    switch (request->op) {
    case OP_BEGIN:
        wire_write_begin(&json, request);
        break;
    case OP_ENLIST:
        wire_write_enlist(&json, request);
        break;
    case OP_COMMIT:
        json_put_text(&json, "wait", wait_words[request->wait]);
        json_put_u32(&json, "wait_ms", request->wait_ms);
        break;
    case OP_OUTCOME:
        json_put_text_if_set(&json, "key", request->key);
        break;
    case OP_LIST:
        json_put_text(&json, "state", state_word(request->state));
        break;
    case OP_RESOLVE:
    case OP_FORGET:
    case OP_WAIVE:
    case OP_RELEASE:
    case OP_RETIRE:
    case OP_PAUSE:
    case OP_RESUME:
        wire_write_settling(&json, request);
        break;
    default:
        break;
    }
    return json_end(&json, length);
}
