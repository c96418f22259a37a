/*
 * cli/settle_command.c - what a DBA decides: resolve, forget, agents waive|release|retire, rm
 * pause|resume.
 *
 * What a decision would do is shown before it is asked for: --dry-run shows only that, and on a
 * terminal nothing is done before a person has said yes. The coordinator is asked what it would
 * tell its branches, the agents what the branches hold and whom they block.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/prepared.h"
#include "cli/table.h"
#include "common/must.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool take_flag(cJSON *request, const char *name)
{
    bool set = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, name));
    cJSON_DeleteItemFromObjectCaseSensitive(request, name);
    return set;
}

/* "y" on a terminal, or nobody to be asked. */
static bool confirmed(const struct cli *cli, bool yes, const char *question)
{
    char line[16] = "";
    if (yes || cli->json || !isatty(STDIN_FILENO))
        return true;
    fflush(stdout);
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    return line[0] == 'y' || line[0] == 'Y';
}

/* ---- what a decision would do ---- */

static void cell_of(cJSON *row, const cJSON *object, const char *field)
{
    char scratch[SCRATCH_BYTES];
    table_cell(row, object != NULL ? json_text(object, field, scratch) : "");
}

/* The texts of a list, "account, entry"; of objects, one field of each. */
static void list_cell(cJSON *row, const cJSON *object, const char *list, const char *field)
{
    char text[512] = "", scratch[SCRATCH_BYTES];
    size_t used = 0;
    for (const cJSON *item = object != NULL ? json_first(json_child(object, list)) : NULL;
         item != NULL && used < sizeof text; item = item->next) {
        const char *word = cJSON_IsString(item) ? item->valuestring
                           : field != NULL      ? json_text(item, field, scratch)
                                                : "";
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%s", used > 0 ? ", " : "", word);
    }
    table_cell(row, text);
}

/* What the agent of this RM says of the prepared branch with this gid; the caller deletes *whole.
 */
static const cJSON *ask_prepared(const char *url, const char *gid, cJSON **whole)
{
    char scratch[SCRATCH_BYTES];
    struct failure failure;
    *whole = NULL;
    if (url[0] == '\0' || prepared_ask(url, false, CALL_WAIT_MS, whole, &failure) != EXIT_DONE)
        return NULL;
    for (const cJSON *item = json_first(json_child(*whole, "prepared")); item != NULL;
         item = item->next)
        if (strcmp(json_text(item, "gid", scratch), gid) == 0)
            return item;
    return NULL;
}

static void url_of(const cJSON *agents, const char *rm, char *out, size_t room)
{
    char scratch[SCRATCH_BYTES];
    out[0] = '\0';
    for (const cJSON *agent = json_first(json_child(agents, "agents")); agent != NULL;
         agent = agent->next)
        if (strcmp(json_text(agent, "rm", scratch), rm) == 0)
            snprintf(out, room, "%s", json_text(agent, "url", scratch));
}

static void add_row(cJSON *rows, const cJSON *branch, const char *plan, const cJSON *prepared)
{
    cJSON *row = cJSON_CreateArray();
    cJSON_AddItemToArray(rows, row);
    cell_of(row, branch, "rm");
    cell_of(row, branch, "branch");
    if (cJSON_GetObjectItemCaseSensitive(branch, "state") != NULL)
        cell_of(row, branch, "state");
    else
        table_cell(row, "prepared");
    table_cell(row, plan);
    list_cell(row, prepared, "tables", "table");
    list_cell(row, prepared, "blocks", "pid");
}

static void add_live(cJSON *rows, const cJSON *plan, const cJSON *agents)
{
    char url[URL_BYTES], scratch[SCRATCH_BYTES];
    for (const cJSON *branch = json_first(json_child(plan, "branches")); branch != NULL;
         branch = branch->next) {
        cJSON *whole;
        url_of(agents, json_text(branch, "rm", scratch), url, sizeof url);
        const cJSON *prepared = ask_prepared(url, json_text(branch, "gid", scratch), &whole);
        add_row(rows, branch, json_text(branch, "plan", scratch), prepared);
        cJSON_Delete(whole);
    }
}

/* The coordinator has it no more: whatever is prepared under its name, wherever. */
static void add_found(cJSON *rows, const char *gtrid, const char *plan, const cJSON *agents)
{
    char scratch[SCRATCH_BYTES];
    for (const cJSON *agent = json_first(json_child(agents, "agents")); agent != NULL;
         agent = agent->next) {
        struct failure failure;
        cJSON *whole;
        if (prepared_ask(json_text(agent, "url", scratch), false, CALL_WAIT_MS, &whole, &failure) !=
            EXIT_DONE)
            continue;
        for (const cJSON *item = json_first(json_child(whole, "prepared")); item != NULL;
             item = item->next)
            if (strcmp(json_text(item, "gtrid", scratch), gtrid) == 0)
                add_row(rows, item, plan, item);
        cJSON_Delete(whole);
    }
}

