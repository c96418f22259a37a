/*
 * rm-agent/result.c - the rows of one statement as the JSON of exec's reply.
 *
 * Rows come one at a time and are dropped as soon as they would no longer fit into one
 * message, so that a careless SELECT costs its caller an error and the agent nothing.
 */
#include "rm-agent/result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/net.h"
#include "common/wire.h"

enum { CELL_OVERHEAD = 3 /* quotes and comma */ };

/* The types that applications meet; any other is named by its oid. */
static const struct {
    Oid oid;
    const char *name;
} types[] = {
    {16, "bool"},          {17, "bytea"},      {18, "char"},      {19, "name"},
    {20, "int8"},          {21, "int2"},       {23, "int4"},      {25, "text"},
    {26, "oid"},           {114, "json"},      {142, "xml"},      {700, "float4"},
    {701, "float8"},       {790, "money"},     {869, "inet"},     {1042, "bpchar"},
    {1043, "varchar"},     {1082, "date"},     {1083, "time"},    {1114, "timestamp"},
    {1184, "timestamptz"}, {1186, "interval"}, {1700, "numeric"}, {2950, "uuid"},
    {3802, "jsonb"},       {5069, "xid8"},
};

static void add_type(cJSON *column, Oid oid)
{
    char number[16];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].oid == oid) {
            cJSON_AddStringToObject(column, "type", types[i].name);
            return;
        }
    snprintf(number, sizeof number, "%u", oid);
    cJSON_AddStringToObject(column, "type", number);
}

void rows_drop(struct rows *rows)
{
    cJSON_Delete(rows->columns);
    cJSON_Delete(rows->rows);
    rows->columns = NULL;
    rows->rows = NULL;
}

void rows_begin(struct rows *rows)
{
    memset(rows, 0, sizeof *rows);
}

static void add_columns(struct rows *rows, const PGresult *result)
{
    rows->columns = cJSON_CreateArray();
    rows->rows = cJSON_CreateArray();
    for (int i = 0; i < PQnfields(result); i++) {
        cJSON *column = cJSON_CreateObject();
        cJSON_AddStringToObject(column, "name", PQfname(result, i));
        add_type(column, PQftype(result, i));
        cJSON_AddItemToArray(rows->columns, column);
    }
}

static cJSON *row_of(struct rows *rows, const PGresult *result, int at)
{
    cJSON *row = cJSON_CreateArray();
    for (int i = 0; i < PQnfields(result); i++) {
        rows->bytes += (size_t)PQgetlength(result, at, i) + CELL_OVERHEAD;
        cJSON_AddItemToArray(row, PQgetisnull(result, at, i)
                                      ? cJSON_CreateNull()
                                      : cJSON_CreateString(PQgetvalue(result, at, i)));
    }
    return row;
}

void rows_add(struct rows *rows, const PGresult *result)
{
    if (rows->too_large)
        return;
    if (rows->columns == NULL && PQnfields(result) > 0)
        add_columns(rows, result);
    for (int at = 0; at < PQntuples(result); at++)
        cJSON_AddItemToArray(rows->rows, row_of(rows, result, at));
    if (rows->bytes > MESSAGE_MAX) {
        rows->too_large = true;
        rows_drop(rows);
    }
}

static char *too_large(size_t *length)
{
    struct failure failure = {0};
    refuse(&failure, ERR_RESULT_TOO_LARGE,
           "the statement has run, but its result does not fit into one message of %d bytes",
           MESSAGE_MAX);
    return wire_write_failure(&failure, length);
}

void sql_failure(const struct pg_reply *reply, struct failure *out)
{
    refuse(out, ERR_SQL_ERROR, "%s", reply->message);
    memcpy(out->sqlstate, reply->sqlstate, sizeof out->sqlstate);
    memcpy(out->detail, reply->detail, sizeof out->detail);
    memcpy(out->hint, reply->hint, sizeof out->hint);
}

char *rows_reply(struct rows *rows, const struct pg_reply *reply, uint64_t n, size_t *length)
{
    if (reply->sqlstate[0] != '\0') {
        rows_drop(rows);
        struct failure failure = {0};
        sql_failure(reply, &failure);
        return wire_write_failure(&failure, length);
    }
    if (rows->too_large)
        return too_large(length);
    char number[24];
    u64_format(n, number);
    cJSON *answer = wire_ok();
    cJSON_AddItemToObject(answer, "columns",
                          rows->columns != NULL ? rows->columns : cJSON_CreateArray());
    cJSON_AddItemToObject(answer, "rows", rows->rows != NULL ? rows->rows : cJSON_CreateArray());
    cJSON_AddStringToObject(answer, "command", reply->tag);
    cJSON_AddStringToObject(answer, "n", number);
    rows->columns = NULL;
    rows->rows = NULL;
    char *text = wire_print(answer, length);
    if (*length <= MESSAGE_MAX)
        return text;
    free(text);
    return too_large(length);
}
