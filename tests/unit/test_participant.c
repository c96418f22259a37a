/*
 * tests/unit/test_participant.c - what an agent's branch machine does, told as short stories.
 *
 * The participant's own file is included, so that its table can be looked at cell by cell.
 */
#include "core/participant/participant.c" /* NOLINT: the table is private */

#include "core/participant/closed.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLOTS = 3 };

static struct participant *agent;
static struct participant_actions actions;
static uint64_t now_ms;
static char said[1024];

static const struct branch_id branch = {.gtrid = {.incarnation = 1, .sequence = 5, .tm = "bank"},
                                        .rm = "accounts"};

static void given_agent(void)
{
    free(agent);
    agent = participant_init(calloc(1, participant_bytes(SLOTS)), SLOTS, 4);
    now_ms = 1000;
    said[0] = '\0';
}

static void tell_actions(void)
{
    static const char *const acts[] = {
        "none", "prepare",     "commit-session", "interrupt", "end-session",
        "look", "look-marker", "commit",         "rollback",  "tell",
    };
    static const char *const results[] = {
        "none",    "ready", "read-only", "no",    "done",    "heuristic",
        "unknown", "lost",  "opened",    "found", "session", "scanned",
    };
    size_t length = strlen(said);
    for (uint32_t i = 0; i < actions.count; i++) {
        const struct participant_action *action = &actions.list[i];
        length += (size_t)snprintf(said + length, sizeof said - length, "%s",
                                   action->type == PA_TELL ? results[action->result.type]
                                                           : acts[action->type]);
        if (action->type == PA_INTERRUPT && action->at_once)
            length += (size_t)snprintf(said + length, sizeof said - length, " at once");
        if (action->type == PA_COMMIT || action->type == PA_ROLLBACK)
            length += (size_t)snprintf(said + length, sizeof said - length, " %llu",
                                       (unsigned long long)action->xid);
        length += (size_t)snprintf(said + length, sizeof said - length, "\n");
    }
}

static void step(struct participant_event event)
{
    event.branch = branch;
    event.now_ms = now_ms;
    participant_step(agent, &event, &actions);
    tell_actions();
}

static void when(enum participant_event_type type)
{
    step((struct participant_event){
        .type = type, .xid = 70, .beat = 3, .actable = true, .timeout_ms = 30000});
}

/* The TM's order; xid 70 is the one that was voted for. */
static void ordered(enum participant_event_type type, uint64_t xid)
{
    const struct order order = {
        .branch = branch, .agent_incarnation = 4, .xid = xid, .lsn = 9, .timeout_ms = 30000};
    step((struct participant_event){.type = type, .order = &order});
}

static void absent(enum xid_status status)
{
    step((struct participant_event){.type = PE_ABSENT, .status = status});
}

static const char *did(void)
{
    static char answer[sizeof said];
    strcpy(answer, said);
    said[0] = '\0';
    return answer;
}

static void given_ready(void)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_PREPARE, 0);
    when(PE_PREPARED);
    ck_assert_str_eq(did(), "prepare\nready\n");
}

START_TEST(no_cell_of_the_table_is_empty)
{
    for (int state = 0; state < BRANCH_STATES; state++)
        for (int type = 1; type < PE_TYPES; type++)
            ck_assert_msg(moves[state][type] != HOLE, "%s x %s is a hole",
                          branch_state_word((enum branch_state)state),
                          participant_event_word((enum participant_event_type)type));
}
END_TEST

START_TEST(exec_work_is_prepared_in_its_session_and_committed)
{
    given_ready();
    ordered(PE_COMMIT, 70);
    ck_assert_str_eq(did(), "commit 70\n");
    when(PE_FINISHED);
    ck_assert_str_eq(did(), "done\n");
    ck_assert_uint_eq(participant_count(agent), 0);
}
END_TEST

START_TEST(a_branch_of_the_applications_own_is_looked_for)
{
    given_agent();
    ordered(PE_PREPARE, 0);
    ck_assert_str_eq(did(), "look\n");
    ck_assert(actions.list[0].flush);
    when(PE_SEEN);
    ck_assert_str_eq(did(), "ready\n");
}
END_TEST

