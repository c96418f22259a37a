/*
 * common/doubt.c - what will become of a branch in doubt, why, and what a DBA can do about it.
 *
 * The coordinator's own rules, told to a person: it commits what its log says is committed,
 * rolls back what a log that is proved the newest does not know, and leaves alone whatever it
 * cannot know. Nothing is advised here that it would not do itself; where it would do nothing
 * for ever, a DBA has to decide, and the advice is to look before.
 */
#include "common/doubt.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *doubt_fate_word(enum fate fate)
{
    static const char *const words[FATES] = {
        [FATE_UNKNOWN] = "unknown",
        [FATE_MIXED] = "mixed",
        [FATE_WAITS] = "waits",
        [FATE_WILL_COMMIT] = "will-commit",
        [FATE_WILL_ROLL_BACK] = "will-roll-back",
        [FATE_SAFE_TO_ROLL_BACK] = "safe-to-roll-back",
        [FATE_UNDECIDED] = "undecided",
        [FATE_NOT_OURS] = "not-ours",
    };
    assert(fate < FATES);
    return words[fate];
}

/* ---- words ---- */

__attribute__((format(printf, 3, 4))) static void doubt_say(struct advice *out, enum fate fate,
                                                            const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(out->reason, sizeof out->reason, format, args);
    va_end(args);
    out->fate = fate;
}

__attribute__((format(printf, 2, 3))) static void advise(struct advice *out, const char *format,
                                                         ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(out->command, sizeof out->command, format, args);
    va_end(args);
}

static void doubt_advise_resolve(struct advice *out, const struct doubt *doubt)
{
    advise(out, "assentctl resolve %s commit|rollback --reason TEXT --dry-run", doubt->gtrid);
}

static void doubt_advise_agent(struct advice *out, const struct doubt *doubt, const char *rm)
{
    if (strcmp(rm, doubt->rm) == 0 && doubt->agent_url[0] != '\0')
        advise(out, "start the agent of %s, which listens at %s: assent-agent -c FILE", rm,
               doubt->agent_url);
    else
        advise(out, "start the agent of %s: assent-agent -c FILE", rm);
}

static void doubt_advise_start(struct advice *out, const struct doubt *doubt)
{
    advise(out, "%s", doubt->start);
}

/* What the agent would do, had it the right to. */
static void doubt_advise_grant(struct advice *out, const struct doubt *doubt, const char *verb)
{
    if (doubt->owner[0] == '\0')
        advise(out, "as a superuser: psql -d %s -c \"%s PREPARED '%s'\"", doubt->database, verb,
               doubt->gid);
    else
        advise(out, "psql -d %s -c 'GRANT \"%s\" TO \"%s\"'", doubt->database, doubt->owner,
               doubt->login);
}

static const char *doubt_right(const struct doubt *doubt)
{
    return doubt->owner[0] == '\0' ? "its owner was dropped, so only a superuser can finish it"
                                   : "the agent's role may not act for its owner";
}

/* ---- the rules: each says true if it is the one ---- */

static bool doubt_nobody_knows(const struct doubt *doubt, struct advice *out)
{
    if (doubt->known == KNOWN_NOTHING) {
        doubt_say(out, FATE_UNKNOWN, "cannot be known: %s", doubt->silence);
        doubt_advise_start(out, doubt);
    } else if (doubt->fenced) {
        doubt_say(out, FATE_UNKNOWN,
                  "cannot be known: this coordinator is fenced, its log is not the newest");
        advise(out,
               "start the newest copy of the log; assentctl status says why this one is refused");
    } else if (doubt->known == KNOWN_STRANGE) {
        doubt_say(out, FATE_UNKNOWN,
                  "cannot be known: this log never gave out %s, so it is an old one or a new one",
                  doubt->gtrid);
        advise(out, "start the newest copy of the log; assentctl status says which log this is");
    } else {
        return false;
    }
    return true;
}

