/*
 * cli/transaction_command.c - the life of a transaction: begin, enlist, exec, commit, rollback,
 * outcome.
 *
 * Each prints one thing alone, so that a shell script can be an application:
 *
 *     t=$(assentctl begin)
 *     assentctl exec $t accounts 'update account set balance = balance - $1 where id = 1' 30
 *     assentctl commit $t
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cli/call.h"
#include "cli/table.h"
#include "common/conf.h"
#include "common/must.h"
#include "core/base/ids.h"

enum {
    COMMIT_WAIT_MS = 10000,
    /* The agent ends a branch at its transaction's deadline and says so; this only ends the wait
     * for an agent that hangs. */
    EXEC_WAIT_MS = 24 * 3600 * 1000,
};

/* Nobody else's begin can have this name, so ours may be asked for twice. */
static void add_request_id(cJSON *request)
{
    unsigned char drawn[16];
    char text[2 * sizeof drawn + 1];

    if (getrandom(drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn)
        return;
    hex_write(drawn, sizeof drawn, text);
    cJSON_AddStringToObject(request, "request_id", text);
}

/* "ledger/audit" names branch audit at the resource manager ledger. */
static void add_branch(cJSON *request, const char *text)
{
    const char *slash = strchr(text, '/');

    if (slash == NULL) {
        cJSON_AddStringToObject(request, "rm", text);
        return;
    }
    char *rm = must_copy_bytes(text, (size_t)(slash - text), "a resource manager's name");
    cJSON_AddStringToObject(request, "rm", rm);
    cJSON_AddStringToObject(request, "branch", slash + 1);
    free(rm);
}

int begin_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"timeout", "timeout", FIELD_TEXT},
        {"protocol", "protocol", FIELD_TEXT},
        {"key", "key", FIELD_TEXT},
        {"label", "label", FIELD_TEXT},
        {"application", "application", FIELD_TEXT},
        {"traceparent", "traceparent", FIELD_TEXT},
        {"rm", "rms", FIELD_LIST},
        {NULL, NULL, FIELD_TEXT},
    };
    char scratch[SCRATCH_BYTES];
    cJSON *request = call_request("begin"), *reply;
    int code;

    if (options_read(cli, argc, argv, fields, false, 0, 0, request, &code) < 0) {
        cJSON_Delete(request);
        return code;
    }
    add_request_id(request);
    code = call_coordinator(cli, request, CALL_WAIT_MS, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        puts(json_text(reply, "gtrid", scratch));
    cJSON_Delete(reply);
    return EXIT_DONE;
}

static const struct field_option enlist_fields[] = {
    {"role", "role", FIELD_TEXT},
    {"isolation", "isolation", FIELD_TEXT},
    {"read-only", "read_only", FIELD_TRUE},
    {NULL, NULL, FIELD_TEXT},
};

int enlist_command(struct cli *cli, int argc, char **argv)
{
    char scratch[SCRATCH_BYTES];
    cJSON *request = call_request("enlist"), *reply;
    int code;
    int first = options_read(cli, argc, argv, enlist_fields, false, 2, 2, request, &code);

    if (first < 0) {
        cJSON_Delete(request);
        return code;
    }
    cJSON_AddStringToObject(request, "gtrid", argv[first]);
    add_branch(request, argv[first + 1]);
    code = call_coordinator(cli, request, CALL_WAIT_MS, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        puts(json_text(json_child(reply, "branch"), "gid", scratch));
    cJSON_Delete(reply);
    return EXIT_DONE;
}

/* Rows as psql prints them, then the command tag of whatever returned none. */
static void print_result(const cJSON *reply)
{
    static const char *titles[TABLE_COLUMNS_MAX];
    char scratch[SCRATCH_BYTES];
    size_t columns = 0;

    for (const cJSON *column = json_first(json_child(reply, "columns"));
         column != NULL && columns < TABLE_COLUMNS_MAX; column = column->next)
        titles[columns++] =
            cJSON_IsString(column) ? column->valuestring : json_text(column, "name", scratch);
    if (columns > 0)
        table_print(titles, columns, json_child(reply, "rows"));
    else
        puts(json_text(reply, "command", scratch));
}

/* The statement for the branch that enlist has answered, with the parameters after it. */
static cJSON *exec_request(const cJSON *branch, const char *sql, char *const *params, int count)
{
    char gid[SCRATCH_BYTES], session[SCRATCH_BYTES];
    cJSON *request = call_request("exec");

    cJSON_AddStringToObject(request, "gid", json_text(branch, "gid", gid));
    cJSON_AddStringToObject(request, "session", json_text(branch, "session", session));
    cJSON_AddStringToObject(request, "sql", sql);
    cJSON *list = cJSON_AddArrayToObject(request, "params");
    for (int i = 0; i < count; i++)
        cJSON_AddItemToArray(list, cJSON_CreateString(params[i]));
    return request;
}

int exec_command(struct cli *cli, int argc, char **argv)
{
    char scratch[SCRATCH_BYTES];
    cJSON *request = call_request("enlist"), *enlisted, *reply;
    int code;
    int first = options_read(cli, argc, argv, enlist_fields, true, 3, argc, request, &code);

    if (first < 0) {
        cJSON_Delete(request);
        return code;
    }
    cJSON_AddStringToObject(request, "gtrid", argv[first]);
    add_branch(request, argv[first + 1]);
    code = call_coordinator(cli, request, CALL_WAIT_MS, &enlisted);
    if (code != EXIT_DONE)
        return code;

    const cJSON *branch = json_child(enlisted, "branch");
    request = exec_request(branch, argv[first + 2], argv + first + 3, argc - first - 3);
    code = call_agent(cli, json_text(branch, "agent", scratch), request, EXEC_WAIT_MS, &reply);
    cJSON_Delete(enlisted);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        print_result(reply);
    cJSON_Delete(reply);
    return EXIT_DONE;
}

static void tell_reason(const cJSON *reason)
{
    char scratch[SCRATCH_BYTES], refused_by[RM_NAME_BYTES + sizeof "refused by "];
    const char *rm = json_text(reason, "rm", scratch);

    if (reason == NULL)
        return;
    tell_error_message(json_text(reason, "sqlstate", scratch),
                       json_text(reason, "message", scratch));
    snprintf(refused_by, sizeof refused_by, "refused by %s", rm);
    tell("detail", rm[0] != '\0' ? refused_by : "");
    tell("detail", json_text(reason, "detail", scratch));
    tell("hint", json_text(reason, "hint", scratch));
}

/* A commit is final once decided; where it has yet to arrive is only worth a line. */
static void tell_pending(const cJSON *pending)
{
    char text[BRANCHES_MAX * (RM_NAME_BYTES + 2)] = "";

    for (const cJSON *rm = json_first(pending); rm != NULL; rm = rm->next) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s",
                 length == 0 ? "still to be applied by " : ", ",
                 cJSON_IsString(rm) ? rm->valuestring : "?");
    }
    tell("detail", text);
}

