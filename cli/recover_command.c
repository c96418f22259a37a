/*
 * cli/recover_command.c - recover: the coordinator's log is gone, or an agent was away meanwhile.
 *
 * Nothing is guessed. The plan is printed first, with what proves each line of it; what nothing
 * proves a person has to say, for each transaction; and nothing is done before all of it is said.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/address.h"
#include "cli/call.h"
#include "cli/dry_start.h"
#include "cli/recovery.h"
#include "cli/table.h"
#include "common/must.h"
#include "log/directory.h"

static int refuse_to(const char *error, const char *hint)
{
    tell("error", error);
    tell("hint", hint);
    return EXIT_REFUSED;
}

/* ---- is it lost? ---- */

static bool coordinator_answers(const struct cli *cli)
{
    struct cli by_file = {.conf_path =
                              cli->conf_path != NULL ? cli->conf_path : ADDRESS_DEFAULT_CONF};
    struct failure failure;
    cJSON *reply = NULL;
    char *urls;
    if (address_find(&by_file, &urls) != EXIT_DONE)
        return false;
    bool answers = call_quietly(urls, call_request("status"), 2000, &reply, &failure) == EXIT_DONE;
    if (answers)
        cJSON_Delete(reply);
    free(urls);
    return answers;
}

static bool has_files(const struct log_dir *dir, enum file_kind kind)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    struct error error;
    bool some = file_list(dir, kind, &numbers, &count, &error) != 0 || count > 0;
    free(numbers);
    return some;
}

/* A log that is here, whatever its state, may hold what was decided. */
static int check_log_is_gone(const struct site *site)
{
    struct log_dir dir;
    struct stat status;
    struct error error;
    char message[512];
    if (stat(site->data_dir, &status) != 0)
        return EXIT_DONE;
    if (status.st_uid != geteuid()) {
        snprintf(message, sizeof message, "%s belongs to uid %u, as whom the coordinator runs",
                 site->data_dir, (unsigned)status.st_uid);
        return refuse_to(message, "run this as that user");
    }
    if (log_dir_open(&dir, site->data_dir, &error) != 0)
        return refuse_to(error.message, "");
    bool in_use = log_dir_in_use(&dir);
    bool there = has_files(&dir, FILE_SEGMENT) || has_files(&dir, FILE_CHECKPOINT) ||
                 has_files(&dir, FILE_OUTCOMES) || has_files(&dir, FILE_KEYS);
    log_dir_close(&dir);
    if (in_use)
        return refuse_to("a process uses the coordinator's data_dir", "stop assentd first");
    if (!there)
        return EXIT_DONE;
    snprintf(message, sizeof message, "there is a log in %s", site->data_dir);
    return refuse_to(message,
                     "start assentd with it if it is the one that was always there; if it is "
                     "damaged beyond repair, an old one or an empty one, move it aside");
}

/* ---- what a person says ---- */

static int say_one(const struct recovery *recovery, struct lost_txn *txn, enum outcome outcome)
{
    char text[GTRID_BYTES], because[BECAUSE_BYTES], message[256];
    if (lost_say(txn, outcome))
        return EXIT_DONE;
    gtrid_format(&txn->gtrid, text);
    snprintf(message, sizeof message, "%s: %s", text,
             txn->by_word ? "both outcomes are asked for"
                          : recovery_because(recovery, txn, because));
    return refuse_to(message, "");
}

static void say_rest(struct recovery *recovery, enum outcome outcome)
{
    for (uint32_t i = 0; i < recovery->lost.count; i++)
        if (recovery->lost.txns[i].outcome == OUTCOME_NONE)
            lost_say(&recovery->lost.txns[i], outcome);
}

static int say(struct recovery *recovery, const char *gtrid, enum outcome outcome)
{
    char text[GTRID_BYTES], message[256];
    for (uint32_t i = 0; i < recovery->lost.count; i++) {
        gtrid_format(&recovery->lost.txns[i].gtrid, text);
        if (strcmp(text, gtrid) == 0)
            return say_one(recovery, &recovery->lost.txns[i], outcome);
    }
    snprintf(message, sizeof message, "no branch of %.64s is prepared that could be finished",
             gtrid);
    return refuse_to(message, "");
}

