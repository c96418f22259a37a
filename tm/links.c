/*
 * tm/links.c - the coordinator's connections to its agents.
 *
 * Answers are only decoded as they come, and posted: what one turn hears is one batch. A round is
 * counted for each registration, so that news of an earlier one are known for what they are.
 */
#include "tm/links.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "common/ticket.h"
#include "tm/peers.h"

enum {
    CALLS_MAX = 13, /* one parked poll, one registration, the peers, two questions, the orders */
    ORDER_CALLS_MAX = 8,
    POLL_MS = 1000, /* the agent's empty answer: its heartbeat */
    CALL_TIMEOUT_MS = 10 * 1000,
    RETRY_LEAST_MS = 50,
    RETRY_MOST_MS = 1000,
    QUEUE_MAX = 16 * 1024, /* orders; more are dropped, and repeated by the core */
};

enum link_state { LINK_IDLE, LINK_REGISTERING, LINK_UP };
enum call_kind { CALL_REGISTER, CALL_POLL, CALL_ORDERS, CALL_PEERS };

struct link {
    struct links *links;
    uint32_t rm;
    struct net_link *net;
    enum link_state state;
    uint64_t round; /* of registration */
    uint64_t retry_at_ms;
    uint32_t retry_ms;
    uint32_t order_calls;
    uint32_t peers_told; /* of links->peers_version, to this registration; 0 nothing */
    bool telling_peers;
    uint64_t agent_incarnation;
    uint8_t secret[SECRET_BYTES];
    struct order *queue;
    uint32_t queued, queue_room;
    struct agent_health health;
    char last_error[REASON_BYTES];
};

struct links {
    struct loop *loop;
    int post_kind;
    const struct coordinator *coordinator;
    struct uuid log;
    struct sender sender; /* but for the agent's incarnation */
    struct peers peers;   /* what agents are to know of each other */
    uint32_t peers_version;
    bool peers_stale; /* an agent has registered since */
    uint64_t calls;
    uint32_t count;
    struct link links[RMS_MAX];
};

/* One call under way. */
struct call {
    struct link *link;
    enum call_kind kind;
    uint64_t round;
};

/* What a call became, on its way to the loop. */
struct heard {
    enum call_kind kind;
    uint64_t round;
    struct failure failure; /* LINK_LOST */
    struct link_news news;  /* last: it has results */
};

static struct heard *link_heard_of(const struct link_news *news)
{
    return (struct heard *)((char *)(uintptr_t)news - offsetof(struct heard, news));
}

void link_news_free(struct link_news *news)
{
    free(link_heard_of(news));
}

/* ---- answers, as they come ---- */

/* Room for what the answer holds, and no more: a result is large, and most answers have few. */
static struct heard *link_heard_new(const struct call *call, const cJSON *answer)
{
    uint32_t count = call->kind == CALL_REGISTER ? 0 : wire_count_results(answer);
    struct heard *heard =
        must_grow(NULL, sizeof *heard + count * sizeof *heard->news.results, "an agent's answer");
    memset(heard, 0, sizeof *heard);
    heard->kind = call->kind;
    heard->round = call->round;
    heard->news.post.kind = call->link->links->post_kind;
    heard->news.rm = call->link->rm;
    heard->news.type = LINK_LOST;
    return heard;
}

static void link_decode(struct heard *heard, const cJSON *answer)
{
    struct link_news *news = &heard->news;
    if (heard->kind == CALL_REGISTER) {
        if (wire_read_answer(answer, &news->answer, &heard->failure) == 0)
            news->type = LINK_ANSWER;
    } else if (heard->kind == CALL_PEERS) {
        if (wire_read_failure(answer, &heard->failure) == 0)
            news->type = LINK_TOLD;
    } else if (wire_read_results(answer, news->results, &news->count, &news->health,
                                 &heard->failure) == 0) {
        news->type = LINK_RESULTS;
    }
}

static void link_call_done(void *arg, enum net_result result, const char *bytes, size_t length)
{
    struct call *call = arg;
    struct links *links = call->link->links;
    struct failure failure = {.code = ERR_NONE};
    POINT("tm.answer-arrived");
    cJSON *answer = NULL;
    if (result == NET_OK)
        answer = wire_parse(bytes, length, &failure);
    else
        refuse(&failure, result == NET_TIMEOUT ? ERR_TIMEOUT : ERR_UNREACHABLE, "%s",
               result == NET_TIMEOUT ? "the agent does not answer" : "the agent is not reachable");
    struct heard *heard = link_heard_new(call, answer);
    heard->failure = failure;
    if (answer != NULL)
        link_decode(heard, answer);
    cJSON_Delete(answer);
    free(call);
    loop_post(links->loop, &heard->news.post);
}