START_TEST(a_branch_that_is_not_prepared_is_a_no_and_stays_one)
{
    given_agent();
    ordered(PE_PREPARE, 0);
    absent(XID_UNKNOWN);
    ordered(PE_PREPARE, 0);
    ck_assert_str_eq(did(), "look\nno\nno\n");
}
END_TEST

START_TEST(a_lost_answer_to_prepare_is_a_no_and_a_late_prepare_is_undone)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_PREPARE, 0);
    when(PE_UNKNOWN);
    ck_assert_str_eq(did(), "prepare\nno\n");
    ordered(PE_ROLLBACK, 0);
    ck_assert_str_eq(did(), "look\n");
    when(PE_SEEN);
    ck_assert_str_eq(did(), "rollback 70\n");
}
END_TEST

START_TEST(a_refusal_of_postgresql_needs_no_look)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_PREPARE, 0);
    when(PE_REFUSAL);
    ordered(PE_ROLLBACK, 0);
    ck_assert_str_eq(did(), "prepare\nno\ndone\n");
}
END_TEST

START_TEST(a_lost_session_is_a_no)
{
    given_agent();
    when(PE_OPENED);
    when(PE_SESSION_LOST);
    ordered(PE_PREPARE, 0);
    ck_assert_str_eq(did(), "no\n");
}
END_TEST

START_TEST(only_the_transaction_that_was_voted_for_is_committed)
{
    given_ready();
    ordered(PE_COMMIT, 66);
    /* Another transaction stands under the name: out with it, then see what became of ours. */
    ck_assert_str_eq(did(), "rollback 70\n");
    when(PE_FINISHED);
    ck_assert_str_eq(did(), "look\n");
    ck_assert_uint_eq(actions.list[0].xid, 66);
    absent(XID_COMMITTED);
    ck_assert_str_eq(did(), "done\n");
}
END_TEST

START_TEST(a_commit_that_is_not_remembered_is_looked_for)
{
    given_agent();
    ordered(PE_COMMIT, 70);
    when(PE_SEEN);
    ck_assert_str_eq(did(), "look\ncommit 70\n");
}
END_TEST

START_TEST(a_branch_that_is_gone_is_judged_by_evidence_alone)
{
    static const struct {
        enum xid_status status;
        const char *told;
    } cases[] = {
        {XID_COMMITTED, "look\ndone\n"},
        {XID_ABORTED, "look\nheuristic\n"},
        {XID_FUTURE, "look\nlost\n"},
        {XID_UNKNOWN, "look\nunknown\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        given_agent();
        ordered(PE_COMMIT, 70);
        absent(cases[i].status);
        ck_assert_str_eq(did(), cases[i].told);
    }
}
END_TEST

START_TEST(no_such_gid_is_never_taken_for_success)
{
    given_ready();
    ordered(PE_COMMIT, 70);
    when(PE_GONE);
    ck_assert_str_eq(did(), "commit 70\nlook\n");
    absent(XID_ABORTED);
    ck_assert_str_eq(did(), "heuristic\n");
}
END_TEST

START_TEST(a_rollback_of_what_was_committed_by_hand_is_reported)
{
    given_ready();
    ordered(PE_ROLLBACK, 70);
    when(PE_GONE);
    ck_assert_str_eq(did(), "rollback 70\nlook\n");
    absent(XID_COMMITTED);
    ck_assert_str_eq(did(), "heuristic\n");
}
END_TEST

START_TEST(a_rollback_during_prepare_waits_for_its_result)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_PREPARE, 0);
    ordered(PE_ROLLBACK, 0);
    ck_assert_str_eq(did(), "prepare\ninterrupt\n");
    when(PE_PREPARED);
    ck_assert_str_eq(did(), "rollback 70\n");
    when(PE_FINISHED);
    ck_assert_str_eq(did(), "done\n");
}
END_TEST