static bool doubt_ended_otherwise(const struct doubt *doubt, struct advice *out)
{
    bool against_commit = doubt->known == KNOWN_COMMITTED && doubt->status == XID_ABORTED;
    bool against_abort = doubt->known == KNOWN_ABORTED && doubt->status == XID_COMMITTED;
    if (doubt->known == KNOWN_MIXED && doubt->found == FOUND_PREPARED &&
        doubt->vote == VOTE_OTHER) {
        doubt_say(
            out, FATE_WILL_ROLL_BACK,
            "will be rolled back: prepared again under the name of a transaction that is over");
        return true;
    }
    if (doubt->known == KNOWN_MIXED)
        doubt_say(out, FATE_MIXED, "mixed: %s ended otherwise than was decided, by another's hand",
                  doubt->differs);
    else if (doubt->found == FOUND_GONE && (against_commit || against_abort))
        doubt_say(out, FATE_MIXED, "mixed: decided %s, and %s by hand at %s",
                  against_commit ? "commit" : "rollback",
                  against_commit ? "rolled back" : "committed", doubt->rm);
    else
        return false;
    advise(out, "mend the data, then: assentctl forget %s --reason TEXT", doubt->gtrid);
    return true;
}

static bool doubt_database_lost_data(const struct doubt *doubt, struct advice *out)
{
    bool future = doubt->found == FOUND_GONE && doubt->status == XID_FUTURE;
    if (doubt->rm_state != RM_QUARANTINED && !future)
        return false;
    doubt_say(
        out, FATE_UNKNOWN, "cannot be known: the database of %s has lost durable data%s", doubt->rm,
        doubt->known == KNOWN_COMMITTED ? ", and the transaction is committed elsewhere" : "");
    advise(out, "compare its data, then: assentctl agents release %s --reason TEXT", doubt->rm);
    return true;
}

static bool doubt_gone_without_trace(const struct doubt *doubt, struct advice *out)
{
    bool unproven = doubt->known == KNOWN_COMMITTED && doubt->status == XID_UNKNOWN;
    if (doubt->found != FOUND_GONE || (doubt->progress != BR_UNSURE && !unproven))
        return false;
    doubt_say(out, FATE_UNKNOWN, "cannot be known: gone from %s, and nothing there proves how",
              doubt->rm);
    doubt_advise_resolve(out, doubt);
    return true;
}

/* Its database may have lost the branch that was voted for, and then this one came back; or it has
 * lost nothing of it, and this is another one. Only the xid tells: core/coordinator/coordinator.c.
 */
static bool doubt_came_back(const struct doubt *doubt, struct advice *out)
{
    bool same = doubt->known == KNOWN_COMMITTED && doubt->vote == VOTE_SAME;
    bool over = doubt->known == KNOWN_COMMITTED || doubt->known == KNOWN_FORGOTTEN;
    if (!doubt->released || doubt->live || !over || same || doubt->found != FOUND_PREPARED)
        return false;
    doubt_say(
        out, FATE_UNKNOWN,
        "cannot be known: %s is %s, and the database of %s has lost data since: this is what was "
        "voted for, or another one under its name",
        doubt->gtrid, doubt->known == KNOWN_COMMITTED ? "committed" : "forgotten", doubt->rm);
    doubt_advise_resolve(out, doubt);
    return true;
}

/* Under the name of a committed transaction that is over, in which every branch was applied. */
static bool doubt_rose_again(const struct doubt *doubt, struct advice *out)
{
    if (doubt->known != KNOWN_COMMITTED || doubt->found != FOUND_PREPARED ||
        doubt->vote == VOTE_SAME)
        return false;
    if (doubt->vote == VOTE_OTHER) {
        doubt_say(out, FATE_WILL_ROLL_BACK,
                  "will be rolled back: prepared again under the name of a committed transaction, "
                  "and never voted for");
        return true;
    }
    if (doubt->live)
        return false;
    doubt_say(
        out, FATE_UNKNOWN,
        "cannot be known: %s is committed and was applied everywhere, and yet this is prepared "
        "under its name: again, or by a database that has lost data",
        doubt->gtrid);
    doubt_advise_resolve(out, doubt);
    return true;
}

