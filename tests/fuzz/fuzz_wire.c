/*
 * tests/fuzz/fuzz_wire.c - every reader of messages on hostile bytes.
 *
 * Whatever is read as a message, and written and read again, is the same message: what we let
 * pass we have understood. Whatever is refused is refused with a code.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"

static void refused(const struct failure *failure)
{
    assert(failure->code != ERR_NONE);
}

static cJSON *parse(char *text, size_t length)
{
    struct failure failure = {.code = ERR_NONE};
    cJSON *object = wire_parse(text, length, &failure);
    assert(object != NULL);
    free(text);
    return object;
}

static void check_request(const cJSON *object)
{
    static struct request request, again;
    struct failure failure = {.code = ERR_NONE};
    size_t length, length_again;
    memset(&request, 0, sizeof request);
    memset(&again, 0, sizeof again);
    if (wire_read_request(object, &request, &failure) != 0) {
        refused(&failure);
        return;
    }
    char *text = wire_write_request(&request, &length);
    cJSON *written = wire_parse(text, length, &failure);
    assert(written != NULL && wire_read_request(written, &again, &failure) == 0);
    char *text_again = wire_write_request(&again, &length_again);
    assert(length == length_again && memcmp(text, text_again, length) == 0);
    cJSON_Delete(written);
    free(text);
    free(text_again);
}

static void check_offer(const cJSON *object)
{
    struct offer offer = {.incarnation = 0}, again = {.incarnation = 0};
    struct failure failure = {.code = ERR_NONE};
    size_t length;
    if (wire_read_offer(object, &offer, &failure) != 0) {
        refused(&failure);
        return;
    }
    cJSON *written = parse(wire_write_offer(&offer, &length), length);
    assert(wire_read_offer(written, &again, &failure) == 0);
    assert(again.incarnation == offer.incarnation && again.recovered_lsn == offer.recovered_lsn &&
           strcmp(again.tm, offer.tm) == 0);
    cJSON_Delete(written);
}

static void check_adoption(const cJSON *object)
{
    struct adoption adoption, again;
    struct failure failure = {.code = ERR_NONE};
    if (wire_read_adoption(object, &adoption, &failure) != 0) {
        refused(&failure);
        return;
    }
    cJSON *written = wire_write_adoption(&adoption);
    assert(wire_read_adoption(written, &again, &failure) == 0);
    assert(memcmp(&again, &adoption, sizeof again) == 0);
    cJSON_Delete(written);
}

static void check_orders(const cJSON *object)
{
    static struct order orders[ORDERS_MAX], again[ORDERS_MAX];
    struct failure failure = {.code = ERR_NONE};
    struct sender sender = {.tm = "bank"};
    uint32_t count, count_again;
    size_t length;
    if (wire_read_orders(object, orders, &count, &failure) != 0) {
        refused(&failure);
        return;
    }
    assert(count <= ORDERS_MAX);
    cJSON *written = parse(wire_write_orders(&sender, orders, count, &length), length);
    assert(wire_read_orders(written, again, &count_again, &failure) == 0 && count == count_again);
    for (uint32_t i = 0; i < count; i++)
        assert(orders[i].type == again[i].type && orders[i].xid == again[i].xid &&
               branch_equal(&orders[i].branch, &again[i].branch));
    cJSON_Delete(written);
}

static void check_results(const cJSON *object)
{
    static struct result results[RESULTS_MAX], again[RESULTS_MAX];
    struct failure failure = {.code = ERR_NONE};
    struct agent_health health = {.prepared = 0};
    uint32_t count, count_again;
    size_t length;
    if (wire_read_results(object, results, &count, &health, &failure) != 0) {
        refused(&failure);
        return;
    }
    assert(count <= RESULTS_MAX);
    cJSON *written = parse(wire_write_results(results, count, 1, &health, &length), length);
    assert(wire_read_results(written, again, &count_again, &health, &failure) == 0 &&
           count == count_again);
    for (uint32_t i = 0; i < count; i++)
        assert(results[i].type == again[i].type && results[i].beat == again[i].beat);
    cJSON_Delete(written);
}

static void check_the_rest(const cJSON *object)
{
    static struct reply reply;
    struct failure failure = {.code = ERR_NONE};
    struct answer answer;
    struct sender sender;
    if (wire_read_answer(object, &answer, &failure) != 0)
        refused(&failure);
    if (wire_read_sender(object, &sender, &failure) != 0)
        refused(&failure);
    for (enum op op = OP_BEGIN; op <= OP_OUTCOME; op++)
        if (wire_read_reply(object, op, &reply, &failure) != 0)
            refused(&failure);
    (void)wire_op(wire_op_text(object));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct failure failure = {.code = ERR_NONE};
    cJSON *object = wire_parse((const char *)data, size, &failure);
    if (object == NULL) {
        refused(&failure);
        return 0;
    }
    wire_keep_numbers(object, (const char *)data, size);
    check_request(object);
    check_offer(object);
    check_adoption(object);
    check_orders(object);
    check_results(object);
    check_the_rest(object);
    cJSON_Delete(object);
    return 0;
}
