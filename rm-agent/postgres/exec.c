/*
 * rm-agent/postgres/exec.c - one statement that an application asks to be run in its branch.
 *
 * Whatever can be said no to is said no to here, before the branch is touched: a refused
 * statement leaves its transaction as it was.
 */
#include "rm-agent/postgres/exec.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "rm-agent/postgres/statement.h"
#include "rm-agent/talk/book.h"

enum { PARAMETERS_MAX = 1000 };

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static int check_params(const cJSON *params, struct failure *failure)
{
    const cJSON *item;
    if (params == NULL || cJSON_IsNull(params))
        return 0;
    if (!cJSON_IsArray(params) || cJSON_GetArraySize(params) > PARAMETERS_MAX)
        return refuse(failure, ERR_INVALID_REQUEST, "params must be an array of at most %d values",
                      PARAMETERS_MAX);
    cJSON_ArrayForEach(item, params)
    {
        if (cJSON_IsArray(item) || cJSON_IsObject(item))
            return refuse(failure, ERR_INVALID_REQUEST,
                          "params must hold texts, numbers, booleans and nulls");
    }
    return 0;
}

/* Is this caller's ticket for this branch, of this start of the agent? */
static int check_ticket(struct agent *agent, const cJSON *object, const struct branch_id *branch,
                        struct ticket *ticket, struct failure *failure)
{
    const char *text = text_of(object, "session");
    struct tm_link *tm = book_find(agent, branch->gtrid.tm);
    uint64_t incarnation = 0;
    if (text == NULL)
        return refuse(failure, ERR_INVALID_REQUEST, "session is missing or no text");
    if (strcmp(branch->rm, agent->options->rm) != 0)
        return refuse(failure, ERR_UNKNOWN_RM, "the branch is not of %s", agent->options->rm);
    /* A ticket of an earlier start cannot be checked any more, and need not be. */
    if (!u64_parse(text, strcspn(text, "."), &incarnation))
        return refuse(failure, ERR_INVALID_SESSION, "the session ticket cannot be read");
    if (incarnation != agent->incarnation)
        return refuse(failure, ERR_BRANCH_LOST, "the agent has been started again since");
    if (tm == NULL)
        return refuse(failure, ERR_NOT_READY, "coordinator %s has not registered yet",
                      branch->gtrid.tm);
    if (!ticket_read(text, branch, tm->secret, ticket))
        return refuse(failure, ERR_INVALID_SESSION,
                      "the session ticket does not belong to this branch");
    if (branch->gtrid.incarnation != tm->incarnation)
        return refuse(failure, ERR_BRANCH_LOST, "the coordinator has been started again since");
    return 0;
}

static int find_role(const struct agent *agent, const char *name, uint32_t *role,
                     struct failure *failure)
{
    const struct agent_options *options = agent->options;
    if (name[0] == '\0' && options->role_count == 1) {
        *role = 0;
        return 0;
    }
    for (uint32_t i = 0; i < options->role_count; i++)
        if (strcmp(options->roles[i].name, name) == 0) {
            *role = i;
            return 0;
        }
    if (name[0] == '\0')
        return refuse(failure, ERR_INVALID_REQUEST,
                      "role is missing: the agent has %u [exec ROLE] sections",
                      options->role_count);
    return refuse(failure, ERR_INVALID_REQUEST, "the agent has no section [exec %s]", name);
}

int exec_read(struct agent *agent, struct exec *out, struct failure *failure)
{
    const cJSON *object = out->object;
    if (field_text(object, "gid", true, out->gid, sizeof out->gid, failure) != 0 ||
        field_u64(object, "n", false, &out->n, failure) != 0)
        return -1;
    if (!gid_parse(out->gid, strlen(out->gid), &out->branch))
        return refuse(failure, ERR_INVALID_REQUEST, "gid is not one of Assent's");
    out->sql = text_of(object, "sql");
    out->params = cJSON_GetObjectItemCaseSensitive(object, "params");
    if (out->sql == NULL)
        return refuse(failure, ERR_INVALID_REQUEST, "sql is missing or no text");
    const char *refusal = statement_refusal(out->sql);
    if (refusal != NULL)
        return refuse(failure, ERR_INVALID_REQUEST, "sql: %s", refusal);
    if (check_params(out->params, failure) != 0 ||
        check_ticket(agent, object, &out->branch, &out->ticket, failure) != 0)
        return -1;
    return find_role(agent, out->ticket.role, &out->role, failure);
}

/* What PostgreSQL reads as the parameter; a number as it was written. */
static const char *parameter(const cJSON *item)
{
    if (cJSON_IsString(item) || cJSON_IsNumber(item))
        return item->valuestring;
    if (cJSON_IsBool(item))
        return cJSON_IsTrue(item) ? "true" : "false";
    return NULL;
}

void exec_send(const struct exec *exec, struct pg *pg, const struct pg_statement *before, int count,
               uint32_t row_most, pg_row_fn *row, pg_done_fn *done, void *arg)
{
    int value_count = exec->params == NULL ? 0 : cJSON_GetArraySize(exec->params);
    const char **values =
        must_alloc(((size_t)value_count + 1) * sizeof *values, "the parameters of a statement");
    int i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, exec->params)
    {
        values[i++] = parameter(item);
    }
    struct pg_statement statements[EXEC_BEFORE_MAX + 1];
    assert(count <= EXEC_BEFORE_MAX);
    for (int at = 0; at < count; at++)
        statements[at] = before[at];
    statements[count] =
        (struct pg_statement){.sql = exec->sql, .count = value_count, .values = values};
    pg_run_rows(pg, statements, count + 1, row_most, row, done, arg);
    free(values);
}

void exec_free(struct exec *exec)
{
    if (exec == NULL)
        return;
    cJSON_Delete(exec->object);
    free(exec);
}
