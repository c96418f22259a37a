/*
 * common/indoubt.c - the report of everything that is in doubt.
 *
 * Two things put a branch into it: it is prepared in a database, whoever knows of it; or the
 * coordinator has decided its transaction and has not heard that it was applied. What each says
 * of the other's is put beside it, and common/doubt.c says what follows.
 */
#include "common/indoubt.h"

#include <stdlib.h>
#include <string.h>

#include "common/doubt.h"
#include "common/wire.h"

enum {
    ITEMS_MAX = 1000,
    EVIDENCE_MAX = 256, /* that an agent takes at once */
    PAGE = 250,         /* branches with all that they hold, in one answer */
    PAGES_MAX = 8,
    UNPAGED = 1000, /* an agent of an older version says no more, and not that there is more */
    NUMBER_BYTES = 24,
};

/* A report in the making. */
struct report {
    const struct indoubt_sources *sources;
    cJSON *items, *foreign, *elsewhere;
    uint32_t left_out; /* branches for which there is no room */
};

/* One branch on its way into the report. */
struct entry {
    struct branch_id id;
    char gid[GID_BYTES];
    const struct indoubt_agent *agent;
    const cJSON *prepared; /* what its agent says of it; NULL: it is not prepared there */
    struct txn_knowledge knowledge;
    struct third_phase third;
    struct doubt doubt;
    char gtrid[GTRID_BYTES];
};

/* ---- reading what agents said ---- */

static const cJSON *indoubt_member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* The element of a list that is about this gid, or NULL. */
static const cJSON *indoubt_about(const cJSON *answer, const char *list, const char *gid)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, indoubt_member(answer, list)) if (strcmp(member_text(item, "gid"),
                                                                      gid) == 0) return item;
    return NULL;
}

static const struct indoubt_agent *indoubt_find_agent(const struct indoubt_sources *sources,
                                                      const char *rm)
{
    for (uint32_t i = 0; i < sources->agent_count; i++)
        if (strcmp(sources->agents[i].rm, rm) == 0)
            return &sources->agents[i];
    return NULL;
}

static enum xid_status indoubt_status(const cJSON *evidence)
{
    const char *status = member_text(evidence, "status");
    if (cJSON_IsTrue(indoubt_member(evidence, "marked")) || strcmp(status, "committed") == 0)
        return XID_COMMITTED;
    if (strcmp(status, "aborted") == 0)
        return XID_ABORTED;
    return strcmp(status, "future") == 0 ? XID_FUTURE : XID_UNKNOWN;
}

static uint32_t indoubt_count(const cJSON *answer, const char *name)
{
    return (uint32_t)cJSON_GetNumberValue(indoubt_member(answer, name));
}

static uint32_t indoubt_count_listed(const cJSON *answer)
{
    return (uint32_t)cJSON_GetArraySize(indoubt_member(answer, "prepared"));
}

/* How many prepared transactions an agent has not told us of; of an older one that may have more
 * than it says, 1. */
static uint32_t indoubt_count_unsaid(const cJSON *answer)
{
    if (answer == NULL)
        return 0;
    if (indoubt_member(answer, "total") == NULL)
        return indoubt_count_listed(answer) >= UNPAGED;
    uint32_t total = indoubt_count(answer, "total"), said = indoubt_count_listed(answer);
    return cJSON_IsObject(indoubt_member(answer, "next")) && total > said ? total - said : 0;
}

/* What is not on a list that was cut, and was not asked for by name, is not known to be gone. */
static enum doubt_found indoubt_found_at(const cJSON *answer, const char *gid)
{
    const cJSON *evidence = indoubt_about(answer, "evidence", gid);
    if (indoubt_about(answer, "prepared", gid) != NULL)
        return FOUND_PREPARED;
    if (evidence != NULL)
        return cJSON_IsTrue(indoubt_member(evidence, "prepared")) ? FOUND_NOT_ASKED : FOUND_GONE;
    return answer != NULL && indoubt_count_unsaid(answer) == 0 ? FOUND_GONE : FOUND_NOT_ASKED;
}

