/*
 * tm/routes.c - what HTTP serves: which path is which request, and how its reply looks.
 *
 * A request over HTTP is the socket's request, said in pieces: the path says `op` and `gtrid`, the
 * query one field, a header another, the body the rest. The pieces are put together as JSON and
 * read by the same reader, so that nothing can be asked here that could not be asked there.
 */
#include "tm/routes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "tm/openapi.h"

static const char json_type[] = "application/json";

/* ---- pages ---- */

static void page_write_json(int status, cJSON *object, struct page *out)
{
    out->status = status;
    out->type = json_type;
    out->text = wire_print(object, &out->length);
}

void page_write_failure(int status, const struct failure *failure, struct page *out)
{
    out->status = status;
    out->type = json_type;
    out->text = wire_write_failure(failure, &out->length);
}

static void page_write_reply(cJSON *reply, struct page *out)
{
    struct failure failure;
    int status = 200;
    if (wire_read_failure(reply, &failure) != 0)
        status = error_http_status(failure.code);
    page_write_json(status, reply, out);
}

static void page_write_begun(cJSON *reply, struct page *out)
{
    const char *gtrid = member_text(reply, "gtrid");
    bool begun = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "ok"));
    if (begun)
        snprintf(out->location, sizeof out->location, "/v1/transactions/%s", gtrid);
    page_write_reply(reply, out);
    if (begun)
        out->status = 201;
}

/* The loop turns, for it has answered. */
static void page_write_health(cJSON *status, struct page *out)
{
    cJSON_Delete(status);
    page_write_json(200, wire_ok(), out);
}

/* Is this the coordinator to send transactions to? */
static void page_write_readiness(cJSON *status, struct page *out)
{
    struct failure failure;
    const char *state = member_text(status, "state");
    const char *reason = member_text(status, "reason");
    enum error_code code = ERR_NONE;
    if (strcmp(state, "fenced") == 0)
        code = ERR_FENCED;
    else if (strcmp(state, "ready") != 0)
        code = ERR_NOT_READY;

    if (code == ERR_NONE) {
        page_write_json(200, wire_ok(), out);
    } else {
        refuse(&failure, code, "%s", error_meaning(code));
        snprintf(failure.detail, sizeof failure.detail, "%s", reason[0] != '\0' ? reason : state);
        page_write_failure(error_http_status(code), &failure, out);
    }
    cJSON_Delete(status);
}

static void page_write_openapi(cJSON *none, struct page *out)
{
    (void)none;
    out->status = 200;
    out->type = json_type;
    out->text = must_copy(openapi_json, "the description of the interface");
    out->length = strlen(openapi_json);
}

/* ---- metrics, as Prometheus reads them ---- */

static const struct metric {
    const char *group; /* the object in `status` that has the field, or NULL */
    const char *field;
    const char *name;
    const char *type;
    const char *help;
} metrics[] = {
    {NULL, "uptime_s", "assent_uptime_seconds", "gauge", "Since this start."},
    {NULL, "incarnation", "assent_incarnation", "gauge", "The number of this start."},
    {NULL, "live", "assent_transactions_live", "gauge", "Begun and not over."},
    {NULL, "in_doubt", "assent_transactions_in_doubt", "gauge",
     "Decided, or perhaps decided, and not applied everywhere."},
    {NULL, "begun", "assent_transactions_begun_total", "counter", "Begun in this start."},
    {NULL, "committed", "assent_transactions_committed_total", "counter", "Committed."},
    {NULL, "rolled_back", "assent_transactions_rolled_back_total", "counter", "Rolled back."},
    {NULL, "mixed", "assent_transactions_mixed_total", "counter",
     "Of which one branch ended otherwise, by another's hand."},
    {NULL, "alarms_total", "assent_alarms_total", "counter",
     "Messages about transactions that this coordinator cannot have begun."},
    {"remembered", "keys", "assent_remembered_keys", "gauge", "Keys of committed transactions."},
    {"remembered", "max_keys", "assent_remembered_keys_max", "gauge",
     "So many, and no begin with a key is taken."},
    {"remembered", "keys_s", "assent_remembered_keys_seconds", "gauge",
     "For so long keys are remembered, at least."},
    {"remembered", "outcomes", "assent_remembered_outcomes", "gauge",
     "Transactions whose outcomes have room taken."},
    {"remembered", "max_outcomes", "assent_remembered_outcomes_max", "gauge",
     "So many, and no begin is taken."},
    {"remembered", "outcomes_s", "assent_remembered_outcomes_seconds", "gauge",
     "For so long outcomes are remembered, at least."},
    {"log_stats", "records", "assent_log_records_total", "counter", "Records written."},
    {"log_stats", "syncs", "assent_log_syncs_total", "counter", "Waits for the disk."},
    {"log_stats", "bytes", "assent_log_bytes_total", "counter", "Bytes written."},
    {"log_stats", "sync_us_max", "assent_log_sync_microseconds_max", "gauge",
     "The longest wait for the disk."},
    {"log_stats", "disk_free_bytes", "assent_log_disk_free_bytes", "gauge",
     "Room on the disk of the log."},
    {NULL, "connections", "assent_connections", "gauge", "Over the socket."},
    {NULL, "connections_max", "assent_connections_max", "gauge",
     "For which there is room, by the limit of open files."},
    {NULL, "connections_refused", "assent_connections_refused_total", "counter",
     "Closed for want of room."},
    {NULL, "messages_refused", "assent_messages_refused_total", "counter",
     "From agents, that did not fit what they were about."},
    {NULL, "messages_dropped", "assent_messages_dropped_total", "counter",
     "Lines for standard error that nobody took."},
    {"http", "connections", "assent_http_connections", "gauge", "Over HTTP."},
    {"http", "connections_max", "assent_http_connections_max", "gauge", "At most so many."},
    {"http", "waiting", "assent_http_waiting", "gauge",
     "Requests over HTTP that wait for a database, an agent or the disk."},
    {"http", "waiting_max", "assent_http_waiting_max", "gauge", "At most so many."},
};

