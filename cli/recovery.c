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
    /* An agent that is not there may have accepted later starts than the others. */
    STARTS_UNSEEN = 1000 * 1000,
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
        cJSON_Delete(recovery->agents[i].answer);
    cJSON_Delete(recovery->untouched);
    free(recovery->txns);
}

/* ---- what is prepared ---- */

static struct lost_txn *find_or_add(struct recovery *recovery, const struct gtrid *gtrid)
{
    for (uint32_t i = 0; i < recovery->count; i++)
        if (gtrid_equal(&recovery->txns[i].gtrid, gtrid))
            return &recovery->txns[i];
    recovery->txns = must_grow(recovery->txns, (recovery->count + 1) * sizeof *recovery->txns,
                               "the transactions found");
    struct lost_txn *txn = &recovery->txns[recovery->count++];
    *txn = (struct lost_txn){.gtrid = *gtrid};
    gtrid_format(gtrid, txn->text);
    return txn;
}

/* Of this coordinator, in the database that its name says, and of no later start than is known. */
static bool is_ours(const struct recovery *recovery, uint32_t rm, const char *gid,
                    struct branch_id *out)
{
    return gid_parse(gid, strlen(gid), out) && strcmp(out->gtrid.tm, recovery->site.tm) == 0 &&
           strcmp(out->rm, recovery->site.rms[rm].name) == 0 &&
           out->gtrid.incarnation <= recovery->highest;
}

static int take_prepared(struct recovery *recovery, uint32_t rm)
{
    char scratch[SCRATCH_BYTES];
    const cJSON *list = json_child(recovery->agents[rm].answer, "prepared");
    for (const cJSON *item = json_first(list); item != NULL; item = item->next) {
        struct branch_id branch;
        const char *gid = json_text(item, "gid", scratch);
        if (!is_ours(recovery, rm, gid, &branch)) {
            cJSON_AddItemToArray(recovery->untouched, cJSON_CreateString(gid));
            continue;
        }
        struct lost_txn *txn = find_or_add(recovery, &branch.gtrid);
        if (txn->branch_count == BRANCHES_MAX) {
            tell("error", "a transaction has more branches than a coordinator could have made");
            return EXIT_REFUSED;
        }
        struct lost_branch *out = &txn->branches[txn->branch_count++];
        out->rm = rm;
        out->item = item;
        out->xid = json_number(item, "xid");
        memcpy(out->name, branch.branch, sizeof out->name);
    }
    return EXIT_DONE;
}

/* ---- the agents ---- */

static int take_row(struct recovery *recovery, uint32_t rm)
{
    struct lost_agent *agent = &recovery->agents[rm];
    char scratch[SCRATCH_BYTES], message[256];
    const char *name = json_text(agent->answer, "rm", scratch);
    if (strcmp(name, recovery->site.rms[rm].name) != 0) {
        snprintf(message, sizeof message, "the agent at the address of %s serves %s",
                 recovery->site.rms[rm].name, name);
        tell("error", message);
        return EXIT_REFUSED;
    }
    const cJSON *row = coordinator_row(agent->answer, recovery->site.tm);
    agent->knows = row != NULL;
    json_uuid(row, "log", &agent->log);
    if (json_number(row, "incarnation") > recovery->highest)
        recovery->highest = json_number(row, "incarnation");
    return EXIT_DONE;
}

static int ask_agents(struct recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->site.rm_count; i++) {
        struct lost_agent *agent = &recovery->agents[i];
        if (agent->without)
            refuse(&agent->failure, ERR_UNREACHABLE, "it is left out");
        else if (prepared_ask(recovery->site.rms[i].url, true, ASK_MS, &agent->answer,
                              &agent->failure) != EXIT_DONE)
            agent->answer = NULL;
        else if (take_row(recovery, i) != EXIT_DONE)
            return EXIT_REFUSED;
    }
    return EXIT_DONE;
}

/* ---- what they recall ---- */

static struct lost_txn *find(const struct recovery *recovery, const char *text)
{
    for (uint32_t i = 0; i < recovery->count; i++)
        if (strcmp(recovery->txns[i].text, text) == 0)
            return &recovery->txns[i];
    return NULL;
}

/* Was it prepared when its agent was asked for that? */
static bool is_listed(const struct lost_txn *txn, uint32_t rm, const char *gid)
{
    char scratch[SCRATCH_BYTES];
    for (uint32_t i = 0; i < txn->branch_count; i++)
        if (txn->branches[i].rm == rm &&
            strcmp(json_text(txn->branches[i].item, "gid", scratch), gid) == 0)
            return true;
    return false;
}

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
    static const char *const what[RECALLS] = {
        [RECALL_VOTING] = "has prepared it this moment, or is looking whether it is",
        [RECALL_NOT_VOTED] = "has not voted for it, and cannot any more",
        [RECALL_COMMIT] = "was told to commit it",
        [RECALL_ROLLBACK] = "was told to roll it back",
        [RECALL_ACCEPTOR] = "and the other acceptors decide it by themselves",
    };
    char scratch[SCRATCH_BYTES];
    enum recall recall = recall_from_word(json_text(item, "recalls", scratch));
    struct lost_txn *txn = find(recovery, json_text(item, "gtrid", scratch));
    const char *gid = json_text(item, "gid", scratch);
    if (txn == NULL)
        return;
    if (recall == RECALL_VOTED && gid[0] != '\0' && !is_listed(txn, rm, gid) &&
        !is_gone(recovery, rm, gid))
        recall = RECALL_VOTING;
    txn->recalled[recall]++;
    /* What is decided says more than that it is not known yet. */
    if (what[recall] != NULL && (recall != RECALL_ACCEPTOR || txn->because[0] == '\0'))
        snprintf(txn->because, sizeof txn->because, "%s %s", recovery->site.rms[rm].name,
                 what[recall]);
}