static int take_words(struct recovery *recovery, const cJSON *options)
{
    static const struct {
        const char *option;
        enum outcome outcome;
    } kinds[] = {{"commit", OUTCOME_COMMITTED}, {"rollback", OUTCOME_ROLLED_BACK}};
    bool rest = false;
    for (size_t kind = 0; kind < 2; kind++)
        for (const cJSON *word = json_first(json_child(options, kinds[kind].option)); word != NULL;
             word = word->next) {
            bool is_rest = kinds[kind].outcome == OUTCOME_ROLLED_BACK &&
                           strcmp(word->valuestring, "rest") == 0;
            rest = rest || is_rest;
            if (!is_rest && say(recovery, word->valuestring, kinds[kind].outcome) != EXIT_DONE)
                return EXIT_REFUSED;
        }
    if (rest)
        say_rest(recovery, OUTCOME_ROLLED_BACK);
    return EXIT_DONE;
}

static int take_absent(struct recovery *recovery, const cJSON *options)
{
    for (const cJSON *name = json_first(json_child(options, "without")); name != NULL;
         name = name->next) {
        uint32_t rm = recovery_find_rm(recovery, name->valuestring);
        if (rm == UINT32_MAX)
            return refuse_to("--without names no [rm NAME] of the configuration", "");
        recovery->lost.agents[rm].without = true;
    }
    return EXIT_DONE;
}

/* ---- the plan ---- */

static const char *plan_word(enum outcome outcome)
{
    return outcome == OUTCOME_COMMITTED     ? "committed"
           : outcome == OUTCOME_ROLLED_BACK ? "rolled back"
                                            : "?";
}

static cJSON *plan_json(const struct recovery *recovery)
{
    char text[GTRID_BYTES], because[BECAUSE_BYTES];
    cJSON *plan = wire_ok(), *list = cJSON_AddArrayToObject(plan, "transactions");
    for (uint32_t i = 0; i < recovery->lost.count; i++) {
        const struct lost_txn *txn = &recovery->lost.txns[i];
        cJSON *item = cJSON_CreateObject();
        gtrid_format(&txn->gtrid, text);
        cJSON_AddStringToObject(item, "gtrid", text);
        cJSON_AddStringToObject(item, "outcome",
                                txn->outcome == OUTCOME_NONE ? "" : outcome_word(txn->outcome));
        cJSON_AddBoolToObject(item, "proved", txn->outcome != OUTCOME_NONE && !txn->by_word);
        cJSON_AddStringToObject(item, "because", recovery_because(recovery, txn, because));
        cJSON *branches = cJSON_AddArrayToObject(item, "branches");
        for (uint32_t b = 0; b < txn->branch_count; b++)
            cJSON_AddItemToArray(branches,
                                 cJSON_Duplicate((const cJSON *)txn->branches[b].item, true));
        cJSON_AddItemToArray(list, item);
    }
    cJSON_AddItemToObject(plan, "untouched", cJSON_Duplicate(recovery->untouched, true));
    cJSON *agents = cJSON_AddArrayToObject(plan, "agents");
    for (uint32_t i = 0; i < recovery->site.rm_count; i++) {
        cJSON *agent = cJSON_CreateObject();
        cJSON_AddStringToObject(agent, "rm", recovery->site.rms[i].name);
        cJSON_AddBoolToObject(agent, "answered", recovery->answers[i] != NULL);
        cJSON_AddItemToArray(agents, agent);
    }
    return plan;
}

static void print_branches(const struct recovery *recovery, const struct lost_txn *txn, cJSON *rows)
{
    char age[AGE_BYTES], text[GTRID_BYTES], because[BECAUSE_BYTES];
    gtrid_format(&txn->gtrid, text);
    for (uint32_t b = 0; b < txn->branch_count; b++) {
        const struct lost_branch *branch = &txn->branches[b];
        cJSON *row = table_row(rows);
        table_cell(row, b == 0 ? text : "");
        table_cell(row, recovery->site.rms[branch->rm].name);
        table_cell(row, age_words(json_number((const cJSON *)branch->item, "age_s") * 1000, age));
        table_cell(row, b == 0 ? plan_word(txn->outcome) : "");
        table_cell(row, b > 0          ? ""
                        : txn->by_word ? "you say so"
                                       : recovery_because(recovery, txn, because));
    }
}

