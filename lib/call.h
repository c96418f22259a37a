/*
 * lib/call.h - one request, until its answer or its deadline.
 *
 * Every request of Assent's can be heard twice without harm. So a connection that fails is a reason
 * to ask again, at the next address or after a moment at the same one, and only the deadline ends a
 * call without an answer.
 */
#ifndef ASSENT_LIB_CALL_H
#define ASSENT_LIB_CALL_H

#include "lib/client.h"

struct assent_call {
    struct assent_client *client;
    char *agent; /* the one to ask; NULL: the coordinator */
    char *request;
    size_t request_length;
    uint64_t deadline_ms;
    uint64_t pause_until_ms;
    size_t failed; /* addresses that were of no use */
    struct assent_sp *sp;
    const char *url; /* of sp */
    bool reused;     /* sp may long be dead */
    bool heard;      /* a part of the request has left: it may have been carried out */
    char why[ASSENT_SP_WHY_BYTES]; /* the last failure */
};

/* Takes the request over. Returns 0, or -1 without memory. */
int assent_call_start(struct assent_call *call, const char *agent, char *request, size_t length,
                      uint64_t deadline_ms);

enum assent_call_progress {
    ASSENT_CALL_WAITS = 0,
    ASSENT_CALL_ANSWERED, /* *reply is the caller's to free() */
    ASSENT_CALL_TIMED_OUT,
};

enum assent_call_progress assent_call_step(struct assent_call *call, char **reply, size_t *length);
/* The answer was "not now", or "not here". Returns false when there is no time to ask again. */
bool assent_call_again(struct assent_call *call);
/* Also one that has not been answered. */
void assent_call_end(struct assent_call *call);

/* As assent.h says of a transaction's. */
int assent_call_fd(const struct assent_call *call);
short assent_call_events(const struct assent_call *call);
int assent_call_wait_ms(const struct assent_call *call);

uint64_t assent_now_ms(void);

#endif
