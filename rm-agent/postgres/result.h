/*
 * rm-agent/postgres/result.h - the rows of one statement as the JSON of exec's reply.
 *
 *     {"ok":true,"columns":[{"name":"balance","type":"int8"}],"rows":[["100"],[null]],
 *      "command":"SELECT 2","n":"1"}
 *
 * Values are as PostgreSQL prints them.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_RESULT_H
#define ASSENT_RM_AGENT_POSTGRES_RESULT_H

#include "common/json.h"
#include "common/wire.h"
#include "rm-agent/postgres/pg.h"

/* The error that a reply holds, in PostgreSQL's words. */
void sql_failure(const struct pg_reply *reply, struct failure *out);

struct rows {
    struct json reply; /* as far as it is known; text NULL before the first row */
    bool too_large;    /* it is no longer kept */
};

void rows_begin(struct rows *rows);
/* As pg_run_rows() hands them over. */
void rows_add(struct rows *rows, const PGresult *result);
/* Nobody wants them any more. */
void rows_drop(struct rows *rows);
/* The reply to statement number n, malloc'ed: rows, or the error that reply holds. Ends rows. */
char *rows_reply(struct rows *rows, const struct pg_reply *reply, uint64_t n, size_t *length);

#endif
