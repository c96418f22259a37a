/*
 * common/wire_fields.c - the fields of a message, read strictly and one by one.
 */
#include "common/wire_fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/conf.h"

enum { DAY_MS = 24 * 60 * 60 * 1000 };

/* Names mostly differ in their first letter, and most fields that are looked for are not there. */
const cJSON *field_find(const cJSON *object, const char *name)
{
    if (!cJSON_IsObject(object))
        return NULL;
    const cJSON *item = object->child;
    while (item != NULL && !same_name(item->string, name))
        item = item->next;
    return cJSON_IsNull(item) ? NULL : item;
}

int field_missing(const char *name, bool needed, struct failure *failure)
{
    return needed ? refuse(failure, ERR_INVALID_REQUEST, "field \"%s\" is missing", name) : 0;
}

int field_expected(const char *name, const char *what, struct failure *failure)
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
static bool field_is_integral(const cJSON *item, uint64_t most)
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
    if (cJSON_IsNumber(item) && field_is_integral(item, UINT64_C(1) << 53)) {
        *out = (uint64_t)item->valuedouble;
        return 0;
    }
    *out = 0;
    return field_expected(name, "a decimal number of 64 bits, as text", failure);
}

int field_u32(const cJSON *object, const char *name, bool needed, uint32_t *out,
              struct failure *failure)
{
    const cJSON *item = field_find(object, name);
    *out = 0;
    if (item == NULL)
        return field_missing(name, needed, failure);
    if (!cJSON_IsNumber(item) || !field_is_integral(item, UINT32_MAX))
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
    if (cJSON_IsString(item) && conf_parse_duration(item->valuestring, out))
        return 0;
    if (cJSON_IsNumber(item) && field_is_integral(item, UINT32_MAX)) {
        *out = (uint32_t)item->valuedouble;
        return 0;
    }
    *out = 0;
    return field_expected(name, "milliseconds, or a duration such as \"500ms\" or \"30s\"",
                          failure);
}

int field_ms_between(const cJSON *object, const char *name, uint32_t least, uint32_t preset,
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

int find_word(const char *const *words, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (words[i][0] != '\0' && strcmp(words[i], text) == 0)
            return (int)i;
    return -1;
}

int field_word(const cJSON *object, const char *name, bool needed, const char *const *words,
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

static bool field_has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

int field_label(const cJSON *object, const char *name, size_t least, char *out, size_t room,
                struct failure *failure)
{
    if (field_text(object, name, false, out, room, failure) != 0)
        return -1;
    if (field_find(object, name) == NULL)
        return 0;
    if (strlen(out) < least || field_has_control(out))
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

int field_tm(const cJSON *object, const char *name, char out[TM_NAME_BYTES],
             struct failure *failure)
{
    if (field_text(object, name, true, out, TM_NAME_BYTES, failure) != 0)
        return -1;
    if (!tm_name_valid(out, strlen(out)))
        return field_expected(name, "a coordinator's name, [a-z][a-z0-9-]{0,30}", failure);
    return 0;
}

int field_rm(const cJSON *object, const char *name, bool needed, char out[RM_NAME_BYTES],
             struct failure *failure)
{
    if (field_text(object, name, needed, out, RM_NAME_BYTES, failure) != 0)
        return -1;
    if (field_find(object, name) != NULL && !rm_name_valid(out, strlen(out)))
        return field_expected(name, "a resource manager's name, [a-z][a-z0-9-]{0,30}", failure);
    return 0;
}

int field_branch(const cJSON *object, const char *name, char out[BRANCH_NAME_BYTES],
                 struct failure *failure)
{
    if (field_text(object, name, false, out, BRANCH_NAME_BYTES, failure) != 0)
        return -1;
    if (out[0] != '\0' && !branch_name_valid(out, strlen(out)))
        return field_expected(name, "a branch name, [a-z0-9-]{1,24}", failure);
    return 0;
}

int field_gtrid(const cJSON *object, const char *name, bool needed, struct gtrid *out,
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

int field_gid(const cJSON *object, const char *name, bool needed, struct branch_id *out,
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

int field_sqlstate(const cJSON *object, const char *name, char out[SQLSTATE_BYTES],
                   struct failure *failure)
{
    if (field_text(object, name, false, out, SQLSTATE_BYTES, failure) != 0)
        return -1;
    for (size_t i = 0; out[0] != '\0' && i < SQLSTATE_BYTES - 1; i++)
        if (!is_digit((unsigned char)out[i]) && (out[i] < 'A' || out[i] > 'Z'))
            return field_expected(name, "an SQLSTATE, five digits or capitals", failure);
    return 0;
}

void field_message(const cJSON *object, const char *name, char *out, size_t room)
{
    const cJSON *item = field_find(object, name);
    const char *text = cJSON_IsString(item) ? item->valuestring : "";
    text_copy(out, room, text, strlen(text));
}

int field_hex(const cJSON *object, const char *name, uint8_t *out, size_t bytes,
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

int field_list(const cJSON *object, const char *name, bool needed, size_t most, const cJSON **out,
               struct failure *failure)
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

int field_rms(const cJSON *object, const char *name, size_t most, char out[][RM_NAME_BYTES],
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