/* Commits are remembered for a time only; then what comes back is like what was never decided. */
static bool older_than_is_remembered(const struct doubt *doubt, struct advice *out)
{
    if (doubt->known != KNOWN_FORGOTTEN || doubt->found == FOUND_GONE)
        return false;
    doubt_say(
        out, FATE_UNKNOWN,
        "cannot be known: %s is older than what is remembered (retention): it was never decided, "
        "or "
        "was committed and comes back with a database that has lost data",
        doubt->gtrid);
    doubt_advise_resolve(out, doubt);
    return true;
}

static bool doubt_outside_our_reach(const struct doubt *doubt, struct advice *out, bool commit)
{
    enum fate fate = commit ? FATE_WILL_COMMIT : FATE_WILL_ROLL_BACK;
    const char *will = commit ? "will commit" : "will be rolled back";
    if (doubt->found == FOUND_NOT_ASKED || doubt->rm_state == RM_DOWN) {
        doubt_say(out, fate, "%s when %s is reachable", will, doubt->rm);
        doubt_advise_agent(out, doubt, doubt->rm);
    } else if (doubt->rm_state == RM_REFUSED) {
        doubt_say(out, fate, "%s when %s accepts this coordinator again", will, doubt->rm);
        advise(out, "assentctl agents");
    } else if (doubt->found == FOUND_PREPARED && !doubt->actable) {
        doubt_say(out, fate, "%s once the agent can: %s", will, doubt_right(doubt));
        doubt_advise_grant(out, doubt, commit ? "COMMIT" : "ROLLBACK");
    } else {
        return false;
    }
    return true;
}

static void doubt_advise_committed(const struct doubt *doubt, struct advice *out)
{
    if (doubt_outside_our_reach(doubt, out, true))
        return;
    if (doubt->start[0] != '\0') {
        doubt_say(out, FATE_WILL_COMMIT, "will commit when the coordinator is started");
        doubt_advise_start(out, doubt);
    } else {
        doubt_say(out, FATE_WILL_COMMIT, "will commit: decided, and %s is being told", doubt->rm);
    }
}

static void doubt_advise_rolled_back(const struct doubt *doubt, struct advice *out)
{
    const char *why = doubt->live ? "decided" : "never decided, incarnation over";
    if (doubt_outside_our_reach(doubt, out, false))
        return;
    if (doubt->start[0] != '\0') {
        doubt_say(out, FATE_SAFE_TO_ROLL_BACK, "safe to roll back: %s", why);
        advise(out, "%s, which does it", doubt->start);
    } else {
        doubt_say(out, FATE_WILL_ROLL_BACK, "will be rolled back: %s", why);
    }
}

static void doubt_follow_the_decision(const struct doubt *doubt, struct advice *out)
{
    switch (doubt->known) {
    case KNOWN_COMMITTED:
        doubt_advise_committed(doubt, out);
        break;
    case KNOWN_ABORTED:
    case KNOWN_FORGOTTEN:
        doubt_advise_rolled_back(doubt, out);
        break;
    case KNOWN_UNPROVEN:
        doubt_say(out, FATE_WAITS,
                  "will be rolled back when %s registers: never decided, and only a log that every "
                  "agent has accepted proves it",
                  doubt->waits_for);
        doubt_advise_agent(out, doubt, doubt->waits_for);
        break;
    case KNOWN_UNDECIDED:
        doubt_say(out, FATE_UNDECIDED,
                  "not decided yet: it is, or is rolled back, by its deadline");
        break;
    case KNOWN_LOGGING:
        doubt_say(out, FATE_UNDECIDED, "not decided yet: the decision is being written to the log");
        break;
    case KNOWN_PRECOMMITTED:
        doubt_say(out, FATE_UNDECIDED, "not decided yet: a majority of its acceptors decides");
        break;
    case KNOWN_DELEGATED:
        doubt_say(out, FATE_UNDECIDED, "%s, the only database, decides alone; its marker will tell",
                  doubt->rm);
        if (doubt->found == FOUND_NOT_ASKED || doubt->rm_state == RM_DOWN)
            doubt_advise_agent(out, doubt, doubt->rm);
        break;
    case KNOWN_NOTHING:
    case KNOWN_STRANGE:
    case KNOWN_MIXED:
    case KNOWNS:
        assert(false && "judged before");
    }
}

