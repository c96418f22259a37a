/*
 * lib/call.c - one request, until its answer or its deadline.
 */
#include "lib/call.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAUSE_MS = 50 }; /* when all addresses have failed */

uint64_t assent_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int assent_call_start(struct assent_call *call, const char *agent, char *request, size_t length,
                      uint64_t deadline_ms)
{
    char *copy = agent != NULL ? strdup(agent) : NULL;
    if (agent != NULL && copy == NULL) {
        free(request);
        return -1;
    }
    call->agent = copy;
    call->request = request;
    call->request_length = length;
    call->deadline_ms = deadline_ms;
    call->pause_until_ms = 0;
    call->failed = 0;
    call->heard = false;
    call->why[0] = '\0';
    return 0;
}

static void drop_connection(struct assent_call *call)
{
    assent_sp_close(call->sp);
    call->sp = NULL;
}

void assent_call_end(struct assent_call *call)
{
    drop_connection(call);
    free(call->agent);
    free(call->request);
    call->agent = NULL;
    call->request = NULL;
}

/* The next address at once; when none is left, the first again after a pause. */
static void try_the_next(struct assent_call *call)
{
    size_t addresses = call->agent != NULL ? 1 : assent_client_urls(call->client);
    call->failed++;
    if (call->failed % addresses == 0)
        call->pause_until_ms = assent_now_ms() + PAUSE_MS;
}

static void find_connection(struct assent_call *call)
{
    call->url = call->agent != NULL ? call->agent : assent_client_url(call->client, call->failed);
    call->sp = assent_client_borrow(call->client, call->url);
    call->reused = call->sp != NULL;
    if (call->sp == NULL && assent_sp_open(&call->sp, call->url, call->why) != 0) {
        try_the_next(call);
        return;
    }
    if (assent_sp_ask(call->sp, call->request, call->request_length) != 0) {
        drop_connection(call);
        try_the_next(call);
    }
}

/* One that lay idle may have been closed by a restart since: that says nothing about now. */
static void lose_connection(struct assent_call *call)
{
    drop_connection(call);
    if (!call->reused)
        try_the_next(call);
}

static char *take_reply(struct assent_call *call, size_t *length)
{
    char *reply = assent_sp_take(call->sp, length);
    if (call->agent == NULL)
        assent_client_prefer(call->client, call->url);
    assent_client_keep(call->client, call->url, call->sp);
    call->sp = NULL;
    call->failed = 0;
    return reply;
}

enum assent_call_progress assent_call_step(struct assent_call *call, char **reply, size_t *length)
{
    for (;;) {
        uint64_t now_ms = assent_now_ms();
        enum assent_sp_progress progress = ASSENT_SP_WAITS;
        if (call->sp == NULL && now_ms >= call->pause_until_ms && now_ms < call->deadline_ms) {
            find_connection(call);
            continue;
        }
        if (call->sp != NULL) {
            progress = assent_sp_step(call->sp, call->why);
            call->heard |= assent_sp_began(call->sp);
        }
        if (progress == ASSENT_SP_ANSWERED) {
            *reply = take_reply(call, length);
            return ASSENT_CALL_ANSWERED;
        }
        if (progress == ASSENT_SP_FAILED) {
            lose_connection(call);
            continue;
        }
        if (now_ms >= call->deadline_ms)
            return ASSENT_CALL_TIMED_OUT;
        return ASSENT_CALL_WAITS;
    }
}

bool assent_call_again(struct assent_call *call)
{
    call->failed++;
    call->pause_until_ms = assent_now_ms() + PAUSE_MS;
    return call->pause_until_ms < call->deadline_ms;
}

int assent_call_fd(const struct assent_call *call)
{
    return call->sp != NULL ? assent_sp_fd(call->sp) : -1;
}

short assent_call_events(const struct assent_call *call)
{
    return (short)(call->sp != NULL ? assent_sp_events(call->sp) : 0);
}

int assent_call_wait_ms(const struct assent_call *call)
{
    uint64_t now_ms = assent_now_ms(), until_ms = call->deadline_ms;
    if (call->sp == NULL && call->pause_until_ms < until_ms)
        until_ms = call->pause_until_ms;
    if (until_ms <= now_ms)
        return 0;
    return until_ms - now_ms < INT32_MAX ? (int)(until_ms - now_ms) : INT32_MAX;
}