static void print_plan(const struct cli *cli, const cJSON *plan, const char *outcome)
{
    static const char *const titles[] = {"rm",      "branch",   "state",
                                         "will be", "releases", "unblocks sessions"};
    char scratch[SCRATCH_BYTES];
    cJSON *rows = cJSON_CreateArray(), *agents = NULL;
    if (call_coordinator(cli, call_request("agents"), CALL_WAIT_MS, &agents) != EXIT_DONE)
        agents = NULL;
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(plan, "live")))
        add_live(rows, plan, agents);
    else
        add_found(rows, json_text(plan, "gtrid", scratch), outcome, agents);
    table_print(titles, COUNT(titles), rows);
    cJSON_Delete(rows);
    cJSON_Delete(agents);

    printf("judgement    %s: %s\n", json_text(plan, "judgement", scratch),
           json_text(plan, "because", scratch));
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(plan, "mixed")))
        puts("result       mixed: not every database will have ended the same way");
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(plan, "needs_force")))
        puts("             --force does it all the same; it is recorded as a heuristic outcome");
}

/* Ask what it would do and show it. Returns an exit code; EXIT_DONE also when it would be refused
 * without force. */
static int show_plan(const struct cli *cli, const cJSON *request, const char *outcome)
{
    cJSON *question = cJSON_Duplicate(request, true), *plan;
    cJSON_AddTrueToObject(question, "dry_run");
    int code = call_coordinator(cli, question, CALL_WAIT_MS, &plan);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(plan);
    else
        print_plan(cli, plan, outcome);
    cJSON_Delete(plan);
    return EXIT_DONE;
}

/* ---- resolve and forget ---- */

static void print_settled(const cJSON *reply)
{
    char scratch[SCRATCH_BYTES];
    const cJSON *pending = json_child(reply, "pending");
    puts(json_text(reply, "outcome", scratch));
    for (const cJSON *rm = json_first(pending); rm != NULL; rm = rm->next)
        tell("detail", cJSON_GetStringValue(rm) != NULL ? "still to be applied at a database" : "");
}

static void add_branch_name(cJSON *request)
{
    char scratch[SCRATCH_BYTES];
    char *name = must_copy(json_text(request, "rm", scratch), "a branch's name");
    char *slash = strchr(name, '/');
    if (slash != NULL) {
        *slash = '\0';
        cJSON_ReplaceItemInObjectCaseSensitive(request, "rm", cJSON_CreateString(name));
        cJSON_AddStringToObject(request, "branch", slash + 1);
    }
    free(name);
}

