/*
 * lib/branch.c - a transaction's work in one database: enlist it, run statements there.
 *
 * An agent takes statements of a branch by their number, from 1, and repeats its answer to the last
 * one. So a statement whose answer was lost is asked for again and not run twice. One that stays
 * without an answer spoils the transaction: it may or may not have been run, and may be still.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/transaction.h"

/* ---- enlist ---- */

static struct assent_part *find_part(const struct assent *txn, const char *rm)
{
    struct assent_part *part = txn->parts;
    while (part != NULL && strcmp(part->rm, rm) != 0)
        part = part->next;
    return part;
}

static struct assent_part *new_part(const char *rm, const char *branch)
{
    bool further = branch != NULL && branch[0] != '\0';
    struct assent_part *part =
        calloc(1, sizeof *part + strlen(rm) + 2 + (further ? strlen(branch) : 0));
    if (part == NULL)
        return NULL;
    strcpy(part->rm, rm);
    if (further) {
        strcat(part->rm, "/");
        strcat(part->rm, branch);
    }
    return part;
}

/* Keeps a copy of the reply: the texts of the branch are in it. */
static int take_branch(struct assent *txn, const cJSON *reply)
{
    struct assent_part *part = txn->part, *known = find_part(txn, part->rm);
    txn->part = NULL;
    cJSON *copy = cJSON_Duplicate(assent_field_object(reply, "branch"), true);
    const cJSON *xid = assent_field_object(copy, "xid");
    if (copy == NULL) {
        free(part);
        return assent_fail(txn, ASSENT_ENOMEM, "internal", "the reply has no branch");
    }
    if (known != NULL) { /* the same again: its statements stay counted */
        free(part);
        part = known;
        cJSON_Delete(part->reply);
    } else {
        part->next = txn->parts;
        txn->parts = part;
    }
    part->reply = copy;
    part->agent = assent_field(copy, "agent");
    part->session = assent_field(copy, "session");
    part->branch = (struct assent_branch){
        .gid = assent_field(copy, "gid"),
        .format_id = (int32_t)assent_field_number(xid, "format_id"),
        .gtrid = assent_field(xid, "gtrid"),
        .bqual = assent_field(xid, "bqual"),
    };
    if (txn->branch_out != NULL)
        *txn->branch_out = part->branch;
    txn->part = part;
    return 0;
}

static int finish_enlist(struct assent *txn, const struct assent_answer *answer)
{
    if (answer->ending == ASSENT_ANSWERED)
        return take_branch(txn, answer->object);
    free(txn->part);
    txn->part = NULL;
    return answer->code;
}

/* Writes the request for a part that take_branch() or finish_enlist() takes over. */
static int write_enlist(struct assent *txn, struct assent_text *text, const char *rm,
                        const struct assent_enlistment *how)
{
    static const struct assent_enlistment plain;
    if (how == NULL)
        how = &plain;
    txn->part = new_part(rm, how->branch);
    if (txn->part == NULL)
        return assent_fail(txn, ASSENT_ENOMEM, "internal", "out of memory");
    assent_text_begin(text, "enlist");
    assent_text_add(text, "gtrid", txn->gtrid);
    assent_text_add(text, "rm", rm);
    assent_text_add(text, "branch", how->branch);
    assent_text_add(text, "role", how->role);
    assent_text_add(text, "isolation", how->isolation);
    if (how->read_only)
        assent_text_add_true(text, "read_only");
    return 0;
}

int assent_enlist(struct assent *txn, const char *rm, const struct assent_enlistment *how,
                  struct assent_branch *out, uint32_t timeout_ms)
{
    struct assent_text text;
    int rc = assent_prepare(txn, txn->state == ASSENT_BEGUN,
                            "the transaction has not begun, or is ending");
    if (rc == 0)
        rc = write_enlist(txn, &text, rm, how);
    if (rc != 0)
        return rc;
    txn->branch_out = out;
    return assent_start(txn, &text, NULL, timeout_ms, finish_enlist);
}

/* ---- results ---- */

struct assent_result {
    cJSON *object; /* has all the texts */
    int rows, columns;
    const char *command;
    const char **names;
    const char *values[]; /* row by row */
};

static int count_of(const cJSON *array)
{
    return cJSON_IsArray(array) ? cJSON_GetArraySize(array) : 0;
}

static struct assent_result *new_result(int rows, int columns)
{
    size_t cells = ((size_t)rows + 1) * (size_t)columns;
    struct assent_result *result = calloc(1, sizeof *result + cells * sizeof *result->values);
    if (result == NULL)
        return NULL;
    result->rows = rows;
    result->columns = columns;
    result->names = result->values + (size_t)rows * (size_t)columns;
    return result;
}

static void fill_result(struct assent_result *result, const cJSON *rows, const cJSON *columns)
{
    const cJSON *row, *value, *column;
    const char **at = result->values;
    cJSON_ArrayForEach(row, rows)
    {
        int filled = 0;
        cJSON_ArrayForEach(value, row) if (filled < result->columns) at[filled++] =
            cJSON_GetStringValue(value);
        at += result->columns;
    }
    at = result->names;
    cJSON_ArrayForEach(column, columns) *at++ = assent_field(column, "name");
}

