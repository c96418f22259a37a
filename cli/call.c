/*
 * cli/call.c - one question to the coordinator or an agent, and how its failure is told.
 *
 * Every operation is safe to ask twice (begin carries a request_id), so a coordinator that
 * does not answer at one address is simply asked at the next.
 */
#include "cli/call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/address.h"
#include "cli/table.h"
#include "common/must.h"
#include "common/net.h"

cJSON *call_request(const char *op)
{
    cJSON *request = cJSON_CreateObject();

    cJSON_AddStringToObject(request, "op", op);
    return request;
}

void print_json(const cJSON *object)
{
    char *text = cJSON_PrintUnformatted(object);

    puts(text != NULL ? text : "{}");
    cJSON_free(text);
}

void tell(const char *name, const char *text)
{
    if (text[0] == '\0')
        return;
    fflush(stdout);
    fprintf(stderr, "%s: ", name);
    text_put(stderr, text);
    fputc('\n', stderr);
}

void tell_error_message(const char *sqlstate, const char *message)
{
    char text[SQLSTATE_BYTES + REASON_BYTES + 2];

    snprintf(text, sizeof text, "%.5s%s%s", sqlstate, sqlstate[0] != '\0' ? ": " : "", message);
    tell("error", text);
}

const char *json_text(const cJSON *object, const char *name, char scratch[SCRATCH_BYTES])
{
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(object, name);

    if (cJSON_IsString(field))
        return field->valuestring;
    if (!cJSON_IsNumber(field))
        return "";
    snprintf(scratch, SCRATCH_BYTES, "%.0f", field->valuedouble);
    return scratch;
}

uint64_t json_number(const cJSON *object, const char *name)
{
    char scratch[SCRATCH_BYTES];

    return strtoull(json_text(object, name, scratch), NULL, 10);
}

const cJSON *json_child(const cJSON *object, const char *name)
{
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsArray(field) || cJSON_IsObject(field) ? field : NULL;
}

const cJSON *json_first(const cJSON *array)
{
    return array != NULL ? array->child : NULL;
}

static int exit_code_of(enum error_code code)
{
    switch (code) {
    case ERR_UNREACHABLE:
        return EXIT_UNREACHABLE;
    case ERR_TIMEOUT:
        return EXIT_IN_PROGRESS;
    default:
        return EXIT_REFUSED;
    }
}

/* `error:`, `detail:` and `hint:` on stderr, and with --json the refusal on stdout: as it came, or
 * our own when nothing came. Returns the exit code that fits. */
static int tell_failure(const struct cli *cli, const struct failure *failure, const cJSON *refusal)
{
    const char *message = failure->message;

    if (cli->json) {
        cJSON *own = refusal == NULL ? wire_failure_tree(failure) : NULL;
        print_json(own != NULL ? own : refusal);
        cJSON_Delete(own);
    }
    tell_error_message(failure->sqlstate,
                       message[0] != '\0' ? message : error_meaning(failure->code));
    tell("detail", failure->detail);
    tell("hint", failure->hint);
    return exit_code_of(failure->code);
}

/* One question at one address. Returns EXIT_DONE with *text, malloc'ed, or fills *failure. */
static int ask(const char *url, const char *bytes, size_t length, uint32_t wait_ms, char **text,
               size_t *text_length, struct failure *failure)
{
    struct loop *loop = NULL;
    struct net_link *link = NULL;
    struct error error = {0};

    if (loop_create(&loop, &error) != 0 || net_link_open(&link, loop, url, 1, &error) != 0) {
        loop_free(loop);
        refuse(failure, ERR_UNREACHABLE, "%s", error.message);
        snprintf(failure->hint, sizeof failure->hint, "%s", error.hint);
        return EXIT_UNREACHABLE;
    }
    enum net_result result = net_call_wait(link, bytes, length, wait_ms, text, text_length);
    net_link_close(link);
    loop_free(loop);

    switch (result) {
    case NET_OK:
        return EXIT_DONE;
    case NET_TIMEOUT:
        refuse(failure, ERR_TIMEOUT, "no answer from %s within %" PRIu32 " ms", url, wait_ms);
        return EXIT_IN_PROGRESS;
    case NET_UNREACHABLE:
        refuse(failure, ERR_UNREACHABLE, "nobody answers at %s", url);
        return EXIT_UNREACHABLE;
    }
    return EXIT_UNREACHABLE;
}