/* ---- 3pc: a majority of the acceptors decides, whether the coordinator is there or not ---- */

static void doubt_advise_missing(struct advice *out, const struct doubt *doubt)
{
    const char *rm = third_phase_missing(doubt->third);
    if (rm != NULL)
        doubt_advise_agent(out, doubt, rm);
    else if (doubt->start[0] != '\0')
        doubt_advise_start(out, doubt);
}

/* Has the log nothing to say against what the acceptors prove? */
static bool doubt_is_theirs(const struct doubt *doubt)
{
    switch (doubt->known) {
    case KNOWN_NOTHING:
    case KNOWN_PRECOMMITTED:
    case KNOWN_UNPROVEN:
        return true;
    case KNOWN_ABORTED: /* without a coordinator that would do it */
        return doubt->start[0] != '\0';
    default:
        return false;
    }
}

static bool doubt_acceptors_decide(const struct doubt *doubt, struct advice *out)
{
    char words[THIRD_PHASE_BYTES];
    if (doubt->third == NULL || !doubt_is_theirs(doubt) || doubt->rm_state == RM_QUARANTINED)
        return false;
    enum outcome decided = third_phase_decided(doubt->third);
    if (doubt->fenced && decided == OUTCOME_NONE)
        return false;
    third_phase_words(doubt->third, words);
    if (decided != OUTCOME_NONE) {
        bool commit = decided == OUTCOME_COMMITTED;
        if (!doubt_outside_our_reach(doubt, out, commit))
            doubt_say(out, commit ? FATE_WILL_COMMIT : FATE_WILL_ROLL_BACK,
                      "%s: its acceptors have decided so",
                      commit ? "will commit" : "will be rolled back");
    } else if (third_phase_blocks(doubt->third)) {
        doubt_say(out, FATE_WAITS, "%s", words);
        doubt_advise_missing(out, doubt);
    } else {
        doubt_say(out, FATE_UNDECIDED, "not decided yet, and is %s: %s",
                  doubt->start[0] == '\0' ? "soon" : "soon, by the agents alone", words);
    }
    return true;
}

/* Things that no coordinator's decision is about. */
static bool doubt_of_somebody_else(const struct doubt *doubt, struct advice *out)
{
    if (strcmp(doubt->tm, doubt->coordinator) != 0) {
        doubt_say(out, FATE_NOT_OURS, "belongs to coordinator %s, not to %s", doubt->tm,
                  doubt->coordinator);
        advise(out, "assentctl -u URL-OF-%s in-doubt", doubt->tm);
    } else if (doubt->misplaced) {
        doubt_say(out, FATE_UNKNOWN,
                  "cannot be finished: prepared in another database than that of %s, and so never "
                  "voted for",
                  doubt->rm);
        advise(out, "psql -d %s -c \"ROLLBACK PREPARED '%s'\"", doubt->database, doubt->gid);
    } else {
        return false;
    }
    return true;
}

void doubt_judge(const struct doubt *doubt, struct advice *out)
{
    memset(out, 0, sizeof *out);
    if (doubt_of_somebody_else(doubt, out) || doubt_acceptors_decide(doubt, out) ||
        doubt_nobody_knows(doubt, out) || doubt_ended_otherwise(doubt, out) ||
        doubt_database_lost_data(doubt, out) || doubt_gone_without_trace(doubt, out) ||
        doubt_came_back(doubt, out) || doubt_rose_again(doubt, out) ||
        older_than_is_remembered(doubt, out))
        return;
    doubt_follow_the_decision(doubt, out);
}
