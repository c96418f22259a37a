/*
 * tests/unit/test_containers.c - the core's table, timers and remembered outcomes, each against
 * the plainest thing that does the same.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/slots.h"
#include "core/base/table.h"
#include "core/base/timers.h"
#include "core/coordinator/keys.h"
#include "core/coordinator/outcomes.h"

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

START_TEST(a_place_is_handed_out_once_until_it_is_given_back)
{
    static uint8_t room[64 * 1024] __attribute__((aligned(16)));
    struct memory memory = {.base = room};
    struct slots slots;
    bool used[ITEMS] = {false};
    uint32_t count = 0, last = NO_ITEM;
    slots_init(&slots, &memory, ITEMS);

    for (int round = 0; round < ROUNDS; round++) {
        uint32_t at = random_below(ITEMS);
        if (used[at] && random_below(8) != 0) {
            slots_give(&slots, at);
            used[at] = false;
            last = at;
            count--;
        } else {
            at = slots_take(&slots);
            ck_assert_int_eq(at == NO_ITEM, count == ITEMS);
            if (at == NO_ITEM)
                continue;
            ck_assert_uint_lt(at, ITEMS);
            ck_assert(!used[at]);
            ck_assert(last == NO_ITEM || at == last); /* the last one given back comes first */
            last = NO_ITEM;
            used[at] = true;
            count++;
        }
        ck_assert_uint_eq(slots_used(&slots), count);
        ck_assert_uint_eq(slots_free(&slots), ITEMS - count);
    }
}
END_TEST

START_TEST(low_places_are_handed_out_first)
{
    static uint8_t room[64] __attribute__((aligned(16)));
    struct memory memory = {.base = room};
    struct slots slots;
    slots_init(&slots, &memory, 3);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_uint_eq(slots_take(&slots), i);
    ck_assert_uint_eq(slots_take(&slots), NO_ITEM);
    slots_give(&slots, 1);
    ck_assert_uint_eq(slots_take(&slots), 1);
    ck_assert_uint_eq(slots_take(&slots), NO_ITEM);
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
            earliest = timers_earlier(earliest, when[i]);
        ck_assert_uint_eq(timers_next_ms(&timers), earliest);
        uint32_t due;
        ck_assert_int_eq(timers_due(&timers, 500, &due), earliest <= 500);
        if (earliest <= 500)
            ck_assert_uint_eq(when[due], earliest);
    }
}
END_TEST

static void *room;

/* Zero, as the core's memory is. */
static struct memory new_room(size_t bytes)
{
    free(room);
    room = calloc(1, bytes);
    return (struct memory){.base = room};
}

static void given_outcomes(struct outcomes *outcomes, uint32_t chunks)
{
    struct memory memory = {.base = NULL};
    outcomes_init(outcomes, &memory, chunks);
    memory = new_room(memory.used);
    outcomes_init(outcomes, &memory, chunks);
}

static void given_keys(struct keys *keys, uint32_t most)
{
    struct memory memory = {.base = NULL};
    keys_init(keys, &memory, most, 7, "bank");
    memory = new_room(memory.used);
    keys_init(keys, &memory, most, 7, "bank");
}

static const struct txn_number nothing_live = {0, 0};

START_TEST(what_committed_is_remembered_and_the_rest_was_rolled_back)
{
    struct outcomes outcomes;
    given_outcomes(&outcomes, 4);
    ck_assert(outcomes_commit(&outcomes, 1, 5, 0));
    ck_assert(outcomes_commit(&outcomes, 2, 5, 0));
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 5), OUTCOME_COMMITTED);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 6), OUTCOME_ROLLED_BACK);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 3, 5), OUTCOME_ROLLED_BACK);
}
END_TEST

START_TEST(what_no_longer_fits_is_refused_and_nothing_is_forgotten_for_it)
{
    struct outcomes outcomes;
    given_outcomes(&outcomes, 2);
    ck_assert(outcomes_commit(&outcomes, 1, 9, 1));
    ck_assert(outcomes_commit(&outcomes, 1, CHUNK_SEQUENCES + 9, 2));
    ck_assert(!outcomes_commit(&outcomes, 1, 2 * CHUNK_SEQUENCES + 9, 3));
    ck_assert(outcomes_commit(&outcomes, 1, 10, 3));
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 9), OUTCOME_COMMITTED);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, CHUNK_SEQUENCES + 9), OUTCOME_COMMITTED);
}
END_TEST

