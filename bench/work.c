/*
 * bench/work.c - a branch on a connection of the client's own.
 *
 * The same work for everybody: one UPDATE of a row that nobody else wants. Step by step it is
 * what drivers do, one round trip a statement; pipelined it is the best that libpq can do: a
 * prepared UPDATE, and everything up to the vote in one round trip. The databases do not wait
 * for each other until all have prepared.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "bench/bench.h"

enum statement { BEGIN, UPDATE, PREPARE, COMMIT_PREPARED };

#define UPDATE_SQL "UPDATE assent_bench SET balance = balance + 1 WHERE id = $1"

static _Noreturn void fail_line(const struct line *line, const char *what, const char *why)
{
    stop("%s: database %u: %s: %s", line->client->bench->mode->name, line->database + 1, what, why);
}

static void check_sent(const struct line *line, int sent)
{
    if (sent != 1)
        fail_line(line, "send", PQerrorMessage(line->conn));
}

static const char *row_of(const struct client *client, char text[24])
{
    uint64_t row = client->number * ROWS_A_CLIENT + client->transactions % ROWS_A_CLIENT + 1;
    u64_format(row, text);
    return text;
}

static void send_statement(struct line *line, enum statement statement)
{
    struct client *client = line->client;
    char text[GID_BYTES + 32], row[24];
    const char *const values[] = {row_of(client, row)};
    bool pipelined = line->pipelined;
    switch (statement) {
    case BEGIN:
        check_sent(line, pipelined ? PQsendQueryPrepared(line->conn, "b", 0, NULL, NULL, NULL, 0)
                                   : PQsendQuery(line->conn, "BEGIN"));
        return;
    case UPDATE:
        check_sent(line, pipelined ? PQsendQueryPrepared(line->conn, "u", 1, values, NULL, NULL, 0)
                                   : PQsendQueryParams(line->conn, UPDATE_SQL, 1, NULL, values,
                                                       NULL, NULL, 0));
        return;
    case PREPARE:
    case COMMIT_PREPARED:
        snprintf(text, sizeof text, "%s '%s'",
                 statement == PREPARE ? "PREPARE TRANSACTION" : "COMMIT PREPARED",
                 client->branches[line->database].gid);
        check_sent(line, pipelined
                             ? PQsendQueryParams(line->conn, text, 0, NULL, NULL, NULL, NULL, 0)
                             : PQsendQuery(line->conn, text));
    }
}

static void line_ready(void *arg, uint32_t events);

static void flush(struct line *line)
{
    struct error error;
    int left = PQflush(line->conn);
    if (left < 0)
        fail_line(line, "send", PQerrorMessage(line->conn));
    uint32_t events = left == 0 ? EPOLLIN : EPOLLIN | EPOLLOUT;
    if (loop_watch(line->client->bench->loop, PQsocket(line->conn), events, line_ready, line,
                   &error) != 0)
        stop_error(&error);
}

/* PREPARE has a Sync of its own: the server refuses it behind others under one. */
static void send_pipeline(struct line *line)
{
    check_sent(line, PQenterPipelineMode(line->conn));
    for (uint32_t i = line->statement; i <= line->last; i++) {
        send_statement(line, (enum statement)i);
        if (i == UPDATE || i == line->last)
            check_sent(line, PQpipelineSync(line->conn));
    }
    line->syncs_left = line->statement == line->last ? 1 : 2;
}

static void line_begin(struct line *line, bool pipelined, enum statement first, enum statement last)
{
    line->pipelined = pipelined;
    line->statement = first;
    line->last = last;
    if (pipelined)
        send_pipeline(line);
    else
        send_statement(line, first);
    flush(line);
}

static void line_done(struct line *line)
{
    struct client *client = line->client;
    if (--client->waiting == 0)
        client->then(client);
}

static void check_result(const struct line *line, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_PIPELINE_SYNC)
        fail_line(line, PQresStatus(status), PQresultErrorMessage(result));
    /* A vote is yes only when the command tag says so. */
    if (status == PGRES_COMMAND_OK && strcmp(PQcmdStatus(result), "ROLLBACK") == 0)
        fail_line(line, "PREPARE TRANSACTION", "it was rolled back");
}

