/*
 * bench/stub.c - agents that say yes at once: what a coordinator can do when nobody else is slow.
 *
 * Every PREPARE is answered READY and every outcome DONE in the reply to the very message that
 * ordered it. A poll is parked until its time is over, as an agent with no news would.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "common/reply.h"

struct stub {
    struct net_server *server;
    char rm[RM_NAME_BYTES];
    struct net_request *poll;
    uint64_t poll_until_ms;
};

static struct stub stubs[SITES * DATABASES_MAX];
static uint32_t stub_count;

static const struct agent_health healthy = {.slots_max = 1000};

static void reply_text(struct net_request *request, char *text, size_t length)
{
    net_reply(request, text, length);
    free(text);
}

static void reply_results(struct net_request *request, const struct result *results, uint32_t count)
{
    size_t length;
    char *text = wire_write_results(results, count, 1, &healthy, &length);
    reply_text(request, text, length);
}

static void register_at(struct stub *stub, struct net_request *request, const cJSON *object)
{
    struct failure failure = {0};
    struct offer offer;
    struct answer answer = {.agent_incarnation = 1, .database = "stub", .server_version = "0"};
    size_t length;
    if (wire_read_offer(object, &offer, &failure) != 0) {
        reply_failure(request, &failure);
        return;
    }
    memcpy(answer.rm, stub->rm, sizeof answer.rm);
    char *text = wire_write_answer(&answer, &length);
    reply_text(request, text, length);
}

static struct result obey(const struct stub *stub, const struct order *order)
{
    struct result result = {.type = RESULT_DONE, .branch = order->branch, .agent_incarnation = 1};
    if (order->type == ORDER_PREPARE) {
        result.type = RESULT_READY;
        result.xid = order->branch.gtrid.sequence + 1000;
    } else if (order->type == ORDER_RECOVER) {
        result.type = RESULT_SCANNED;
        result.number = order->number;
        memcpy(result.branch.rm, stub->rm, sizeof result.branch.rm);
    }
    return result;
}

static void take_orders(struct stub *stub, struct net_request *request, const cJSON *object)
{
    struct failure failure = {0};
    struct order *orders = malloc(ORDERS_MAX * sizeof *orders);
    struct result *results = malloc(ORDERS_MAX * sizeof *results);
    uint32_t count;
    if (orders == NULL || results == NULL)
        abort();
    if (wire_read_orders(object, orders, &count, &failure) != 0) {
        reply_failure(request, &failure);
    } else {
        for (uint32_t i = 0; i < count; i++)
            results[i] = obey(stub, &orders[i]);
        reply_results(request, results, count);
    }
    free(orders);
    free(results);
}

static void park(struct stub *stub, struct net_request *request, const cJSON *object)
{
    struct failure failure;
    uint32_t wait_ms = 0;
    field_ms(object, "wait_ms", &wait_ms, &failure);
    struct net_request *earlier = stub->poll;
    stub->poll = request;
    stub->poll_until_ms = loop_now_ms() + wait_ms;
    if (earlier != NULL)
        reply_results(earlier, NULL, 0);
}

static void handle(void *arg, struct net_request *request, const struct net_peer *peer,
                   const char *bytes, size_t length)
{
    struct failure failure = {0};
    (void)peer;
    cJSON *object = bytes == NULL ? NULL : wire_parse(bytes, length, &failure);
    const char *op = object == NULL ? NULL : wire_op_text(object);
    if (op != NULL && strcmp(op, "register") == 0) {
        register_at(arg, request, object);
    } else if (op != NULL && strcmp(op, "orders") == 0) {
        take_orders(arg, request, object);
    } else if (op != NULL && strcmp(op, "results") == 0) {
        park(arg, request, object);
    } else if (op != NULL && strcmp(op, "peers") == 0) {
        reply_object(request, wire_ok());
    } else {
        refuse(&failure, ERR_UNKNOWN_OPERATION, "a stub knows register, peers, orders and results");
        reply_failure(request, &failure);
    }
    cJSON_Delete(object);
}

void stub_listen(struct loop *loop, const char *url, const char *rm)
{
    struct error error;
    struct stub *stub = &stubs[stub_count];
    struct net_server_options options = {
        .url = url, .handler = handle, .arg = stub, .busy = reply_busy};
    text_copy(stub->rm, sizeof stub->rm, rm, strlen(rm));
    if (net_listen(&stub->server, loop, &options, &error) != 0)
        stop_error(&error);
    stub_count++;
}

void stub_tick(void)
{
    for (struct stub *stub = stubs; stub < stubs + stub_count; stub++) {
        struct net_request *due = stub->poll_until_ms <= loop_now_ms() ? stub->poll : NULL;
        if (due == NULL)
            continue;
        stub->poll = NULL;
        reply_results(due, NULL, 0);
    }
}

void stub_close(void)
{
    while (stub_count > 0)
        net_server_close(stubs[--stub_count].server);
}