START_TEST(a_rollback_ends_an_open_session)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_ROLLBACK, 0);
    ck_assert_str_eq(did(), "end-session\n");
    when(PE_FINISHED);
    ck_assert_str_eq(did(), "done\n");
    /* Its gid may not get a new, empty session, half of the work would be gone: who keeps that in
     * mind is told that nothing else does. */
    ck_assert_uint_eq(participant_count(agent), 0);
    ck_assert(actions.forgot);
    ck_assert(branch_equal(&actions.forgotten, &branch));
}
END_TEST

START_TEST(an_unprepared_session_ends_at_its_deadline)
{
    struct participant_event event;
    given_agent();
    when(PE_OPENED);
    ck_assert(!participant_due(agent, now_ms + 29999, &event));
    ck_assert(participant_due(agent, now_ms + 30000, &event));
    participant_step(agent, &event, &actions);
    tell_actions();
    ck_assert_str_eq(did(), "end-session\n");
    when(PE_FINISHED);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(a_prepared_branch_has_no_deadline)
{
    struct participant_event event;
    given_ready();
    ck_assert(!participant_due(agent, UINT64_MAX - 1, &event));
}
END_TEST

START_TEST(one_phase_is_settled_by_its_marker)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_COMMIT_ONE_PHASE, 0);
    ck_assert_str_eq(did(), "commit-session\n");
    when(PE_UNKNOWN);
    ck_assert_str_eq(did(), "look-marker\n");
    absent(XID_UNKNOWN);
    ck_assert_str_eq(did(), "no\n");
}
END_TEST

START_TEST(a_one_phase_commit_that_is_refused_because_it_was_done_is_done)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_COMMIT_ONE_PHASE, 0);
    when(PE_REFUSAL);
    when(PE_FINISHED);
    ck_assert_str_eq(did(), "commit-session\nlook-marker\ndone\n");
}
END_TEST

START_TEST(what_is_prepared_instead_of_one_phase_waits_for_the_coordinator_and_says_so_again)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_COMMIT_ONE_PHASE, 0);
    struct participant_event event = {.type = PE_PREPARED, .xid = 42, .beat = 7};
    event.branch = branch;
    participant_step(agent, &event, &actions);
    tell_actions();
    ck_assert_str_eq(did(), "commit-session\nready\n");
    ordered(PE_COMMIT_ONE_PHASE, 0);
    ordered(PE_SETTLE, 0);
    ck_assert_str_eq(did(), "ready\nready\n");
    ordered(PE_ROLLBACK, 42);
    ck_assert_str_eq(did(), "rollback 42\n");
}
END_TEST

START_TEST(what_may_be_prepared_though_its_answer_was_lost_is_looked_for_before_it_is_rolled_back)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_COMMIT_ONE_PHASE, 0);
    when(PE_UNKNOWN);
    absent(XID_UNKNOWN);
    ck_assert_str_eq(did(), "commit-session\nlook-marker\nno\n");
    ordered(PE_ROLLBACK, 0);
    ck_assert_str_eq(did(), "look\n");
}
END_TEST

START_TEST(one_phase_without_a_session_does_nothing)
{
    given_agent();
    ordered(PE_COMMIT_ONE_PHASE, 0);
    ck_assert_str_eq(did(), "look-marker\n");
    absent(XID_UNKNOWN);
    ck_assert_str_eq(did(), "no\n");
    /* A new session could be told to commit by a late order: the no is remembered. */
    ck_assert_int_eq((int)participant_state(agent, &branch), BRANCH_REFUSED);
}
END_TEST

START_TEST(a_new_start_of_the_tm_ends_what_the_old_one_left_unprepared)
{
    struct participant_event event;
    given_agent();
    when(PE_OPENED);
    ck_assert(!participant_fence(agent, "other", 9, &event));
    ck_assert(!participant_fence(agent, "bank", 1, &event));
    ck_assert(participant_fence(agent, "bank", 2, &event));
    participant_step(agent, &event, &actions);
    tell_actions();
    ck_assert_str_eq(did(), "end-session\n");
    ck_assert(!participant_fence(agent, "bank", 2, &event));
}
END_TEST

