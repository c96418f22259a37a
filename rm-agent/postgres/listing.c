/*
 * rm-agent/postgres/listing.c - `prepared`: what is prepared in this database, for people.
 *
 * Everything comes from one statement, and so from one moment, the votes of three-phase commit too:
 * PostgreSQL writes it as JSON, and only what a gid means is added here. It changes nothing, and
 * anybody who may open the socket may ask; but other people's SQL is for the agent's own user and
 * root.
 *
 *     {"op":"prepared","evidence":[{"gid":"1095978580_...","xid":"90211"}],"limit":250,
 *      "after":{"foreign":false,"prepared":"1700000000.25","gid":"1095978580_..."}}
 */
#include "rm-agent/postgres/listing.h"

#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/indoubt.h"
#include "rm-agent/postgres/membership.h"
#include "rm-agent/talk/asker.h"

enum { EVIDENCE_MAX = 256, PAGE_MAX = 1000 };

/* No process stands behind a prepared transaction: the way from it to its locks and to those who
 * wait for them is the lock on its own transactionid (as in the view assent.blocked_by_prepared).
 * An xid that was not given out yet must not reach pg_xact_status(), which would fail for all.
 *
 * A reply holds 4 MiB, so it is a page: Assent's own first, of those the oldest first, and `next`
 * where there is more, for `after` of the next question. What is prepared keeps its place, so that
 * whatever was prepared before the first question is on one of the pages. Other lists that
 * end somewhere have their whole number beside them. */
