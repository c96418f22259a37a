/*
 * common/json.h - JSON that is written straight as text.
 *
 * A message is a few hundred bytes that are thrown away once sent: to build a tree of it first
 * costs ten times what its text costs. So each field is appended as it is named. Whether a comma
 * is due shows in the last byte: none behind an opening bracket, one behind anything else.
 *
 * Names are literals that need no escaping. Out of memory within a message ends the process: half
 * of it would be a lie to whoever reads it, and recovery takes over.
 */
#ifndef ASSENT_COMMON_JSON_H
#define ASSENT_COMMON_JSON_H

#include <cjson/cJSON.h>

#include "core/message/message.h"

struct json {
    char *text; /* ends with a zero byte only once it is closed */
    size_t length, room;
};

/* Begins the one object that is the message. */
void json_begin(struct json *json);
/* Ends it; the caller frees the text. */
char *json_end(struct json *json, size_t *length);
/* Ends it as a tree, for those who have more to add; the caller deletes it. */
cJSON *json_end_tree(struct json *json);

/* What is opened here is closed by the caller. */
void json_open_object(struct json *json, const char *name);
void json_open_list(struct json *json, const char *name);
void json_open_element(struct json *json); /* an object in a list */
void json_open_row(struct json *json);     /* a list in a list */
void json_close_object(struct json *json);
void json_close_list(struct json *json);

/* Text that is known to be UTF-8. */
void json_put_text(struct json *json, const char *name, const char *text);
void json_put_text_if_set(struct json *json, const char *name, const char *text);
/* Words of a database's or a system's, in whatever encoding: what is no UTF-8 becomes '?', or
 * the receiver could not read the message that carries them. */
void json_put_message_if_set(struct json *json, const char *name, const char *text);
void json_put_bool(struct json *json, const char *name, bool value);
void json_put_u32(struct json *json, const char *name, uint32_t value);
/* 64 bits travel as text: a JSON number is a double to most who read it. */
void json_put_u64(struct json *json, const char *name, uint64_t value);
void json_put_u64_if(struct json *json, const char *name, bool needed, uint64_t value);
void json_put_gtrid(struct json *json, const char *name, const struct gtrid *gtrid);
void json_put_gid(struct json *json, const char *name, const struct branch_id *branch);
void json_put_hex(struct json *json, const char *name, const uint8_t *bytes, size_t count);
void json_put_rms(struct json *json, const char *name, const char rms[][RM_NAME_BYTES],
                  uint32_t count);
/* Elements of a list: a text, or null for NULL; one that is written already. */
void json_put_cell(struct json *json, const char *text);
void json_put_raw(struct json *json, const char *text, size_t length);

#endif