static void due_after(uint64_t after_ms)
{
    struct participant_event event;
    now_ms += after_ms;
    ck_assert(participant_due(agent, now_ms, &event));
    participant_step(agent, &event, &actions);
    tell_actions();
    ck_assert(!participant_due(agent, now_ms, &event));
}

START_TEST(a_statement_that_runs_is_not_waited_for_when_the_votes_time_is_over)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_PREPARE, 0);
    due_after(30000);
    ck_assert_str_eq(did(), "prepare\ninterrupt at once\n");
    when(PE_REFUSAL);
    ck_assert_str_eq(did(), "no\n");
}
END_TEST

START_TEST(a_prepare_that_hangs_is_given_up_soon_when_its_branch_is_rolled_back)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_PREPARE, 0);
    ordered(PE_ROLLBACK, 0);
    due_after(DOOMED_MS);
    ck_assert_str_eq(did(), "prepare\ninterrupt\ninterrupt at once\n");
    when(PE_UNKNOWN);
    absent(XID_UNKNOWN);
    ck_assert_str_eq(did(), "look\ndone\n");
}
END_TEST

START_TEST(a_commit_in_one_phase_waits_for_no_statement_beyond_the_branchs_time)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_COMMIT_ONE_PHASE, 0);
    due_after(30000);
    ck_assert_str_eq(did(), "commit-session\ninterrupt\n");
}
END_TEST

static void when_at(uint64_t sequence, enum participant_event_type type)
{
    const struct order order = {.branch = branch, .agent_incarnation = 4, .timeout_ms = 30000};
    struct participant_event event = {.type = type,
                                      .branch = branch,
                                      .now_ms = now_ms,
                                      .timeout_ms = 30000,
                                      .xid = 70,
                                      .order = &order};
    event.branch.gtrid.sequence = sequence;
    participant_step(agent, &event, &actions);
    tell_actions();
}

START_TEST(what_is_rolled_back_takes_no_place)
{
    given_agent();
    for (uint64_t i = 1; i < 10 * SLOTS; i++) {
        when_at(i, PE_OPENED);
        when_at(i, PE_ROLLBACK);
        when_at(i, PE_FINISHED);
        ck_assert_str_eq(did(), "end-session\ndone\n");
    }
    ck_assert(participant_has_room(agent));
}
END_TEST

/* Of a branch that is looked for to be committed, while that coordinator's log is given up. */
static uint64_t position_behind(const char *given_up)
{
    given_agent();
    ordered(PE_COMMIT, 70);
    participant_unplace(agent, given_up);
    ck_assert_str_eq(did(), "look\n");
    when(PE_SEEN);
    ck_assert_str_eq(did(), "commit 70\n");
    return actions.list[0].lsn;
}

START_TEST(positions_of_a_log_that_is_given_up_are_never_stored_again)
{
    ck_assert_uint_eq(position_behind("other"), 9);
    ck_assert_uint_eq(position_behind("bank"), 0);
}
END_TEST

START_TEST(remembered_answers_make_room_the_oldest_first)
{
    given_agent();
    for (uint64_t i = 1; i <= 2 * SLOTS; i++) {
        ck_assert(participant_has_room(agent));
        when_at(i, PE_OPENED);
        ck_assert(actions.forgot == (i > SLOTS));
        if (actions.forgot)
            ck_assert_uint_eq(actions.forgotten.gtrid.sequence, i - SLOTS);
        when_at(i, PE_PREPARE);
        when_at(i, i % 2 == 0 ? PE_READ_ONLY : PE_REFUSAL);
    }
    ck_assert_uint_eq(participant_count(agent), SLOTS);
    ck_assert_uint_eq(participant_held(agent), 0);
    did();
    /* Asked again, what is still remembered is said again, and takes its place again after it. */
    when_at(SLOTS + 1, PE_PREPARE);
    when_at(2, PE_PREPARE);
    ck_assert_str_eq(did(), "read-only\nlook\n");
    ck_assert_uint_eq(actions.forgotten.gtrid.sequence, SLOTS + 2);
}
END_TEST