START_TEST(time_forgets_the_lowest_numbers_and_never_what_is_younger)
{
    struct outcomes outcomes;
    given_outcomes(&outcomes, 4);
    /* The second thousands commit before the first. */
    outcomes_commit(&outcomes, 1, CHUNK_SEQUENCES + 1, 100);
    outcomes_commit(&outcomes, 1, 1, 200);
    ck_assert(!outcomes_expire(&outcomes, 300, 100, &nothing_live));
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, CHUNK_SEQUENCES + 1), OUTCOME_COMMITTED);
    ck_assert(outcomes_expire(&outcomes, 301, 100, &nothing_live));
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 1), OUTCOME_FORGOTTEN);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, CHUNK_SEQUENCES + 1), OUTCOME_FORGOTTEN);
    /* What is begun later stands above the horizon. */
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, CHUNK_SEQUENCES + 2), OUTCOME_ROLLED_BACK);
}
END_TEST

START_TEST(the_horizon_waits_for_what_is_undecided)
{
    struct outcomes outcomes;
    struct txn_number live = {1, 2};
    given_outcomes(&outcomes, 4);
    outcomes_commit(&outcomes, 1, 3, 100);
    ck_assert(!outcomes_expire(&outcomes, 1000, 100, &live));
    live.sequence = 4;
    ck_assert(outcomes_expire(&outcomes, 1000, 100, &live));
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 3), OUTCOME_FORGOTTEN);
    /* Below the horizon, too, what commits is remembered. */
    outcomes_commit(&outcomes, 1, 2, 1000);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 2), OUTCOME_COMMITTED);
}
END_TEST

START_TEST(only_what_has_changed_is_archived_again)
{
    struct outcomes outcomes;
    uint8_t bits[CHUNK_SEQUENCES / 8] = {0x81};
    given_outcomes(&outcomes, 4);
    outcomes_add_chunk(&outcomes, 1, 0, bits, 100, true);
    outcomes_commit(&outcomes, 1, CHUNK_SEQUENCES, 100);
    ck_assert_int_eq((int)outcomes_find(&outcomes, 1, 7), OUTCOME_COMMITTED);
    ck_assert(!outcomes_changed(&outcomes, outcomes_at(&outcomes, 0)));
    ck_assert(outcomes_changed(&outcomes, outcomes_at(&outcomes, 1)));
    outcomes.archived = outcomes.generation++;
    ck_assert(!outcomes_changed(&outcomes, outcomes_at(&outcomes, 1)));
    outcomes_commit(&outcomes, 1, 8, 200);
    ck_assert(outcomes_changed(&outcomes, outcomes_at(&outcomes, 0)));
}
END_TEST

/* The reference code's vectors: the key is 00 01 .. 0f, the message 00 01 .. of that length. */
START_TEST(siphash_is_that_of_its_authors)
{
    static const struct {
        size_t length;
        uint64_t low, high;
    } vectors[] = {
        {0, UINT64_C(0xe6a825ba047f81a3), UINT64_C(0x930255c71472f66d)},
        {1, UINT64_C(0x44af996bd8c187da), UINT64_C(0x45fc229b11597634)},
        {7, UINT64_C(0x53c1dbd8beebf1a1), UINT64_C(0x3982f01fa64ab8c0)},
        {8, UINT64_C(0x61f55862baa9623b), UINT64_C(0xb49714f364e2830f)},
        {15, UINT64_C(0x11a8b03399e99354), UINT64_C(0xd9c3cf970fec087e)},
        {16, UINT64_C(0xbb54b067caa4e26e), UINT64_C(0x77052385bf1533fd)},
    };
    uint8_t key[16], message[16];
    for (uint8_t i = 0; i < sizeof message; i++)
        key[i] = message[i] = i;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct siphash hash = siphash_128(key, message, vectors[i].length);
        ck_assert_uint_eq(hash.low, vectors[i].low);
        ck_assert_uint_eq(hash.high, vectors[i].high);
    }
}
END_TEST

static struct siphash hash_number(const struct keys *keys, uint32_t number)
{
    char key[KEY_BYTES];
    snprintf(key, sizeof key, "order-%u", number);
    return keys_hash(keys, key);
}

