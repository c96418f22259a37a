/*
 * cli/indoubt_command.c - in-doubt: every branch in doubt, what will become of it, and what to do.
 *
 * The coordinator makes the report. When it is down, --agents makes the same one of its log, if
 * that is here, and of what each agent of its configuration says.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/call.h"
#include "cli/dry_start.h"
#include "cli/paint.h"
#include "cli/table.h"
#include "common/indoubt.h"
#include "common/must.h"

/* The coordinator asks its agents page by page. */
enum { AGENT_WAIT_MS = 6000, REPORT_WAIT_MS = 60 * 1000, LINE_BYTES = 1024 };

/* ---- without the coordinator ---- */

/* What was gathered, until the report is made. */
struct gathered {
    struct dry_start start;
    struct indoubt_sources sources;
    cJSON *answers[RMS_MAX];
    struct failure failures[RMS_MAX];
    char start_command[512];
};

/* The RMs of the log and of the configuration; without a log those of the configuration. */
static void name_agents(struct gathered *all, const struct site *site)
{
    struct indoubt_sources *sources = &all->sources;
    if (all->start.coordinator == NULL) {
        for (uint32_t i = 0; i < site->rm_count; i++)
            sources->agents[i] =
                (struct indoubt_agent){.rm = site->rms[i].name, .url = site->rms[i].url};
        sources->agent_count = site->rm_count;
        return;
    }
    const struct registry *registry = coordinator_registry(all->start.coordinator);
    for (uint32_t i = 0; i < registry->count; i++)
        sources->agents[i] =
            (struct indoubt_agent){.rm = registry->rms[i].name, .url = registry->rms[i].url};
    sources->agent_count = registry->count;
}

static void ask_agents(struct gathered *all)
{
    struct indoubt_sources *sources = &all->sources;
    for (uint32_t i = 0; i < sources->agent_count; i++) {
        struct indoubt_agent *agent = &sources->agents[i];
        cJSON *question, *answer;
        while ((question = indoubt_question(sources->coordinator, agent->rm, 0, all->answers[i])) !=
                   NULL &&
               call_quietly(agent->url, question, AGENT_WAIT_MS, &answer, &all->failures[i]) ==
                   EXIT_DONE)
            all->answers[i] = indoubt_hear(all->answers[i], answer);
        agent->answer = all->answers[i];
        agent->error = all->failures[i].message;
        if (sources->coordinator != NULL && agent->answer != NULL)
            dry_start_register(&all->start, i, agent->answer);
    }
    for (uint32_t i = 0; i < sources->agent_count; i++)
        sources->agents[i].state = sources->coordinator != NULL
                                       ? coordinator_registry(sources->coordinator)->rms[i].state
                                   : sources->agents[i].answer != NULL ? RM_UP
                                                                       : RM_DOWN;
}

static int report_of_agents(const struct cli *cli, cJSON **reply)
{
    struct site site;
    int code = site_read(cli, &site);
    if (code != EXIT_DONE)
        return code;
    struct gathered *all = must_alloc(sizeof *all, "what the agents say");
    dry_start(&site, &all->start);
    dry_start_advice(&site, &all->start, all->start_command, sizeof all->start_command);
    all->sources = (struct indoubt_sources){
        .tm = site.tm,
        .coordinator = all->start.coordinator,
        .silence = all->start.why,
        .start = all->start_command,
    };
    name_agents(all, &site);
    ask_agents(all);
    *reply = indoubt_report(&all->sources);
    for (uint32_t i = 0; i < all->sources.agent_count; i++)
        cJSON_Delete(all->answers[i]);
    dry_start_free(&all->start);
    free(all);
    return EXIT_DONE;
}

/* ---- for people ---- */

/* Indented, below what it is about. */
static void line(const char *name, const char *text)
{
    if (text[0] != '\0')
        fputs("  ", stdout);
    line_print(12, name, text);
}

static void field_line(const char *name, const cJSON *object, const char *field)
{
    char scratch[SCRATCH_BYTES];
    line(name, json_text(object, field, scratch));
}

static void print_age(const cJSON *item)
{
    char age[AGE_BYTES], text[LINE_BYTES];
    uint64_t limit = json_number(item, "freeze_max_age"), xid_age = json_number(item, "xid_age");
    age_words(json_number(item, "age_s") * 1000, age);
    if (limit == 0)
        snprintf(text, sizeof text, "%s", age);
    else
        snprintf(text, sizeof text,
                 "%s; its xid is %" PRIu64 " old, %" PRIu64 " %% of autovacuum_freeze_max_age", age,
                 xid_age, xid_age * 100 / limit);
    line("age", text);
}