/* What its own agent says of a branch. */
static const char *indoubt_says(const struct indoubt_agent *agent, const char *gid)
{
    static const char *const words[] = {
        [XID_UNKNOWN] = "gone",
        [XID_COMMITTED] = "committed",
        [XID_ABORTED] = "rolled back",
        [XID_FUTURE] = "lost",
    };
    if (agent == NULL || agent->answer == NULL)
        return "no answer";
    if (indoubt_about(agent->answer, "prepared", gid) != NULL ||
        cJSON_IsTrue(indoubt_member(indoubt_about(agent->answer, "evidence", gid), "prepared")))
        return "prepared";
    if (indoubt_found_at(agent->answer, gid) == FOUND_NOT_ASKED)
        return "not known, its list is cut";
    return words[indoubt_status(indoubt_about(agent->answer, "evidence", gid))];
}

/* ---- the question ---- */

/* Is there something to prove about this branch: has its transaction been decided? */
static bool indoubt_is_pending(enum txn_known known, const struct branch_view *branch)
{
    switch (known) {
    case KNOWN_COMMITTED:
        return branch->progress == BR_YES || branch->progress == BR_UNSURE ||
               branch->progress == BR_HEURISTIC;
    case KNOWN_ABORTED:
    case KNOWN_PRECOMMITTED:
        return branch->progress == BR_YES || branch->progress == BR_HEURISTIC;
    case KNOWN_MIXED:
        return branch->progress == BR_HEURISTIC;
    case KNOWN_DELEGATED:
        return true;
    default:
        return false;
    }
}

/* The branch, and what is known of it. */
static void indoubt_look_up(const struct coordinator *coordinator, const struct txn_view *txn,
                            uint32_t branch, uint64_t now_ms, struct entry *out)
{
    memset(out, 0, sizeof *out);
    out->id.gtrid = txn->gtrid;
    memcpy(out->id.rm, txn->branches[branch].rm, RM_NAME_BYTES);
    memcpy(out->id.branch, txn->branches[branch].branch, BRANCH_NAME_BYTES);
    gid_format(&out->id, out->gid);
    coordinator_know(coordinator, &out->id, now_ms, &out->knowledge);
}

/* Is this one of those that are asked for now? Those before it were asked for with earlier pages.
 */
static bool indoubt_is_its_turn(uint32_t number, uint32_t page)
{
    return number >= page * EVIDENCE_MAX && number < (page + 1) * EVIDENCE_MAX;
}

/* What each acceptor keeps of a 3pc transaction is asked for even where nothing of it is prepared
 * any more. */
static void indoubt_ask_for_row(cJSON *gtrids, const struct txn_view *txn)
{
    char gtrid[GTRID_BYTES];
    gtrid_format(&txn->gtrid, gtrid);
    cJSON_AddItemToArray(gtrids, cJSON_CreateString(gtrid));
}

static void indoubt_ask_for_evidence(cJSON *evidence, const struct entry *entry, uint64_t voted_xid)
{
    char xid[NUMBER_BYTES];
    cJSON *item = cJSON_CreateObject();
    u64_format(voted_xid, xid);
    cJSON_AddStringToObject(item, "gid", entry->gid);
    cJSON_AddStringToObject(item, "xid", xid);
    cJSON_AddItemToArray(evidence, item);
}

/* Asks for what only its own agent can tell of live transactions. True: there is more to ask. */
static bool indoubt_ask_for_live(const struct coordinator *coordinator, const char *rm,
                                 uint64_t now_ms, uint32_t page, cJSON *question)
{
    struct txn_view txn;
    struct entry entry;
    uint32_t branches = 0, rows = 0;
    cJSON *evidence = cJSON_AddArrayToObject(question, "evidence");
    cJSON *gtrids = cJSON_AddArrayToObject(question, "gtrids");
    for (uint32_t at = 0; coordinator != NULL && coordinator_list(coordinator, &at, now_ms, &txn);
         at++) {
        if (txn.ballot.roster.count > 0 && indoubt_is_its_turn(rows++, page))
            indoubt_ask_for_row(gtrids, &txn);
        for (uint32_t i = 0; i < txn.branch_count; i++) {
            if (strcmp(txn.branches[i].rm, rm) != 0)
                continue;
            indoubt_look_up(coordinator, &txn, i, now_ms, &entry);
            if (indoubt_is_pending(entry.knowledge.known, &txn.branches[i]) &&
                indoubt_is_its_turn(branches++, page))
                indoubt_ask_for_evidence(evidence, &entry, txn.branches[i].xid);
        }
    }
    return branches > page * EVIDENCE_MAX || rows > page * EVIDENCE_MAX;
}

