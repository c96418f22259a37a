/*
 * core/coordinator/lost.c - the coordinator's log is gone: what its agents still prove, and what
 * may follow.
 */
#include "core/coordinator/lost.h"

#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"

/* An agent that is not there may have accepted later starts than the others. */
enum { STARTS_UNSEEN = 1000 * 1000 };

/* ---- what an agent recalls ---- */

static const char *const words[RECALLS] = {
    [RECALL_NOTHING] = "",          [RECALL_VOTED] = "voted",   [RECALL_NOT_VOTED] = "not-voted",
    [RECALL_VOTING] = "voting",     [RECALL_COMMIT] = "commit", [RECALL_ROLLBACK] = "rollback",
    [RECALL_ACCEPTOR] = "acceptor", [RECALL_NO_ROW] = "no-row",
};

const char *recall_word(enum recall recall)
{
    assert(recall < RECALLS);
    return words[recall];
}

enum recall recall_from_word(const char *word)
{
    for (enum recall recall = RECALL_VOTED; recall < RECALLS; recall++)
        if (text_equal(words[recall], word, LABEL_BYTES))
            return recall;
    return RECALL_NOTHING;
}

/* A session is told to prepare once: before its answer there was no vote, and no commit without it.
 * A branch that is looked for may have voted before this agent's start. */
enum recall recall_of_state(enum branch_state state)
{
    static const enum recall meaning[BRANCH_STATES] = {
        [BRANCH_PREPARING] = RECALL_NOT_VOTED, [BRANCH_VERIFYING] = RECALL_VOTING,
        [BRANCH_OPEN] = RECALL_NOT_VOTED,      [BRANCH_CLOSING] = RECALL_NOT_VOTED,
        [BRANCH_REFUSED] = RECALL_NOT_VOTED,   [BRANCH_READY] = RECALL_VOTED,
        [BRANCH_SEEKING] = RECALL_COMMIT,      [BRANCH_COMMITTING] = RECALL_COMMIT,
        [BRANCH_EVICTING] = RECALL_COMMIT,     [BRANCH_DOOMED] = RECALL_ROLLBACK,
        [BRANCH_CLEARING] = RECALL_ROLLBACK,   [BRANCH_UNDOING] = RECALL_ROLLBACK,
    };
    return meaning[state];
}

/* How it ended where nobody but the coordinator has ended it; and if somebody has, then otherwise
 * than the coordinator had decided. */
enum recall recall_of_result(const struct result *result)
{
    bool committed = result->actual == OUTCOME_COMMITTED;
    if (result->type != RESULT_DONE && result->type != RESULT_HEURISTIC)
        return RECALL_NOTHING;
    return committed == (result->type == RESULT_DONE) ? RECALL_COMMIT : RECALL_ROLLBACK;
}

enum recall recall_of_row(enum outcome outcome)
{
    return outcome == OUTCOME_NONE        ? RECALL_ACCEPTOR
           : outcome == OUTCOME_COMMITTED ? RECALL_COMMIT
                                          : RECALL_ROLLBACK;
}

/* ---- what is found ---- */

void lost_take_agent(struct lost *lost, uint32_t rm, const struct tm_row *row)
{
    struct lost_agent *agent = &lost->agents[rm];
    agent->answered = true;
    agent->knows = row->exists;
    agent->log = row->log;
    if (row->exists && row->incarnation > lost->highest)
        lost->highest = row->incarnation;
}

struct lost_txn *lost_find(const struct lost *lost, const struct gtrid *gtrid)
{
    for (uint32_t i = 0; i < lost->count; i++)
        if (gtrid_equal(&lost->txns[i].gtrid, gtrid))
            return &lost->txns[i];
    return NULL;
}

static struct lost_txn *find_or_add(struct lost *lost, const struct gtrid *gtrid)
{
    struct lost_txn *txn = lost_find(lost, gtrid);
    if (txn != NULL)
        return txn;
    assert(lost->count < lost->room);
    txn = &lost->txns[lost->count++];
    memset(txn, 0, sizeof *txn);
    txn->gtrid = *gtrid;
    return txn;
}

