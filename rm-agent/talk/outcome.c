/*
 * rm-agent/talk/outcome.c - `outcome`: how a 3pc transaction has ended, for who cannot ask its
 * coordinator.
 *
 * The agent's row knows it once somebody has said it here. A question makes no row, and starts no
 * ballot: what is prepared here is watched anyway.
 */
#include "rm-agent/talk/outcome.h"

#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "rm-agent/talk/asker.h"
#include "rm-agent/talk/book.h"
#include "rm-agent/votes/acceptors.h"

struct question {
    struct asker *asker;
    struct gtrid gtrid;
};

/* The row says it, once it is known here; without one nothing was ever voted for. */
static void took_outcome(void *arg, const struct row_answer *answer)
{
    struct question question = *(struct question *)arg;
    struct reply reply = {.op = OP_OUTCOME, .gtrid = question.gtrid};
    struct failure failure = {0};
    free(arg);
    if (answer->failed) {
        refuse(&failure, ERR_RM_UNAVAILABLE, "the database does not answer; try again");
    } else if (answer->row->acceptor.exists) {
        enum outcome known = answer->row->acceptor.outcome;
        reply.outcome = known != OUTCOME_NONE ? known : OUTCOME_IN_PROGRESS;
    } else if (answer->ended) {
        reply.outcome = OUTCOME_FORGOTTEN;
    } else {
        refuse(&failure, ERR_UNKNOWN_TRANSACTION,
               "this agent has not voted on it by three-phase commit; ask its coordinator");
    }
    if (failure.code != ERR_NONE) {
        asker_failure(question.asker, &failure);
        return;
    }
    size_t length;
    char *text = wire_write_reply(&reply, NULL, &length);
    asker_reply(question.asker, text, length);
    free(text);
}

void outcome_answer(struct agent *agent, struct asker *asker, const cJSON *object)
{
    struct failure failure = {0};
    const char *text = member_text(object, "gtrid");
    struct question *question = must_alloc(sizeof *question, "a question");
    question->asker = asker;
    if (!gtrid_parse(text, strlen(text), &question->gtrid) ||
        !ballot_fits(&(struct ballot){.gtrid = question->gtrid}))
        refuse(&failure, ERR_INVALID_REQUEST, "gtrid is missing or none of Assent's");
    else if (book_known(agent, question->gtrid.tm) == NULL)
        refuse(&failure, ERR_UNKNOWN_TRANSACTION, "coordinator %s has never registered here",
               question->gtrid.tm);
    if (failure.code == ERR_NONE) {
        acceptors_look(agent, &question->gtrid, took_outcome, question);
        return;
    }
    asker_failure(asker, &failure);
    free(question);
}
