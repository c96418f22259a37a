/*
 * cli/report_command.c - what the coordinator knows: status, agents, list, show.
 *
 * With --json the coordinator's own answer is printed as it came; the tables here are
 * the same facts for people.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/call.h"
#include "cli/paint.h"
#include "cli/table.h"

enum { LABEL_WIDTH = 12 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Ask, and with --json print and be done: then *reply is NULL. */
static int ask_report(const struct cli *cli, cJSON *request, cJSON **reply)
{
    int code = call_coordinator(cli, request, CALL_WAIT_MS, reply);

    if (code != EXIT_DONE)
        *reply = NULL;
    else if (cli->json) {
        print_json(*reply);
        cJSON_Delete(*reply);
        *reply = NULL;
    }
    return code;
}

static void field_line(const char *name, const cJSON *object, const char *field)
{
    char scratch[SCRATCH_BYTES];

    line_print(LABEL_WIDTH, name, json_text(object, field, scratch));
}

/* What a person should look at comes first. */
static void print_alarms(const cJSON *alarms)
{
    char age[AGE_BYTES], scratch[SCRATCH_BYTES];

    for (const cJSON *alarm = json_first(alarms); alarm != NULL; alarm = alarm->next) {
        paint_begin(PAINT_BAD);
        printf("alarm (%s)", json_text(alarm, "alarm", scratch));
        paint_end(PAINT_BAD);
        printf(", for %s: ", age_words(json_number(alarm, "for_s") * 1000, age));
        text_put(stdout, json_text(alarm, "what", scratch));
        fputs("\n  to do: ", stdout);
        text_put(stdout, json_text(alarm, "advice", scratch));
        putchar('\n');
    }
    if (json_first(alarms) != NULL)
        putchar('\n');
}

/* ---- what needs attention comes first ---- */

/* Position of a word in a list that ends with NULL; words that are not in it come last. */
static int rank(const char *const *words, const char *word)
{
    int at = 0;

    while (words[at] != NULL && strcmp(words[at], word) != 0)
        at++;
    return at;
}

static int compare_states(const char *const *order, const cJSON *a, const cJSON *b)
{
    char left[SCRATCH_BYTES], right[SCRATCH_BYTES];

    return rank(order, json_text(a, "state", left)) - rank(order, json_text(b, "state", right));
}

static int compare_rms(const void *left, const void *right)
{
    static const char *const order[] = {"quarantined", "refused", "down", "up", NULL};
    const cJSON *a = *(const cJSON *const *)left, *b = *(const cJSON *const *)right;
    char first[SCRATCH_BYTES], second[SCRATCH_BYTES];
    int by_state = compare_states(order, a, b);

    return by_state != 0 ? by_state : strcmp(json_text(a, "rm", first), json_text(b, "rm", second));
}

/* Of those in the same state the oldest first. */
static int compare_transactions(const void *left, const void *right)
{
    static const char *const order[] = {
        "mixed", "committing", "precommitting", "rolling-back", "preparing", "active", NULL};
    const cJSON *a = *(const cJSON *const *)left, *b = *(const cJSON *const *)right;
    int by_state = compare_states(order, a, b);
    uint64_t age = json_number(a, "age_ms"), other = json_number(b, "age_ms");

    return by_state != 0 ? by_state : age > other ? -1 : age < other;
}

/* The field's array, sorted. */
static cJSON *sorted_child(const cJSON *object, const char *name,
                           int (*compare)(const void *, const void *))
{
    cJSON *array = cJSON_GetObjectItemCaseSensitive(object, name);

    wire_sort_array(array, compare);
    return array;
}

/* ---- reports ---- */

static void print_status(const cJSON *status)
{
    char age[AGE_BYTES];
    const cJSON *log = json_child(status, "log_stats");

    print_alarms(json_child(status, "alarms"));
    field_line("coordinator", status, "tm");
    field_line("version", status, "version");
    field_line("state", status, "state");
    field_line("reason", status, "reason");
    field_line("incarnation", status, "incarnation");
    line_print(LABEL_WIDTH, "up for", age_words(json_number(status, "uptime_s") * 1000, age));
    field_line("live", status, "live");
    field_line("in doubt", status, "in_doubt");
    field_line("begun", status, "begun");
    field_line("committed", status, "committed");
    field_line("rolled back", status, "rolled_back");
    field_line("log", status, "log");
    if (log != NULL)
        printf("%-12s %" PRIu64 " records in %" PRIu64 " syncs, %" PRIu64 " bytes, durable to lsn "
               "%" PRIu64 "\n",
               "log writes", json_number(log, "records"), json_number(log, "syncs"),
               json_number(log, "bytes"), json_number(log, "durable_lsn"));

    if (log != NULL)
        printf("%-12s %" PRIu64 " MiB free on its disk\n", "log disk",
               json_number(log, "disk_free_bytes") / (1024 * 1024));
    printf("%-12s %" PRIu64 ", with room for %" PRIu64 "\n", "connections",
           json_number(status, "connections"), json_number(status, "connections_max"));

    static const char *const titles[] = {"rm", "state"};
    cJSON *rows = cJSON_CreateArray();
    for (const cJSON *rm = json_first(sorted_child(status, "rms", compare_rms)); rm != NULL;
         rm = rm->next) {
        cJSON *row = table_row(rows);
        table_field(row, rm, "rm");
        table_field(row, rm, "state");
    }
    putchar('\n');
    table_print(titles, COUNT(titles), rows);
    cJSON_Delete(rows);
}