/* Of this coordinator, in the database that its name says, and of no later start than is known. */
static bool is_ours(const struct lost *lost, uint32_t rm, const struct branch_id *branch)
{
    return text_equal(branch->gtrid.tm, lost->tm, TM_NAME_BYTES) &&
           text_equal(branch->rm, lost->agents[rm].rm, RM_NAME_BYTES) &&
           branch->gtrid.incarnation <= lost->highest;
}

enum lost_taken lost_take_prepared(struct lost *lost, uint32_t rm, const struct branch_id *branch,
                                   uint64_t xid, const void *item)
{
    if (!is_ours(lost, rm, branch))
        return LOST_LEFT;
    struct lost_txn *txn = find_or_add(lost, &branch->gtrid);
    if (txn->branch_count == BRANCHES_MAX)
        return LOST_TOO_MANY;
    struct lost_branch *out = &txn->branches[txn->branch_count++];
    *out = (struct lost_branch){.rm = rm, .xid = xid, .item = item};
    memcpy(out->name, branch->branch, sizeof out->name);
    return LOST_TAKEN;
}

bool lost_is_listed(const struct lost_txn *txn, uint32_t rm, const struct branch_id *branch)
{
    for (uint32_t i = 0; i < txn->branch_count; i++)
        if (txn->branches[i].rm == rm &&
            text_equal(txn->branches[i].name, branch->branch, BRANCH_NAME_BYTES))
            return true;
    return false;
}

static bool has_branch_at(const struct lost_txn *txn, uint32_t rm)
{
    for (uint32_t i = 0; i < txn->branch_count; i++)
        if (txn->branches[i].rm == rm)
            return true;
    return false;
}

/* What is decided says more than that it is not known yet; votes alone say nothing. Who has no
 * branch needs no row. */
void lost_recall(struct lost_txn *txn, uint32_t rm, enum recall recall)
{
    if (recall == RECALL_NO_ROW && !has_branch_at(txn, rm))
        return;
    txn->recalled[recall]++;
    if (recall == RECALL_NO_ROW)
        txn->rowless = rm;
    if (recall == RECALL_NOTHING || recall == RECALL_VOTED || recall == RECALL_NO_ROW ||
        (recall == RECALL_ACCEPTOR && txn->said != RECALL_NOTHING))
        return;
    txn->said = recall;
    txn->said_by = rm;
}

void lost_recall_xid(struct lost_txn *txn, uint32_t rm, const struct branch_id *branch,
                     enum recall recall, uint64_t xid)
{
    for (uint32_t i = 0; i < txn->branch_count; i++) {
        struct lost_branch *here = &txn->branches[i];
        if (here->rm == rm && xid != 0 &&
            text_equal(here->name, branch->branch, BRANCH_NAME_BYTES) &&
            (recall == RECALL_COMMIT || (recall == RECALL_VOTED && here->voted == 0)))
            here->voted = xid;
    }
}

bool lost_is_another(const struct lost_branch *branch)
{
    return branch->voted != 0 && branch->voted != branch->xid;
}

static uint64_t voted_xid(const struct lost_branch *branch)
{
    return lost_is_another(branch) && !MUTANT(LOST_BY_NAME) ? branch->voted : branch->xid;
}