static const char listing_sql[] =
    "WITH locks AS MATERIALIZED (SELECT * FROM pg_locks),"
    " here AS MATERIALIZED (SELECT p.*, extract(epoch FROM p.prepared)::numeric AS at,"
    "   assent.gid_part(p.gid, 1) IS NULL AS alien"
    "  FROM pg_prepared_xacts p WHERE p.database = current_database()),"
    " ours AS MATERIALIZED (SELECT h.*, (SELECT x.virtualtransaction FROM locks x"
    "   WHERE x.locktype = 'transactionid' AND x.transactionid = h.transaction AND x.granted"
    "   AND x.pid IS NULL LIMIT 1) AS holder"
    "  FROM here h, (SELECT $4::json AS place) after WHERE json_typeof(place) = 'null'"
    "   OR (h.alien, h.at, h.gid COLLATE \"C\") >"
    "    ((place ->> 'foreign')::boolean, (place ->> 'prepared')::numeric, place ->> 'gid')"
    "  ORDER BY h.alien, h.at, h.gid COLLATE \"C\" LIMIT $5::int),"
    " last AS (SELECT o.alien, o.at, o.gid FROM ours o"
    "  ORDER BY o.alien DESC, o.at DESC, o.gid COLLATE \"C\" DESC LIMIT 1)"
    " SELECT json_build_object("
    "'near', pg_snapshot_xmax(pg_current_snapshot())::text,"
    "'freeze_max_age', current_setting('autovacuum_freeze_max_age')::int,"
    "'total', (SELECT count(*) FROM here), 'foreign', (SELECT count(*) FROM here WHERE alien),"
    "'next', (SELECT json_build_object('foreign', l.alien, 'prepared', l.at::text, 'gid', l.gid)"
    "  FROM last l WHERE EXISTS (SELECT FROM here h"
    "   WHERE (h.alien, h.at, h.gid COLLATE \"C\") > (l.alien, l.at, l.gid))),"
    /* gids are unique in the whole server, and its slots are for all of its databases. */
    "'elsewhere_total', (SELECT count(*) FROM pg_prepared_xacts p"
    "  WHERE p.database <> current_database()),"
    "'elsewhere', (SELECT coalesce(json_agg(json_build_object('gid', p.gid,"
    "  'transaction', p.transaction::text, 'database', p.database, 'owner', coalesce(p.owner, ''),"
    "  'age_s', greatest(0, extract(epoch FROM now() - p.prepared)::bigint))"
    "  ORDER BY p.prepared, p.gid), '[]') FROM (SELECT * FROM pg_prepared_xacts"
    "   WHERE database <> current_database() ORDER BY prepared, gid LIMIT 100) p),"
    "'coordinators', (SELECT coalesce(json_agg(json_build_object('tm', t.name,"
    "  'log', replace(t.log::text, '-', ''), 'incarnation', t.incarnation::text,"
    "  'instance', replace(t.instance::text, '-', ''),"
    "  'position', assent.last('position', t.name)::text,"
    "  'beat', assent.last('beat', t.name)::text)), '[]') FROM assent.tm t),"
    /* Those that were asked for are never the ones that are left out. */
    "'rows_more', (SELECT count(*) > 1000 FROM assent.acceptor WHERE outcome IS NULL),"
    "'rows', (SELECT coalesce(json_agg(json_build_object("
    "  'gtrid', r.gtrid, 'acceptors', json_build_object('agents', r.agents, 'tm', r.with_tm),"
    "  'promised', r.promised::text, 'accepted', r.accepted::text,"
    "  'value', coalesce(r.value, ''), 'outcome', coalesce(r.outcome, ''))), '[]')"
    "  FROM (SELECT a.*, concat_ws('.', a.tm, a.incarnation, a.sequence) AS gtrid FROM"
    "   (SELECT a.* FROM (SELECT string_to_array(assent.gid_part(gid, 1), '.') AS part"
    "     FROM ours UNION SELECT string_to_array(gtrid, '.')"
    "     FROM json_array_elements_text($3::json) gtrid) o JOIN assent.acceptor a ON a.tm = "
    "o.part[1] AND a.incarnation ="
    "     CASE WHEN length(o.part[2]) < 19 THEN o.part[2]::bigint END AND a.sequence ="
    "     CASE WHEN length(o.part[3]) < 19 THEN o.part[3]::bigint END"
    "    UNION (SELECT * FROM assent.acceptor WHERE outcome IS NULL"
    "     ORDER BY tm, incarnation, sequence LIMIT 1000)) a"
    "   ORDER BY a.tm, a.incarnation, a.sequence) r),"
    "'prepared', (SELECT coalesce(json_agg(json_build_object("
    "  'gid', o.gid, 'transaction', o.transaction::text, 'owner', coalesce(o.owner, ''),"
    "  'actable', (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user)"
    "   OR coalesce(pg_has_role(o.owner, " SETS_ROLE "), false),"
    "  'age_s', greatest(0, extract(epoch FROM now() - o.prepared)::bigint),"
    "  'xid_age', age(o.transaction),"
    "  'locks', CASE WHEN NOT $6::boolean THEN (SELECT count(*) FROM locks h"
    "   WHERE h.pid IS NULL AND h.virtualtransaction = o.holder) END,"
    "  'tables_total', t.total, 'tables', t.list, 'blocks_total', b.total, 'blocks', b.list"
    " ) ORDER BY o.alien, o.at, o.gid COLLATE \"C\"), '[]') FROM ours o"
    "  LEFT JOIN LATERAL (SELECT coalesce(max(t.total), 0) AS total,"
    "    coalesce(json_agg(json_build_object('table', t.name, 'modes', t.modes)), '[]') AS list"
    "   FROM (SELECT c.oid::regclass::text AS name, string_agg(DISTINCT h.mode, ', ') AS modes,"
    "     count(*) OVER () AS total"
    "    FROM locks h JOIN pg_class c ON c.oid = h.relation AND c.relkind IN ('r', 'p', 'm')"
    "    WHERE NOT $6::boolean AND h.pid IS NULL AND h.virtualtransaction = o.holder"
    "     AND h.locktype = 'relation'"
    "    GROUP BY c.oid ORDER BY 1 LIMIT 20) t) t ON NOT $6::boolean"
    "  LEFT JOIN LATERAL (SELECT coalesce(max(w.total), 0) AS total,"
    "    coalesce(json_agg(json_build_object('pid', w.pid, 'role', w.usename,"
    "     'application', w.application_name, 'waited_s', w.waited_s, 'lock', w.mode,"
    "     'query', CASE WHEN $2::bool THEN w.query END)), '[]') AS list"
    "   FROM (SELECT w.pid, a.usename, a.application_name, w.mode, left(a.query, 300) AS query,"
    "     greatest(0, extract(epoch FROM now() - w.waitstart)::bigint) AS waited_s,"
    "     count(*) OVER () AS total"
    "    FROM locks w LEFT JOIN pg_stat_activity a ON a.pid = w.pid"
    "    WHERE NOT $6::boolean AND NOT w.granted AND EXISTS (SELECT FROM locks h WHERE h.pid IS "
    "NULL AND h.granted"
    "     AND h.virtualtransaction = o.holder AND h.locktype = w.locktype"
    "     AND (w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid,"
    "          w.classid, w.objid, w.objsubid) IS NOT DISTINCT FROM"
    "         (h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid,"
    "          h.classid, h.objid, h.objsubid))"
    "    AND 0 = ANY (pg_blocking_pids(w.pid)) ORDER BY w.waitstart LIMIT 10) w) b"
    "   ON NOT $6::boolean),"
    "'evidence', (SELECT coalesce(json_agg(json_build_object('gid', a.gid, 'xid', a.xid,"
    "  'prepared', EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.gid = a.gid"
    "   AND p.database = current_database()),"
    "  'marked', EXISTS (SELECT FROM assent.marker m WHERE m.gtrid = a.gtrid),"
    "  'status', CASE WHEN a.xid = '0' THEN ''"
    "   WHEN a.xid::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) THEN 'future'"
    "   ELSE coalesce(pg_xact_status(a.xid::xid8), 'unknown') END)), '[]')"
    "  FROM json_to_recordset($1::json) AS a(gid text, gtrid text, xid text)))";