cJSON *indoubt_question(const struct coordinator *coordinator, const char *rm, uint64_t now_ms,
                        const cJSON *heard)
{
    const cJSON *next = indoubt_member(heard, "next");
    uint32_t page = heard == NULL ? 0 : indoubt_count(heard, "pages");
    bool lists = heard == NULL || cJSON_IsObject(next);
    cJSON *question = cJSON_CreateObject();
    cJSON_AddStringToObject(question, "op", "prepared");
    cJSON_AddNumberToObject(question, "limit", lists ? PAGE : 0);
    if (cJSON_IsObject(next))
        cJSON_AddItemToObject(question, "after", cJSON_Duplicate(next, true));
    bool asks = indoubt_ask_for_live(coordinator, rm, now_ms, page, question);
    if (page < PAGES_MAX && (lists || asks))
        return question;
    cJSON_Delete(question);
    return NULL;
}

static void indoubt_append(cJSON *heard, cJSON *answer, const char *list)
{
    cJSON *to = cJSON_GetObjectItemCaseSensitive(heard, list), *item;
    cJSON *from = cJSON_GetObjectItemCaseSensitive(answer, list);
    while (to != NULL && (item = cJSON_DetachItemFromArray(from, 0)) != NULL)
        cJSON_AddItemToArray(to, item);
}

cJSON *indoubt_hear(cJSON *heard, cJSON *answer)
{
    if (heard == NULL) {
        cJSON_AddNumberToObject(answer, "pages", 1);
        return answer;
    }
    uint32_t pages = indoubt_count(heard, "pages");
    /* An agent of an older version says everything again. */
    if (cJSON_IsObject(indoubt_member(heard, "next")))
        indoubt_append(heard, answer, "prepared");
    indoubt_append(heard, answer, "evidence");
    indoubt_append(heard, answer, "rows");
    cJSON_DeleteItemFromObjectCaseSensitive(heard, "next");
    cJSON *next = cJSON_DetachItemFromObjectCaseSensitive(answer, "next");
    if (next != NULL)
        cJSON_AddItemToObject(heard, "next", next);
    cJSON_ReplaceItemInObjectCaseSensitive(heard, "pages", cJSON_CreateNumber(pages + 1));
    cJSON_Delete(answer);
    return heard;
}

/* ---- one branch ---- */

static enum doubt_vote indoubt_vote(const struct entry *entry)
{
    const struct txn_knowledge *known = &entry->knowledge;
    if (entry->prepared == NULL)
        return VOTE_NOT_KNOWN;
    /* The branches of a decided transaction are all known, but not of one that a DBA has settled.
     */
    if (known->live && known->known == KNOWN_COMMITTED && !known->enlisted && !known->txn.resolved)
        return VOTE_OTHER;
    if (known->voted == 0)
        return VOTE_NOT_KNOWN;
    return strtoull(member_text(entry->prepared, "xid"), NULL, 10) == known->voted ? VOTE_SAME
                                                                                   : VOTE_OTHER;
}

/* The RM whose branch ended otherwise than was decided. */
static const char *indoubt_differing(const struct txn_view *txn)
{
    for (uint32_t i = 0; i < txn->branch_count; i++)
        if (txn->branches[i].progress == BR_HEURISTIC)
            return txn->branches[i].rm;
    return "a branch";
}

static enum branch_progress indoubt_progress(const struct entry *entry)
{
    const struct txn_view *txn = &entry->knowledge.txn;
    for (uint32_t i = 0; i < txn->branch_count; i++)
        if (strcmp(txn->branches[i].rm, entry->id.rm) == 0 &&
            strcmp(txn->branches[i].branch, entry->id.branch) == 0)
            return txn->branches[i].progress;
    return BR_ACTIVE;
}

static const struct registry *indoubt_registry(const struct indoubt_sources *sources)
{
    static const struct registry nobody;
    return sources->coordinator != NULL ? coordinator_registry(sources->coordinator) : &nobody;
}

/* Who decides a 3pc transaction, and what each has said. */
static void indoubt_ask_acceptors(const struct indoubt_sources *sources, struct entry *entry)
{
    third_phase_begin(&entry->third, &entry->knowledge.txn.ballot, sources->start[0] == '\0');
    for (uint32_t i = 0; i < sources->agent_count; i++)
        third_phase_hear(&entry->third, &entry->id.gtrid, sources->agents[i].rm,
                         sources->agents[i].answer);
}