START_TEST(a_no_behind_which_something_may_be_prepared_makes_no_room)
{
    given_agent();
    for (uint64_t i = 1; i < SLOTS; i++) {
        ck_assert(participant_has_room(agent));
        when_at(i, PE_OPENED);
        when_at(i, PE_PREPARE);
        when_at(i, PE_UNKNOWN);
    }
    ck_assert(!participant_has_room(agent));
}
END_TEST

START_TEST(the_table_keeps_room_for_what_ends_branches)
{
    uint32_t slots = 4 * RESERVED_PART;
    free(agent);
    agent = participant_init(calloc(1, participant_bytes(slots)), slots, 4);
    uint64_t opened = 0;
    while (participant_has_room(agent))
        when_at(++opened, PE_OPENED);
    ck_assert_uint_eq(opened, slots - 4);
    said[0] = '\0';
    when_at(1000, PE_PREPARE);
    when_at(1001, PE_COMMIT);
    ck_assert_str_eq(did(), "no\nlook\n");
}
END_TEST

/* Behind a no of which something may still be prepared, for a minute. */
START_TEST(the_smallest_table_keeps_a_place_for_what_ends_branches)
{
    given_agent();
    for (uint64_t i = 1; i < SLOTS; i++) {
        when_at(i, PE_OPENED);
        when_at(i, PE_PREPARE);
        when_at(i, PE_UNKNOWN);
    }
    said[0] = '\0';
    when_at(1000, PE_PREPARE);
    when_at(1001, PE_ROLLBACK);
    ck_assert_str_eq(did(), "no\nlook\n");
}
END_TEST

START_TEST(a_closed_transaction_stays_closed)
{
    static struct closed closed;
    closed_clear(&closed);
    closed_note(&closed, 5);
    closed_note(&closed, 3);
    ck_assert(closed_has(&closed, 3) && closed_has(&closed, 5));
    ck_assert(!closed_has(&closed, 4) && !closed_has(&closed, 6));
    /* What is passed counts as over; what takes its place does not. */
    closed_note(&closed, CLOSED_SPAN + 4);
    ck_assert(closed_has(&closed, 4) && closed_has(&closed, 5));
    ck_assert(!closed_has(&closed, 6) && !closed_has(&closed, CLOSED_SPAN + 3));
    closed_note(&closed, UINT64_C(9) * CLOSED_SPAN);
    ck_assert(closed_has(&closed, 6) && closed_has(&closed, UINT64_C(8) * CLOSED_SPAN));
    ck_assert(!closed_has(&closed, UINT64_C(8) * CLOSED_SPAN + 1));
    closed_note(&closed, 1);
    ck_assert(!closed_has(&closed, UINT64_C(8) * CLOSED_SPAN + 1));
}
END_TEST

START_TEST(a_full_table_answers_no_and_forgets_nothing)
{
    given_agent();
    for (uint64_t i = 1; i < SLOTS; i++) {
        struct participant_event event = {.type = PE_OPENED, .branch = branch, .now_ms = now_ms};
        event.branch.gtrid.sequence = 100 + i;
        participant_step(agent, &event, &actions);
    }
    ordered(PE_PREPARE, 0);
    ck_assert_str_eq(did(), "no\n");
    ck_assert_uint_eq(participant_count(agent), SLOTS - 1);
}
END_TEST

/* The agent was started again since it voted: it looks as if nobody had asked before. */
START_TEST(a_vote_that_is_not_remembered_is_asked_after_when_it_is_rolled_back_meanwhile)
{
    given_agent();
    ordered(PE_PREPARE, 0);
    ordered(PE_ROLLBACK, 70);
    absent(XID_UNKNOWN);
    ck_assert_str_eq(did(), "look\nlook\n");
    ck_assert_uint_eq(actions.list[0].xid, 70);
    absent(XID_COMMITTED);
    ck_assert_str_eq(did(), "heuristic\n");
}
END_TEST