int status_command(struct cli *cli, int argc, char **argv)
{
    cJSON *reply;
    int code;

    if (options_read(cli, argc, argv, NULL, false, 0, 0, NULL, &code) < 0)
        return code;
    code = ask_report(cli, call_request("status"), &reply);
    if (reply != NULL)
        print_status(reply);
    cJSON_Delete(reply);
    return code;
}

static void print_agents(const cJSON *agents)
{
    static const char *const titles[] = {"rm",     "state", "database",    "server", "prepared",
                                         "oldest", "slots", "incarnation", "url",    "last error"};
    char age[AGE_BYTES], slots[2 * SCRATCH_BYTES];
    cJSON *rows = cJSON_CreateArray();

    for (const cJSON *agent = json_first(agents); agent != NULL; agent = agent->next) {
        cJSON *row = table_row(rows);
        uint64_t prepared = json_number(agent, "prepared");
        snprintf(slots, sizeof slots, "%" PRIu64 " of %" PRIu64, json_number(agent, "slots_used"),
                 json_number(agent, "slots_max"));
        table_field(row, agent, "rm");
        table_field(row, agent, "state");
        table_field(row, agent, "database");
        table_field(row, agent, "server_version");
        table_field(row, agent, "prepared");
        table_cell(row, prepared > 0
                            ? age_words(json_number(agent, "oldest_prepared_s") * 1000, age)
                            : "");
        table_cell(row, json_number(agent, "slots_max") > 0 ? slots : "");
        table_field(row, agent, "incarnation");
        table_field(row, agent, "url");
        table_field(row, agent, "last_error");
    }
    table_print(titles, COUNT(titles), rows);
    cJSON_Delete(rows);
}

int agents_command(struct cli *cli, int argc, char **argv)
{
    cJSON *reply;
    int code;

    if (argc > 1 && settles_agents(argv[1]))
        return rm_settle(cli, argc - 1, argv + 1);
    if (options_read(cli, argc, argv, NULL, false, 0, 0, NULL, &code) < 0)
        return code;
    code = ask_report(cli, call_request("agents"), &reply);
    if (reply != NULL)
        print_agents(sorted_child(reply, "agents", compare_rms));
    cJSON_Delete(reply);
    return code;
}

/* "accounts, ledger/audit" */
static void branch_names(const cJSON *branches, char *out, size_t room)
{
    char scratch[SCRATCH_BYTES];
    FILE *text = fmemopen(out, room, "w");

    out[0] = '\0';
    if (text == NULL)
        return;
    for (const cJSON *branch = json_first(branches); branch != NULL; branch = branch->next) {
        const char *name = json_text(branch, "branch", scratch);
        fprintf(text, "%s%s%s%s", branch == branches->child ? "" : ", ",
                json_text(branch, "rm", scratch), name[0] != '\0' ? "/" : "", name);
    }
    fclose(text);
}

static const char *time_left(const cJSON *transaction, char age[AGE_BYTES])
{
    return cJSON_HasObjectItem(transaction, "left_ms")
               ? age_words(json_number(transaction, "left_ms"), age)
               : "";
}

static void print_list(const cJSON *transactions)
{
    static const char *const titles[] = {"gtrid", "state", "protocol",    "age",
                                         "left",  "label", "application", "branches"};
    char age[AGE_BYTES];
    char names[BRANCHES_MAX * (RM_NAME_BYTES + BRANCH_NAME_BYTES + 2)];
    cJSON *rows = cJSON_CreateArray();

    for (const cJSON *transaction = json_first(transactions); transaction != NULL;
         transaction = transaction->next) {
        cJSON *row = table_row(rows);
        branch_names(json_child(transaction, "branches"), names, sizeof names);
        table_field(row, transaction, "gtrid");
        table_field(row, transaction, "state");
        table_field(row, transaction, "protocol");
        table_cell(row, age_words(json_number(transaction, "age_ms"), age));
        table_cell(row, time_left(transaction, age));
        table_field(row, transaction, "label");
        table_field(row, transaction, "application");
        table_cell(row, names);
    }
    table_print(titles, COUNT(titles), rows);
    cJSON_Delete(rows);
}

int list_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"state", "state", FIELD_TEXT},
        {NULL, NULL, FIELD_TEXT},
    };
    cJSON *request = call_request("list"), *reply;
    int code;

    if (options_read(cli, argc, argv, fields, false, 0, 0, request, &code) < 0) {
        cJSON_Delete(request);
        return code;
    }
    code = ask_report(cli, request, &reply);
    if (reply != NULL)
        print_list(sorted_child(reply, "transactions", compare_transactions));
    uint64_t total = json_number(reply, "total");
    uint64_t listed = (uint64_t)cJSON_GetArraySize(json_child(reply, "transactions"));
    if (total > listed)
        printf("%" PRIu64 " more are not shown; --state picks some\n", total - listed);
    cJSON_Delete(reply);
    return code;
}