static void print_decision(const cJSON *item)
{
    char text[LINE_BYTES], state[SCRATCH_BYTES], decision[SCRATCH_BYTES], lsn[SCRATCH_BYTES];
    const cJSON *known = json_child(item, "coordinator");
    const char *at = json_text(known, "lsn", lsn), *is = json_text(known, "state", state);
    snprintf(text, sizeof text, "%s%sdecision: %s%s%s", is, is[0] != '\0' ? "; " : "",
             json_text(known, "decision", decision), at[0] != '\0' ? ", at lsn " : "", at);
    line("coordinator", text);
}

/* "ledger/audit" */
static void print_name(const cJSON *branch)
{
    char scratch[SCRATCH_BYTES];
    const char *name = json_text(branch, "branch", scratch);
    text_put(stdout, json_text(branch, "rm", scratch));
    if (name[0] != '\0')
        printf("/%s", name);
}

static void print_others(const cJSON *others)
{
    char scratch[SCRATCH_BYTES];
    for (const cJSON *other = json_first(others); other != NULL; other = other->next) {
        const char *state = json_text(other, "state", scratch);
        printf("  %-12s ", other == others->child ? "others" : "");
        print_name(other);
        printf(": %s%s", state, state[0] != '\0' ? "; its agent says: " : "");
        printf("%s\n", json_text(other, "says", scratch));
    }
}

/* "ledger: accepted commit at ballot 0" */
static void print_acceptors(const cJSON *acceptors)
{
    char name[SCRATCH_BYTES], says[SCRATCH_BYTES], text[LINE_BYTES];
    for (const cJSON *acceptor = json_first(acceptors); acceptor != NULL;
         acceptor = acceptor->next) {
        snprintf(text, sizeof text, "%s: %s", json_text(acceptor, "acceptor", name),
                 json_text(acceptor, "says", says));
        line(acceptor == acceptors->child ? "acceptors" : "", text);
    }
}

/* How many a list leaves out. */
static void line_rest(const cJSON *item, const char *list, const char *total, const char *what)
{
    uint64_t all = json_number(item, total);
    uint64_t said = (uint64_t)cJSON_GetArraySize(json_child(item, list));
    char text[LINE_BYTES];
    if (all <= said)
        return;
    snprintf(text, sizeof text, "and %" PRIu64 " more %s", all - said, what);
    line("", text);
}

static void print_holdings(const cJSON *item)
{
    char table[SCRATCH_BYTES], modes[SCRATCH_BYTES], text[LINE_BYTES], age[AGE_BYTES];
    char role[SCRATCH_BYTES], query[SCRATCH_BYTES];
    const char *name = "locks";
    for (const cJSON *lock = json_first(json_child(item, "tables")); lock != NULL;
         lock = lock->next, name = "") {
        snprintf(text, sizeof text, "%s (%s)", json_text(lock, "table", table),
                 json_text(lock, "modes", modes));
        line(name, text);
    }
    line_rest(item, "tables", "tables_total", "tables");
    name = "blocks";
    for (const cJSON *waiter = json_first(json_child(item, "blocks")); waiter != NULL;
         waiter = waiter->next, name = "") {
        snprintf(text, sizeof text, "pid %" PRIu64 ", role %s, for %s: %s",
                 json_number(waiter, "pid"), json_text(waiter, "role", role),
                 age_words(json_number(waiter, "waited_s") * 1000, age),
                 json_text(waiter, "query", query));
        line(name, text);
    }
    line_rest(item, "blocks", "blocks_total", "sessions");
}

static void print_item(const cJSON *item)
{
    char scratch[SCRATCH_BYTES];
    enum paint paint = paint_of(json_text(item, "verdict", scratch));
    const char *found_at = json_text(item, "found_at", scratch);
    putchar('\n');
    paint_begin(PAINT_BOLD);
    text_put(stdout, json_text(item, "gtrid", scratch));
    fputs(" at ", stdout);
    print_name(item);
    if (found_at[0] != '\0')
        printf(", found at %s", found_at);
    paint_end(PAINT_BOLD);
    fputs(": ", stdout);
    paint_begin(paint);
    text_put(stdout, json_text(item, "reason", scratch));
    paint_end(paint);
    putchar('\n');
    field_line("do", item, "advice");
    print_age(item);
    field_line("label", item, "label");
    field_line("key", item, "key");
    field_line("application", item, "application");
    field_line("trace", item, "traceparent");
    field_line("role", item, "owner");
    print_decision(item);
    print_others(json_child(item, "others"));
    print_acceptors(json_child(item, "acceptors"));
    field_line("evidence", item, "evidence");
    print_holdings(item);
    field_line("gid", item, "gid");
}