static struct assent_result *read_result(const cJSON *reply)
{
    cJSON *copy = cJSON_Duplicate(reply, true);
    const cJSON *rows = assent_field_object(copy, "rows");
    const cJSON *columns = assent_field_object(copy, "columns");
    struct assent_result *result =
        copy != NULL ? new_result(count_of(rows), count_of(columns)) : NULL;
    if (result == NULL) {
        cJSON_Delete(copy);
        return NULL;
    }
    result->object = copy;
    result->command = assent_field(copy, "command");
    fill_result(result, rows, columns);
    return result;
}

int assent_rows(const struct assent_result *result)
{
    return result->rows;
}

int assent_columns(const struct assent_result *result)
{
    return result->columns;
}

const char *assent_column_name(const struct assent_result *result, int column)
{
    return column >= 0 && column < result->columns ? result->names[column] : NULL;
}

const char *assent_value(const struct assent_result *result, int row, int column)
{
    if (row < 0 || row >= result->rows || column < 0 || column >= result->columns)
        return NULL;
    return result->values[(size_t)row * (size_t)result->columns + (size_t)column];
}

const char *assent_command(const struct assent_result *result)
{
    return result->command;
}

void assent_result_free(struct assent_result *result)
{
    if (result == NULL)
        return;
    cJSON_Delete(result->object);
    free(result);
}

/* ---- exec ---- */

static int finish_statement(struct assent *txn, const struct assent_answer *answer)
{
    struct assent_part *part = txn->part;
    switch (answer->ending) {
    case ASSENT_UNANSWERED:
        txn->spoilt = true;
        return answer->code;
    case ASSENT_REFUSED:
        part->statements += answer->code == ASSENT_ESQL;
        return answer->code;
    default:
        part->statements++;
        if (txn->result_out != NULL && (*txn->result_out = read_result(answer->object)) == NULL)
            return assent_fail(txn, ASSENT_ENOMEM, "internal", "out of memory");
        return 0;
    }
}

static void write_statement(struct assent_text *text, const struct assent_part *part)
{
    assent_text_begin(text, "exec");
    assent_text_add(text, "gid", part->branch.gid);
    assent_text_add(text, "session", part->session);
    assent_text_add_number(text, "n", part->statements + 1);
}

/* Enlisted: the statement has been waiting for that. */
static int finish_enlist_for_statement(struct assent *txn, const struct assent_answer *answer)
{
    char *statement = txn->statement;
    txn->statement = NULL;
    int rc = finish_enlist(txn, answer);
    if (rc == 0) {
        struct assent_text text;
        write_statement(&text, txn->part);
        if (text.file != NULL)
            fputs(statement, text.file);
        rc = assent_go_on(txn, &text, txn->part->agent, finish_statement);
    }
    free(statement);
    return rc;
}

/* The part of the request that does not depend on the branch, to be kept. */
static char *write_params(const char *sql, int count, const char *const *params)
{
    char *kept = NULL;
    size_t length;
    struct assent_text text = {.file = open_memstream(&kept, &length)};
    if (text.file == NULL)
        return NULL;
    assent_text_add(&text, "sql", sql);
    assent_text_add_list(&text, "params", count, params);
    if (fclose(text.file) == 0)
        return kept;
    free(kept);
    return NULL;
}

static int enlist_first(struct assent *txn, const char *rm, const char *sql, int count,
                        const char *const *params, uint32_t timeout_ms)
{
    char name[64] = "";
    const char *slash = strchr(rm, '/');
    size_t length = slash != NULL ? (size_t)(slash - rm) : strlen(rm);
    if (length >= sizeof name)
        return assent_fail(txn, ASSENT_EREFUSED, "unknown_rm", "no database has so long a name");
    memcpy(name, rm, length);

    struct assent_enlistment how = {.branch = slash != NULL ? slash + 1 : NULL};
    struct assent_text text;
    txn->statement = write_params(sql, count, params);
    if (txn->statement == NULL)
        return assent_fail(txn, ASSENT_ENOMEM, "internal", "out of memory");
    int rc = write_enlist(txn, &text, name, &how);
    if (rc == 0)
        rc = assent_start(txn, &text, NULL, timeout_ms, finish_enlist_for_statement);
    return rc;
}

int assent_exec(struct assent *txn, const char *rm, const char *sql, int count,
                const char *const *params, struct assent_result **out, uint32_t timeout_ms)
{
    int rc = assent_prepare(txn, txn->state == ASSENT_BEGUN && !txn->spoilt,
                            txn->spoilt ? "a statement was not answered: roll back"
                                        : "the transaction has not begun, or is ending");
    if (rc != 0)
        return rc;
    txn->result_out = out;
    txn->part = find_part(txn, rm);
    if (txn->part == NULL)
        return enlist_first(txn, rm, sql, count, params, timeout_ms);
    struct assent_text text;
    write_statement(&text, txn->part);
    assent_text_add(&text, "sql", sql);
    assent_text_add_list(&text, "params", count, params);
    return assent_start(txn, &text, txn->part->agent, timeout_ms, finish_statement);
}