/* ---- calls ---- */

static bool link_call(struct link *link, enum call_kind kind, char *text, size_t length,
                      uint32_t timeout_ms)
{
    struct call *call = malloc(sizeof *call);
    bool sent = false;
    if (call != NULL && text != NULL) {
        *call = (struct call){.link = link, .kind = kind, .round = link->round};
        sent = net_call(link->net, text, length, timeout_ms, link_call_done, call) == 0;
    }
    if (!sent)
        free(call);
    link->links->calls += sent;
    free(text);
    return sent;
}

static const struct rm *link_rm(const struct link *link)
{
    return &coordinator_registry(link->links->coordinator)->rms[link->rm];
}

static const char *link_name(const struct link *link)
{
    return link_rm(link)->name;
}

static void link_lose(struct link *link, const char *why, uint64_t now_ms)
{
    if (strcmp(why, link->last_error) != 0)
        log_warning("agent of %s: %s", link_name(link), why);
    snprintf(link->last_error, sizeof link->last_error, "%s", why);
    link->state = LINK_IDLE;
    link->queued = 0;
    link->retry_at_ms = now_ms + link->retry_ms;
    link->retry_ms = link->retry_ms * 2 > RETRY_MOST_MS ? RETRY_MOST_MS : link->retry_ms * 2;
}

static void link_sender(const struct link *link, struct sender *out)
{
    *out = link->links->sender;
    out->agent_incarnation = link->agent_incarnation;
}

static void link_poll_results(struct link *link, uint64_t now_ms)
{
    struct sender sender;
    size_t length;
    link_sender(link, &sender);
    POINT("tm.before-poll");
    char *text = wire_write_poll(&sender, POLL_MS, &length);
    if (!link_call(link, CALL_POLL, text, length, POLL_MS + CALL_TIMEOUT_MS))
        link_lose(link, "no room for another call", now_ms);
}

/* Who may be asked to vote by 3pc has to know the others first: what is ordered waits for that. */
static bool link_knows_peers(const struct link *link)
{
    return !link->telling_peers && link->peers_told == link->links->peers_version;
}

/* Every agent that could not be told yet, or was told something else. */
static void link_tell_peers(struct link *link, uint64_t now_ms)
{
    struct sender sender;
    size_t length;
    link_sender(link, &sender);
    POINT("tm.before-peers-sent");
    link->telling_peers = true;
    link->peers_told = link->links->peers_version;
    char *text = wire_write_peers(&sender, &link->links->peers, &length);
    if (!link_call(link, CALL_PEERS, text, length, CALL_TIMEOUT_MS))
        link_lose(link, "no room for another call", now_ms);
}

static void links_list_peers(struct links *links)
{
    struct peers peers = links->peers;
    links->peers_stale = false;
    memset(peers.list, 0, sizeof peers.list);
    peers_list(coordinator_registry(links->coordinator), &peers);
    if (memcmp(&peers, &links->peers, sizeof peers) == 0)
        return;
    links->peers = peers;
    links->peers_version++;
}

static void link_offer(struct link *link, uint64_t now_ms)
{
    struct offer offer = {.log = link->links->log};
    size_t length;
    memcpy(offer.secret, link->secret, SECRET_BYTES);
    coordinator_offer(link->links->coordinator, link->rm, &offer);
    POINT("tm.before-offer");
    link->round++;
    link->state = LINK_REGISTERING;
    link->peers_told = 0;
    link->telling_peers = false;
    char *text = wire_write_offer(&offer, &length);
    if (!link_call(link, CALL_REGISTER, text, length, CALL_TIMEOUT_MS))
        link_lose(link, "no room for another call", now_ms);
}

/* Is the agent the one that the configuration means? */
static void link_check_rm(const struct link *link, struct link_news *news)
{
    if (news->answer.refusal == REFUSAL_NONE && strcmp(news->answer.rm, link_name(link)) != 0)
        news->answer.refusal = REFUSAL_OTHER_RM;
}