static void metrics_write_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Numbers of 64 bits are texts in JSON, smaller ones are not. */
static void metrics_write_one(FILE *out, const struct metric *metric, const cJSON *status)
{
    const cJSON *group =
        metric->group == NULL ? status : cJSON_GetObjectItemCaseSensitive(status, metric->group);
    uint64_t value;
    struct failure failure;
    if (field_u64(group, metric->field, true, &value, &failure) != 0)
        return;
    metrics_write_head(out, metric->name, metric->type, metric->help);
    fprintf(out, "%s %" PRIu64 "\n", metric->name, value);
}

/* Names and versions have no character that a label would have to escape. */
static void page_write_metrics(cJSON *status, struct page *out)
{
    FILE *text = open_memstream(&out->text, &out->length);
    if (text == NULL) {
        page_write_json(500, status, out);
        return;
    }
    metrics_write_head(text, "assent_build_info", "gauge", "Who this is.");
    fprintf(text, "assent_build_info{tm=\"%s\",version=\"%s\"} 1\n", member_text(status, "tm"),
            member_text(status, "version"));
    metrics_write_head(text, "assent_ready", "gauge", "Whether transactions can be begun.");
    fprintf(text, "assent_ready %d\n", strcmp(member_text(status, "state"), "ready") == 0);
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        metrics_write_one(text, &metrics[i], status);
    metrics_write_head(text, "assent_rm_up", "gauge",
                       "Whether the agent is registered and connected.");
    const cJSON *rm;
    cJSON_ArrayForEach(rm, cJSON_GetObjectItemCaseSensitive(status, "rms"))
    {
        fprintf(text, "assent_rm_up{rm=\"%s\"} %d\n", member_text(rm, "rm"),
                strcmp(member_text(rm, "state"), "up") == 0);
    }
    fclose(text);
    cJSON_Delete(status);
    out->status = 200;
    out->type = "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- paths ---- */

/* clang-format off */
const struct route routes[] = {
    {"POST", "/v1/transactions",                  OP_BEGIN,    NULL,    page_write_begun},
    {"GET",  "/v1/transactions",                  OP_LIST,     "state", page_write_reply},
    {"GET",  "/v1/transactions/{gtrid}",          OP_SHOW,     NULL,    page_write_reply},
    {"POST", "/v1/transactions/{gtrid}/branches", OP_ENLIST,   NULL,    page_write_reply},
    {"POST", "/v1/transactions/{gtrid}/commit",   OP_COMMIT,   NULL,    page_write_reply},
    {"POST", "/v1/transactions/{gtrid}/rollback", OP_ROLLBACK, NULL,    page_write_reply},
    {"POST", "/v1/transactions/{gtrid}/resolve",  OP_RESOLVE,  NULL,    page_write_reply},
    {"POST", "/v1/transactions/{gtrid}/forget",   OP_FORGET,   NULL,    page_write_reply},
    {"GET",  "/v1/transactions/{gtrid}/outcome",  OP_OUTCOME,  NULL,    page_write_reply},
    {"GET",  "/v1/outcomes",                      OP_OUTCOME,  "key",   page_write_reply},
    {"GET",  "/v1/in-doubt",                      OP_IN_DOUBT, NULL,    page_write_reply},
    {"GET",  "/v1/check",                         OP_CHECK,    NULL,    page_write_reply},
    {"GET",  "/v1/agents",                        OP_AGENTS,   NULL,    page_write_reply},
    {"GET",  "/v1/status",                        OP_STATUS,   NULL,    page_write_reply},
    {"GET",  "/healthz",                          OP_STATUS,   NULL,    page_write_health},
    {"GET",  "/readyz",                           OP_STATUS,   NULL,    page_write_readiness},
    {"GET",  "/metrics",                          OP_STATUS,   NULL,    page_write_metrics},
    {"GET",  "/openapi.json",                     OP_NONE,     NULL,    page_write_openapi},
    {NULL, NULL, OP_NONE, NULL, NULL},
};
/* clang-format on */

/* Does the path fit? *gtrid and *length are then the segment that stands for {gtrid}. */
static bool route_path_fits(const char *pattern, const char *path, const char **gtrid,
                            size_t *length)
{
    size_t same = strcspn(pattern, "{");
    *gtrid = NULL;
    if (strncmp(pattern, path, same) != 0)
        return false;
    if (pattern[same] == '\0')
        return path[same] == '\0';
    *gtrid = path + same;
    *length = strcspn(*gtrid, "/");
    return *length > 0 && strcmp(strchr(pattern, '}') + 1, *gtrid + *length) == 0;
}

const struct route *route_find(const char *method, const char *path, char allow[ALLOW_BYTES])
{
    const char *gtrid;
    size_t length;
    allow[0] = '\0';
    for (const struct route *route = routes; route->method != NULL; route++) {
        if (!route_path_fits(route->path, path, &gtrid, &length))
            continue;
        bool get = strcmp(route->method, "GET") == 0;
        if (strcmp(route->method, method) == 0 || (get && strcmp(method, "HEAD") == 0))
            return route;
        size_t used = strlen(allow);
        snprintf(allow + used, ALLOW_BYTES - used, "%s%s", used > 0 ? ", " : "",
                 get ? "GET, HEAD" : route->method);
    }
    return NULL;
}

/* ---- requests ---- */

/* What did not come as JSON is written as JSON and read again: it is then as strictly checked. */
static cJSON *route_reread(cJSON *object, struct failure *failure)
{
    /* Not by wire_print(), which would mend it: a key would become another key. */
    char *text = must_have(cJSON_PrintUnformatted(object), "a request's text");
    cJSON_Delete(object);
    cJSON *again = wire_parse(text, strlen(text), failure);
    cJSON_free(text);
    return again;
}

cJSON *route_request(const struct route *route, const char *path, const char *query,
                     const char *idempotency_key, const char *traceparent, struct failure *failure)
{
    const char *gtrid;
    size_t length;
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "op", wire_op_name(route->op));
    if (route_path_fits(route->path, path, &gtrid, &length) && gtrid != NULL) {
        char *copy = must_copy_bytes(gtrid, length, "a transaction's name");
        cJSON_AddStringToObject(request, "gtrid", copy);
        free(copy);
    }
    if (query != NULL)
        cJSON_AddStringToObject(request, route->query, query);
    if (idempotency_key != NULL && route->op == OP_BEGIN)
        cJSON_AddStringToObject(request, "request_id", idempotency_key);
    /* One that cannot be read is as good as none, says W3C Trace Context. */
    if (traceparent != NULL && route->op == OP_BEGIN && wire_is_traceparent(traceparent))
        cJSON_AddStringToObject(request, "traceparent", traceparent);
    return route_reread(request, failure);
}

int route_add_body(cJSON *request, const char *body, size_t length, struct failure *failure)
{
    cJSON *object = wire_parse(body, length, failure);
    if (object == NULL)
        return -1;
    int rc = 0;
    while (rc == 0 && object->child != NULL) {
        cJSON *field = cJSON_DetachItemViaPointer(object, object->child);
        if (cJSON_GetObjectItemCaseSensitive(request, field->string) != NULL)
            rc = refuse(failure, ERR_INVALID_REQUEST,
                        "field \"%.64s\" is said by the path or a header already", field->string);
        else if (strcmp(field->string, "batch") == 0)
            rc = refuse(failure, ERR_INVALID_REQUEST, "field \"batch\": not served over HTTP");
        if (rc == 0)
            cJSON_AddItemToArray(request, field);
        else
            cJSON_Delete(field);
    }
    cJSON_Delete(object);
    return rc;
}
