/*
 * cli/recovery.c - a coordinator whose log is lost: what its agents say, and a new log from that.
 *
 * The decisions are made first, all of them, and are on the disk before any agent hears of the new
 * log: whatever happens after that, there is one log that says what was decided, and agents that do
 * not follow it yet do nothing.
 */
#include "cli/recovery.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/prepared.h"
#include "common/must.h"
#include "common/ticket.h"
#include "log/wal.h"

enum {
    ASK_MS = 10 * 1000,
    RECALLS_A_QUESTION = 256,
};

uint32_t recovery_find_rm(const struct recovery *recovery, const char *name)
{
    for (uint32_t i = 0; i < recovery->site.rm_count; i++)
        if (strcmp(recovery->site.rms[i].name, name) == 0)
            return i;
    return UINT32_MAX;
}

void recovery_free(struct recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->site.rm_count; i++)
        cJSON_Delete(recovery->answers[i]);
    cJSON_Delete(recovery->untouched);
    free(recovery->lost.txns);
}

const char *recovery_because(const struct recovery *recovery, const struct lost_txn *txn,
                             char out[BECAUSE_BYTES])
{
    static const char *const what[RECALLS] = {
        [RECALL_VOTING] = "has prepared it this moment, or is looking whether it is",
        [RECALL_NOT_VOTED] = "has not voted for it, and cannot any more",
        [RECALL_COMMIT] = "was told to commit it",
        [RECALL_ROLLBACK] = "was told to roll it back",
        [RECALL_ACCEPTOR] = "and the other acceptors decide it by themselves",
    };
    if (txn->verdict == LOST_ASK)
        return "no agent recalls what was decided";
    if (txn->verdict == LOST_CONTRADICT)
        return "the agents recall both";
    if (what[txn->said] == NULL)
        return "";
    snprintf(out, BECAUSE_BYTES, "%s %s", recovery->site.rms[txn->said_by].name, what[txn->said]);
    return out;
}

/* ---- what is prepared ---- */

static void make_room(struct lost *lost)
{
    if (lost->count < lost->room)
        return;
    lost->room = lost->room == 0 ? 64 : 2 * lost->room;
    lost->txns = must_grow(lost->txns, lost->room * sizeof *lost->txns, "the transactions found");
}

static int take_prepared(struct recovery *recovery, uint32_t rm)
{
    char scratch[SCRATCH_BYTES];
    const cJSON *list = json_child(recovery->answers[rm], "prepared");
    for (const cJSON *item = json_first(list); item != NULL; item = item->next) {
        struct branch_id branch;
        enum lost_taken taken = LOST_LEFT;
        const char *gid = json_text(item, "gid", scratch);
        make_room(&recovery->lost);
        if (gid_parse(gid, strlen(gid), &branch))
            taken =
                lost_take_prepared(&recovery->lost, rm, &branch, json_number(item, "xid"), item);
        if (taken == LOST_LEFT)
            cJSON_AddItemToArray(recovery->untouched, cJSON_CreateString(gid));
        if (taken == LOST_TOO_MANY) {
            tell("error", "a transaction has more branches than a coordinator could have made");
            return EXIT_REFUSED;
        }
    }
    return EXIT_DONE;
}

/* ---- the agents ---- */

static int take_row(struct recovery *recovery, uint32_t rm)
{
    const cJSON *answer = recovery->answers[rm];
    char scratch[SCRATCH_BYTES], message[256];
    const char *name = json_text(answer, "rm", scratch);
    if (strcmp(name, recovery->site.rms[rm].name) != 0) {
        snprintf(message, sizeof message, "the agent at the address of %s serves %s",
                 recovery->site.rms[rm].name, name);
        tell("error", message);
        return EXIT_REFUSED;
    }
    const cJSON *object = coordinator_row(answer, recovery->site.tm);
    struct tm_row row = {.exists = object != NULL,
                         .incarnation = json_number(object, "incarnation")};
    json_uuid(object, "log", &row.log);
    lost_take_agent(&recovery->lost, rm, &row);
    return EXIT_DONE;
}

static int ask_agents(struct recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->site.rm_count; i++) {
        if (recovery->lost.agents[i].without)
            refuse(&recovery->failures[i], ERR_UNREACHABLE, "it is left out");
        else if (prepared_ask(recovery->site.rms[i].url, true, ASK_MS, &recovery->answers[i],
                              &recovery->failures[i]) != EXIT_DONE)
            recovery->answers[i] = NULL;
        else if (take_row(recovery, i) != EXIT_DONE)
            return EXIT_REFUSED;
    }
    return EXIT_DONE;
}

/* ---- what they recall ---- */

/* What has voted and is not on the list was finished by hand, or prepared since: look again. */
static bool is_gone(const struct recovery *recovery, uint32_t rm, const char *gid)
{
    char scratch[SCRATCH_BYTES];
    struct failure failure;
    cJSON *answer;
    if (prepared_ask(recovery->site.rms[rm].url, true, ASK_MS, &answer, &failure) != EXIT_DONE)
        return false;
    const cJSON *item = json_first(json_child(answer, "prepared"));
    while (item != NULL && strcmp(json_text(item, "gid", scratch), gid) != 0)
        item = item->next;
    cJSON_Delete(answer);
    return item == NULL;
}