static int ask_recalled(struct recovery *recovery, uint32_t rm, uint32_t from)
{
    cJSON *question = call_request("recall"), *reply;
    cJSON_AddStringToObject(question, "tm", recovery->site.tm);
    cJSON *gtrids = cJSON_AddArrayToObject(question, "gtrids");
    struct failure failure;
    for (uint32_t i = from; i < recovery->count && i < from + RECALLS_A_QUESTION; i++)
        cJSON_AddItemToArray(gtrids, cJSON_CreateString(recovery->txns[i].text));
    if (call_quietly(recovery->site.rms[rm].url, question, ASK_MS, &reply, &failure) != EXIT_DONE) {
        tell("error", failure.message);
        return EXIT_UNREACHABLE;
    }
    for (const cJSON *item = json_first(json_child(reply, "recalls")); item != NULL;
         item = item->next)
        take_recalled(recovery, rm, item);
    recovery->agents[rm].accepts = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "accepts"));
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
    } while (code == EXIT_DONE && from < recovery->count);
    return code;
}

static void judge(const struct recovery *recovery, struct lost_txn *txn)
{
    txn->verdict = lost_judge(txn->gtrid.incarnation, recovery->highest, txn->recalled);
    if (txn->verdict == LOST_COMMIT)
        txn->outcome = OUTCOME_COMMITTED;
    if (txn->verdict == LOST_ROLL_BACK)
        txn->outcome = OUTCOME_ROLLED_BACK;
    if (txn->verdict == LOST_ASK)
        snprintf(txn->because, sizeof txn->because, "no agent recalls what was decided");
    if (txn->verdict == LOST_CONTRADICT)
        snprintf(txn->because, sizeof txn->because, "the agents recall both");
}

int recovery_gather(struct recovery *recovery)
{
    recovery->untouched = cJSON_CreateArray();
    int code = ask_agents(recovery);
    for (uint32_t rm = 0; code == EXIT_DONE && rm < recovery->site.rm_count; rm++)
        if (recovery->agents[rm].answer != NULL)
            code = take_prepared(recovery, rm);
    for (uint32_t rm = 0; code == EXIT_DONE && rm < recovery->site.rm_count; rm++)
        if (recovery->agents[rm].answer != NULL)
            code = ask_all_recalled(recovery, rm);
    for (uint32_t i = 0; i < recovery->count; i++)
        judge(recovery, &recovery->txns[i]);
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

/* Who said it and why is for the audit trail, and stands before the decision: at that place in the
 * log the transaction is not live, and nothing else follows from it. */
static void append_decision(struct wal *wal, const struct recovery *recovery,
                            const struct lost_txn *txn, const char *why)
{
    struct record *record = must_alloc(sizeof *record, "a record");
    record->type = RECORD_RESOLVED;
    record->incarnation = txn->gtrid.incarnation;
    record->sequence = txn->gtrid.sequence;
    record->outcome = txn->outcome;
    record->flags = txn->by_word ? RESOLVED_HEURISTIC : 0;
    say_who(record->who);
    snprintf(record->why, sizeof record->why, "%s", why);
    append(wal, record);
    if (txn->outcome == OUTCOME_COMMITTED) {
        *record = (struct record){.type = RECORD_COMMIT,
                                  .incarnation = txn->gtrid.incarnation,
                                  .sequence = txn->gtrid.sequence,
                                  .branch_count = txn->branch_count};
        for (uint32_t i = 0; i < txn->branch_count; i++) {
            const struct lost_branch *branch = &txn->branches[i];
            memcpy(record->branches[i].rm, recovery->site.rms[branch->rm].name, RM_NAME_BYTES);
            memcpy(record->branches[i].branch, branch->name, BRANCH_NAME_BYTES);
            record->branches[i].xid = branch->xid;
        }
        append(wal, record);
    }
    free(record);
}

/* One that is away must not keep the others' branches waiting. */
static void append_waive(struct wal *wal, const char *rm, const char *why)
{
    struct record *record = must_alloc(sizeof *record, "a record");
    record->type = RECORD_WAIVED;
    snprintf(record->rm, sizeof record->rm, "%s", rm);
    say_who(record->who);
    snprintf(record->why, sizeof record->why, "%s", why);
    append(wal, record);
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
    struct record opening[LOST_OPENING];
    recovery->start.incarnation = recovery->highest + 1;
    for (uint32_t i = 0; i < recovery->site.rm_count; i++)
        if (recovery->agents[i].answer == NULL)
            recovery->start.incarnation = recovery->highest + STARTS_UNSEEN;
    random_bytes(&recovery->start.instance, sizeof recovery->start.instance);
    lost_opening(&recovery->start, opening);
    if (wal_open(&wal, &options, &info, nothing_to_replay, NULL, error) != 0)
        return -1;
    if (wal_begin(wal, recovery->start.incarnation, is_durable, NULL, error) != 0) {
        wal_close(wal, false);
        return -1;
    }
    recovery->log = info.log;
    for (int i = 0; i < LOST_OPENING; i++)
        append(wal, &opening[i]);
    for (uint32_t i = 0; i < recovery->count; i++)
        append_decision(wal, recovery, &recovery->txns[i], why);
    for (uint32_t i = 0; i < recovery->site.rm_count; i++)
        if (recovery->agents[i].answer == NULL)
            append_waive(wal, recovery->site.rms[i].name, why);
    wal_close(wal, true);
    return 0;
}

int recovery_adopt(const struct recovery *recovery, uint32_t rm, struct failure *failure)
{
    struct adoption adoption = {
        .from = recovery->agents[rm].log,
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