/* Returns true when all that was sent has been answered. */
static bool take_pipelined(struct line *line)
{
    int silent = 0;
    while (line->syncs_left > 0 && silent < 2 && !PQisBusy(line->conn)) {
        PGresult *result = PQgetResult(line->conn);
        silent = result == NULL ? silent + 1 : 0;
        if (result == NULL)
            continue;
        check_result(line, result);
        line->syncs_left -= PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        PQclear(result);
    }
    if (line->syncs_left > 0)
        return false;
    check_sent(line, PQexitPipelineMode(line->conn));
    return true;
}

static bool take_step(struct line *line)
{
    while (!PQisBusy(line->conn)) {
        PGresult *result = PQgetResult(line->conn);
        if (result == NULL) {
            if (line->statement == line->last)
                return true;
            send_statement(line, (enum statement)++ line->statement);
            flush(line);
            continue;
        }
        check_result(line, result);
        PQclear(result);
    }
    return false;
}

static void line_ready(void *arg, uint32_t events)
{
    struct line *line = arg;
    if (PQconsumeInput(line->conn) != 1)
        fail_line(line, "receive", PQerrorMessage(line->conn));
    if ((events & EPOLLOUT) != 0)
        flush(line);
    if (line->pipelined ? take_pipelined(line) : take_step(line))
        line_done(line);
}

static void all_lines(struct client *client, bool pipelined, enum statement first,
                      enum statement last, client_fn *then)
{
    client->waiting = client->bench->figures->databases;
    client->then = then;
    for (uint32_t i = 0; i < client->bench->figures->databases; i++)
        line_begin(&client->lines[i], pipelined, first, last);
}

void work_prepare(struct client *client, bool pipelined, client_fn *then)
{
    all_lines(client, pipelined, BEGIN, PREPARE, then);
}

void work_commit_prepared(struct client *client, client_fn *then)
{
    all_lines(client, false, COMMIT_PREPARED, COMMIT_PREPARED, then);
}

static void must(PGconn *conn, PGresult *result)
{
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        stop("%s", PQerrorMessage(conn));
    PQclear(result);
}

static PGconn *connect_to(const struct database_site *site)
{
    PGconn *conn = PQconnectdb(site->conninfo);
    if (PQstatus(conn) != CONNECTION_OK)
        stop("%s", PQerrorMessage(conn));
    return conn;
}

static void make_table(const struct bench *bench, const struct database_site *site)
{
    char sql[256];
    PGconn *conn = connect_to(site);
    snprintf(sql, sizeof sql,
             "CREATE TABLE assent_bench AS SELECT id, 0::bigint AS balance"
             " FROM generate_series(1, %u) id",
             bench->clients_most * ROWS_A_CLIENT);
    must(conn, PQexec(conn, "SET client_min_messages = warning"));
    must(conn, PQexec(conn, "DROP TABLE IF EXISTS assent_bench"));
    must(conn, PQexec(conn, sql));
    must(conn, PQexec(conn, "ALTER TABLE assent_bench ADD PRIMARY KEY (id)"));
    must(conn, PQexec(conn, "VACUUM ANALYZE assent_bench"));
    PQfinish(conn);
}

void work_do(const struct database_site *site, const char *sql)
{
    PGconn *conn = connect_to(site);
    must(conn, PQexec(conn, sql));
    PQfinish(conn);
}

static void line_open(struct line *line, const struct database_site *site)
{
    line->conn = connect_to(site);
    must(line->conn, PQprepare(line->conn, "b", "BEGIN", 0, NULL));
    must(line->conn, PQprepare(line->conn, "u", UPDATE_SQL, 1, NULL));
    if (PQsetnonblocking(line->conn, 1) != 0)
        stop("%s", PQerrorMessage(line->conn));
    flush(line);
}

void work_open(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->databases_most; i++)
        make_table(bench, &bench->databases[i]);
    for (uint32_t i = 0; i < bench->clients_most; i++)
        for (uint32_t j = 0; j < bench->databases_most; j++) {
            struct line *line = &bench->clients[i].lines[j];
            line->client = &bench->clients[i];
            line->database = j;
            line_open(line, &bench->databases[j]);
        }
}

void work_close(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->clients_most; i++)
        for (uint32_t j = 0; j < bench->databases_most; j++)
            PQfinish(bench->clients[i].lines[j].conn);
    for (uint32_t i = 0; i < bench->databases_most; i++)
        work_do(&bench->databases[i], "DROP TABLE assent_bench");
}