START_TEST(what_nobody_has_voted_for_and_is_not_there_is_rolled_back)
{
    given_agent();
    ordered(PE_PREPARE, 0);
    ordered(PE_ROLLBACK, 0);
    absent(XID_UNKNOWN);
    ck_assert_str_eq(did(), "look\ndone\n");
}
END_TEST

START_TEST(a_rollback_that_is_asked_for_while_the_session_is_being_closed_is_answered)
{
    given_agent();
    when(PE_OPENED);
    due_after(30000);
    ck_assert_str_eq(did(), "end-session\n");
    ordered(PE_ROLLBACK, 0);
    ck_assert_str_eq(did(), "");
    when(PE_FINISHED);
    ck_assert_str_eq(did(), "done\n");
    ck_assert_uint_eq(participant_count(agent), 0);
}
END_TEST

START_TEST(a_branch_of_the_applications_own_that_could_not_be_finished_is_a_no)
{
    given_agent();
    ordered(PE_PREPARE, 0);
    step((struct participant_event){
        .type = PE_SEEN, .xid = 70, .sqlstate = "42501", .message = "not ours to finish"});
    ck_assert_str_eq(did(), "look\nno\n");
    ck_assert_str_eq(actions.list[0].result.sqlstate, "42501");
    ck_assert_str_eq(actions.list[0].result.message, "not ours to finish");
    ordered(PE_PREPARE, 0);
    ck_assert_str_eq(did(), "no\n");
}
END_TEST

START_TEST(what_could_not_be_looked_for_is_looked_for_when_it_is_ordered_again)
{
    given_agent();
    for (int i = 0; i < 3; i++) {
        ordered(PE_COMMIT, 70);
        when(PE_RETRY);
        ck_assert_str_eq(did(), "look\n");
        ck_assert_uint_eq(participant_count(agent), 0);
        ordered(PE_ROLLBACK, 70);
        when(PE_UNKNOWN);
        ck_assert_str_eq(did(), "look\n");
        ck_assert_uint_eq(participant_count(agent), 0);
    }
}
END_TEST

START_TEST(a_final_answer_is_forgotten_a_minute_after_the_branchs_time)
{
    given_agent();
    when(PE_OPENED);
    ordered(PE_PREPARE, 0);
    when(PE_READ_ONLY);
    ck_assert_uint_eq(participant_wake_ms(agent), now_ms + 30000 + REMEMBER_MS);
    ck_assert_int_eq((int)participant_state(agent, &branch), BRANCH_LEFT);
    due_after(30000 + REMEMBER_MS);
    ck_assert_int_eq((int)participant_state(agent, &branch), BRANCH_NONE);
    ck_assert_uint_eq(participant_wake_ms(agent), UINT64_MAX);
}
END_TEST

START_TEST(a_full_table_leaves_a_decision_to_be_said_again)
{
    given_agent();
    for (uint64_t i = 1; i < SLOTS; i++)
        when_at(100 + i, PE_OPENED);
    when_at(200, PE_COMMIT); /* in the place that is kept for what ends branches */
    ck_assert_str_eq(did(), "look\n");
    ordered(PE_COMMIT, 70);
    ordered(PE_ROLLBACK, 70);
    ck_assert_str_eq(did(), "");
    when_at(101, PE_ROLLBACK);
    when_at(101, PE_FINISHED);
    ordered(PE_COMMIT, 70);
    ck_assert_str_eq(did(), "end-session\ndone\nlook\n");
}
END_TEST