static void print_branches(const cJSON *branches)
{
    static const char *const titles[] = {"rm", "branch", "state", "xid", "gid"};
    cJSON *rows = cJSON_CreateArray();

    for (const cJSON *branch = json_first(branches); branch != NULL; branch = branch->next) {
        cJSON *row = table_row(rows);
        table_field(row, branch, "rm");
        table_field(row, branch, "branch");
        table_field(row, branch, "state");
        table_field(row, branch, "xid");
        table_field(row, branch, "gid");
    }
    putchar('\n');
    table_print(titles, COUNT(titles), rows);
    cJSON_Delete(rows);
}

/* "ledger, whose agent is down; accounts" */
static void print_awaited(const cJSON *awaited)
{
    if (json_first(awaited) == NULL)
        return;
    printf("%-12s ", "waits for");
    for (const cJSON *who = json_first(awaited); who != NULL; who = who->next) {
        text_put(stdout, cJSON_GetStringValue(who));
        fputs(who->next != NULL ? "; " : "\n", stdout);
    }
}

static void print_timeline(const cJSON *timeline)
{
    static const char *const titles[] = {"after ms", "rm", "what"};
    cJSON *rows = cJSON_CreateArray();

    for (const cJSON *entry = json_first(timeline); entry != NULL; entry = entry->next) {
        cJSON *row = table_row(rows);
        table_field(row, entry, "at_ms");
        table_field(row, entry, "rm");
        table_field(row, entry, "what");
    }
    putchar('\n');
    table_print(titles, COUNT(titles), rows);
    cJSON_Delete(rows);
}

/* "511, led by this coordinator: proposing committed" */
static void print_ballot(const cJSON *ballot)
{
    char number[SCRATCH_BYTES], leader[SCRATCH_BYTES], phase[SCRATCH_BYTES], value[SCRATCH_BYTES];
    const char *proposes = json_text(ballot, "proposes", value);
    if (ballot == NULL)
        return;
    printf("%-*s %s, led by %s: %s%s%s\n", LABEL_WIDTH, "ballot",
           json_text(ballot, "number", number), json_text(ballot, "leader", leader),
           json_text(ballot, "phase", phase), proposes[0] != '\0' ? " " : "", proposes);
}

static void print_acceptors(const cJSON *acceptors)
{
    static const char *const titles[] = {"acceptor", "says"};
    cJSON *rows = cJSON_CreateArray();
    for (const cJSON *acceptor = json_first(acceptors); acceptor != NULL;
         acceptor = acceptor->next) {
        cJSON *row = table_row(rows);
        table_field(row, acceptor, "acceptor");
        table_field(row, acceptor, "says");
    }
    putchar('\n');
    table_print(titles, COUNT(titles), rows);
    cJSON_Delete(rows);
}

static void print_transaction(const cJSON *transaction)
{
    char age[AGE_BYTES];
    const cJSON *reason = json_child(transaction, "reason");

    field_line("transaction", transaction, "gtrid");
    field_line("state", transaction, "state");
    field_line("outcome", transaction, "outcome");
    field_line("protocol", transaction, "protocol");
    field_line("label", transaction, "label");
    field_line("application", transaction, "application");
    field_line("trace", transaction, "traceparent");
    field_line("key", transaction, "key");
    line_print(LABEL_WIDTH, "age", age_words(json_number(transaction, "age_ms"), age));
    line_print(LABEL_WIDTH, "time left", time_left(transaction, age));
    print_ballot(json_child(transaction, "ballot"));
    field_line("majority", transaction, "majority");
    print_awaited(json_child(transaction, "waits_for"));
    if (reason != NULL) {
        field_line("refused by", reason, "rm");
        field_line("because", reason, "message");
        field_line("sqlstate", reason, "sqlstate");
        field_line("detail", reason, "detail");
        field_line("hint", reason, "hint");
    }
    print_branches(json_child(transaction, "branches"));
    if (cJSON_HasObjectItem(transaction, "acceptors"))
        print_acceptors(json_child(transaction, "acceptors"));
}

int show_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"timeline", "timeline", FIELD_TRUE},
        {NULL, NULL, FIELD_TEXT},
    };
    cJSON *options = cJSON_CreateObject(), *reply = NULL;
    int code;
    int first = options_read(cli, argc, argv, fields, false, 1, 1, options, &code);

    if (first >= 0) {
        cJSON *request = call_request("show");
        cJSON_AddStringToObject(request, "gtrid", argv[first]);
        code = ask_report(cli, request, &reply);
    }
    if (reply != NULL) {
        const cJSON *transaction = json_child(reply, "transaction");
        print_transaction(transaction);
        if (cJSON_HasObjectItem(options, "timeline"))
            print_timeline(json_child(transaction, "timeline"));
    }
    cJSON_Delete(reply);
    cJSON_Delete(options);
    return code;
}
