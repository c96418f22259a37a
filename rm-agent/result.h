/*
 * rm-agent/result.h - the rows of one statement as the JSON of exec's reply.
 */
#ifndef ASSENT_RM_AGENT_RESULT_H
#define ASSENT_RM_AGENT_RESULT_H

#include <cjson/cJSON.h>

#include "common/wire.h"
#include "rm-agent/pg.h"

/* The error that a reply holds, in PostgreSQL's words. */
void sql_failure(const struct pg_reply *reply, struct failure *out);

struct rows {
    cJSON *columns; /* [{"name":"balance","type":"int8"}] */
    cJSON *rows;    /* [["100",null]]: values as PostgreSQL prints them */
    size_t bytes;
    bool too_large; /* they are no longer kept */
};

void rows_begin(struct rows *rows);
/* As pg_run_rows() hands them over. */
void rows_add(struct rows *rows, const PGresult *result);
/* Nobody wants them any more. */
void rows_drop(struct rows *rows);
/* The reply to statement number n, malloc'ed: rows, or the error that reply holds. Ends rows. */
char *rows_reply(struct rows *rows, const struct pg_reply *reply, uint64_t n, size_t *length);

#endif