static void link_registered(struct link *link, struct link_news *news, uint64_t now_ms)
{
    link_check_rm(link, news);
    if (news->answer.refusal != REFUSAL_NONE) {
        char why[REASON_BYTES];
        snprintf(why, sizeof why, "refuses this coordinator (%s): %s",
                 refusal_word(news->answer.refusal), refusal_meaning(news->answer.refusal));
        link->retry_ms = RETRY_MOST_MS;
        link_lose(link, why, now_ms);
        return;
    }
    log_info("agent of %s: registered, database %s, agent's incarnation %llu", link_name(link),
             news->answer.database, (unsigned long long)news->answer.agent_incarnation);
    POINT("tm.registered");
    link->state = LINK_UP;
    link->retry_ms = RETRY_LEAST_MS;
    link->last_error[0] = '\0';
    link->agent_incarnation = news->answer.agent_incarnation;
    link->links->peers_stale = true;
    link_poll_results(link, now_ms);
}

bool links_take(struct links *links, const struct link_news *news, uint64_t now_ms)
{
    struct link *link = &links->links[news->rm];
    struct heard *heard = link_heard_of(news);

    if (heard->kind == CALL_ORDERS)
        link->order_calls--;
    if (heard->round != link->round || link->state == LINK_IDLE)
        return false;
    switch (news->type) {
    case LINK_ANSWER:
        link_registered(link, &heard->news, now_ms);
        return true;
    case LINK_RESULTS:
        link->health = news->health;
        if (heard->kind == CALL_POLL)
            link_poll_results(link, now_ms);
        return true;
    case LINK_TOLD:
        link->telling_peers = false;
        return false;
    case LINK_LOST:
        /* An agent that is busy has not gone away; what it did not take is sent again. */
        if (heard->kind == CALL_ORDERS && heard->failure.code == ERR_BUSY)
            return false;
        if (heard->kind == CALL_PEERS) /* it would refuse them again */
            link->retry_ms = RETRY_MOST_MS;
        link_lose(link, heard->failure.message, now_ms);
        return true;
    }
    return false;
}

/* A DBA has released its database: the agent registers again, to be judged by that. */
static void link_begin_anew(struct link *link, uint64_t now_ms)
{
    link->state = LINK_IDLE;
    link->queued = 0;
    link->retry_at_ms = now_ms;
}

uint64_t links_tend(struct links *links, uint64_t now_ms)
{
    uint64_t wake = UINT64_MAX;
    if (!coordinator_started(links->coordinator) ||
        coordinator_registry(links->coordinator)->fenced)
        return wake;
    if (links->peers_stale)
        links_list_peers(links);
    for (uint32_t i = 0; i < links->count; i++) {
        struct link *link = &links->links[i];
        const struct rm *rm = &coordinator_registry(links->coordinator)->rms[i];
        if (link->net == NULL || rm->retired)
            continue;
        if (link->state == LINK_UP && rm->state == RM_DOWN)
            link_begin_anew(link, now_ms);
        if (link->state == LINK_UP && !link->telling_peers && !link_knows_peers(link))
            link_tell_peers(link, now_ms);
        if (link->state != LINK_IDLE)
            continue;
        if (link->retry_at_ms <= now_ms)
            link_offer(link, now_ms);
        if (link->state == LINK_IDLE && link->retry_at_ms < wake)
            wake = link->retry_at_ms;
    }
    return wake;
}

static const char *const order_points[] = {
    [ORDER_PREPARE] = "tm.order-prepare",   [ORDER_COMMIT] = "tm.order-commit",
    [ORDER_ROLLBACK] = "tm.order-rollback", [ORDER_COMMIT_ONE_PHASE] = "tm.order-one-phase",
    [ORDER_SETTLE] = "tm.order-settle",     [ORDER_RECOVER] = "tm.order-recover",
    [ORDER_BALLOT] = "tm.order-ballot",
};

void links_order(struct links *links, const struct addressed_order *addressed)
{
    struct link *link = &links->links[addressed->rm];
    POINT_OF(order_points, addressed->order.type);
    if (link->state != LINK_UP || link->queued == QUEUE_MAX)
        return;
    if (link->queued == link->queue_room) {
        uint32_t room = link->queue_room == 0 ? ORDERS_MAX : link->queue_room * 2;
        struct order *queue = realloc(link->queue, room * sizeof *queue);
        if (queue == NULL)
            return;
        link->queue = queue;
        link->queue_room = room;
    }
    link->queue[link->queued++] = addressed->order;
}