START_TEST(only_what_may_still_be_prepared_is_under_way)
{
    uint32_t at = 0;
    struct branch_id found;
    given_agent();
    when_at(1, PE_OPENED); /* of another transaction */
    when(PE_OPENED);
    ordered(PE_PREPARE, 0);
    ck_assert(participant_under_way(agent, &branch.gtrid, &at, &found));
    ck_assert(branch_equal(&found, &branch));
    at++;
    ck_assert(!participant_under_way(agent, &branch.gtrid, &at, &found));
    when(PE_REFUSAL);
    at = 0;
    ck_assert(!participant_under_way(agent, &branch.gtrid, &at, &found));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("participant");
    TCase *cases = tcase_create("branch");
    tcase_add_test(cases, no_cell_of_the_table_is_empty);
    tcase_add_test(cases, exec_work_is_prepared_in_its_session_and_committed);
    tcase_add_test(cases, a_branch_of_the_applications_own_is_looked_for);
    tcase_add_test(cases, a_branch_that_is_not_prepared_is_a_no_and_stays_one);
    tcase_add_test(cases, a_lost_answer_to_prepare_is_a_no_and_a_late_prepare_is_undone);
    tcase_add_test(cases, a_refusal_of_postgresql_needs_no_look);
    tcase_add_test(cases, a_lost_session_is_a_no);
    tcase_add_test(cases, only_the_transaction_that_was_voted_for_is_committed);
    tcase_add_test(cases, a_commit_that_is_not_remembered_is_looked_for);
    tcase_add_test(cases, a_branch_that_is_gone_is_judged_by_evidence_alone);
    tcase_add_test(cases, no_such_gid_is_never_taken_for_success);
    tcase_add_test(cases, a_rollback_of_what_was_committed_by_hand_is_reported);
    tcase_add_test(cases, a_rollback_during_prepare_waits_for_its_result);
    tcase_add_test(cases, a_rollback_ends_an_open_session);
    tcase_add_test(cases, an_unprepared_session_ends_at_its_deadline);
    tcase_add_test(cases, a_prepared_branch_has_no_deadline);
    tcase_add_test(cases, one_phase_is_settled_by_its_marker);
    tcase_add_test(cases, a_one_phase_commit_that_is_refused_because_it_was_done_is_done);
    tcase_add_test(
        cases, what_is_prepared_instead_of_one_phase_waits_for_the_coordinator_and_says_so_again);
    tcase_add_test(
        cases,
        what_may_be_prepared_though_its_answer_was_lost_is_looked_for_before_it_is_rolled_back);
    tcase_add_test(cases, one_phase_without_a_session_does_nothing);
    tcase_add_test(cases, a_new_start_of_the_tm_ends_what_the_old_one_left_unprepared);
    tcase_add_test(cases, a_statement_that_runs_is_not_waited_for_when_the_votes_time_is_over);
    tcase_add_test(cases, a_prepare_that_hangs_is_given_up_soon_when_its_branch_is_rolled_back);
    tcase_add_test(cases, a_commit_in_one_phase_waits_for_no_statement_beyond_the_branchs_time);
    tcase_add_test(cases, what_is_rolled_back_takes_no_place);
    tcase_add_test(cases, positions_of_a_log_that_is_given_up_are_never_stored_again);
    tcase_add_test(cases, remembered_answers_make_room_the_oldest_first);
    tcase_add_test(cases, a_no_behind_which_something_may_be_prepared_makes_no_room);
    tcase_add_test(cases, the_table_keeps_room_for_what_ends_branches);
    tcase_add_test(cases, the_smallest_table_keeps_a_place_for_what_ends_branches);
    tcase_add_test(cases, a_closed_transaction_stays_closed);
    tcase_add_test(cases, a_full_table_answers_no_and_forgets_nothing);
    tcase_add_test(cases,
                   a_vote_that_is_not_remembered_is_asked_after_when_it_is_rolled_back_meanwhile);
    tcase_add_test(cases, what_nobody_has_voted_for_and_is_not_there_is_rolled_back);
    tcase_add_test(cases,
                   a_rollback_that_is_asked_for_while_the_session_is_being_closed_is_answered);
    tcase_add_test(cases, a_branch_of_the_applications_own_that_could_not_be_finished_is_a_no);
    tcase_add_test(cases, what_could_not_be_looked_for_is_looked_for_when_it_is_ordered_again);
    tcase_add_test(cases, a_final_answer_is_forgotten_a_minute_after_the_branchs_time);
    tcase_add_test(cases, a_full_table_leaves_a_decision_to_be_said_again);
    tcase_add_test(cases, only_what_may_still_be_prepared_is_under_way);
    suite_add_tcase(suite, cases);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(agent);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
