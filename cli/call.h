/*
 * cli/call.h - one question to the coordinator or an agent, and how its failure is told.
 */
#ifndef ASSENT_CLI_CALL_H
#define ASSENT_CLI_CALL_H

#include "cli/cli.h"

enum { CALL_WAIT_MS = 10000 }; /* for an answer that needs no waiting for databases */

/* A request of this operation, to be filled in. */
cJSON *call_request(const char *op);

/* Ask the coordinator, at each of its URLs in order until one answers within wait_ms. Deletes
 * request. Returns EXIT_DONE with *reply, the caller's; else the exit code, with the failure told:
 * `error:`, `detail:` and `hint:` on stderr, with --json the refusal on stdout. */
int call_coordinator(const struct cli *cli, cJSON *request, uint32_t wait_ms, cJSON **reply);
/* The same of one agent. */
int call_agent(const struct cli *cli, const char *url, cJSON *request, uint32_t wait_ms,
               cJSON **reply);

/* The same without a word on stderr: returns EXIT_DONE, or the exit code with *failure. */
int call_quietly(const char *urls, cJSON *request, uint32_t wait_ms, cJSON **reply,
                 struct failure *failure);

/* "name: text" on stderr, behind what stdout was given; nothing when text is empty. */
void tell(const char *name, const char *text);
/* "error: 23514: new row ...", as a verbose psql has it. */
void tell_error_message(const char *sqlstate, const char *message);

/* The object on one line of stdout. */
void print_json(const cJSON *object);

/* A field's text, or a number's; "" when there is neither. Numbers are written to scratch. */
enum { SCRATCH_BYTES = 32 };
const char *json_text(const cJSON *object, const char *name, char scratch[SCRATCH_BYTES]);
/* A field's number, however it travels; 0 when there is none. */
uint64_t json_number(const cJSON *object, const char *name);
/* A field that is an array or object, or NULL. */
const cJSON *json_child(const cJSON *object, const char *name);
/* A field of hex digits; zeros where it is missing or short. */
void json_uuid(const cJSON *object, const char *name, struct uuid *out);
/* What an agent's database keeps of this coordinator, in its answer to `prepared`; NULL: nothing.
 */
const cJSON *coordinator_row(const cJSON *answer, const char *tm);
/* The first element of an array (the next is its ->next), or NULL; array may be NULL. */
const cJSON *json_first(const cJSON *array);

#endif