/* Everything that the advice rests on. */
static void indoubt_gather(const struct indoubt_sources *sources, struct entry *entry)
{
    const struct txn_knowledge *known = &entry->knowledge;
    const struct registry *registry = indoubt_registry(sources);
    const struct indoubt_agent *home = indoubt_find_agent(sources, entry->id.rm);
    const cJSON *answer = entry->agent != NULL ? entry->agent->answer : NULL;
    gtrid_format(&entry->id.gtrid, entry->gtrid);
    indoubt_ask_acceptors(sources, entry);
    entry->doubt = (struct doubt){
        .gtrid = entry->gtrid,
        .gid = entry->gid,
        .tm = entry->id.gtrid.tm,
        .coordinator = sources->tm,
        .rm = entry->id.rm,
        .agent_url = home != NULL ? home->url : "",
        .database = member_text(answer, "database"),
        .owner = member_text(entry->prepared, "owner"),
        .login = member_text(answer, "login"),
        .misplaced = entry->agent != NULL && strcmp(entry->agent->rm, entry->id.rm) != 0,
        .actable = cJSON_IsTrue(indoubt_member(entry->prepared, "actable")),
        .found = entry->prepared != NULL ? FOUND_PREPARED : indoubt_found_at(answer, entry->gid),
        .vote = indoubt_vote(entry),
        .status = indoubt_status(indoubt_about(answer, "evidence", entry->gid)),
        .start = sources->start,
        .silence = sources->silence,
        .known = known->known,
        .live = known->live,
        .fenced = registry->fenced,
        .released = known->released,
        .waits_for = registry->rms[known->waits_for].name,
        .rm_state = home != NULL ? home->state : RM_DOWN,
        .progress = indoubt_progress(entry),
        .differs = indoubt_differing(&known->txn),
        .third = entry->third.roster.count > 0 ? &entry->third : NULL,
    };
}

/* ---- writing it down ---- */

static void indoubt_add_u64(cJSON *object, const char *name, uint64_t value)
{
    char text[NUMBER_BYTES];
    u64_format(value, text);
    cJSON_AddStringToObject(object, name, text);
}

static void indoubt_add_text(cJSON *object, const char *name, const char *text)
{
    if (text[0] != '\0')
        cJSON_AddStringToObject(object, name, text);
}

static void indoubt_copy_member(cJSON *object, const cJSON *from, const char *name)
{
    const cJSON *item = indoubt_member(from, name);
    if (item != NULL)
        cJSON_AddItemToObject(object, name, cJSON_Duplicate(item, true));
}

static const char *indoubt_decision_word(enum txn_known known)
{
    static const char *const words[KNOWNS] = {
        [KNOWN_NOTHING] = "not known",      [KNOWN_STRANGE] = "not known",
        [KNOWN_UNDECIDED] = "none yet",     [KNOWN_LOGGING] = "none yet",
        [KNOWN_DELEGATED] = "delegated",    [KNOWN_COMMITTED] = "commit",
        [KNOWN_ABORTED] = "rollback",       [KNOWN_UNPROVEN] = "none",
        [KNOWN_FORGOTTEN] = "forgotten",    [KNOWN_MIXED] = "mixed",
        [KNOWN_PRECOMMITTED] = "precommit",
    };
    return words[known];
}

static void indoubt_add_coordinator(cJSON *item, const struct entry *entry)
{
    const struct txn_knowledge *known = &entry->knowledge;
    bool shown = known->txn.state != SHOWN_ANY;
    cJSON *object = cJSON_AddObjectToObject(item, "coordinator");
    indoubt_add_text(object, "state", shown ? state_word(known->txn.state) : "");
    cJSON_AddStringToObject(object, "decision", indoubt_decision_word(known->known));
    if (known->lsn != 0)
        indoubt_add_u64(object, "lsn", known->lsn);
    if (known->voted != 0)
        indoubt_add_u64(object, "vote_xid", known->voted);
}

static void indoubt_add_branch(cJSON *array, const struct branch_id *id, const char *state,
                               const struct indoubt_agent *agent)
{
    char gid[GID_BYTES];
    cJSON *object = cJSON_CreateObject();
    gid_format(id, gid);
    cJSON_AddStringToObject(object, "rm", id->rm);
    indoubt_add_text(object, "branch", id->branch);
    indoubt_add_text(object, "state", state);
    cJSON_AddStringToObject(object, "says", indoubt_says(agent, gid));
    cJSON_AddItemToArray(array, object);
}