static int settle(struct cli *cli, cJSON *request, const char *outcome)
{
    bool dry_run = take_flag(request, "dry_run"), yes = take_flag(request, "yes");
    cJSON *reply;
    add_branch_name(request);
    if (dry_run || (!yes && !cli->json && isatty(STDIN_FILENO))) {
        int code = show_plan(cli, request, outcome);
        if (code != EXIT_DONE || dry_run) {
            cJSON_Delete(request);
            return code;
        }
    }
    if (!confirmed(cli, yes, "Do this?")) {
        tell("error", "nothing was done");
        cJSON_Delete(request);
        return EXIT_REFUSED;
    }
    int code = call_coordinator(cli, request, CALL_WAIT_MS, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        print_settled(reply);
    cJSON_Delete(reply);
    return EXIT_DONE;
}

static const struct field_option settle_fields[] = {
    {"reason", "reason", FIELD_TEXT},   {"rm", "rm", FIELD_TEXT},   {"force", "force", FIELD_TRUE},
    {"dry-run", "dry_run", FIELD_TRUE}, {"yes", "yes", FIELD_TRUE}, {NULL, NULL, FIELD_TEXT},
};

int resolve_command(struct cli *cli, int argc, char **argv)
{
    cJSON *request = call_request("resolve");
    int code;
    int first = options_read(cli, argc, argv, settle_fields, false, 2, 2, request, &code);
    if (first < 0) {
        cJSON_Delete(request);
        return code;
    }
    cJSON_AddStringToObject(request, "gtrid", argv[first]);
    cJSON_AddStringToObject(request, "outcome", argv[first + 1]);
    return settle(cli, request, argv[first + 1]);
}

int forget_command(struct cli *cli, int argc, char **argv)
{
    cJSON *request = call_request("forget");
    int code;
    int first = options_read(cli, argc, argv, settle_fields, false, 1, 1, request, &code);
    if (first < 0) {
        cJSON_Delete(request);
        return code;
    }
    cJSON_AddStringToObject(request, "gtrid", argv[first]);
    return settle(cli, request, "left alone");
}

/* ---- resource managers ---- */

static const struct field_option rm_fields[] = {
    {"reason", "reason", FIELD_TEXT}, {"force", "force", FIELD_TRUE}, {"yes", "yes", FIELD_TRUE},
    {"wait", "wait", FIELD_TRUE},     {NULL, NULL, FIELD_TEXT},
};

/* How many transactions still have work at this RM; -1 when it cannot be asked. */
static int64_t running_at(const struct cli *cli, const char *rm)
{
    char scratch[SCRATCH_BYTES];
    int64_t running = -1;
    cJSON *agents;
    if (call_coordinator(cli, call_request("agents"), CALL_WAIT_MS, &agents) != EXIT_DONE)
        return -1;
    for (const cJSON *agent = json_first(json_child(agents, "agents")); agent != NULL;
         agent = agent->next)
        if (strcmp(json_text(agent, "rm", scratch), rm) == 0)
            running = (int64_t)json_number(agent, "running");
    cJSON_Delete(agents);
    return running;
}

/* Until nothing has work there any more; how many have is shown as it changes. */
static int wait_for_rest(const struct cli *cli, const char *rm)
{
    int64_t shown = -1;
    for (;;) {
        int64_t running = running_at(cli, rm);
        if (running < 0)
            return EXIT_UNREACHABLE;
        if (running != shown && !cli->json)
            printf("%lld running at %s\n", (long long)running, rm);
        fflush(stdout);
        if (running == 0)
            return EXIT_DONE;
        shown = running;
        nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
    }
}

static const char *question_of(const char *verb)
{
    if (strcmp(verb, "waive") == 0)
        return "Presume aborts without having heard this agent?";
    if (strcmp(verb, "release") == 0)
        return "Take this database as it is now, with what it has lost?";
    return "Take this resource manager off?";
}

static void print_rm_settled(const char *verb, const char *rm)
{
    static const struct {
        const char *verb, *words, *hint;
    } ends[] = {
        {"waive", "%s is waived: nobody waits for it any more", ""},
        {"release", "%s is released: its agent registers again",
         "see `assentctl list` for what it had promised and lost"},
        {"retire", "%s is retired",
         "take its section out of assentd.ini, or the next start takes it on again"},
        {"pause", "%s is paused: new branches are refused", ""},
        {"resume", "%s takes new branches again", ""},
    };
    for (size_t i = 0; i < COUNT(ends); i++)
        if (strcmp(ends[i].verb, verb) == 0) {
            char text[128];
            snprintf(text, sizeof text, "%s%s", rm, ends[i].words + 2);
            puts(text);
            tell("hint", ends[i].hint);
        }
}

int rm_settle(struct cli *cli, int argc, char **argv)
{
    const char *verb = argv[0];
    cJSON *request = call_request(verb), *reply;
    int code;
    int first = options_read(cli, argc, argv, rm_fields, false, 1, 1, request, &code);
    if (first < 0) {
        cJSON_Delete(request);
        return code;
    }
    bool yes = take_flag(request, "yes"), wait = take_flag(request, "wait");
    bool asks = strcmp(verb, "pause") != 0 && strcmp(verb, "resume") != 0;
    cJSON_AddStringToObject(request, "rm", argv[first]);
    if (asks && !confirmed(cli, yes, question_of(verb))) {
        tell("error", "nothing was done");
        cJSON_Delete(request);
        return EXIT_REFUSED;
    }
    code = call_coordinator(cli, request, CALL_WAIT_MS, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        print_rm_settled(verb, argv[first]);
    cJSON_Delete(reply);
    return wait ? wait_for_rest(cli, argv[first]) : EXIT_DONE;
}

bool settles_agents(const char *word)
{
    return strcmp(word, "waive") == 0 || strcmp(word, "release") == 0 ||
           strcmp(word, "retire") == 0;
}

int rm_command(struct cli *cli, int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "pause") == 0 || strcmp(argv[1], "resume") == 0))
        return rm_settle(cli, argc - 1, argv + 1);
    int code;
    if (options_read(cli, argc, argv, NULL, true, 2, 2, NULL, &code) < 0)
        return code;
    return usage_error(cli, "rm takes pause or resume");
}
