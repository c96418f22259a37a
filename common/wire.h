/*
 * common/wire.h - messages to and from JSON, strictly.
 *
 * One JSON object each way; 64-bit numbers travel as decimal strings, gids and gtrids in
 * their text form. Unknown fields are ignored; one that is missing, mistyped or out of
 * range is `invalid_request` and named. What cJSON lets pass is refused here: NUL, invalid
 * UTF-8, trailing bytes, non-finite numbers, duplicate keys, deep nesting; names are
 * matched case-sensitively.
 *
 *   application -> TM     {"op":"begin",...} or {"batch":[...]} (see struct request)
 *   application -> agent  {"op":"exec",...}
 *   TM -> agent           {"op":"register",...}  {"op":"orders",...}  {"op":"results",...}
 *   every reply           {"ok":true,...}  {"ok":false,"error":{"code",...,"retryable"}}
 */
#ifndef ASSENT_COMMON_WIRE_H
#define ASSENT_COMMON_WIRE_H

#include <cjson/cJSON.h>

#include "common/error.h"
#include "core/message/message.h"

enum {
    BATCH_MAX = 64,
    NESTING_MAX = 16,
    FIELDS_MAX = 128, /* of one object */
    ORDERS_MAX = 256,
    RESULTS_MAX = 256,
    ORDERS_WAIT_MS = 500, /* an agent may keep its answer to orders so long, for their results */
};

/* What a request is refused with. */
struct failure {
    enum error_code code;
    char sqlstate[SQLSTATE_BYTES];
    char message[REASON_BYTES];
    char detail[REASON_BYTES];
    char hint[REASON_BYTES];
};

