/*
 * tm/links.h - the coordinator's connections to its agents.
 *
 * A link registers with its agent, then keeps one `results` call parked there, whose empty
 * answer each second is the heartbeat, and sends orders in as few messages as there is room
 * for. It tells the agent where the others are. When the agent does not answer, the link is lost
 * and registers again. Nothing is ever sent twice by itself: the core repeats what has not been
 * answered.
 */
#ifndef ASSENT_TM_LINKS_H
#define ASSENT_TM_LINKS_H

#include "common/loop.h"
#include "common/net.h"
#include "common/wire.h"
#include "core/coordinator/coordinator.h"

struct links;

/* What a link has heard, posted to the loop. Its receiver ends it with link_news_free(). */
enum link_news_type { LINK_ANSWER, LINK_RESULTS, LINK_TOLD, LINK_LOST };

struct link_news {
    struct post post;
    enum link_news_type type;
    uint32_t rm;
    struct answer answer;
    struct agent_health health;
    uint32_t count;
    struct result results[];
};

struct link_view {
    const char *url;
    bool connected;
    const char *last_error; /* "" none */
    struct agent_health health;
};

/* One link for each RM of the coordinator's registry that has a URL. log: its uuid, for the offers;
 * the rest of an offer is the core's. peer_key: for what agents say to each other. Call after
 * EV_START. */
struct links *links_open(struct loop *loop, int post_kind, const struct coordinator *coordinator,
                         const struct uuid *log, const uint8_t peer_key[SECRET_BYTES]);
void links_close(struct links *links);

/* Queue an order; links_flush() sends what is queued, all of one agent's in one message. */
void links_order(struct links *links, const struct addressed_order *addressed);
void links_flush(struct links *links);
/* Register those that are not, where it is time to. Returns when to call again at the latest. */
uint64_t links_tend(struct links *links, uint64_t now_ms);
/* The loop's thread took this news: true if it is still of interest, and to be stepped. */
bool links_take(struct links *links, const struct link_news *news, uint64_t now_ms);
void link_news_free(struct link_news *news);

/* A few questions at a time to an agent, registered or not; done is called while the loop waits.
 * False: it cannot be asked, and done is not called. */
bool links_ask(struct links *links, uint32_t rm, const char *text, size_t length,
               uint32_t timeout_ms, net_reply_fn *done, void *arg);

/* Session tickets for this RM are made under this. */
const uint8_t *links_secret(const struct links *links, uint32_t rm);
void links_show(const struct links *links, uint32_t rm, struct link_view *out);
/* Messages sent to agents in this start, for `status`. */
uint64_t links_calls(const struct links *links);

#endif
