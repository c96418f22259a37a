/*
 * common/wire.c - messages as a whole: text to a tree and back, and refusals.
 *
 * wire_scan() lets only well-formed JSON through to cJSON. What needs the decoded text (duplicate
 * keys, numbers that overflow) is checked on the tree behind it.
 *
 * Each message is described once, a reader and a writer side by side, in the file of its
 * subject: wire_request.c, wire_reply.c, wire_registration.c, wire_orders.c, wire_ballots.c.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"

#include "common/wire_fields.h"

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

int wire_refuse_within(struct failure *failure, const char *list, size_t index)
{
    struct failure inner = *failure;
    return refuse(failure, inner.code, "%s[%zu]: %s", list, index, inner.message);
}

int wire_refuse_reply(struct failure *failure)
{
    struct failure inner = *failure;
    return refuse(failure, ERR_INTERNAL, "the reply cannot be read: %s", inner.message);
}

/* ---- parsing ---- */

/* Quadratic in the fields of one object, of which there are few: see FIELDS_MAX. */
static int wire_check_keys(const cJSON *object, struct failure *failure)
{
    size_t count = 0;
    const cJSON *field;
    cJSON_ArrayForEach(field, object)
    {
        if (++count > FIELDS_MAX)
            return refuse(failure, ERR_INVALID_REQUEST, "an object has more than %d fields",
                          FIELDS_MAX);
        for (const cJSON *other = object->child; other != field; other = other->next)
            if (same_name(other->string, field->string))
                return refuse(failure, ERR_INVALID_REQUEST, "field \"%s\" is given twice",
                              field->string);
    }
    return 0;
}

/* Recursion is no deeper than NESTING_MAX, the scan has seen to that. */
static int wire_check_tree(const cJSON *item, struct failure *failure)
{
    if (cJSON_IsNumber(item) && !isfinite(item->valuedouble))
        return refuse(failure, ERR_INVALID_REQUEST, "%s%s%sa number is out of range",
                      item->string != NULL ? "field \"" : "",
                      item->string != NULL ? item->string : "", item->string != NULL ? "\": " : "");
    if (cJSON_IsObject(item) && wire_check_keys(item, failure) != 0)
        return -1;
    const cJSON *child;
    cJSON_ArrayForEach(child, item)
    {
        if (wire_check_tree(child, failure) != 0)
            return -1;
    }
    return 0;
}

cJSON *wire_parse(const char *bytes, size_t length, struct failure *failure)
{
    if (wire_scan(bytes, length, failure) != 0)
        return NULL;
    const char *stopped = bytes;
    cJSON *object = cJSON_ParseWithLengthOpts(bytes, length, &stopped, false);
    if (object == NULL) {
        refuse(failure, ERR_INVALID_REQUEST, "not valid JSON at byte %zu",
               (size_t)(stopped - bytes));
        return NULL;
    }
    if (wire_check_tree(object, failure) != 0) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

char *wire_print(cJSON *object, size_t *length)
{
    char *text = must_have(cJSON_PrintBuffered(object, 1024, false), "a message's text");
    cJSON_Delete(object);
    /* A database's or a system's words may be in whatever encoding. */
    text_mend(text);
    *length = strlen(text);
    return text;
}

const char *member_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
}

/* ---- arrays ---- */

void wire_sort_array(cJSON *array, int (*compare)(const void *left, const void *right))
{
    size_t count = (size_t)cJSON_GetArraySize(array);
    cJSON **items = must_alloc((count + 1) * sizeof *items, "a list to be sorted");
    for (size_t i = 0; i < count; i++)
        items[i] = cJSON_DetachItemFromArray(array, 0);
    qsort(items, count, sizeof *items, compare);
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(array, items[i]);
    free(items);
}

/* ---- acceptance and refusal ---- */

void wire_begin_request(struct json *json, const char *op)
{
    json_begin(json);
    json_put_text(json, "op", op);
}

void wire_begin_ok(struct json *json)
{
    json_begin(json);
    json_put_bool(json, "ok", true);
}

void wire_begin_failure(struct json *json, const struct failure *failure)
{
    json_begin(json);
    json_put_bool(json, "ok", false);
    json_open_object(json, "error");
    json_put_text(json, "code", error_word(failure->code));
    json_put_message_if_set(json, "message", failure->message);
    json_put_message_if_set(json, "detail", failure->detail);
    json_put_message_if_set(json, "hint", failure->hint);
    json_put_text_if_set(json, "sqlstate", failure->sqlstate);
    json_put_bool(json, "retryable", error_retryable(failure->code));
    json_close_object(json);
}

cJSON *wire_ok(void)
{
    struct json json;
    wire_begin_ok(&json);
    return json_end_tree(&json);
}

char *wire_write_failure(const struct failure *failure, size_t *length)
{
    struct json json;
    wire_begin_failure(&json, failure);
    return json_end(&json, length);
}

cJSON *wire_failure_tree(const struct failure *failure)
{
    struct json json;
    wire_begin_failure(&json, failure);
    return json_end_tree(&json);
}

/* A newer peer's code is told by its message. */
static enum error_code wire_read_error_code(const cJSON *error)
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
    failure->code = wire_read_error_code(error);
    field_message(error, "message", failure->message, sizeof failure->message);
    field_message(error, "detail", failure->detail, sizeof failure->detail);
    field_message(error, "hint", failure->hint, sizeof failure->hint);
    if (field_sqlstate(error, "sqlstate", failure->sqlstate, &ignored) != 0)
        failure->sqlstate[0] = '\0';
    return -1;
}
