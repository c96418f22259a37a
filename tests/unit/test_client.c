/*
 * tests/unit/test_client.c - libassent and the peers that it may meet: slow, broken, not Assent's.
 *
 * The peer is a thread with a unix socket that plays a few connections, one after the other, each
 * from a script. What libassent is to the real daemons is tests/system/test_libassent.py's.
 */
#include <assent.h>
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 4, CLOSE = 1, HANG = 2 };

/* What one connection is sent once it has sent a request, and what becomes of it then. */
struct script {
    const char *bytes;   /* NULL: the reply `json`, as it should be */
    size_t length;       /* of bytes */
    const char *json;    /* "" none */
    size_t piece;        /* so many bytes at a time; 0: all */
    uint64_t number_off; /* from the request's own number */
    int then;            /* CLOSE, HANG until the test is over, or 0: serve the next request */
};

static struct {
    char folder[64], path[96], url[112];
    int listener;
    pthread_t thread;
    struct script scripts[CONNECTIONS_MAX];
    int count;
    _Atomic int served;
    int hanging[CONNECTIONS_MAX];
} peer;

static const char greeting[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};
static const char begun[] = "{\"ok\":true,\"gtrid\":\"bank.1.1\",\"deadline_ms\":1}";

static bool read_all(int fd, void *into, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t count = read(fd, (char *)into + done, length - done);
        if (count <= 0)
            return false;
        done += (size_t)count;
    }
    return true;
}

static void write_pieces(int fd, const char *bytes, size_t length, size_t piece)
{
    for (size_t done = 0; done < length;) {
        size_t count = piece != 0 && piece < length - done ? piece : length - done;
        if (send(fd, bytes + done, count, MSG_NOSIGNAL) < 0)
            return;
        done += count;
        if (piece != 0)
            usleep(1000);
    }
}