/* Against the obvious: the last so many are there, and no others. */
START_TEST(the_index_of_keys_finds_what_is_in_the_ring)
{
    enum { ROOM = 100, MANY = 5000 };
    struct keys keys;
    uint32_t wrong = 0;
    given_keys(&keys, ROOM);
    for (uint32_t number = 1; number <= MANY; number++) {
        struct siphash hash = hash_number(&keys, number);
        keys_expire(&keys, number, ROOM - 1 - number % 50, UINT32_MAX);
        ck_assert(keys_add(&keys, &hash, 1, number, number));
        uint64_t oldest = keys.removed + 1;
        for (uint32_t i = oldest > 3 ? (uint32_t)oldest - 3 : 1; i <= number; i++) {
            uint64_t incarnation, sequence = 0;
            hash = hash_number(&keys, i);
            wrong += keys_find(&keys, &hash, &incarnation, &sequence) != (i >= oldest);
            wrong += i >= oldest && sequence != i;
        }
    }
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

START_TEST(a_key_that_is_used_again_names_the_newer_transaction)
{
    struct keys keys;
    uint64_t incarnation, sequence;
    given_keys(&keys, 3);
    struct siphash a = hash_number(&keys, 1), b = hash_number(&keys, 2);
    ck_assert(keys_add(&keys, &a, 1, 1, 100));
    ck_assert(keys_add(&keys, &b, 1, 2, 110));
    ck_assert(keys_add(&keys, &a, 1, 3, 120));
    ck_assert(!keys_add(&keys, &b, 1, 4, 120)); /* full: nothing goes to make room */
    keys_expire(&keys, 201, 100, UINT32_MAX);
    ck_assert(keys_find(&keys, &a, &incarnation, &sequence));
    ck_assert_uint_eq(sequence, 3);
    ck_assert_uint_eq(keys.since_ms, 100);
    keys_forget_until(&keys, 110);
    ck_assert(!keys_find(&keys, &b, &incarnation, &sequence));
    ck_assert(keys_find(&keys, &a, &incarnation, &sequence));
}
END_TEST

START_TEST(what_is_read_back_is_dated_by_the_next_mark_that_knew_it)
{
    struct keys keys;
    given_keys(&keys, 4);
    struct siphash a = hash_number(&keys, 1), b = hash_number(&keys, 2);
    keys_add(&keys, &a, 1, 1, date_at_lsn(10));
    keys_add(&keys, &b, 1, 2, date_at_lsn(20));
    keys_expire(&keys, 1000000, 1, UINT32_MAX);
    keys_date(&keys, 500, 19);
    keys_expire(&keys, 1000, 499, UINT32_MAX);
    ck_assert_uint_eq(keys.count, 1);
    keys_date(&keys, 1000, 20);
    keys_expire(&keys, 1499, 499, UINT32_MAX);
    ck_assert_uint_eq(keys.count, 1);
    keys_expire(&keys, 1500, 499, UINT32_MAX);
    ck_assert_uint_eq(keys.count, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("containers");
    TCase *cases = tcase_create("containers");
    tcase_add_test(cases, a_table_finds_what_was_put_and_not_removed);
    tcase_add_test(cases, a_place_is_handed_out_once_until_it_is_given_back);
    tcase_add_test(cases, low_places_are_handed_out_first);
    tcase_add_test(cases, the_earliest_timer_is_due_first);
    tcase_add_test(cases, what_committed_is_remembered_and_the_rest_was_rolled_back);
    tcase_add_test(cases, what_no_longer_fits_is_refused_and_nothing_is_forgotten_for_it);
    tcase_add_test(cases, time_forgets_the_lowest_numbers_and_never_what_is_younger);
    tcase_add_test(cases, the_horizon_waits_for_what_is_undecided);
    tcase_add_test(cases, only_what_has_changed_is_archived_again);
    tcase_add_test(cases, siphash_is_that_of_its_authors);
    tcase_add_test(cases, the_index_of_keys_finds_what_is_in_the_ring);
    tcase_add_test(cases, a_key_that_is_used_again_names_the_newer_transaction);
    tcase_add_test(cases, what_is_read_back_is_dated_by_the_next_mark_that_knew_it);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(room);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