/* The others of its transaction: those that the coordinator knows, else those that are prepared. */
static void indoubt_add_others(cJSON *item, const struct indoubt_sources *sources,
                               const struct entry *entry)
{
    const struct txn_view *txn = &entry->knowledge.txn;
    struct branch_id id = {.gtrid = entry->id.gtrid};
    cJSON *others = cJSON_AddArrayToObject(item, "others");
    for (uint32_t i = 0; i < txn->branch_count; i++) {
        memcpy(id.rm, txn->branches[i].rm, RM_NAME_BYTES);
        memcpy(id.branch, txn->branches[i].branch, BRANCH_NAME_BYTES);
        if (!branch_equal(&id, &entry->id))
            indoubt_add_branch(others, &id, txn->branches[i].state,
                               indoubt_find_agent(sources, id.rm));
    }
    for (uint32_t i = 0; txn->branch_count == 0 && i < sources->agent_count; i++) {
        const cJSON *prepared;
        cJSON_ArrayForEach(prepared, indoubt_member(sources->agents[i].answer, "prepared"))
        {
            const char *gid = member_text(prepared, "gid");
            /* There may be thousands: by the name that is beside it first. */
            if (strcmp(member_text(prepared, "gtrid"), entry->gtrid) == 0 &&
                gid_parse(gid, strlen(gid), &id) && !branch_equal(&id, &entry->id))
                indoubt_add_branch(others, &id, "", &sources->agents[i]);
        }
    }
}

/* Seconds since it was prepared; without its agent, since it was begun. */
static double indoubt_age(const struct entry *entry)
{
    return entry->prepared != NULL ? cJSON_GetNumberValue(indoubt_member(entry->prepared, "age_s"))
                                   : (double)(entry->knowledge.txn.age_ms / 1000);
}

static void indoubt_add_holdings(cJSON *item, const struct entry *entry)
{
    static const char *const fields[] = {"owner",  "xid",          "xid_age", "locks",
                                         "tables", "tables_total", "blocks",  "blocks_total"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        indoubt_copy_member(item, entry->prepared, fields[i]);
    if (entry->prepared != NULL)
        indoubt_copy_member(item, entry->agent->answer, "freeze_max_age");
}

static const char *indoubt_evidence_word(const struct entry *entry)
{
    static const char *const statuses[] = {
        [XID_UNKNOWN] = "gone, and pg_xact_status says nothing",
        [XID_COMMITTED] = "gone, and pg_xact_status or its marker says committed",
        [XID_ABORTED] = "gone, and pg_xact_status says aborted",
        [XID_FUTURE] = "gone, and its xid has not been given out: data was lost",
    };
    static const char *const votes[] = {
        [VOTE_NOT_KNOWN] = "prepared; no vote of it is remembered",
        [VOTE_SAME] = "prepared, and the one that has voted",
        [VOTE_OTHER] = "prepared, but not the one that has voted",
    };
    switch (entry->doubt.found) {
    case FOUND_NOT_ASKED:
        return entry->agent != NULL && entry->agent->answer != NULL
                   ? "not known: too much is prepared for one report"
                   : "its agent does not answer";
    case FOUND_GONE:
        return statuses[entry->doubt.status];
    case FOUND_PREPARED:
        break;
    }
    return votes[entry->doubt.vote];
}

static void indoubt_add_entry(struct report *report, struct entry *entry)
{
    struct advice advice;
    if (cJSON_GetArraySize(report->items) == ITEMS_MAX) {
        report->left_out++;
        return;
    }
    indoubt_gather(report->sources, entry);
    doubt_judge(&entry->doubt, &advice);
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "gtrid", entry->gtrid);
    cJSON_AddStringToObject(item, "rm", entry->id.rm);
    indoubt_add_text(item, "branch", entry->id.branch);
    cJSON_AddStringToObject(item, "gid", entry->gid);
    if (entry->doubt.misplaced)
        cJSON_AddStringToObject(item, "found_at", entry->agent->rm);
    indoubt_add_text(item, "label", entry->knowledge.txn.origin.label);
    indoubt_add_text(item, "application", entry->knowledge.txn.origin.application);
    indoubt_add_text(item, "traceparent", entry->knowledge.txn.origin.traceparent);
    indoubt_add_text(item, "key", entry->knowledge.txn.key);
    cJSON_AddNumberToObject(item, "age_s", indoubt_age(entry));
    indoubt_add_holdings(item, entry);
    indoubt_add_coordinator(item, entry);
    indoubt_add_others(item, report->sources, entry);
    if (entry->doubt.third != NULL)
        cJSON_AddItemToObject(item, "acceptors", third_phase_list(entry->doubt.third));
    cJSON_AddStringToObject(item, "evidence", indoubt_evidence_word(entry));
    cJSON_AddStringToObject(item, "verdict", doubt_fate_word(advice.fate));
    cJSON_AddStringToObject(item, "reason", advice.reason);
    indoubt_add_text(item, "advice", advice.command);
    cJSON_AddNumberToObject(item, "rank", advice.fate);
    cJSON_AddItemToArray(report->items, item);
}

