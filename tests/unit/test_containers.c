/*
 * tests/unit/test_containers.c - the core's table, timers and remembered outcomes, each against
 * the plainest thing that does the same.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/outcomes.h"
#include "core/table.h"
#include "core/timers.h"

enum { ITEMS = 200, ROUNDS = 20000 };

static uint64_t next_random = 1;

static uint32_t random_below(uint32_t limit)
{
    next_random = next_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(next_random >> 33) % limit;
}

START_TEST(a_table_finds_what_was_put_and_not_removed)
{
    static uint8_t room[64 * 1024] __attribute__((aligned(16)));
    struct memory memory = {.base = room};
    struct table table;
    bool there[ITEMS] = {false};
    table_init(&table, &memory, ITEMS);
    ck_assert(memory.used <= sizeof room);

    for (int round = 0; round < ROUNDS; round++) {
        uint32_t item = random_below(ITEMS);
        uint64_t hash = item % 7; /* many share a hash, and neighbours collide */
        struct probe probe;
        bool found = false;
        for (uint32_t i = table_first(&table, hash, &probe); i != NO_ITEM;
             i = table_next(&table, &probe))
            found |= i == item;
        ck_assert_int_eq(found, there[item]);
        if (there[item])
            table_remove(&table, hash, item);
        else
            table_put(&table, hash, item);
        there[item] = !there[item];
    }
}
END_TEST

START_TEST(the_earliest_timer_is_due_first)
{
    static uint8_t room[64 * 1024] __attribute__((aligned(16)));
    struct memory memory = {.base = room};
    struct timers timers;
    uint64_t when[ITEMS];
    timers_init(&timers, &memory, ITEMS);
    for (uint32_t i = 0; i < ITEMS; i++)
        when[i] = TIMER_NEVER;

    for (int round = 0; round < ROUNDS; round++) {
        uint32_t item = random_below(ITEMS);
        when[item] = random_below(4) == 0 ? TIMER_NEVER : random_below(1000);
        timers_set(&timers, item, when[item]);

        uint64_t earliest = TIMER_NEVER;
        for (uint32_t i = 0; i < ITEMS; i++)
            earliest = earlier(earliest, when[i]);
        ck_assert_uint_eq(timers_next_ms(&timers), earliest);
        uint32_t due;
        ck_assert_int_eq(timers_due(&timers, 500, &due), earliest <= 500);
        if (earliest <= 500)
            ck_assert_uint_eq(when[due], earliest);
    }
}
END_TEST

static void *room_of_outcomes;

static void given_outcomes(struct outcomes *outcomes, uint32_t chunks, uint32_t keys)
{
    struct memory memory = {.base = NULL};
    outcomes_init(outcomes, &memory, chunks, keys);
    free(room_of_outcomes);
    room_of_outcomes = malloc(memory.used);
    memory = (struct memory){.base = room_of_outcomes};
    outcomes_init(outcomes, &memory, chunks, keys);
}

START_TEST(what_committed_is_remembered_and_the_rest_was_rolled_back)
{
    struct outcomes outcomes;
    given_outcomes(&outcomes, 4, 4);
    outcomes_commit(&outcomes, 1, 5, "", 0);
    outcomes_commit(&outcomes, 2, 5, "order-5", 0);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 5), OUTCOME_COMMITTED);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 6), OUTCOME_ROLLED_BACK);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 3, 5), OUTCOME_ROLLED_BACK);
    uint64_t incarnation, sequence;
    ck_assert(outcomes_find_key(&outcomes, "order-5", &incarnation, &sequence));
    ck_assert_uint_eq(incarnation, 2);
    ck_assert_uint_eq(sequence, 5);
    ck_assert(!outcomes_find_key(&outcomes, "order-6", &incarnation, &sequence));
}
END_TEST

START_TEST(what_no_longer_fits_is_forgotten_and_never_called_rolled_back)
{
    struct outcomes outcomes;
    given_outcomes(&outcomes, 2, 4);
    for (uint64_t chunk = 0; chunk < 5; chunk++)
        outcomes_commit(&outcomes, 1, chunk * CHUNK_SEQUENCES + 9, "", chunk);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 9), OUTCOME_FORGOTTEN);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 2 * CHUNK_SEQUENCES + 9), OUTCOME_FORGOTTEN);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 3 * CHUNK_SEQUENCES + 9), OUTCOME_COMMITTED);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 4 * CHUNK_SEQUENCES + 9), OUTCOME_COMMITTED);
}
END_TEST

START_TEST(a_key_that_no_longer_fits_moves_the_horizon)
{
    struct outcomes outcomes;
    given_outcomes(&outcomes, 4, 2);
    uint64_t incarnation, sequence;
    outcomes_commit(&outcomes, 1, 1, "a", 0);
    outcomes_commit(&outcomes, 1, 2, "b", 0);
    outcomes_commit(&outcomes, 1, 3, "c", 0);
    ck_assert(!outcomes_find_key(&outcomes, "a", &incarnation, &sequence));
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 1), OUTCOME_FORGOTTEN);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 2), OUTCOME_COMMITTED);
}
END_TEST

START_TEST(time_forgets_the_oldest_and_their_keys)
{
    struct outcomes outcomes;
    given_outcomes(&outcomes, 4, 4);
    uint64_t incarnation, sequence;
    outcomes_commit(&outcomes, 1, 1, "a", 100);
    outcomes_commit(&outcomes, 1, CHUNK_SEQUENCES + 1, "b", 200);
    ck_assert(!outcomes_expire(&outcomes, 100));
    ck_assert(outcomes_expire(&outcomes, 150));
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 1), OUTCOME_FORGOTTEN);
    ck_assert(!outcomes_find_key(&outcomes, "a", &incarnation, &sequence));
    ck_assert(outcomes_find_key(&outcomes, "b", &incarnation, &sequence));
    /* What is begun later stands above the horizon. */
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 2), OUTCOME_ROLLED_BACK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("containers");
    TCase *cases = tcase_create("containers");
    tcase_add_test(cases, a_table_finds_what_was_put_and_not_removed);
    tcase_add_test(cases, the_earliest_timer_is_due_first);
    tcase_add_test(cases, what_committed_is_remembered_and_the_rest_was_rolled_back);
    tcase_add_test(cases, what_no_longer_fits_is_forgotten_and_never_called_rolled_back);
    tcase_add_test(cases, a_key_that_no_longer_fits_moves_the_horizon);
    tcase_add_test(cases, time_forgets_the_oldest_and_their_keys);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(room_of_outcomes);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