/* Ask at each of the comma-separated addresses until one can be reached. */
static int ask_each(const char *urls, const char *bytes, size_t length, uint32_t wait_ms,
                    char **text, size_t *text_length, struct failure *failure)
{
    int code = EXIT_UNREACHABLE;
    char *list = must_copy(urls, "the addresses");
    char *rest = NULL;

    refuse(failure, ERR_UNREACHABLE, "no address to ask at");
    for (char *url = strtok_r(list, ",", &rest); url != NULL && code == EXIT_UNREACHABLE;
         url = strtok_r(NULL, ",", &rest))
        code = ask(url, bytes, length, wait_ms, text, text_length, failure);
    free(list);
    return code;
}

/* Deletes request. Returns EXIT_DONE with *reply; else the exit code with *failure, and with
 * *reply the refusal as it came, or NULL. */
static int exchange(const char *urls, cJSON *request, uint32_t wait_ms, cJSON **reply,
                    struct failure *failure)
{
    char *text = NULL;
    size_t text_length = 0, length = 0;
    char *bytes = wire_print(request, &length);

    *reply = NULL;
    int code = ask_each(urls, bytes, length, wait_ms, &text, &text_length, failure);
    free(bytes);
    if (code != EXIT_DONE)
        return code;
    *reply = wire_parse(text, text_length, failure);
    free(text);
    if (*reply != NULL && wire_read_failure(*reply, failure) == 0)
        return EXIT_DONE;
    return exit_code_of(failure->code);
}

int call_quietly(const char *urls, cJSON *request, uint32_t wait_ms, cJSON **reply,
                 struct failure *failure)
{
    int code = exchange(urls, request, wait_ms, reply, failure);

    if (code != EXIT_DONE) {
        cJSON_Delete(*reply);
        *reply = NULL;
    }
    return code;
}

static int call(const struct cli *cli, const char *urls, const char *hint, cJSON *request,
                uint32_t wait_ms, cJSON **reply)
{
    struct failure failure = {0};
    cJSON *answer;
    int code = exchange(urls, request, wait_ms, &answer, &failure);

    if (code == EXIT_DONE) {
        *reply = answer;
        return EXIT_DONE;
    }
    if (answer == NULL && failure.hint[0] == '\0')
        snprintf(failure.hint, sizeof failure.hint, "%s", hint);
    code = tell_failure(cli, &failure, answer);
    cJSON_Delete(answer);
    return code;
}

int call_coordinator(const struct cli *cli, cJSON *request, uint32_t wait_ms, cJSON **reply)
{
    char *urls;
    int code = address_find(cli, &urls);

    if (code != EXIT_DONE) {
        cJSON_Delete(request);
        return code;
    }
    code = call(cli, urls,
                "Is assentd running? What was asked may have happened: look before you repeat it.",
                request, wait_ms, reply);
    free(urls);
    return code;
}

int call_agent(const struct cli *cli, const char *url, cJSON *request, uint32_t wait_ms,
               cJSON **reply)
{
    return call(cli, url, "Is its assent-agent running, and may you open its socket?", request,
                wait_ms, reply);
}

void json_uuid(const cJSON *object, const char *name, struct uuid *out)
{
    char scratch[SCRATCH_BYTES];
    const char *text = json_text(object, name, scratch);
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof out->bytes && text[2 * i] != '\0'; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return;
        out->bytes[i] = (uint8_t)byte;
    }
}

const cJSON *coordinator_row(const cJSON *answer, const char *tm)
{
    char scratch[SCRATCH_BYTES];
    for (const cJSON *row = json_first(json_child(answer, "coordinators")); row != NULL;
         row = row->next)
        if (strcmp(json_text(row, "tm", scratch), tm) == 0)
            return row;
    return NULL;
}
