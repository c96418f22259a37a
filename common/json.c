/*
 * common/json.c - JSON that is written straight as text.
 */
#include "common/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/wire.h"

/* Most messages fit into the first room, and it is still a small one for glibc, which tidies up
 * before it gives a large one. */
enum { ROOM_FIRST = 1000, U64_BYTES = 21 };

/* ---- bytes ---- */

/* Room for so many bytes more. */
static char *json_reserve(struct json *json, size_t bytes)
{
    if (json->room - json->length < bytes) {
        size_t room = json->room;
        while (room - json->length < bytes)
            room *= 2;
        json->text = must_grow(json->text, room, "a message's text");
        json->room = room;
    }
    return json->text + json->length;
}

static void json_append(struct json *json, const char *bytes, size_t count)
{
    memcpy(json_reserve(json, count), bytes, count);
    json->length += count;
}

static void json_append_byte(struct json *json, char byte)
{
    *json_reserve(json, 1) = byte;
    json->length++;
}

/* ---- the shape ---- */

static void json_separate(struct json *json)
{
    char last = json->text[json->length - 1];
    if (last != '{' && last != '[')
        json_append_byte(json, ',');
}

static void json_append_name(struct json *json, const char *name)
{
    size_t length = strlen(name);
    json_separate(json);
    char *at = json_reserve(json, length + strlen("\"\":"));
    at[0] = '"';
    memcpy(at + 1, name, length);
    memcpy(at + 1 + length, "\":", 2);
    json->length += length + 3;
}

void json_begin(struct json *json)
{
    *json = (struct json){.text = must_grow(NULL, ROOM_FIRST, "a message"), .room = ROOM_FIRST};
    json_append_byte(json, '{');
}

char *json_end(struct json *json, size_t *length)
{
    json_append(json, "}", 2);
    *length = json->length - 1;
    return json->text;
}

cJSON *json_end_tree(struct json *json)
{
    size_t length;
    char *text = json_end(json, &length);
    cJSON *tree = must_have(cJSON_ParseWithLength(text, length), "a message's tree");
    free(text);
    return tree;
}

void json_open_object(struct json *json, const char *name)
{
    json_append_name(json, name);
    json_append_byte(json, '{');
}

void json_open_list(struct json *json, const char *name)
{
    json_append_name(json, name);
    json_append_byte(json, '[');
}

void json_open_element(struct json *json)
{
    json_separate(json);
    json_append_byte(json, '{');
}

void json_open_row(struct json *json)
{
    json_separate(json);
    json_append_byte(json, '[');
}

void json_close_object(struct json *json)
{
    json_append_byte(json, '}');
}

void json_close_list(struct json *json)
{
    json_append_byte(json, ']');
}

/* ---- texts ---- */

/* The letter behind the backslash, 'u' for a code, or 0: the byte stands for itself. */
static char json_escape(unsigned char byte)
{
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    if (byte == '"' || byte == '\\')
        return (char)byte;
    if (byte >= 0x20)
        return '\0';
    return letters[byte] != '\0' ? letters[byte] : 'u';
}

static void json_append_escaped(struct json *json, unsigned char byte, char escape)
{
    static const char digits[] = "0123456789abcdef";
    const char plain[] = {'\\', escape};
    json_append(json, plain, sizeof plain);
    if (escape == 'u') {
        const char code[] = {'0', '0', digits[byte >> 4], digits[byte & 0xf]};
        json_append(json, code, sizeof code);
    }
}

/* Most texts have nothing to escape and are copied in one piece. */
static void json_append_text(struct json *json, const char *text)
{
    json_append_byte(json, '"');
    for (;;) {
        size_t plain = 0;
        while (text[plain] != '\0' && json_escape((unsigned char)text[plain]) == '\0')
            plain++;
        json_append(json, text, plain);
        text += plain;
        if (*text == '\0')
            break;
        json_append_escaped(json, (unsigned char)*text, json_escape((unsigned char)*text));
        text++;
    }
    json_append_byte(json, '"');
}

void json_put_text(struct json *json, const char *name, const char *text)
{
    json_append_name(json, name);
    json_append_text(json, text);
}

void json_put_text_if_set(struct json *json, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0')
        json_put_text(json, name, text);
}

void json_put_message_if_set(struct json *json, const char *name, const char *text)
{
    char clean[REASON_BYTES];
    if (text[0] == '\0')
        return;
    text_copy(clean, sizeof clean, text, strlen(text));
    text_mend(clean);
    json_put_text_if_set(json, name, clean);
}

/* ---- other values ---- */

void json_put_bool(struct json *json, const char *name, bool value)
{
    json_append_name(json, name);
    json_append(json, value ? "true" : "false", value ? strlen("true") : strlen("false"));
}

void json_put_u32(struct json *json, const char *name, uint32_t value)
{
    char text[U64_BYTES];
    json_append_name(json, name);
    json_append(json, text, u64_format(value, text));
}

void json_put_u64(struct json *json, const char *name, uint64_t value)
{
    char text[U64_BYTES];
    u64_format(value, text);
    json_put_text(json, name, text);
}

void json_put_u64_if(struct json *json, const char *name, bool needed, uint64_t value)
{
    if (needed || value != 0)
        json_put_u64(json, name, value);
}

void json_put_gtrid(struct json *json, const char *name, const struct gtrid *gtrid)
{
    char text[GTRID_BYTES];
    gtrid_format(gtrid, text);
    json_put_text(json, name, text);
}

void json_put_gid(struct json *json, const char *name, const struct branch_id *branch)
{
    char text[GID_BYTES];
    gid_format(branch, text);
    json_put_text(json, name, text);
}

void json_put_hex(struct json *json, const char *name, const uint8_t *bytes, size_t count)
{
    char text[2 * SECRET_BYTES + 1];
    assert(count <= SECRET_BYTES);
    hex_write(bytes, count, text);
    json_put_text(json, name, text);
}

void json_put_rms(struct json *json, const char *name, const char rms[][RM_NAME_BYTES],
                  uint32_t count)
{
    json_open_list(json, name);
    for (uint32_t i = 0; i < count; i++)
        json_put_cell(json, rms[i]);
    json_close_list(json);
}

void json_put_cell(struct json *json, const char *text)
{
    json_separate(json);
    if (text != NULL)
        json_append_text(json, text);
    else
        json_append(json, "null", strlen("null"));
}

void json_put_raw(struct json *json, const char *text, size_t length)
{
    json_separate(json);
    json_append(json, text, length);
}