static void print_plan(const struct recovery *recovery)
{
    static const char *const titles[] = {"transaction", "prepared at", "age", "will be", "because"};
    cJSON *rows = cJSON_CreateArray();
    uint32_t count = recovery->lost.count;
    for (uint32_t i = 0; i < count; i++)
        print_branches(recovery, &recovery->lost.txns[i], rows);
    printf("%u transaction%s of %s with branches that are prepared\n", count, count == 1 ? "" : "s",
           recovery->site.tm);
    if (count > 0)
        table_print(titles, sizeof titles / sizeof titles[0], rows);
    cJSON_Delete(rows);
    for (const cJSON *gid = json_first(recovery->untouched); gid != NULL; gid = gid->next) {
        fputs("not touched: ", stdout);
        text_put(stdout, gid->valuestring);
        putchar('\n');
    }
    for (uint32_t i = 0; i < recovery->site.rm_count; i++)
        if (recovery->answers[i] == NULL)
            printf("no answer from the agent of %s: %s\n", recovery->site.rms[i].name,
                   recovery->failures[i].message);
}

/* ---- may it be done? ---- */

static int check(const struct recovery *recovery)
{
    char message[256];
    uint32_t rm = 0;
    switch (lost_check(&recovery->lost, &rm)) {
    case LOST_FREE:
        return EXIT_DONE;
    case LOST_SILENT:
        snprintf(message, sizeof message, "the agent of %s does not answer: it may know more",
                 recovery->site.rms[rm].name);
        return refuse_to(message, "start it; or leave it out by --without, and have it follow "
                                  "the new log later by `assentctl recover --adopt`");
    case LOST_DIFFERENT_LOGS:
        return refuse_to("the agents follow different logs: a recovery was interrupted",
                         "bring the log back that it has written, and have the others follow "
                         "it by `assentctl recover --adopt`; if that is lost too, leave those "
                         "out by --without that do not follow it");
    case LOST_UNKNOWN:
        return refuse_to("no agent knows this coordinator: there is nothing to recover",
                         "start assentd");
    case LOST_BEING_DECIDED:
        return refuse_to("its agents are deciding a transaction in three phases",
                         "start all of them, and run this again when they have");
    case LOST_ACCEPTOR_MISSING:
        return refuse_to("agents have voted in transactions of three phases, which may not be "
                         "over where no agent answers",
                         "start that agent; if its database is gone for good, take its section "
                         "out of the configuration");
    case LOST_MOVES:
        return refuse_to("not all that is prepared may have been on the agents' lists",
                         "run this again");
    case LOST_UNSAID:
        break;
    }
    return refuse_to("nothing proves what was decided where it says `?`",
                     "look at the data, and say it for each: --commit GTRID, --rollback "
                     "GTRID; or --rollback rest");
}