static uint64_t number_of(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

static size_t write_message(char *into, uint64_t number, const char *json)
{
    uint64_t length = 4 + strlen(json);
    *into++ = 1;
    for (int i = 7; i >= 0; i--)
        *into++ = (char)(length >> (8 * i));
    for (int i = 3; i >= 0; i--)
        *into++ = (char)(number >> (8 * i));
    memcpy(into, json, strlen(json));
    return 9 + length;
}

/* Returns false when the other side is gone. */
static bool serve_request(int fd, const struct script *script, bool first)
{
    unsigned char head[13], body[4096];
    char reply[4096];
    size_t length = 0;
    if (!read_all(fd, head, sizeof head))
        return false;
    ck_assert_uint_eq(head[0], 1);
    if (!read_all(fd, body, number_of(head + 1, 8) - 4))
        return false;
    if (script->bytes != NULL) {
        write_pieces(fd, script->bytes, script->length, script->piece);
        return true;
    }
    if (first) {
        memcpy(reply, greeting, sizeof greeting);
        length = sizeof greeting;
    }
    uint64_t number = number_of(head + 9, 4);
    if (script->number_off != 0) /* an answer that nobody asked for, before the true one */
        length += write_message(reply + length, number + script->number_off, "{\"ok\":false}");
    length += write_message(reply + length, number, script->json);
    write_pieces(fd, reply, script->json[0] != '\0' ? length : sizeof greeting, script->piece);
    return true;
}

static void *serve(void *arg)
{
    (void)arg;
    for (int i = 0; i < peer.count; i++) {
        const struct script *script = &peer.scripts[i];
        char hello[8];
        int fd = accept(peer.listener, NULL, NULL);
        if (fd < 0)
            break;
        peer.served++;
        bool first = true;
        bool there = read_all(fd, hello, sizeof hello);
        while (there && serve_request(fd, script, first) && script->then == 0)
            first = false;
        if (script->then == HANG)
            peer.hanging[i] = fd;
        else
            close(fd);
    }
    return NULL;
}

static void given(int count, const struct script *scripts)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(&peer, 0, sizeof peer);
    strcpy(peer.folder, "/tmp/assent-client-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(peer.folder));
    snprintf(peer.path, sizeof peer.path, "%s/sock", peer.folder);
    snprintf(peer.url, sizeof peer.url, "ipc://%s", peer.path);
    memcpy(address.sun_path, peer.path, strlen(peer.path));
    peer.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(peer.listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(peer.listener, 8), 0);
    memcpy(peer.scripts, scripts, (size_t)count * sizeof *scripts);
    peer.count = count;
    ck_assert_int_eq(pthread_create(&peer.thread, NULL, serve, NULL), 0);
}

static struct assent_client *client;
static struct assent *txn;

static void given_client(void)
{
    ck_assert_int_eq(assent_open(&client, peer.url), 0);
    txn = assent_new(client);
}

static void over(void)
{
    assent_free(txn);
    assent_close(client);
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (peer.hanging[i] != 0)
            close(peer.hanging[i]);
    close(peer.listener);
    unlink(peer.path);
    rmdir(peer.folder);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

START_TEST(a_reply_may_come_in_pieces_of_one_byte)
{
    given(1, &(struct script){.json = begun, .piece = 1});
    given_client();
    ck_assert_int_eq(assent_begin(txn, NULL, 5000), 0);
    ck_assert_str_eq(assent_gtrid(txn), "bank.1.1");
    over();
}
END_TEST

START_TEST(one_connection_serves_call_after_call)
{
    given(1, &(struct script){.json = begun});
    given_client();
    ck_assert_int_eq(assent_begin(txn, NULL, 5000), 0);
    enum assent_outcome outcome;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(assent_outcome(txn, &outcome, 5000), 0);
    ck_assert_int_eq(peer.served, 1);
    over();
}
END_TEST

START_TEST(an_answer_to_another_question_is_passed_over)
{
    given(1, &(struct script){.json = begun, .number_off = 7});
    given_client();
    ck_assert_int_eq(assent_begin(txn, NULL, 5000), 0);
    over();
}
END_TEST

/* What a connection may end with, and the next one is asked. */
static const struct script endings[] = {
    {.bytes = "", .then = CLOSE},
    {.bytes = greeting, .length = 5, .then = CLOSE},
    {.bytes = greeting, .length = 8, .then = CLOSE},
    {.bytes = "\0SP\0\0\x31\0\0\1\0\0\0\0\0", .length = 14, .then = CLOSE},
    {.bytes = "\0SP\0\0\x31\0\0\1\0\0\0\0\0\0\0\x40\x80\0\0\1{", .length = 22, .then = CLOSE},
    {.bytes = "HTTP/1.1 400 Bad Request\r\n\r\n", .length = 28, .then = CLOSE},
    {.bytes = "\0SP\0\0\x30\0\0", .length = 8, .then = HANG},
    {.bytes = "\0SP\0\0\x31\0\0\2\0\0\0\0\0\0\0\x40", .length = 17, .then = HANG},
    {.bytes = "\0SP\0\0\x31\0\0\1\0\0\0\0\0\0\0\3", .length = 17, .then = HANG},
    {.bytes = "\0SP\0\0\x31\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff", .length = 17, .then = HANG},
};
enum { ENDINGS = sizeof endings / sizeof *endings };

START_TEST(a_broken_connection_is_replaced_and_asked_again)
{
    given(3, (const struct script[]){endings[_i], endings[_i], {.json = begun}});
    given_client();
    ck_assert_int_eq(assent_begin(txn, NULL, 10000), 0);
    ck_assert_int_eq(peer.served, 3);
    over();
}
END_TEST

START_TEST(a_connection_that_died_idle_is_replaced_without_a_word)
{
    given(2, (const struct script[]){{.json = begun, .then = CLOSE}, {.json = begun}});
    given_client();
    enum assent_outcome outcome;
    ck_assert_int_eq(assent_begin(txn, NULL, 5000), 0);
    ck_assert_int_eq(assent_outcome(txn, &outcome, 5000), 0);
    ck_assert_int_eq(peer.served, 2);
    over();
}
END_TEST

/* Whoever says so much, and then nothing, is waited for until the deadline and no longer. */
static const struct script silences[] = {
    {.bytes = "", .then = HANG},
    {.bytes = greeting, .length = 5, .then = HANG},
    {.json = "", .then = HANG},
    {.bytes = "\0SP\0\0\x31\0\0\1\0\0\0\0\0", .length = 14, .then = HANG},
    {.bytes = "\0SP\0\0\x31\0\0\1\0\0\0\0\0\0\0\x40\x80\0\0\1{", .length = 22, .then = HANG},
};
enum { SILENCES = sizeof silences / sizeof *silences };

START_TEST(silence_ends_with_the_deadline)
{
    given(1, &silences[_i]);
    given_client();
    int64_t before_ms = now_ms();
    ck_assert_int_eq(assent_begin(txn, NULL, 100), ASSENT_ETIMEOUT);
    ck_assert_int_ge(now_ms() - before_ms, 100);
    ck_assert_str_eq(assent_reason(txn)->code, "timeout");
    ck_assert(assent_reason(txn)->retryable);
    over();
}
END_TEST

/* Replies that have the form of one and no sense. */
static const char *const senseless[] = {
    "",
    "nonsense",
    "[]",
    "17",
    "{}",
    "null",
    "{\"ok\":",
    "{\"ok\":17}",
    "{\"ok\":true}",
    "{\"ok\":false}",
    "{\"ok\":false,\"error\":17}",
    "{\"ok\":true,\"gtrid\":{}}",
    ("{\"ok\":true,\"gtrid\":\"bank.1."
     "123456789012345678901234567890123456789012345678901234567890\"}"),
};
enum { SENSELESS = sizeof senseless / sizeof *senseless };

START_TEST(a_senseless_reply_is_an_error_and_no_more)
{
    given(1, &(struct script){.json = senseless[_i]});
    given_client();
    ck_assert_int_lt(assent_begin(txn, NULL, 300), 0);
    ck_assert_str_eq(assent_gtrid(txn), "");
    over();
}
END_TEST

START_TEST(a_commit_that_is_answered_with_nonsense_is_unknown)
{
    given(2, (const struct script[]){{.json = begun, .then = CLOSE}, {.json = "{\"ok\":17}"}});
    given_client();
    ck_assert_int_eq(assent_begin(txn, NULL, 5000), 0);
    ck_assert_int_eq(assent_commit(txn, ASSENT_APPLIED, 300), ASSENT_EUNKNOWN);
    ck_assert_int_eq(assent_begin(txn, NULL, 300), ASSENT_EUSAGE);
    over();
}
END_TEST

START_TEST(ragged_rows_do_not_lead_astray)
{
    char branch[256];
    given(3, (const struct script[]){
                 {.json = begun, .then = CLOSE},
                 {.then = CLOSE},
                 {.json = "{\"ok\":true,\"columns\":[{\"name\":\"a\"},17],"
                          "\"rows\":[[\"1\"],[\"2\",\"3\",\"4\"],17,[]],\"command\":{}}"}});
    snprintf(branch, sizeof branch, "{\"ok\":true,\"branch\":{\"gid\":\"g\",\"agent\":\"%s\"}}",
             peer.url);
    peer.scripts[1].json = branch;
    given_client();
    ck_assert_int_eq(assent_begin(txn, NULL, 5000), 0);
    struct assent_result *result;
    ck_assert_int_eq(assent_exec(txn, "ledger", "select 1", 0, NULL, &result, 5000), 0);
    ck_assert_int_eq(assent_rows(result), 4);
    ck_assert_int_eq(assent_columns(result), 2);
    ck_assert_str_eq(assent_value(result, 1, 1), "3");
    ck_assert_ptr_null(assent_value(result, 0, 1));
    ck_assert_ptr_null(assent_value(result, 2, 0));
    ck_assert_ptr_null(assent_value(result, 4, 0));
    ck_assert_ptr_null(assent_value(result, 0, -1));
    ck_assert_str_eq(assent_command(result), "");
    assent_result_free(result);
    over();
}
END_TEST

START_TEST(nobody_at_the_address_is_unreachable)
{
    ck_assert_int_eq(assent_open(&client, "ipc:///nonexistent/sock,tcp://127.0.0.1:1"), 0);
    txn = assent_new(client);
    ck_assert_int_eq(assent_begin(txn, NULL, 120), ASSENT_EUNREACHABLE);
    ck_assert_str_eq(assent_reason(txn)->code, "unreachable");
    ck_assert_int_eq(assent_rollback(txn, 0), 0);
    assent_free(txn);
    assent_close(client);
}
END_TEST

START_TEST(without_blocking_the_application_polls)
{
    given(1, &(struct script){.json = begun, .piece = 3});
    given_client();
    assent_set_nonblocking(txn, true);
    int rc = assent_begin(txn, NULL, 5000), polls = 0;
    for (; rc == ASSENT_EAGAIN; polls++) {
        struct pollfd poll_fd = {.fd = assent_fd(txn), .events = assent_events(txn)};
        ck_assert_int_gt(assent_wait_ms(txn), 0);
        poll(&poll_fd, 1, assent_wait_ms(txn));
        rc = assent_complete(txn);
    }
    ck_assert_int_eq(rc, 0);
    ck_assert_int_gt(polls, 1);
    over();
}
END_TEST

START_TEST(a_call_can_be_abandoned)
{
    given(1, &(struct script){.bytes = "", .then = HANG});
    given_client();
    assent_set_nonblocking(txn, true);
    ck_assert_int_eq(assent_begin(txn, NULL, 5000), ASSENT_EAGAIN);
    over();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *tests = tcase_create("client");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, a_reply_may_come_in_pieces_of_one_byte);
    tcase_add_test(tests, one_connection_serves_call_after_call);
    tcase_add_test(tests, an_answer_to_another_question_is_passed_over);
    tcase_add_loop_test(tests, a_broken_connection_is_replaced_and_asked_again, 0, ENDINGS);
    tcase_add_test(tests, a_connection_that_died_idle_is_replaced_without_a_word);
    tcase_add_loop_test(tests, silence_ends_with_the_deadline, 0, SILENCES);
    tcase_add_loop_test(tests, a_senseless_reply_is_an_error_and_no_more, 0, SENSELESS);
    tcase_add_test(tests, a_commit_that_is_answered_with_nonsense_is_unknown);
    tcase_add_test(tests, ragged_rows_do_not_lead_astray);
    tcase_add_test(tests, nobody_at_the_address_is_unreachable);
    tcase_add_test(tests, without_blocking_the_application_polls);
    tcase_add_test(tests, a_call_can_be_abandoned);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