enum lost_verdict lost_judge(uint64_t incarnation, uint64_t highest_incarnation,
                             const uint32_t recalled[RECALLS])
{
    bool decided =
        recalled[RECALL_COMMIT] > 0 || (MUTANT(LOST_VOTES_PROVE) && recalled[RECALL_VOTED] > 0);
    /* In three phases whoever votes enters a row with its vote, and keeps it until all have ended.
     * That it has none says so only where another shows that there were three. */
    bool never_voted = recalled[RECALL_ACCEPTOR] > 0 && recalled[RECALL_NO_ROW] > 0;
    bool undone = recalled[RECALL_ROLLBACK] > 0 || recalled[RECALL_NOT_VOTED] > 0 || never_voted;
    if (incarnation > highest_incarnation)
        return LOST_NOT_OURS;
    /* A new log that did not name that branch would have it rolled back. */
    if (recalled[RECALL_VOTING] > 0 && (decided || !undone))
        return LOST_WAIT;
    if (decided && undone)
        return LOST_CONTRADICT;
    if (decided || undone)
        return decided ? LOST_COMMIT : LOST_ROLL_BACK;
    return recalled[RECALL_ACCEPTOR] > 0 ? LOST_ACCEPTORS : LOST_ASK;
}

void lost_judge_all(struct lost *lost)
{
    for (uint32_t i = 0; i < lost->count; i++) {
        struct lost_txn *txn = &lost->txns[i];
        txn->verdict = lost_judge(txn->gtrid.incarnation, lost->highest, txn->recalled);
        if (txn->verdict == LOST_COMMIT)
            txn->outcome = OUTCOME_COMMITTED;
        if (txn->verdict != LOST_ROLL_BACK)
            continue;
        txn->outcome = OUTCOME_ROLLED_BACK;
        if (txn->said == RECALL_ACCEPTOR) {
            txn->said = RECALL_NOT_VOTED;
            txn->said_by = txn->rowless;
        }
    }
}

bool lost_say(struct lost_txn *txn, enum outcome outcome)
{
    if (txn->verdict == LOST_ACCEPTORS || txn->verdict == LOST_WAIT)
        return false;
    if (txn->outcome != OUTCOME_NONE)
        return txn->outcome == outcome;
    txn->outcome = outcome;
    txn->by_word = true;
    return true;
}

/* ---- may it be done? ---- */

static enum lost_obstacle check_agents(const struct lost *lost, uint32_t *rm)
{
    const struct lost_agent *first = NULL;
    for (uint32_t i = 0; i < lost->agent_count; i++) {
        const struct lost_agent *agent = &lost->agents[i];
        *rm = i;
        if (!agent->answered && !agent->without)
            return LOST_SILENT;
        if (!agent->knows)
            continue;
        if (first != NULL && memcmp(&first->log, &agent->log, sizeof agent->log) != 0)
            return LOST_DIFFERENT_LOGS;
        first = agent;
    }
    return first != NULL ? LOST_FREE : LOST_UNKNOWN;
}

static bool any_has(const struct lost *lost, enum lost_verdict verdict)
{
    for (uint32_t i = 0; i < lost->count; i++)
        if (lost->txns[i].verdict == verdict)
            return true;
    return false;
}

/* An acceptor that is away may know what the others have to know of a transaction in three phases,
 * and the new log would have them forget. */
static enum lost_obstacle check_acceptors(const struct lost *lost)
{
    bool accepts = false, away = false;
    for (uint32_t i = 0; i < lost->agent_count; i++) {
        accepts = accepts || lost->agents[i].accepts;
        away = away || !lost->agents[i].answered;
    }
    if (any_has(lost, LOST_ACCEPTORS))
        return LOST_BEING_DECIDED;
    return accepts && away ? LOST_ACCEPTOR_MISSING : LOST_FREE;
}

enum lost_obstacle lost_check(const struct lost *lost, uint32_t *rm)
{
    enum lost_obstacle obstacle = check_agents(lost, rm);
    if (obstacle == LOST_FREE)
        obstacle = check_acceptors(lost);
    if (obstacle == LOST_FREE && any_has(lost, LOST_WAIT))
        obstacle = LOST_MOVES;
    for (uint32_t i = 0; obstacle == LOST_FREE && i < lost->count; i++)
        if (lost->txns[i].outcome == OUTCOME_NONE)
            obstacle = LOST_UNSAID;
    return obstacle;
}

/* ---- the new log ---- */