static bool confirmed(const struct cli *cli)
{
    char line[16] = "";
    if (cli->json || !isatty(STDIN_FILENO))
        return false;
    fflush(stdout);
    fputs("Give the lost log up? [y/N] ", stderr);
    return fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

/* ---- doing it ---- */

static int adopt_all(const struct recovery *recovery)
{
    char message[512];
    int code = EXIT_DONE;
    for (uint32_t i = 0; i < recovery->site.rm_count; i++) {
        struct failure failure = {0};
        if (!recovery->lost.agents[i].knows || recovery_adopt(recovery, i, &failure) == EXIT_DONE)
            continue;
        snprintf(message, sizeof message, "the agent of %s does not follow the new log: %s",
                 recovery->site.rms[i].name, failure.message);
        tell("error", message);
        snprintf(message, sizeof message, "assentctl -c %s recover --adopt %s --yes",
                 recovery->site.path, recovery->site.rms[i].name);
        tell("hint", message);
        code = EXIT_REFUSED;
    }
    return code;
}

static int carry_out(const struct cli *cli, struct recovery *recovery, const char *why)
{
    struct error error;
    if (recovery_write_log(recovery, why, &error) != 0)
        return refuse_to(error.message, "");
    int code = adopt_all(recovery);
    if (code == EXIT_DONE && !cli->json)
        printf("a new log is in %s; start the coordinator: assentd -c %s\n",
               recovery->site.data_dir, recovery->site.path);
    return code;
}

static void show_plan(const struct cli *cli, const struct recovery *recovery)
{
    if (!cli->json) {
        print_plan(recovery);
        return;
    }
    cJSON *plan = plan_json(recovery);
    print_json(plan);
    cJSON_Delete(plan);
}

static int recover(const struct cli *cli, struct recovery *recovery, const cJSON *options)
{
    char scratch[SCRATCH_BYTES];
    const char *why = json_text(options, "reason", scratch);
    bool yes = cJSON_HasObjectItem(options, "yes");
    if (yes && why[0] == '\0')
        return usage_error(cli, "--reason is needed, for the audit trail");
    int code = take_absent(recovery, options);
    if (code == EXIT_DONE)
        code = recovery_gather(recovery);
    if (code == EXIT_DONE)
        code = take_words(recovery, options);
    if (code != EXIT_DONE)
        return code;
    show_plan(cli, recovery);
    code = check(recovery);
    if (yes || (code == EXIT_DONE && why[0] != '\0' && confirmed(cli)))
        return code == EXIT_DONE ? carry_out(cli, recovery, why) : code;
    tell("hint", "nothing was done; --reason TEXT --yes does it");
    return EXIT_DONE;
}

static int recover_lost_log(const struct cli *cli, const cJSON *options)
{
    struct recovery *recovery = must_alloc(sizeof *recovery, "a recovery");
    int code = site_read(cli, &recovery->site);
    if (code == EXIT_DONE && coordinator_answers(cli))
        code = refuse_to("the coordinator runs: its log is not lost", "");
    if (code == EXIT_DONE)
        code = check_log_is_gone(&recovery->site);
    if (code == EXIT_DONE)
        code = recover(cli, recovery, options);
    recovery_free(recovery);
    free(recovery);
    return code;
}

/* ---- an agent that was away ---- */

/* What is prepared there was begun under the lost log: the new one has to know how it ends. */
static bool is_open(const struct dry_start *start, const struct lost_txn *txn,
                    const struct lost_branch *branch, const char *rm)
{
    struct txn_knowledge known;
    struct branch_id id = {.gtrid = txn->gtrid};
    memcpy(id.rm, rm, strlen(rm));
    memcpy(id.branch, branch->name, sizeof id.branch);
    coordinator_know(start->coordinator, &id, 0, &known);
    return lost_is_open(&known, branch);
}

/* What the others recall, and what to run; where that proves nothing, one of two. */
static void print_by_hand(const struct recovery *recovery, const struct lost_txn *txn,
                          const struct lost_branch *branch)
{
    char database[SCRATCH_BYTES], gid[SCRATCH_BYTES], text[GTRID_BYTES], because[BECAUSE_BYTES];
    const char *name = json_text(recovery->answers[branch->rm], "database", database);
    const char *which = json_text(branch->item, "gid", gid);
    gtrid_format(&txn->gtrid, text);
    bool another = lost_is_another(branch);
    printf("%s: %s\n", text,
           another ? "what is prepared there was prepared again, and never voted for"
                   : recovery_because(recovery, txn, because));
    if (txn->outcome != OUTCOME_ROLLED_BACK && !another)
        printf("  psql -d %s -c \"COMMIT PREPARED '%s'\"\n", name, which);
    if (txn->outcome != OUTCOME_COMMITTED || another)
        printf("  psql -d %s -c \"ROLLBACK PREPARED '%s'\"\n", name, which);
}

static int check_nothing_is_open(const struct dry_start *start, const struct recovery *recovery,
                                 uint32_t rm)
{
    const char *name = recovery->site.rms[rm].name;
    int code = EXIT_DONE;
    for (uint32_t i = 0; i < recovery->lost.count; i++)
        for (uint32_t b = 0; b < recovery->lost.txns[i].branch_count; b++) {
            const struct lost_txn *txn = &recovery->lost.txns[i];
            const struct lost_branch *branch = &txn->branches[b];
            if (branch->rm != rm || !is_open(start, txn, branch, name))
                continue;
            if (code == EXIT_DONE)
                puts("Prepared there, and the new log does not know how it ends. What the agents "
                     "recall of each, and what to run, one of two where nothing proves which:");
            print_by_hand(recovery, txn, branch);
            code = EXIT_REFUSED;
        }
    for (uint32_t i = 0; code != EXIT_DONE && i < recovery->site.rm_count; i++)
        if (recovery->answers[i] == NULL)
            printf("no answer from the agent of %s, which may know more: %s\n",
                   recovery->site.rms[i].name, recovery->failures[i].message);
    return code == EXIT_DONE
               ? code
               : refuse_to("its branches have to be finished by hand first, as their "
                           "transactions ended elsewhere",
                           "assentctl audit tells what was decided when the log was lost");
}

static int adopt_one(const struct cli *cli, struct recovery *recovery, const cJSON *options,
                     const char *name)
{
    struct dry_start start;
    struct failure failure = {0};
    int code = recovery_gather(recovery);
    uint32_t rm = recovery_find_rm(recovery, name);
    if (code != EXIT_DONE)
        return code;
    if (rm == UINT32_MAX)
        return refuse_to("--adopt names no [rm NAME] of the configuration", "");
    if (recovery->answers[rm] == NULL)
        return refuse_to(recovery->failures[rm].message, "start its agent");
    dry_start(&recovery->site, &start);
    if (start.coordinator == NULL)
        return refuse_to(start.why, "stop assentd first, and start it again afterwards");
    struct offer offer = {0};
    coordinator_offer(start.coordinator, rm, &offer);
    recovery->log = start.log;
    for (uint32_t i = 0; i < offer.ancestor_count; i++)
        if (offer.ancestors[i].incarnation > recovery->start.incarnation)
            recovery->start = offer.ancestors[i];
    code = check_nothing_is_open(&start, recovery, rm);
    dry_start_free(&start);
    if (code != EXIT_DONE)
        return code;
    if (!cJSON_HasObjectItem(options, "yes") && !confirmed(cli)) {
        tell("hint", "nothing was done; --yes does it");
        return EXIT_DONE;
    }
    if (recovery_adopt(recovery, rm, &failure) != EXIT_DONE)
        return refuse_to(failure.message, "");
    if (!cli->json)
        printf("%s follows the log in %s\n", name, recovery->site.data_dir);
    return EXIT_DONE;
}

static int recover_adopt(const struct cli *cli, const cJSON *options, const char *name)
{
    struct recovery *recovery = must_alloc(sizeof *recovery, "a recovery");
    int code = site_read(cli, &recovery->site);
    if (code == EXIT_DONE)
        code = adopt_one(cli, recovery, options, name);
    recovery_free(recovery);
    free(recovery);
    return code;
}

int recover_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"lost-log", "lost_log", FIELD_TRUE}, {"adopt", "adopt", FIELD_TEXT},
        {"commit", "commit", FIELD_LIST},     {"rollback", "rollback", FIELD_LIST},
        {"without", "without", FIELD_LIST},   {"reason", "reason", FIELD_TEXT},
        {"yes", "yes", FIELD_TRUE},           {NULL, NULL, FIELD_TEXT},
    };
    char scratch[SCRATCH_BYTES];
    cJSON *options = cJSON_CreateObject();
    int code;
    if (options_read(cli, argc, argv, fields, false, 0, 0, options, &code) >= 0) {
        const char *adopt = json_text(options, "adopt", scratch);
        bool lost = cJSON_HasObjectItem(options, "lost_log");
        if (lost == (adopt[0] != '\0'))
            code = usage_error(cli, "recover takes --lost-log or --adopt RM");
        else
            code = lost ? recover_lost_log(cli, options) : recover_adopt(cli, options, adopt);
    }
    cJSON_Delete(options);
    return code;
}