struct listing {
    struct agent *agent;
    struct asker *asker;
};

/* ---- what a gid means ---- */

/* Other managers' gids, as in the view assent.foreign_prepared. */
static const struct {
    const char *pattern;
    const char *manager;
} managers[] = {
    {"^131077_[^_]*_[^_]*$", "pgjdbc"},
    {"^-?[0-9]+_[A-Za-z0-9+/=]*_[A-Za-z0-9+/=]*$", "XA (psycopg, pgjdbc)"},
    {"^citus_", "Citus"},
    {"^1279875137\\.[0-9a-f]+\\.[0-9a-f]+$", "LIXA"},
    {"^[A-Za-z0-9]{16,}-[0-9]{2,}$", "dtm"},
};

static const char *manager_of(const char *gid)
{
    for (size_t i = 0; i < sizeof managers / sizeof managers[0]; i++) {
        regex_t regex;
        if (regcomp(&regex, managers[i].pattern, REG_EXTENDED | REG_NOSUB) != 0)
            continue;
        bool fits = regexec(&regex, gid, 0, NULL, 0) == 0;
        regfree(&regex);
        if (fits)
            return managers[i].manager;
    }
    return "unknown";
}

/* Whose it is, and its xid in 64 bits. */
static void listing_explain(cJSON *item, uint64_t near)
{
    const char *gid = member_text(item, "gid");
    char xid[NUMBER_BYTES], gtrid[GTRID_BYTES];
    struct branch_id branch;
    uint32_t transaction = (uint32_t)strtoul(member_text(item, "transaction"), NULL, 10);
    u64_format(xid_widen(transaction, near), xid);
    cJSON_DeleteItemFromObjectCaseSensitive(item, "transaction");
    cJSON_AddStringToObject(item, "xid", xid);
    if (!gid_parse(gid, strlen(gid), &branch)) {
        cJSON_AddStringToObject(item, "manager", manager_of(gid));
        return;
    }
    gtrid_format(&branch.gtrid, gtrid);
    cJSON_AddStringToObject(item, "gtrid", gtrid);
    cJSON_AddStringToObject(item, "rm", branch.rm);
    cJSON_AddStringToObject(item, "branch", branch.branch);
}

/* ---- asking and answering ---- */

/* The branches whose evidence is wanted, as the statement takes them; NULL with *failure. */
static char *read_evidence(const cJSON *object, struct failure *failure)
{
    const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(object, "evidence"), *item;
    cJSON *asked = cJSON_CreateArray();
    if (wanted != NULL && (!cJSON_IsArray(wanted) || cJSON_GetArraySize(wanted) > EVIDENCE_MAX)) {
        refuse(failure, ERR_INVALID_REQUEST, "evidence: an array of at most %d branches",
               EVIDENCE_MAX);
        goto refused;
    }
    cJSON_ArrayForEach(item, wanted)
    {
        struct branch_id branch;
        char gtrid[GTRID_BYTES], xid_text[NUMBER_BYTES];
        uint64_t xid;
        const char *gid = member_text(item, "gid");
        if (!gid_parse(gid, strlen(gid), &branch) || branch.gtrid.incarnation == 0) {
            refuse(failure, ERR_INVALID_REQUEST, "evidence: a gid that is none of Assent's");
            goto refused;
        }
        if (field_u64(item, "xid", true, &xid, failure) != 0)
            goto refused;
        gtrid_format(&branch.gtrid, gtrid);
        u64_format(xid, xid_text);
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "gid", gid);
        cJSON_AddStringToObject(row, "gtrid", gtrid);
        cJSON_AddStringToObject(row, "xid", xid_text);
        cJSON_AddItemToArray(asked, row);
    }
    size_t length;
    return wire_print(asked, &length);

refused:
    cJSON_Delete(asked);
    return NULL;
}