static void begin_record(struct record *out, enum record_type type)
{
    memset(out, 0, sizeof *out);
    out->type = type;
}

void lost_opening(const struct start_id *start, struct record out[LOST_OPENING])
{
    begin_record(&out[0], RECORD_START);
    out[0].incarnation = start->incarnation;
    out[0].instance = start->instance;
    begin_record(&out[1], RECORD_HORIZON);
    out[1].incarnation = MUTANT(LOST_IS_REMEMBERED) ? 0 : start->incarnation;
    begin_record(&out[2], RECORD_ESTABLISHED);
}

uint64_t lost_incarnation(const struct lost *lost)
{
    for (uint32_t i = 0; i < lost->agent_count; i++)
        if (!lost->agents[i].answered)
            return lost->highest + STARTS_UNSEEN;
    return lost->highest + 1;
}

/* Who said it and why is for the audit trail, and stands before the decision to commit: at that
 * place in the log the transaction is not live, and nothing else follows from it. To roll back is
 * said by it alone: of what the new log does not know it would presume nothing, being below its
 * horizon. */
static void write_word(const struct lost_txn *txn, struct record *out)
{
    begin_record(out, RECORD_RESOLVED);
    out->incarnation = txn->gtrid.incarnation;
    out->sequence = txn->gtrid.sequence;
    out->outcome = txn->outcome;
    out->flags = txn->by_word ? RESOLVED_HEURISTIC : 0;
    if (txn->outcome == OUTCOME_ROLLED_BACK)
        out->flags |= RESOLVED_STRAY | RESOLVED_RECOVERED;
}

static void write_commit(const struct lost *lost, const struct lost_txn *txn, struct record *out)
{
    begin_record(out, RECORD_COMMIT);
    out->incarnation = txn->gtrid.incarnation;
    out->sequence = txn->gtrid.sequence;
    out->branch_count = txn->branch_count;
    for (uint32_t i = 0; i < txn->branch_count; i++) {
        const struct lost_branch *branch = &txn->branches[i];
        memcpy(out->branches[i].rm, lost->agents[branch->rm].rm, RM_NAME_BYTES);
        memcpy(out->branches[i].branch, branch->name, BRANCH_NAME_BYTES);
        out->branches[i].xid = voted_xid(branch);
    }
}

/* False: nothing stands there, for a transaction that is rolled back or an agent that has answered.
 */
static bool record_at(const struct lost *lost, const struct start_id *start, uint32_t at,
                      struct record *out)
{
    struct record opening[LOST_OPENING];
    if (at < LOST_OPENING) {
        lost_opening(start, opening);
        *out = opening[at];
        return true;
    }
    at -= LOST_OPENING;
    if (at < 2 * lost->count) {
        const struct lost_txn *txn = &lost->txns[at / 2];
        if (at % 2 == 0)
            write_word(txn, out);
        else if (txn->outcome == OUTCOME_COMMITTED)
            write_commit(lost, txn, out);
        return at % 2 == 0 || txn->outcome == OUTCOME_COMMITTED;
    }
    /* One that is away must not keep the others' branches waiting. */
    const struct lost_agent *agent = &lost->agents[at - 2 * lost->count];
    begin_record(out, RECORD_WAIVED);
    memcpy(out->rm, agent->rm, RM_NAME_BYTES);
    return !agent->answered;
}

bool lost_record(const struct lost *lost, const struct start_id *start, uint32_t *position,
                 struct record *out)
{
    uint32_t end = LOST_OPENING + 2 * lost->count + lost->agent_count;
    while (*position < end)
        if (record_at(lost, start, (*position)++, out))
            return true;
    return false;
}

/* ---- an agent that was away ---- */

bool lost_is_open(const struct txn_knowledge *known, const struct lost_branch *branch)
{
    bool commits =
        known->known == KNOWN_COMMITTED && known->enlisted && known->voted == voted_xid(branch);
    return !commits;
}