/* Fills *failure and returns -1. */
int refuse(struct failure *failure, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Read one JSON object strictly. Returns it (end with cJSON_Delete) or NULL with *failure. */
cJSON *wire_parse(const char *bytes, size_t length, struct failure *failure);
/* Of an object that was read from these bytes: each number in it has what was written as its
 * valuestring, digit by digit. A double holds 15 of them for certain. */
void wire_keep_numbers(cJSON *object, const char *bytes, size_t length);

/* Case-sensitive look-ups of one field. Each returns 0 with *out set, also to its default when
 * the field is absent or null and `needed` is false; -1 with *failure naming the field. */
int field_text(const cJSON *object, const char *name, bool needed, char *out, size_t room,
               struct failure *failure);
int field_bool(const cJSON *object, const char *name, bool *out, struct failure *failure);
/* A decimal string (or an integral number up to 2^53). */
int field_u64(const cJSON *object, const char *name, bool needed, uint64_t *out,
              struct failure *failure);
/* A number of milliseconds, or a duration "30s"; 0 when it is absent. */
int field_ms(const cJSON *object, const char *name, uint32_t *out, struct failure *failure);

/* Overwrites every byte that is not part of a well-formed UTF-8 character by a question mark: a
 * database whose encoding is SQL_ASCII may hold anything. */
void text_mend(char *text);
/* Is it UTF-8, all of it? */
bool text_is_utf8(const char *text, size_t length);

/* Is this a traceparent as W3C Trace Context writes it? */
bool wire_is_traceparent(const char *text);

/* A member's text, unchecked; "" where there is none. For what was read strictly, or is only shown.
 */
const char *member_text(const cJSON *object, const char *name);

/* The text of "op", NULL when it is missing; its number, OP_NONE when it is not one of the TM's
 * (also for NULL). */
const char *wire_op_text(const cJSON *object);
enum op wire_op(const char *text);
const char *wire_op_name(enum op op);

/* One client request of the TM's. Returns 0 or -1 with *failure. client and caller are not set. */
int wire_read_request(const cJSON *object, struct request *out, struct failure *failure);
/* The inverse, for clients of our own and the simulator; malloc'ed, as all text written here. */
char *wire_write_request(const struct request *request, size_t *length);

/* What the TM adds to a reply about branches: by their position in reply->branches. */
struct branch_access {
    const char *agent;  /* URL */
    const char *ticket; /* session ticket, or NULL when there is none */
};
char *wire_write_reply(const struct reply *reply, const struct branch_access *access,
                       size_t *length);
/* Reads a reply of that op; *failure is set when it says ok:false (return -1). */
int wire_read_reply(const cJSON *object, enum op op, struct reply *out, struct failure *failure);
char *wire_write_failure(const struct failure *failure, size_t *length);
/* The same as a tree, for those who have a tree to give. */
cJSON *wire_failure_tree(const struct failure *failure);
/* {"ok":true}, to be added to. */
cJSON *wire_ok(void);
/* If the reply is ok:false fills *failure and returns -1. */
int wire_read_failure(const cJSON *object, struct failure *failure);

/* Sorts an array in place; compare is given pointers to its elements, as qsort() has it. */
void wire_sort_array(cJSON *array, int (*compare)(const void *left, const void *right));

/* Unformatted text, malloc'ed; deletes the object. */
char *wire_print(cJSON *object, size_t *length);

/* TM to agent. All writers return malloc'ed text; all readers 0 or -1 with *failure. */
char *wire_write_offer(const struct offer *offer, size_t *length);
int wire_read_offer(const cJSON *object, struct offer *out, struct failure *failure);
/* {"op":"adopt",...}, from assentctl; the caller deletes it. */
cJSON *wire_write_adoption(const struct adoption *adoption);
int wire_read_adoption(const cJSON *object, struct adoption *out, struct failure *failure);
/* An accepted answer, or a refusal (error code rm_refused, with "refusal":"other-log" ...). */
char *wire_write_answer(const struct answer *answer, size_t *length);
int wire_read_answer(const cJSON *object, struct answer *out, struct failure *failure);

/* Who speaks, in every message of the TM's after registration. */
struct sender {
    char tm[TM_NAME_BYTES];
    uint64_t incarnation;
    struct uuid instance;
    uint64_t agent_incarnation; /* that registered us: the agent refuses another */
};

/* What an agent tells of its database with each reply, for `agents` and `status`. */
struct agent_health {
    uint32_t prepared;  /* prepared transactions in the cluster */
    uint32_t oldest_s;  /* age of the oldest of them */
    uint32_t slots_max; /* max_prepared_transactions */
    uint32_t sessions;  /* open for exec */
    uint32_t sessions_max;
    uint32_t branches; /* under way at the agent, whoever began them */
    uint32_t branches_max;
    uint32_t connections; /* to its socket */
    uint32_t connections_max;
    char last_error[REASON_BYTES];
};

/* {"op":"peers",...,"key":"<hex>","peers":[{"rm":"ledger","url":"..."},...]}, answered by
 * {"ok":true} once the agent has stored it. */
char *wire_write_peers(const struct sender *sender, const struct peers *peers, size_t *length);
/* Sets only *out; the sender is read by wire_read_sender(). */
int wire_read_peers(const cJSON *object, struct peers *out, struct failure *failure);

/* count may be 0. {"op":"orders",...,"orders":[{"do":"prepare","gid":...},...],"wait_ms":500} */
char *wire_write_orders(const struct sender *sender, const struct order *orders, uint32_t count,
                        size_t *length);
/* How many there are to be read, at most ORDERS_MAX. */
uint32_t wire_count_orders(const cJSON *object);
/* out has room for wire_count_orders(). Sets only orders; the sender is read by wire_read_sender().
 */
int wire_read_orders(const cJSON *object, struct order *out, uint32_t *count,
                     struct failure *failure);
int wire_read_sender(const cJSON *object, struct sender *out, struct failure *failure);
/* {"op":"results",...,"wait_ms":1000}: parked by the agent until there is a result. */
char *wire_write_poll(const struct sender *sender, uint32_t wait_ms, size_t *length);

/* {"ok":true,"agent":"7","results":[{"is":"ready","gid":...},...],"health":{...}} */
char *wire_write_results(const struct result *results, uint32_t count, uint64_t agent_incarnation,
                         const struct agent_health *health, size_t *length);
/* How many there are to be read, at most RESULTS_MAX. */
uint32_t wire_count_results(const cJSON *object);
/* out has room for wire_count_results(). */
int wire_read_results(const cJSON *object, struct result *out, uint32_t *count,
                      struct agent_health *health, struct failure *failure);

/* Agent to agent: the ballots of three-phase commit. The reply is {"ok":true}. */
enum { BALLOTS_MAX = 64 };
char *wire_write_ballots(const char *rm, const struct ballot *ballots, uint32_t count,
                         size_t *length);
/* out has room for BALLOTS_MAX. */
int wire_read_ballots(const cJSON *object, char rm[RM_NAME_BYTES], struct ballot *out,
                      uint32_t *count, struct failure *failure);

const char *protocol_word(enum protocol protocol); /* "2pc", "3pc" */
const char *outcome_word(enum outcome outcome);    /* "committed", ... */
enum outcome outcome_from_word(const char *word);
const char *state_word(enum shown_state state);    /* "rolling-back", ... */
const char *refusal_word(enum refusal refusal);    /* "other-log", ... */
const char *refusal_meaning(enum refusal refusal); /* a sentence for people */
const char *
isolation_word(enum isolation isolation); /* "serializable", ... as in SQL; "" default */

#endif