static void link_flush(struct link *link)
{
    uint32_t sent = 0;
    if (!link_knows_peers(link))
        return;
    while (sent < link->queued && link->order_calls < ORDER_CALLS_MAX) {
        struct sender sender;
        size_t length;
        uint32_t count = link->queued - sent;
        if (count > ORDERS_MAX)
            count = ORDERS_MAX;
        link_sender(link, &sender);
        POINT("tm.before-orders-sent");
        char *text = wire_write_orders(&sender, link->queue + sent, count, &length);
        if (!link_call(link, CALL_ORDERS, text, length, CALL_TIMEOUT_MS))
            break;
        POINT("tm.after-orders-sent");
        link->order_calls++;
        sent += count;
    }
    link->queued -= sent;
    memmove(link->queue, link->queue + sent, link->queued * sizeof *link->queue);
}

void links_flush(struct links *links)
{
    for (uint32_t i = 0; i < links->count; i++)
        if (links->links[i].queued > 0)
            link_flush(&links->links[i]);
}

/* As whom this start speaks to every agent. */
static void links_name_sender(struct links *links)
{
    struct offer offer;
    coordinator_offer(links->coordinator, 0, &offer);
    memcpy(links->sender.tm, offer.tm, sizeof links->sender.tm);
    links->sender.incarnation = offer.incarnation;
    links->sender.instance = offer.instance;
}

/* An agent that cannot even be dialled is shown as down, and keeps nobody from the others. */
static void link_open_net(struct link *link)
{
    struct error error;
    const char *url = coordinator_registry(link->links->coordinator)->rms[link->rm].url;
    if (net_link_open(&link->net, link->links->loop, url, CALLS_MAX, &error) == 0)
        return;
    link->net = NULL;
    snprintf(link->last_error, sizeof link->last_error, "%s: %.*s", url,
             (int)sizeof link->last_error / 2, error.message);
    log_error("agent of %s: %s", link_name(link), link->last_error);
}

struct links *links_open(struct loop *loop, int post_kind, const struct coordinator *coordinator,
                         const struct uuid *log, const uint8_t peer_key[SECRET_BYTES])
{
    const struct registry *registry = coordinator_registry(coordinator);
    struct links *links = must_alloc(sizeof *links, "the links to the agents");
    links->loop = loop;
    links->post_kind = post_kind;
    links->coordinator = coordinator;
    links->log = *log;
    memcpy(links->peers.key, peer_key, SECRET_BYTES);
    links_name_sender(links);
    links->count = registry->count;
    for (uint32_t i = 0; i < registry->count; i++) {
        struct link *link = &links->links[i];
        link->links = links;
        link->rm = i;
        link->retry_ms = RETRY_LEAST_MS;
        random_bytes(link->secret, sizeof link->secret);
        if (registry->rms[i].url[0] == '\0' || registry->rms[i].retired)
            continue;
        link_open_net(link);
    }
    return links;
}

void links_close(struct links *links)
{
    if (links == NULL)
        return;
    for (uint32_t i = 0; i < links->count; i++) {
        if (links->links[i].net != NULL)
            net_link_close(links->links[i].net);
        free(links->links[i].queue);
    }
    free(links);
}

bool links_ask(struct links *links, uint32_t rm, const char *text, size_t length,
               uint32_t timeout_ms, net_reply_fn *done, void *arg)
{
    struct net_link *net = links->links[rm].net;
    if (net == NULL || net_call(net, text, length, timeout_ms, done, arg) != 0)
        return false;
    links->calls++;
    return true;
}

const uint8_t *links_secret(const struct links *links, uint32_t rm)
{
    return links->links[rm].secret;
}

void links_show(const struct links *links, uint32_t rm, struct link_view *out)
{
    const struct link *link = &links->links[rm];
    out->url = coordinator_registry(links->coordinator)->rms[rm].url;
    out->connected = link->state == LINK_UP;
    out->health = link->health;
    out->last_error = link->last_error[0] != '\0' ? link->last_error : link->health.last_error;
}

uint64_t links_calls(const struct links *links)
{
    return links->calls;
}
