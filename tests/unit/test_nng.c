/*
 * tests/unit/test_nng.c - what we speak is what nng speaks: its REQ asks us, and its REP answers
 * us.
 *
 * nng is here as the other side, with threads of its own; ours is one loop.
 */
#include "common/net.h"

#include <check.h> /* behind our own headers: it defines fail() as a macro */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGE = 300 * 1000, PATIENCE_MS = 20 * 1000 };

static char folder[] = "/tmp/assent-test-nng-XXXXXX";
static char path[64], url[80];
static struct error error;
static struct loop *loop;
static char large[LARGE];

static void set_up(void)
{
    ck_assert_ptr_nonnull(mkdtemp(strcpy(folder, "/tmp/assent-test-nng-XXXXXX")));
    snprintf(path, sizeof path, "%s/tm.sock", folder);
    snprintf(url, sizeof url, "ipc://%s", path);
    ck_assert_int_eq(loop_create(&loop, &error), 0);
    memset(large, 'x', sizeof large);
}

static void tear_down(void)
{
    loop_free(loop);
    unlink(path);
    rmdir(folder);
}

static void good(int result)
{
    ck_assert_msg(result == 0, "%s", nng_strerror(result));
}

static void echo(void *arg, struct net_request *request, const struct net_peer *peer,
                 const char *bytes, size_t length)
{
    (void)arg, (void)peer;
    net_reply(request, bytes, length);
}

/* ---- nng asks ---- */

static void is_echoed(nng_socket asker, const char *bytes, size_t length)
{
    char *reply;
    size_t reply_length;
    good(nng_send(asker, (void *)(uintptr_t)bytes, length, 0));
    good(nng_recv(asker, &reply, &reply_length, NNG_FLAG_ALLOC));
    ck_assert_uint_eq(reply_length, length);
    ck_assert(length == 0 || memcmp(reply, bytes, length) == 0);
    nng_free(reply, reply_length);
}

static _Bool asked_all;

static void *ask_at(void *at)
{
    nng_socket asker;
    good(nng_req0_open(&asker));
    good(nng_dial(asker, at, NULL, 0));
    is_echoed(asker, "hello", 5);
    is_echoed(asker, "", 0);
    is_echoed(asker, large, sizeof large);
    for (int i = 0; i < 1000; i++)
        is_echoed(asker, "again", 5);
    nng_close(asker);
    __atomic_store_n(&asked_all, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void nng_asks_at(char *at)
{
    pthread_t asker;
    struct net_server *server;
    const struct net_server_options options = {.url = at, .handler = echo, .busy = echo};
    ck_assert_msg(net_listen(&server, loop, &options, &error) == 0, "%s", error.message);
    ck_assert_int_eq(pthread_create(&asker, NULL, ask_at, at), 0);
    for (uint64_t until_ms = loop_now_ms() + PATIENCE_MS;
         !__atomic_load_n(&asked_all, __ATOMIC_ACQUIRE) && loop_now_ms() < until_ms;)
        loop_wait(loop, loop_now_ms() + 5);
    ck_assert(asked_all);
    pthread_join(asker, NULL);
    net_server_close(server);
}

START_TEST(nng_asks_us_over_ipc)
{
    nng_asks_at(url);
}
END_TEST

START_TEST(nng_asks_us_over_tcp)
{
    char at[] = "tcp://127.0.0.1:17482";
    nng_asks_at(at);
}
END_TEST

/* ---- nng answers ---- */

static void *answer_all(void *arg)
{
    nng_socket answerer = *(nng_socket *)arg;
    char *request;
    size_t length;
    while (nng_recv(answerer, &request, &length, NNG_FLAG_ALLOC) == 0)
        nng_send(answerer, request, length, NNG_FLAG_ALLOC);
    return NULL;
}

static void is_answered(struct net_link *link, const char *bytes, size_t length)
{
    char *reply;
    size_t reply_length;
    ck_assert_int_eq(net_call_wait(link, bytes, length, PATIENCE_MS, &reply, &reply_length),
                     NET_OK);
    ck_assert_uint_eq(reply_length, length);
    ck_assert(length == 0 || memcmp(reply, bytes, length) == 0);
    free(reply);
}

static void nng_answers_at(const char *at)
{
    nng_socket answerer;
    pthread_t thread;
    struct net_link *link;
    good(nng_rep0_open(&answerer));
    good(nng_listen(answerer, at, NULL, 0));
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_all, &answerer), 0);
    ck_assert_msg(net_link_open(&link, loop, at, 4, &error) == 0, "%s", error.message);
    is_answered(link, "hello", 5);
    is_answered(link, "", 0);
    is_answered(link, large, sizeof large);
    for (int i = 0; i < 1000; i++)
        is_answered(link, "again", 5);
    net_link_close(link);
    nng_close(answerer);
    pthread_join(thread, NULL);
}

START_TEST(nng_answers_us_over_ipc)
{
    nng_answers_at(url);
}
END_TEST

START_TEST(nng_answers_us_over_tcp)
{
    nng_answers_at("tcp://127.0.0.1:17483");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nng");
    TCase *calls = tcase_create("calls");
    tcase_add_checked_fixture(calls, set_up, tear_down);
    tcase_add_test(calls, nng_asks_us_over_ipc);
    tcase_add_test(calls, nng_asks_us_over_tcp);
    tcase_add_test(calls, nng_answers_us_over_ipc);
    tcase_add_test(calls, nng_answers_us_over_tcp);
    tcase_set_timeout(calls, 60);
    suite_add_tcase(suite, calls);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