/* Ask for an outcome and print it. It is a success if it is the one that was wanted. */
static int tell_outcome(const struct cli *cli, cJSON *request, uint32_t wait_ms,
                        enum outcome wanted)
{
    char scratch[SCRATCH_BYTES];
    cJSON *reply;
    int code = call_coordinator(cli, request, wait_ms, &reply);

    if (code != EXIT_DONE)
        return code;
    const char *word = json_text(reply, "outcome", scratch);
    enum outcome outcome = outcome_from_word(word);
    if (cli->json) {
        print_json(reply);
    } else {
        puts(word);
        tell_reason(outcome == wanted ? NULL : json_child(reply, "reason"));
        tell_pending(json_child(reply, "pending"));
    }
    cJSON_Delete(reply);
    if (outcome == OUTCOME_IN_PROGRESS)
        return EXIT_IN_PROGRESS;
    return outcome == wanted ? EXIT_DONE : EXIT_REFUSED;
}

/* --wait-for 2s asks for "wait_ms":2000; *wait_ms is then how long the coordinator may take. */
static int read_wait(const struct cli *cli, cJSON *request, uint32_t *wait_ms)
{
    cJSON *given = cJSON_DetachItemFromObjectCaseSensitive(request, "wait_for");

    *wait_ms = COMMIT_WAIT_MS;
    if (given == NULL)
        return EXIT_DONE;
    bool valid =
        conf_parse_duration(given->valuestring, wait_ms) && *wait_ms <= UINT32_MAX - CALL_WAIT_MS;
    cJSON_Delete(given);
    if (!valid)
        return usage_error(cli, "--wait-for wants a duration, such as 500ms or 30s");
    cJSON_AddNumberToObject(request, "wait_ms", *wait_ms);
    return EXIT_DONE;
}

int commit_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"wait", "wait", FIELD_TEXT},
        {"wait-for", "wait_for", FIELD_TEXT},
        {NULL, NULL, FIELD_TEXT},
    };
    cJSON *request = call_request("commit");
    uint32_t wait_ms;
    int code;
    int first = options_read(cli, argc, argv, fields, false, 1, 1, request, &code);

    if (first >= 0)
        code = read_wait(cli, request, &wait_ms);
    if (first < 0 || code != EXIT_DONE) {
        cJSON_Delete(request);
        return code;
    }
    cJSON_AddStringToObject(request, "gtrid", argv[first]);
    return tell_outcome(cli, request, wait_ms + CALL_WAIT_MS, OUTCOME_COMMITTED);
}

int rollback_command(struct cli *cli, int argc, char **argv)
{
    cJSON *request = call_request("rollback");
    int code;
    int first = options_read(cli, argc, argv, NULL, false, 1, 1, request, &code);

    if (first < 0) {
        cJSON_Delete(request);
        return code;
    }
    cJSON_AddStringToObject(request, "gtrid", argv[first]);
    return tell_outcome(cli, request, CALL_WAIT_MS, OUTCOME_ROLLED_BACK);
}

int outcome_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"key", "key", FIELD_TEXT},
        {NULL, NULL, FIELD_TEXT},
    };
    cJSON *request = call_request("outcome");
    int code;
    int first = options_read(cli, argc, argv, fields, false, 0, 1, request, &code);

    if (first >= 0 && cJSON_HasObjectItem(request, "key") == (first < argc)) {
        code = usage_error(cli, "give either GTRID or --key");
        first = -1;
    }
    if (first < 0) {
        cJSON_Delete(request);
        return code;
    }
    if (first < argc)
        cJSON_AddStringToObject(request, "gtrid", argv[first]);
    return tell_outcome(cli, request, CALL_WAIT_MS, OUTCOME_COMMITTED);
}