static void print_foreign(const cJSON *foreign)
{
    static const char *const titles[] = {"manager", "rm",  "database", "age",
                                         "owner",   "xid", "blocks",   "gid"};
    char age[AGE_BYTES], count[SCRATCH_BYTES];
    cJSON *rows = cJSON_CreateArray();
    if (json_first(foreign) == NULL)
        goto none;
    for (const cJSON *item = json_first(foreign); item != NULL; item = item->next) {
        cJSON *row = table_row(rows);
        uint64_t blocks = json_number(item, "blocks_total"); /* of an older agent, what it lists */
        int some = cJSON_GetArraySize(json_child(item, "blocks"));
        snprintf(count, sizeof count, "%" PRIu64, blocks > 0 ? blocks : (uint64_t)some);
        table_field(row, item, "manager");
        table_field(row, item, "rm");
        table_field(row, item, "database");
        table_cell(row, age_words(json_number(item, "age_s") * 1000, age));
        table_field(row, item, "owner");
        table_field(row, item, "xid");
        table_cell(row, count);
        table_field(row, item, "gid");
    }
    puts("\nPrepared by others, and not Assent's to touch:");
    table_print(titles, sizeof titles / sizeof titles[0], rows);
none:
    cJSON_Delete(rows);
}

/* Ours has a gtrid in a manager's place. */
static void print_elsewhere(const cJSON *elsewhere)
{
    static const char *const titles[] = {"server of", "database", "age", "owner", "of", "gid"};
    char age[AGE_BYTES];
    if (json_first(elsewhere) == NULL)
        return;
    cJSON *rows = cJSON_CreateArray();
    for (const cJSON *item = json_first(elsewhere); item != NULL; item = item->next) {
        cJSON *row = table_row(rows);
        table_field(row, item, "server_of");
        table_field(row, item, "database");
        table_cell(row, age_words(json_number(item, "age_s") * 1000, age));
        table_field(row, item, "owner");
        table_field(row, item, cJSON_HasObjectItem(item, "gtrid") ? "gtrid" : "manager");
        table_field(row, item, "gid");
    }
    puts("\nPrepared in databases that have no agent here; each takes a slot of its server:");
    table_print(titles, sizeof titles / sizeof titles[0], rows);
    cJSON_Delete(rows);
}

static void print_report(const cJSON *report)
{
    char scratch[SCRATCH_BYTES];
    const cJSON *items = json_child(report, "in_doubt");
    int count = cJSON_GetArraySize(items);
    uint64_t left_out = json_number(report, "left_out");
    printf("%d branch%s in doubt", count, count == 1 ? "" : "es");
    if (left_out > 0)
        printf(", and %" PRIu64 " more for which there is no room", left_out);
    putchar('\n');
    for (const cJSON *agent = json_first(json_child(report, "agents")); agent != NULL;
         agent = agent->next) {
        left_out = json_number(agent, "left_out");
        if (left_out > 0)
            printf("%s has %s%" PRIu64
                   " more prepared, which %s not shown: see pg_prepared_xacts\n",
                   json_text(agent, "rm", scratch), left_out == 1 ? "at least " : "", left_out,
                   left_out == 1 ? "is" : "are");
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(agent, "answered")))
            continue;
        paint_begin(PAINT_BAD);
        printf("no answer from the agent of %s", json_text(agent, "rm", scratch));
        paint_end(PAINT_BAD);
        fputs(": ", stdout);
        text_put(stdout, json_text(agent, "error", scratch));
        putchar('\n');
    }
    for (const cJSON *item = json_first(items); item != NULL; item = item->next)
        print_item(item);
    print_foreign(json_child(report, "foreign"));
    print_elsewhere(json_child(report, "elsewhere"));
}

int in_doubt_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"agents", "agents", FIELD_TRUE},
        {NULL, NULL, FIELD_TEXT},
    };
    cJSON *request = call_request("in-doubt"), *report = NULL;
    int code;

    if (options_read(cli, argc, argv, fields, false, 0, 0, request, &code) < 0) {
        cJSON_Delete(request);
        return code;
    }
    if (cJSON_HasObjectItem(request, "agents")) {
        cJSON_Delete(request);
        code = report_of_agents(cli, &report);
    } else {
        code = call_coordinator(cli, request, REPORT_WAIT_MS, &report);
        if (code == EXIT_UNREACHABLE && !cli->json)
            tell("hint", "assentctl -c assentd.ini in-doubt --agents asks the agents themselves");
    }
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(report);
    else
        print_report(report);
    cJSON_Delete(report);
    return EXIT_DONE;
}
