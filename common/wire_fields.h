/*
 * common/wire_fields.h - what the readers and writers of messages share, and nobody else.
 *
 * As in wire.h, what reads returns 0, or -1 with *failure naming the field; a field that is
 * absent or null is refused only if it is `needed`.
 */
#ifndef ASSENT_COMMON_WIRE_FIELDS_H
#define ASSENT_COMMON_WIRE_FIELDS_H

#include <string.h>

#include "common/json.h"
#include "common/wire.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* One object with nothing but blanks around it, every bracket of it matched. */
int wire_scan(const char *bytes, size_t length, struct failure *failure);

static inline bool is_digit(unsigned char byte)
{
    return byte >= '0' && byte <= '9';
}

/* -1 if it is none. */
static inline int hex_digit(unsigned char byte)
{
    if (is_digit(byte))
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static inline bool same_name(const char *a, const char *b)
{
    return a[0] == b[0] && strcmp(a, b) == 0;
}

/* Says in which element of a list the failure lies. */
int wire_refuse_within(struct failure *failure, const char *list, size_t index);
/* What cannot be read here is the other side's fault and no fault of the caller's request. */
int wire_refuse_reply(struct failure *failure);

/* ---- reading ---- */

/* The field's value, NULL when it is absent or null. */
const cJSON *field_find(const cJSON *object, const char *name);
int field_missing(const char *name, bool needed, struct failure *failure);
int field_expected(const char *name, const char *what, struct failure *failure);

int field_u32(const cJSON *object, const char *name, bool needed, uint32_t *out,
              struct failure *failure);
/* A duration between bounds that are not the type's own. */
int field_ms_between(const cJSON *object, const char *name, uint32_t least, uint32_t preset,
                     uint32_t *out, struct failure *failure);
/* The index of a text among words, where "" is none; -1 if it is not there. */
int find_word(const char *const *words, size_t count, const char *text);
/* The same of a field's text; 0 when it is absent. */
int field_word(const cJSON *object, const char *name, bool needed, const char *const *words,
               size_t count, int *out, struct failure *failure);
int field_outcome(const cJSON *object, const char *name, bool needed, enum outcome *out,
                  struct failure *failure);
/* A text of the application's own choice: least bytes or more, in one printable line. */
int field_label(const cJSON *object, const char *name, size_t least, char *out, size_t room,
                struct failure *failure);
int field_tm(const cJSON *object, const char *name, char out[TM_NAME_BYTES],
             struct failure *failure);
int field_rm(const cJSON *object, const char *name, bool needed, char out[RM_NAME_BYTES],
             struct failure *failure);
int field_branch(const cJSON *object, const char *name, char out[BRANCH_NAME_BYTES],
                 struct failure *failure);
int field_gtrid(const cJSON *object, const char *name, bool needed, struct gtrid *out,
                struct failure *failure);
int field_gid(const cJSON *object, const char *name, bool needed, struct branch_id *out,
              struct failure *failure);
int field_sqlstate(const cJSON *object, const char *name, char out[SQLSTATE_BYTES],
                   struct failure *failure);
/* A message for people is worth having even if it has to be cut. */
void field_message(const cJSON *object, const char *name, char *out, size_t room);
int field_hex(const cJSON *object, const char *name, uint8_t *out, size_t bytes,
              struct failure *failure);
/* An absent list is an empty one unless it is needed; *out is its first element or NULL. */
int field_list(const cJSON *object, const char *name, bool needed, size_t most, const cJSON **out,
               struct failure *failure);
int field_rms(const cJSON *object, const char *name, size_t most, char out[][RM_NAME_BYTES],
              uint32_t *count, struct failure *failure);

/* ---- writing ---- */

/* Each begins a message to which more may be added. */
void wire_begin_request(struct json *json, const char *op);
void wire_begin_ok(struct json *json);
void wire_begin_failure(struct json *json, const struct failure *failure);

/* ---- parts of several messages ---- */

void wire_write_sender(struct json *json, const struct sender *sender);
/* Who decides by three-phase commit; absent: nobody, of a transaction by two-phase commit. */
void wire_write_roster(struct json *json, const struct roster *roster);
int wire_read_roster(const cJSON *object, bool needed, struct roster *out, struct failure *failure);
void wire_write_named_ballot(struct json *json, const char *name, const struct ballot *ballot);
int field_ballot(const cJSON *item, struct ballot *out, struct failure *failure);

#endif