/* ---- who comes in ---- */

/* What is prepared at one agent: ours, and foreign. */
static void indoubt_add_prepared(struct report *report, const struct indoubt_agent *agent)
{
    const struct indoubt_sources *sources = report->sources;
    const cJSON *prepared;
    cJSON_ArrayForEach(prepared, indoubt_member(agent->answer, "prepared"))
    {
        const char *gid = member_text(prepared, "gid");
        struct entry entry = {.agent = agent, .prepared = prepared};
        if (gid_parse(gid, strlen(gid), &entry.id)) {
            gid_format(&entry.id, entry.gid);
            if (sources->coordinator != NULL)
                coordinator_know(sources->coordinator, &entry.id, sources->now_ms,
                                 &entry.knowledge);
            indoubt_add_entry(report, &entry);
        } else {
            cJSON *item = cJSON_Duplicate(prepared, true);
            cJSON_AddStringToObject(item, "rm", agent->rm);
            indoubt_copy_member(item, agent->answer, "database");
            cJSON_AddItemToArray(report->foreign, item);
        }
    }
}

static bool indoubt_is_listed(const struct indoubt_sources *sources, const char *gid)
{
    for (uint32_t i = 0; i < sources->agent_count; i++)
        if (indoubt_about(sources->agents[i].answer, "prepared", gid) != NULL)
            return true;
    return false;
}

/* What is prepared in other databases of an agent's server, but for those of other agents. */
static void indoubt_add_elsewhere(struct report *report, const struct indoubt_agent *agent)
{
    const cJSON *prepared;
    cJSON_ArrayForEach(prepared, indoubt_member(agent->answer, "elsewhere"))
    {
        const char *gid = member_text(prepared, "gid");
        bool told = indoubt_is_listed(report->sources, gid);
        const cJSON *other;
        cJSON_ArrayForEach(other, report->elsewhere) told |=
            strcmp(member_text(other, "gid"), gid) == 0;
        if (told)
            continue;
        cJSON *item = cJSON_Duplicate(prepared, true);
        cJSON_AddStringToObject(item, "server_of", agent->rm);
        cJSON_AddItemToArray(report->elsewhere, item);
    }
}

/* Gone from its database as was decided: only the coordinator has yet to hear of it. */
static bool indoubt_is_applied(const struct indoubt_sources *sources, struct entry *entry)
{
    const cJSON *answer = entry->agent != NULL ? entry->agent->answer : NULL;
    const cJSON *evidence = indoubt_about(answer, "evidence", entry->gid);
    bool committed = indoubt_status(evidence) == XID_COMMITTED;
    enum outcome decided = OUTCOME_NONE;
    if (evidence == NULL || cJSON_IsTrue(indoubt_member(evidence, "prepared")))
        return false;
    switch (entry->knowledge.known) {
    case KNOWN_COMMITTED:
        return committed;
    case KNOWN_ABORTED:
        return !committed;
    case KNOWN_PRECOMMITTED:
        indoubt_ask_acceptors(sources, entry);
        decided = third_phase_decided(&entry->third);
        return decided == (committed ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK);
    default:
        return false;
    }
}

/* What the coordinator has decided and nobody has confirmed, where it is not prepared any more or
 * nobody can look. */
