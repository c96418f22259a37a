/*
 * rm-agent/postgres/result.c - the rows of one statement as the JSON of exec's reply.
 *
 * Rows come one at a time and are dropped as soon as they would no longer fit into one
 * message, so that a careless SELECT costs its caller an error and the agent nothing.
 */
#include "rm-agent/postgres/result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/net.h"
#include "common/wire.h"

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

static void put_type(struct json *json, Oid oid)
{
    char number[16];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].oid == oid) {
            json_put_text(json, "type", types[i].name);
            return;
        }
    snprintf(number, sizeof number, "%u", oid);
    json_put_text(json, "type", number);
}

void rows_drop(struct rows *rows)
{
    free(rows->reply.text);
    rows->reply.text = NULL;
}

void rows_begin(struct rows *rows)
{
    memset(rows, 0, sizeof *rows);
}

/* The reply up to its first row; of a statement that returns none, result is NULL. */
static void begin_reply(struct json *json, const PGresult *result)
{
    json_begin(json);
    json_put_bool(json, "ok", true);
    json_open_list(json, "columns");
    for (int i = 0; i < PQnfields(result); i++) {
        json_open_element(json);
        json_put_text(json, "name", PQfname(result, i));
        put_type(json, PQftype(result, i));
        json_close_object(json);
    }
    json_close_list(json);
    json_open_list(json, "rows");
}

/* The least that it takes in the reply. */
static size_t row_bytes(const PGresult *result, int at)
{
    size_t bytes = 0;
    for (int i = 0; i < PQnfields(result); i++)
        bytes += (size_t)PQgetlength(result, at, i);
    return bytes;
}

static void put_row(struct json *json, const PGresult *result, int at)
{
    json_open_row(json);
    for (int i = 0; i < PQnfields(result); i++)
        json_put_cell(json, PQgetisnull(result, at, i) ? NULL : PQgetvalue(result, at, i));
    json_close_list(json);
}

void rows_add(struct rows *rows, const PGresult *result)
{
    if (rows->too_large || PQnfields(result) == 0)
        return;
    if (rows->reply.text == NULL)
        begin_reply(&rows->reply, result);
    for (int at = 0; at < PQntuples(result); at++) {
        rows->too_large = rows->reply.length + row_bytes(result, at) > MESSAGE_MAX;
        if (rows->too_large) {
            rows_drop(rows);
            return;
        }
        put_row(&rows->reply, result, at);
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

/* A database in SQL_ASCII has whatever bytes its clients have stored; and a statement may change
 * the encoding of its own result. */
static char *not_utf8(size_t *length)
{
    struct failure failure = {0};
    refuse(&failure, ERR_RESULT_ENCODING,
           "the statement has run, but its result holds bytes that are no text in UTF-8");
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
    if (rows->reply.text == NULL)
        begin_reply(&rows->reply, NULL);
    json_close_list(&rows->reply);
    json_put_text(&rows->reply, "command", reply->tag);
    json_put_u64(&rows->reply, "n", n);
    char *text = json_end(&rows->reply, length);
    rows->reply.text = NULL;
    bool readable = text_is_utf8(text, *length);
    if (readable && *length <= MESSAGE_MAX)
        return text;
    free(text);
    return readable ? too_large(length) : not_utf8(length);
}
