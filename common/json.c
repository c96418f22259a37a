/*
 * common/wire_write.c - the fields of a message that is being written.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire_fields.h"

cJSON *whole(cJSON *item)
{
    if (item == NULL)
        abort();
    return item;
}

cJSON *add(cJSON *object, const char *name, cJSON *item)
{
    cJSON_AddItemToObjectCS(object, name, whole(item));
    return item;
}

cJSON *add_list(cJSON *object, const char *name)
{
    return add(object, name, cJSON_CreateArray());
}

cJSON *add_element(cJSON *list)
{
    cJSON *item = whole(cJSON_CreateObject());
    cJSON_AddItemToArray(list, item);
    return item;
}

void add_text(cJSON *object, const char *name, const char *text)
{
    add(object, name, cJSON_CreateString(text));
}

void add_text_if_set(cJSON *object, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0')
        add_text(object, name, text);
}

void add_message_if_set(cJSON *object, const char *name, const char *text)
{
    char clean[REASON_BYTES];
    text_copy(clean, sizeof clean, text, strlen(text));
    text_mend(clean);
    add_text_if_set(object, name, clean);
}

void add_bool(cJSON *object, const char *name, bool value)
{
    add(object, name, cJSON_CreateBool(value));
}

void add_u32(cJSON *object, const char *name, uint32_t value)
{
    add(object, name, cJSON_CreateNumber(value));
}

void add_u64(cJSON *object, const char *name, uint64_t value)
{
    char text[21];
    u64_format(value, text);
    add_text(object, name, text);
}

void add_gtrid(cJSON *object, const char *name, const struct gtrid *gtrid)
{
    char text[GTRID_BYTES];
    gtrid_format(gtrid, text);
    add_text(object, name, text);
}

void add_gid(cJSON *object, const char *name, const struct branch_id *branch)
{
    char text[GID_BYTES];
    gid_format(branch, text);
    add_text(object, name, text);
}

void add_hex(cJSON *object, const char *name, const uint8_t *bytes, size_t count)
{
    char text[2 * SECRET_BYTES + 1];
    assert(count <= SECRET_BYTES);
    hex_write(bytes, count, text);
    add_text(object, name, text);
}

void add_rms(cJSON *object, const char *name, const char rms[][RM_NAME_BYTES], uint32_t count)
{
    cJSON *list = add_list(object, name);
    for (uint32_t i = 0; i < count; i++)
        cJSON_AddItemToArray(list, whole(cJSON_CreateString(rms[i])));
}

cJSON *new_request(const char *op)
{
    cJSON *object = whole(cJSON_CreateObject());
    add_text(object, "op", op);
    return object;
}

void add_u64_if(cJSON *item, const char *name, bool needed, uint64_t value)
{
    if (needed || value != 0)
        add_u64(item, name, value);
}
