/*
 * core/coordinator/lost.c - the coordinator's log is gone: what its agents still prove, and what
 * may follow.
 */
#include "core/coordinator/lost.h"

#include <assert.h>
#include <string.h>

static const char *const words[RECALLS] = {
    [RECALL_NOTHING] = "",          [RECALL_VOTED] = "voted",   [RECALL_NOT_VOTED] = "not-voted",
    [RECALL_VOTING] = "voting",     [RECALL_COMMIT] = "commit", [RECALL_ROLLBACK] = "rollback",
    [RECALL_ACCEPTOR] = "acceptor",
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

enum lost_verdict lost_judge(uint64_t incarnation, uint64_t highest_incarnation,
                             const uint32_t recalled[RECALLS])
{
    bool decided = recalled[RECALL_COMMIT] > 0;
    bool undone = recalled[RECALL_ROLLBACK] > 0 || recalled[RECALL_NOT_VOTED] > 0;
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

void lost_opening(const struct start_id *start, struct record out[LOST_OPENING])
{
    memset(out, 0, LOST_OPENING * sizeof *out);
    out[0].type = RECORD_START;
    out[0].incarnation = start->incarnation;
    out[0].instance = start->instance;
    out[1].type = RECORD_HORIZON;
    out[1].incarnation = start->incarnation;
    out[2].type = RECORD_ESTABLISHED;
}
