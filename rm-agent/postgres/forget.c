/*
 * rm-agent/postgres/forget.c - what a coordinator's horizon has passed goes: rows of
 * assent.acceptor, markers.
 *
 * What lies between the two horizons, and what below the old one was live until now: no row is read
 * twice, for the dead ones stay where they are while a prepared transaction pins them. No more than
 * so many go at once, for all votes wait meanwhile. What is known to be over and what is gone
 * become durable together.
 */
#include "rm-agent/postgres/forget.h"

#include <stdlib.h>

#include "rm-agent/votes/rows.h"

/* clang-format off */

/* A transaction's number, as the index of the markers has it. */
#define PART(part)                                                                                 \
    "(CASE WHEN m.gtrid ~ '^[a-z][a-z0-9-]{0,30}\\.[0-9]{1,18}\\.[0-9]{1,18}$'"                     \
    " THEN split_part(m.gtrid, '.', " part ")::bigint END)"
#define OF_MARKER  "(" PART("2") ", " PART("3") ")"
#define OF_ROW     "(a.incarnation, a.sequence)"
#define BEHIND     " > ($2::bigint, $3::bigint)"
#define HORIZON    " <= ($4::bigint, $5::bigint)"
#define THIS_FAR   " <= (u.incarnation, u.sequence)"
#define NOT_LIVE   " NOT IN (SELECT incarnation, sequence FROM live)"
#define SOME       " ORDER BY 1, 2 OFFSET 5000 LIMIT 1"

static const char sweep_sql[] =
    "WITH live AS (SELECT * FROM json_to_recordset($6::json)"
    "  AS l (incarnation bigint, sequence bigint)),"
    " was_live AS (SELECT w.*, concat_ws('.', $1::text, w.incarnation, w.sequence) AS gtrid"
    "  FROM json_to_recordset($7::json) AS w (incarnation bigint, sequence bigint)"
    "  WHERE (w.incarnation, w.sequence)" NOT_LIVE "),"
    " upto AS (SELECT * FROM ((SELECT a.incarnation, a.sequence FROM assent.acceptor a"
    "   WHERE a.tm = $1 AND " OF_ROW BEHIND " AND " OF_ROW HORIZON SOME ")"
    "  UNION ALL (SELECT " PART("2") ", " PART("3") " FROM assent.marker m"
    "   WHERE split_part(m.gtrid, '.', 1) = $1 AND " OF_MARKER BEHIND " AND " OF_MARKER HORIZON SOME ")"
    "  UNION ALL SELECT $4::bigint, $5::bigint) e ORDER BY 1, 2 LIMIT 1),"
    " votes AS (DELETE FROM assent.acceptor a USING upto u"
    "  WHERE a.tm = $1 AND " OF_ROW BEHIND " AND " OF_ROW THIS_FAR " AND " OF_ROW NOT_LIVE "),"
    " marks AS (DELETE FROM assent.marker m USING upto u WHERE split_part(m.gtrid, '.', 1) = $1"
    "  AND " OF_MARKER BEHIND " AND " OF_MARKER THIS_FAR " AND " OF_MARKER NOT_LIVE "),"
    " ended AS (DELETE FROM assent.acceptor a USING was_live w WHERE a.tm = $1"
    "  AND a.incarnation = w.incarnation AND a.sequence = w.sequence),"
    " settled AS (DELETE FROM assent.marker m USING was_live w WHERE m.gtrid = w.gtrid)"
    " UPDATE assent.tm SET horizon_incarnation = u.incarnation, horizon_sequence = u.sequence,"
    " horizon_live = $6::json FROM upto u WHERE name = $1"
    " RETURNING horizon_incarnation, horizon_sequence";
/* clang-format on */

static char *live_of(const struct forget *forget)
{
    cJSON *live = cJSON_CreateArray();
    size_t length;
    for (uint32_t i = 0; i < forget->live_count; i++) {
        struct row row = {.gtrid = {.incarnation = forget->live[i].incarnation,
                                    .sequence = forget->live[i].sequence}};
        cJSON_AddItemToArray(live, row_write(&row));
    }
    return wire_print(live, &length);
}

void forget_sweep(struct agent *agent, const struct tm_link *tm, const struct forget *forget,
                  control_done_fn *done, void *arg)
{
    char from[2][NUMBER_BYTES], upto[2][NUMBER_BYTES];
    u64_format(tm->forgotten.upto.incarnation, from[0]);
    u64_format(tm->forgotten.upto.sequence, from[1]);
    u64_format(forget->upto.incarnation, upto[0]);
    u64_format(forget->upto.sequence, upto[1]);
    char *was_live = live_of(&tm->forgotten);
    char *live = live_of(forget);
    control_ask(agent, done, arg, sweep_sql, 7, tm->name, from[0], from[1], upto[0], upto[1], live,
                was_live);
    free(live);
    free(was_live);
}