static void take_recalled(struct recovery *recovery, uint32_t rm, const cJSON *item)
{
    char scratch[SCRATCH_BYTES];
    struct gtrid gtrid;
    struct branch_id branch;
    enum recall recall = recall_from_word(json_text(item, "recalls", scratch));
    const char *text = json_text(item, "gtrid", scratch);
    struct lost_txn *txn =
        gtrid_parse(text, strlen(text), &gtrid) ? lost_find(&recovery->lost, &gtrid) : NULL;
    if (txn == NULL)
        return;
    const char *gid = json_text(item, "gid", scratch);
    bool of_branch = gid_parse(gid, strlen(gid), &branch);
    if (of_branch)
        lost_recall_xid(txn, rm, &branch, recall, json_number(item, "xid"));
    if (recall == RECALL_VOTED && of_branch && !lost_is_listed(txn, rm, &branch) &&
        !is_gone(recovery, rm, gid))
        recall = RECALL_VOTING;
    lost_recall(txn, rm, recall);
}

static int ask_recalled(struct recovery *recovery, uint32_t rm, uint32_t from)
{
    cJSON *question = call_request("recall"), *reply;
    cJSON_AddStringToObject(question, "tm", recovery->site.tm);
    cJSON *gtrids = cJSON_AddArrayToObject(question, "gtrids");
    struct failure failure;
    char text[GTRID_BYTES];
    for (uint32_t i = from; i < recovery->lost.count && i < from + RECALLS_A_QUESTION; i++) {
        gtrid_format(&recovery->lost.txns[i].gtrid, text);
        cJSON_AddItemToArray(gtrids, cJSON_CreateString(text));
    }
    if (call_quietly(recovery->site.rms[rm].url, question, ASK_MS, &reply, &failure) != EXIT_DONE) {
        tell("error", failure.message);
        return EXIT_UNREACHABLE;
    }
    for (const cJSON *item = json_first(json_child(reply, "recalls")); item != NULL;
         item = item->next)
        take_recalled(recovery, rm, item);
    recovery->lost.agents[rm].accepts =
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "accepts"));
    cJSON_Delete(reply);
    return EXIT_DONE;
}

/* At least one question: whether it is an acceptor at all is told, too. */
static int ask_all_recalled(struct recovery *recovery, uint32_t rm)
{
    uint32_t from = 0;
    int code;
    do {
        code = ask_recalled(recovery, rm, from);
        from += RECALLS_A_QUESTION;
    } while (code == EXIT_DONE && from < recovery->lost.count);
    return code;
}

int recovery_gather(struct recovery *recovery)
{
    struct lost *lost = &recovery->lost;
    recovery->untouched = cJSON_CreateArray();
    memcpy(lost->tm, recovery->site.tm, sizeof lost->tm);
    lost->agent_count = recovery->site.rm_count;
    for (uint32_t rm = 0; rm < lost->agent_count; rm++)
        memcpy(lost->agents[rm].rm, recovery->site.rms[rm].name, RM_NAME_BYTES);
    int code = ask_agents(recovery);
    for (uint32_t rm = 0; code == EXIT_DONE && rm < lost->agent_count; rm++)
        if (recovery->answers[rm] != NULL)
            code = take_prepared(recovery, rm);
    for (uint32_t rm = 0; code == EXIT_DONE && rm < lost->agent_count; rm++)
        if (recovery->answers[rm] != NULL)
            code = ask_all_recalled(recovery, rm);
    lost_judge_all(lost);
    return code;
}

/* ---- the new log ---- */

static void say_who(char out[LABEL_BYTES])
{
    const struct passwd *user = getpwuid(geteuid());
    if (user != NULL)
        snprintf(out, LABEL_BYTES, "%.60s", user->pw_name);
    else
        snprintf(out, LABEL_BYTES, "uid %u", (unsigned)geteuid());
}

static void append(struct wal *wal, const struct record *record)
{
    uint8_t bytes[RECORD_APPEND_MAX];
    wal_append(wal, bytes, record_append(record, bytes), 1);
}

static void append_all(struct wal *wal, const struct recovery *recovery, const char *why)
{
    struct record *record = must_alloc(sizeof *record, "a record");
    uint32_t position = 0;
    while (lost_record(&recovery->lost, &recovery->start, &position, record)) {
        say_who(record->who);
        snprintf(record->why, sizeof record->why, "%s", why);
        append(wal, record);
    }
    free(record);
}

static void is_durable(void *arg, uint64_t records, uint64_t durable_lsn)
{
    (void)arg;
    (void)records;
    (void)durable_lsn; /* wal_close() waits for all */
}

static int nothing_to_replay(void *arg, const struct wal_record *record, struct error *error)
{
    (void)arg;
    (void)record;
    return fail(error, "there is a log already");
}

int recovery_write_log(struct recovery *recovery, const char *why, struct error *error)
{
    const struct wal_options options = {.dir = recovery->site.data_dir, .tm = recovery->site.tm};
    struct wal_info info;
    struct wal *wal;
    recovery->start.incarnation = lost_incarnation(&recovery->lost);
    random_bytes(&recovery->start.instance, sizeof recovery->start.instance);
    if (wal_open(&wal, &options, &info, nothing_to_replay, NULL, error) != 0)
        return -1;
    if (wal_begin(wal, recovery->start.incarnation, is_durable, NULL, error) != 0) {
        wal_close(wal, false);
        return -1;
    }
    recovery->log = info.log;
    append_all(wal, recovery, why);
    wal_close(wal, true);
    return 0;
}

int recovery_adopt(const struct recovery *recovery, uint32_t rm, struct failure *failure)
{
    struct adoption adoption = {
        .from = recovery->lost.agents[rm].log,
        .log = recovery->log,
        .incarnation = recovery->start.incarnation,
        .instance = recovery->start.instance,
    };
    cJSON *reply = NULL;
    memcpy(adoption.tm, recovery->site.tm, sizeof adoption.tm);
    int code = call_quietly(recovery->site.rms[rm].url, wire_write_adoption(&adoption), ASK_MS,
                            &reply, failure);
    cJSON_Delete(code == EXIT_DONE ? reply : NULL);
    return code;
}