static void indoubt_add_unconfirmed(struct report *report, const struct txn_view *txn)
{
    const struct indoubt_sources *sources = report->sources;
    for (uint32_t i = 0; i < txn->branch_count; i++) {
        struct entry entry;
        indoubt_look_up(sources->coordinator, txn, i, sources->now_ms, &entry);
        entry.agent = indoubt_find_agent(sources, entry.id.rm);
        const cJSON *answer = entry.agent != NULL ? entry.agent->answer : NULL;
        if (indoubt_is_pending(entry.knowledge.known, &txn->branches[i]) &&
            !indoubt_is_applied(sources, &entry) &&
            indoubt_about(answer, "prepared", entry.gid) == NULL)
            indoubt_add_entry(report, &entry);
    }
}

/* ---- the whole ---- */

static int indoubt_compare(const void *left, const void *right)
{
    const cJSON *a = *(const cJSON *const *)left, *b = *(const cJSON *const *)right;
    double rank_a = cJSON_GetNumberValue(indoubt_member(a, "rank"));
    double rank_b = cJSON_GetNumberValue(indoubt_member(b, "rank"));
    double age_a = cJSON_GetNumberValue(indoubt_member(a, "age_s"));
    double age_b = cJSON_GetNumberValue(indoubt_member(b, "age_s"));
    if (rank_a != rank_b)
        return rank_a < rank_b ? -1 : 1;
    if (age_a != age_b)
        return age_a > age_b ? -1 : 1;
    return strcmp(member_text(a, "gid"), member_text(b, "gid"));
}

/* What needs a DBA first, and of those the oldest. Takes the array. */
static cJSON *indoubt_sort(cJSON *array)
{
    cJSON *item;
    wire_sort_array(array, indoubt_compare);
    cJSON_ArrayForEach(item, array) cJSON_DeleteItemFromObjectCaseSensitive(item, "rank");
    return array;
}

static cJSON *indoubt_list_agents(const struct indoubt_sources *sources)
{
    cJSON *array = cJSON_CreateArray();
    for (uint32_t i = 0; i < sources->agent_count; i++) {
        const struct indoubt_agent *agent = &sources->agents[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "rm", agent->rm);
        cJSON_AddStringToObject(item, "url", agent->url);
        cJSON_AddStringToObject(item, "state", rm_state_word(agent->state));
        cJSON_AddBoolToObject(item, "answered", agent->answer != NULL);
        if (indoubt_count_unsaid(agent->answer) > 0)
            cJSON_AddNumberToObject(item, "left_out", indoubt_count_unsaid(agent->answer));
        if (agent->answer == NULL)
            indoubt_add_text(item, "error", agent->error);
        cJSON_AddItemToArray(array, item);
    }
    return array;
}

cJSON *indoubt_report(const struct indoubt_sources *sources)
{
    struct report report = {
        .sources = sources,
        .items = cJSON_CreateArray(),
        .foreign = cJSON_CreateArray(),
        .elsewhere = cJSON_CreateArray(),
    };
    struct txn_view txn;
    for (uint32_t i = 0; i < sources->agent_count; i++) {
        indoubt_add_prepared(&report, &sources->agents[i]);
        indoubt_add_elsewhere(&report, &sources->agents[i]);
    }
    for (uint32_t at = 0; sources->coordinator != NULL &&
                          coordinator_list(sources->coordinator, &at, sources->now_ms, &txn);
         at++)
        indoubt_add_unconfirmed(&report, &txn);

    cJSON *whole = wire_ok();
    cJSON_AddStringToObject(whole, "tm", sources->tm);
    cJSON_AddBoolToObject(whole, "running", sources->start[0] == '\0');
    cJSON_AddItemToObject(whole, "in_doubt", indoubt_sort(report.items));
    cJSON_AddItemToObject(whole, "foreign", report.foreign);
    cJSON_AddItemToObject(whole, "elsewhere", report.elsewhere);
    cJSON_AddItemToObject(whole, "agents", indoubt_list_agents(sources));
    bool cut = report.left_out > 0;
    for (uint32_t i = 0; i < sources->agent_count; i++)
        cut = cut || indoubt_count_unsaid(sources->agents[i].answer) > 0;
    if (cut)
        cJSON_AddTrueToObject(whole, "truncated");
    if (report.left_out > 0)
        cJSON_AddNumberToObject(whole, "left_out", report.left_out);
    return whole;
}