/* The transactions whose rows are wanted, though none of them may be open or prepared here. */
static char *read_gtrids(const cJSON *object, struct failure *failure)
{
    const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(object, "gtrids"), *item;
    bool good =
        wanted == NULL || (cJSON_IsArray(wanted) && cJSON_GetArraySize(wanted) <= EVIDENCE_MAX);
    cJSON *asked = cJSON_CreateArray();
    cJSON_ArrayForEach(item, wanted)
    {
        struct gtrid gtrid;
        good = good && cJSON_IsString(item) &&
               gtrid_parse(item->valuestring, strlen(item->valuestring), &gtrid);
        if (good)
            cJSON_AddItemToArray(asked, cJSON_CreateString(item->valuestring));
    }
    size_t length;
    if (good)
        return wire_print(asked, &length);
    cJSON_Delete(asked);
    refuse(failure, ERR_INVALID_REQUEST, "gtrids: an array of at most %d gtrids", EVIDENCE_MAX);
    return NULL;
}

/* Where the page before ended, as it has been answered; NULL with *failure. */
static char *read_after(const cJSON *object, struct failure *failure)
{
    const cJSON *after = cJSON_GetObjectItemCaseSensitive(object, "after");
    const char *at = member_text(after, "prepared");
    bool good = cJSON_IsBool(cJSON_GetObjectItemCaseSensitive(after, "foreign")) && at[0] != '\0' &&
                strspn(at, "0123456789.") == strlen(at) && strspn(at, "0123456789") > 0 &&
                strlen(at) < NUMBER_BYTES + 8 && member_text(after, "gid")[0] != '\0';
    size_t length;
    if (after == NULL || good)
        return wire_print(after == NULL ? cJSON_CreateNull() : cJSON_Duplicate(after, true),
                          &length);
    refuse(failure, ERR_INVALID_REQUEST, "after: not what `next` of an answer was");
    return NULL;
}

/* What the database wrote, and what this agent knows of itself. */
static cJSON *complete(const struct agent *agent, cJSON *answer)
{
    const struct identity *identity = &agent->identity;
    uint64_t near = strtoull(member_text(answer, "near"), NULL, 10);
    char number[NUMBER_BYTES];
    cJSON *item;
    cJSON_DeleteItemFromObjectCaseSensitive(answer, "near");
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(answer, "prepared"))
        listing_explain(item, near);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(answer, "elsewhere"))
        listing_explain(item, near);
    cJSON_AddTrueToObject(answer, "ok");
    cJSON_AddStringToObject(answer, "rm", agent->options->rm);
    u64_format(agent->incarnation, number);
    cJSON_AddStringToObject(answer, "agent", number);
    cJSON_AddStringToObject(answer, "database", identity->database);
    cJSON_AddStringToObject(answer, "login", identity->login);
    cJSON_AddStringToObject(answer, "server_version", identity->server_version);
    u64_format(identity->system_identifier, number);
    cJSON_AddStringToObject(answer, "system_identifier", number);
    cJSON_AddNumberToObject(answer, "timeline", identity->timeline);
    return answer;
}

static void listed(void *arg, const struct pg_reply *reply)
{
    struct listing listing = *(struct listing *)arg;
    struct failure failure = {0};
    cJSON *answer = NULL;
    free(arg);
    if (reply->sqlstate[0] != '\0') {
        refuse(&failure, ERR_RM_UNAVAILABLE, "%s", reply->message);
    } else {
        char *text = must_copy(pg_value(reply, 0, 0), "a list of what is prepared");
        text_mend(text);
        answer = cJSON_Parse(text);
        free(text);
        if (answer == NULL)
            refuse(&failure, ERR_INTERNAL, "the database's answer cannot be read");
    }
    if (answer == NULL)
        asker_failure(listing.asker, &failure);
    else
        asker_object(listing.asker, complete(listing.agent, answer));
}

void listing_answer(struct agent *agent, struct asker *asker, const cJSON *object, bool queries)
{
    struct failure failure = {0};
    char number[NUMBER_BYTES], *after = NULL;
    bool brief = false;
    uint64_t limit = PAGE_MAX;
    bool all = !cJSON_HasObjectItem(object, "limit");
    char *evidence = read_evidence(object, &failure);
    char *gtrids = evidence == NULL ? NULL : read_gtrids(object, &failure);
    if (gtrids == NULL || (after = read_after(object, &failure)) == NULL ||
        (!all && field_u64(object, "limit", true, &limit, &failure) != 0) ||
        field_bool(object, "brief", &brief, &failure) != 0)
        goto refused;
    struct listing *listing = must_alloc(sizeof *listing, "a list of what is prepared");
    *listing = (struct listing){agent, asker};
    u64_format(limit > PAGE_MAX ? PAGE_MAX : limit, number);
    control_ask(agent, listed, listing, listing_sql, 6, evidence, queries ? "t" : "f", gtrids,
                after, number, brief ? "t" : "f");
    goto finish;

refused:
    asker_failure(asker, &failure);
finish:
    free(evidence);
    free(gtrids);
    free(after);
}
