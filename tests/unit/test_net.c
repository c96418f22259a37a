/*
 * tests/unit/test_net.c - requests and replies over real sockets, in a folder of their own.
 *
 * Both sides are in one loop, which the story runs until what it waits for has happened.
 */
#include "common/net.h"

#include <check.h> /* behind our own headers: it defines fail() as a macro */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/assent-test-net-XXXXXX";
static char path[64], url[80];
static struct error error;
static struct loop *loop;

static void set_up(void)
{
    ck_assert_ptr_nonnull(mkdtemp(strcpy(folder, "/tmp/assent-test-net-XXXXXX")));
    snprintf(path, sizeof path, "%s/tm.sock", folder);
    snprintf(url, sizeof url, "ipc://%s", path);
    ck_assert_int_eq(loop_create(&loop, &error), 0);
}

static void tear_down(void)
{
    loop_free(loop);
    unlink(path);
    rmdir(folder);
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Runs the loop until it has happened, or a long time has gone by. */
#define run_until(condition)                                                                       \
    do {                                                                                           \
        uint64_t give_up_ms = loop_now_ms() + 20000;                                               \
        bool happened = false;                                                                     \
        while (!(happened = (condition)) && loop_now_ms() < give_up_ms)                            \
            loop_wait(loop, loop_now_ms() + 5);                                                    \
        ck_assert_msg(happened, "%s", #condition);                                                 \
    } while (0)

static void run_for_ms(uint64_t ms)
{
    uint64_t until_ms = loop_now_ms() + ms;
    while (loop_now_ms() < until_ms)
        loop_wait(loop, until_ms);
}

/* ---- servers ---- */

static uint32_t handled;
static uint32_t peer_uid;
static size_t oversized;

static void echo(void *arg, struct net_request *request, const struct net_peer *peer,
                 const char *bytes, size_t length)
{
    (void)arg;
    handled++;
    peer_uid = peer->local ? peer->uid : UINT32_MAX;
    if (bytes == NULL) {
        oversized = length;
        net_reply(request, "too long", 8);
        return;
    }
    net_reply(request, bytes, length);
}

static void say_busy(void *arg, struct net_request *request, const struct net_peer *peer,
                     const char *bytes, size_t length)
{
    (void)arg, (void)peer, (void)bytes, (void)length;
    net_reply(request, "busy", 4);
}

/* Keeps requests unanswered until the story answers them. */
enum { KEPT_MAX = 8 };
static struct net_request *kept[KEPT_MAX];
static uint32_t kept_count;

static void keep(void *arg, struct net_request *request, const struct net_peer *peer,
                 const char *bytes, size_t length)
{
    (void)arg, (void)peer, (void)bytes, (void)length;
    ck_assert_uint_lt(kept_count, KEPT_MAX);
    kept[kept_count++] = request;
}

static struct net_server *serve(const char *at, net_request_fn *handler, uint32_t max_waiting)
{
    struct net_server *server;
    struct net_server_options options = {
        .url = at, .handler = handler, .busy = say_busy, .max_waiting = max_waiting};
    ck_assert_msg(net_listen(&server, loop, &options, &error) == 0, "%s", error.message);
    return server;
}

static const char *refusal_of(const struct net_server_options *given)
{
    struct net_server *server;
    struct net_server_options options = *given;
    options.handler = echo;
    options.busy = say_busy;
    ck_assert_int_eq(net_listen(&server, loop, &options, &error), -1);
    return error.message;
}

static const char *refusal_of_url(const char *at)
{
    return refusal_of(&(struct net_server_options){.url = at});
}

/* ---- clients ---- */

static struct net_link *dial(const char *at, uint32_t max_calls)
{
    struct net_link *link;
    ck_assert_msg(net_link_open(&link, loop, at, max_calls, &error) == 0, "%s", error.message);
    return link;
}

static char answer[64];

static enum net_result ask_for(struct net_link *link, const char *text, uint32_t timeout_ms)
{
    char *reply;
    size_t length;
    enum net_result result = net_call_wait(link, text, strlen(text), timeout_ms, &reply, &length);
    snprintf(answer, sizeof answer, "%s", reply != NULL ? reply : "");
    free(reply);
    return result;
}

static enum net_result ask(struct net_link *link, const char *text)
{
    return ask_for(link, text, 5000);
}

#define is_served(link)                                                                            \
    do {                                                                                           \
        ck_assert_int_eq(ask(link, "hello"), NET_OK);                                              \
        ck_assert_str_eq(answer, "hello");                                                         \
    } while (0)

static uint32_t told[3]; /* by result */

static void count_result(void *arg, enum net_result result, const char *bytes, size_t length)
{
    (void)arg, (void)bytes, (void)length;
    told[result]++;
}

/* ---- calls ---- */

/* Each of these calls again as soon as it is answered. */
struct caller {
    struct net_link *link;
    uint32_t number;
    uint32_t left;
};

static uint32_t callers_done;

static void call_again(struct caller *caller);

static void answered(void *arg, enum net_result result, const char *bytes, size_t length)
{
    struct caller *caller = arg;
    char expected[32];
    snprintf(expected, sizeof expected, "%u/%u", caller->number, caller->left);
    ck_assert_int_eq(result, NET_OK);
    ck_assert_uint_eq(length, strlen(expected));
    ck_assert_mem_eq(bytes, expected, length);
    if (--caller->left > 0)
        call_again(caller);
    else
        callers_done++;
}

static void call_again(struct caller *caller)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%u/%u", caller->number, caller->left);
    ck_assert_int_eq(net_call(caller->link, text, (size_t)length, 10000, answered, caller), 0);
}

static void echo_with_64_calls_in_flight(const char *at)
{
    enum { CALLERS = 64, ROUNDS = 50 };
    struct net_server *server = serve(at, echo, 0);
    struct net_link *link = dial(at, CALLERS);
    struct caller callers[CALLERS];
    for (uint32_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.link = link, .number = i, .left = ROUNDS};
        call_again(&callers[i]);
    }
    run_until(callers_done == CALLERS);
    ck_assert_uint_eq(handled, CALLERS * ROUNDS);
    net_link_close(link);
    net_server_close(server);
}

START_TEST(every_call_gets_its_own_reply_over_ipc)
{
    echo_with_64_calls_in_flight(url);
}
END_TEST

START_TEST(every_call_gets_its_own_reply_over_tcp)
{
    echo_with_64_calls_in_flight("tcp://127.0.0.1:17480");
}
END_TEST

START_TEST(an_empty_message_is_one)
{
    struct net_server *server = serve(url, echo, 0);
    struct net_link *link = dial(url, 1);
    ck_assert_int_eq(ask(link, ""), NET_OK);
    ck_assert_str_eq(answer, "");
    ck_assert_uint_eq(oversized, 0);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(a_request_beyond_max_waiting_is_told_busy_at_once)
{
    struct net_server *server = serve(url, keep, 2);
    struct net_link *link = dial(url, 8);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(net_call(link, "park", 4, 5000, count_result, NULL), 0);
    run_until(kept_count == 2);
    ck_assert_uint_eq(net_server_waiting(server), 2);
    for (int i = 0; i < 40; i++) {
        ck_assert_int_eq(ask(link, "more"), NET_OK);
        ck_assert_str_eq(answer, "busy");
    }
    net_reply(kept[0], "done", 4);
    run_until(told[NET_OK] == 1);
    ck_assert_uint_eq(net_server_waiting(server), 1);
    ck_assert_int_eq(net_call(link, "park", 4, 5000, count_result, NULL), 0);
    run_until(kept_count == 3);
    net_reply(kept[1], "done", 4);
    net_reply(kept[2], "done", 4);
    run_until(told[NET_OK] == 3);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(a_link_refuses_more_calls_than_it_was_made_for)
{
    struct net_server *server = serve(url, keep, 0);
    struct net_link *link = dial(url, 1);
    ck_assert_int_eq(net_call(link, "park", 4, 5000, count_result, NULL), 0);
    ck_assert_int_eq(net_call(link, "more", 4, 5000, count_result, NULL), -1);
    run_until(kept_count == 1);
    net_reply(kept[0], "done", 4);
    run_until(told[NET_OK] == 1);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(a_request_that_is_too_long_comes_without_its_bytes)
{
    struct net_server *server = serve(url, echo, 0);
    struct net_link *link = dial(url, 1);
    char *text = calloc(1, MESSAGE_MAX + 2);
    memset(text, 'x', MESSAGE_MAX);
    char *reply;
    size_t length;
    ck_assert_int_eq(net_call_wait(link, text, MESSAGE_MAX, 5000, &reply, &length), NET_OK);
    ck_assert_uint_eq(length, MESSAGE_MAX);
    ck_assert_str_eq(reply, text);
    free(reply);

    text[MESSAGE_MAX] = 'x';
    ck_assert_int_eq(ask(link, text), NET_OK);
    ck_assert_str_eq(answer, "too long");
    ck_assert_uint_eq(oversized, MESSAGE_MAX + 1);
    is_served(link);
    free(text);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(a_reply_may_be_four_times_as_long)
{
    struct net_server *server = serve(url, keep, 0);
    struct net_link *link = dial(url, 1);
    char *text = calloc(1, REPLY_MAX);
    ck_assert_int_eq(net_call(link, "much", 4, 5000, count_result, NULL), 0);
    run_until(kept_count == 1);
    net_reply(kept[0], text, REPLY_MAX);
    run_until(told[NET_OK] == 1);
    free(text);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(the_peer_of_a_unix_socket_is_known)
{
    struct net_server *server = serve(url, echo, 0);
    struct net_link *link = dial(url, 1);
    is_served(link);
    ck_assert_uint_eq(peer_uid, getuid());
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(the_peer_of_a_tcp_connection_is_not)
{
    struct net_server *server = serve("tcp://127.0.0.1:17481", echo, 0);
    struct net_link *link = dial("tcp://127.0.0.1:17481", 1);
    is_served(link);
    ck_assert_uint_eq(peer_uid, UINT32_MAX);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(a_call_without_an_answer_ends_in_its_time)
{
    struct net_server *server = serve(url, keep, 0);
    struct net_link *link = dial(url, 2);
    uint64_t started = loop_now_ms();
    ck_assert_int_eq(ask_for(link, "park", 200), NET_TIMEOUT);
    ck_assert_uint_ge(loop_now_ms() - started, 190);
    ck_assert_uint_lt(loop_now_ms() - started, 2000);
    net_reply(kept[0], "late", 4);

    /* The late reply is not taken for another call's. */
    ck_assert_int_eq(net_call(link, "next", 4, 5000, count_result, NULL), 0);
    run_until(kept_count == 2);
    net_reply(kept[1], "done", 4);
    run_until(told[NET_OK] == 1);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

/* ---- connections ---- */

START_TEST(a_call_with_nobody_there_is_unreachable_soon)
{
    struct net_link *link = dial(url, 1);
    uint64_t started = loop_now_ms();
    ck_assert(!net_link_connected(link));
    ck_assert_int_eq(ask_for(link, "hello", 30000), NET_UNREACHABLE);
    ck_assert_uint_lt(loop_now_ms() - started, 2000);
    started = loop_now_ms();
    ck_assert_int_eq(ask_for(link, "hello", 50), NET_UNREACHABLE);
    ck_assert_uint_lt(loop_now_ms() - started, 450);
    net_link_close(link);
}
END_TEST

START_TEST(a_call_whose_server_goes_is_unreachable_and_not_sent_again)
{
    struct net_server *server = serve(url, keep, 0);
    struct net_link *link = dial(url, 2);
    ck_assert_int_eq(net_call(link, "once", 4, 60000, count_result, NULL), 0);
    run_until(kept_count == 1);
    ck_assert(net_link_connected(link));
    net_server_close(server);
    run_until(told[NET_UNREACHABLE] == 1);
    net_reply(kept[0], "to nobody", 9);

    server = serve(url, echo, 0);
    run_until(net_link_connected(link));
    run_for_ms(100);
    ck_assert_uint_eq(handled, 0);
    is_served(link);
    ck_assert_uint_eq(handled, 1);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(a_link_connects_again_when_its_server_returns)
{
    struct net_link *link = dial(url, 1);
    for (int i = 0; i < 3; i++) {
        struct net_server *server = serve(url, echo, 0);
        run_until(net_link_connected(link));
        is_served(link);
        net_server_close(server);
        run_until(!net_link_connected(link));
    }
    net_link_close(link);
}
END_TEST

START_TEST(closing_a_link_ends_its_calls_first)
{
    struct net_server *server = serve(url, keep, 0);
    struct net_link *link = dial(url, KEPT_MAX);
    for (int i = 0; i < KEPT_MAX; i++)
        ck_assert_int_eq(net_call(link, "park", 4, 60000, count_result, NULL), 0);
    run_until(kept_count == KEPT_MAX);
    net_link_close(link);
    ck_assert_uint_eq(told[NET_UNREACHABLE], KEPT_MAX);
    net_server_close(server);
    for (int i = 0; i < KEPT_MAX; i++)
        net_reply(kept[i], "to nobody", 9);
}
END_TEST

START_TEST(a_closing_server_sends_what_it_has_said)
{
    struct net_server *server = serve(url, keep, 0);
    struct net_link *link = dial(url, 2);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(net_call(link, "park", 4, 60000, count_result, NULL), 0);
    run_until(kept_count == 2);
    net_reply(kept[0], "in time", 7);
    net_server_close(server);
    net_reply(kept[1], "to nobody", 9);
    run_until(told[NET_OK] == 1 && told[NET_UNREACHABLE] == 1);
    net_link_close(link);
}
END_TEST

static void ask_again(void *arg, enum net_result result, const char *bytes, size_t length)
{
    count_result(NULL, result, bytes, length);
    net_call(arg, "hello", 5, 1000, ask_again, arg);
}

START_TEST(servers_and_links_may_close_while_calls_are_made)
{
    for (uint32_t round = 0; round < 20; round++) {
        struct net_server *server = serve(url, echo, 0);
        struct net_link *link = dial(url, 4);
        for (int i = 0; i < 4; i++)
            net_call(link, "hello", 5, 1000, ask_again, link);
        run_until(told[NET_OK] >= 10 * (round + 1));
        net_server_close(server);
        run_for_ms(round % 4);
        net_link_close(link);
    }
    ck_assert_uint_eq(told[NET_TIMEOUT], 0);
}
END_TEST

/* ---- the socket file ---- */

static bool exists(const char *file)
{
    struct stat status;
    return lstat(file, &status) == 0;
}

START_TEST(a_regular_file_is_never_deleted)
{
    close(open(path, O_CREAT | O_WRONLY, 0600));
    char expected[160];
    snprintf(expected, sizeof expected, "%s is in the way: it exists and is not a socket", path);
    ck_assert_str_eq(refusal_of_url(url), expected);
    ck_assert(exists(path));
}
END_TEST

START_TEST(a_symbolic_link_is_never_followed)
{
    ck_assert_int_eq(symlink("/nowhere", path), 0);
    ck_assert_ptr_nonnull(strstr(refusal_of_url(url), "it exists and is not a socket"));
    ck_assert(exists(path));
}
END_TEST

START_TEST(two_servers_cannot_share_a_path)
{
    struct net_server *server = serve(url, echo, 0);
    struct net_link *link = dial(url, 1);
    char expected[160];
    is_served(link);
    snprintf(expected, sizeof expected, "socket %s is served by another process", path);
    for (int i = 0; i < 10; i++)
        ck_assert_str_eq(refusal_of_url(url), expected);
    is_served(link);
    net_link_close(link);
    link = dial(url, 1); /* a newcomer too: the first was not disturbed */
    is_served(link);
    net_link_close(link);
    net_server_close(server);
    ck_assert(!exists(path));
}
END_TEST

static struct sockaddr_un address_of(const char *file)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, file);
    return address;
}

START_TEST(a_stale_socket_is_replaced)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    struct net_server *server = serve(url, echo, 0);
    struct net_link *link = dial(url, 1);
    is_served(link);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(a_path_is_absolute_and_at_most_107_bytes_long)
{
    char longest[128], expected[256];
    struct net_link *link;
    size_t start = (size_t)snprintf(longest, sizeof longest, "ipc://%s/", folder);
    memset(longest + start, 'x', 6 + 107 - start);
    longest[6 + 107] = '\0';
    net_server_close(serve(longest, echo, 0));

    longest[6 + 107] = 'x';
    longest[6 + 108] = '\0';
    snprintf(expected, sizeof expected,
             "socket %s: the path is 108 bytes long, the system allows 107", longest + 6);
    ck_assert_str_eq(refusal_of_url(longest), expected);
    ck_assert_int_eq(net_link_open(&link, loop, longest, 1, &error), -1);
    ck_assert_str_eq(error.message, expected);
    ck_assert_str_eq(refusal_of_url("ipc://tm.sock"),
                     "socket tm.sock: expected ipc:// and an absolute path");
}
END_TEST

START_TEST(tcp_is_served_on_loopback_only)
{
    ck_assert_str_eq(refusal_of_url("tcp://0.0.0.0:7410"),
                     "listen on tcp://0.0.0.0:7410: tcp is served on loopback only");
    ck_assert_str_eq(error.hint, "Use tcp://127.0.0.1:PORT, or ipc:// and a path.");
    static const char *const others[] = {
        "tcp://*:7410",        "tcp://:7410",     "tcp://127.0.0.1.example:1",
        "tcp://10.0.0.1:7410", "tcp://[::]:7410", "tcp://"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        ck_assert_ptr_nonnull(strstr(refusal_of_url(others[i]), "on loopback only"));
    ck_assert_str_eq(refusal_of_url("ws://127.0.0.1:80"),
                     "listen on ws://127.0.0.1:80: expected ipc:///path or tcp://127.0.0.1:port");
}
END_TEST

static unsigned mode_of(const char *file)
{
    struct stat status;
    ck_assert_int_eq(stat(file, &status), 0);
    return status.st_mode & 07777;
}

START_TEST(the_socket_file_has_the_mode_and_group_asked_for)
{
    net_server_close(serve(url, echo, 0));
    struct net_server *server = serve(url, echo, 0);
    ck_assert_uint_eq(mode_of(path), 0660);
    net_server_close(server);

    struct group *own = getgrgid(getgid());
    ck_assert_ptr_nonnull(own);
    struct net_server_options options = {
        .url = url, .mode = 0600, .group = own->gr_name, .handler = echo, .busy = say_busy};
    ck_assert_int_eq(net_listen(&server, loop, &options, &error), 0);
    ck_assert_uint_eq(mode_of(path), 0600);
    net_server_close(server);

    options.group = "no-such-group";
    ck_assert_str_eq(refusal_of(&options), "socket_group no-such-group: there is no such group");
    ck_assert(!exists(path));
}
END_TEST

/* ---- clients that vanish ---- */

static void connect_and_close(const char *bytes, size_t length)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (length > 0)
        ck_assert_int_eq(send(fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
    close(fd);
}

START_TEST(clients_that_connect_and_close_at_once_make_nobody_deaf)
{
    static const char *const said[] = {"", "\0SP", "\0SP\0\0\x30\0\0", "GET / HTTP/1.0\r\n\r\n"};
    static const size_t lengths[] = {0, 3, 8, 18};
    struct net_server *server = serve(url, echo, 0);
    struct net_link *old = dial(url, 1);
    is_served(old);
    for (size_t kind = 0; kind < 4; kind++) {
        for (int i = 0; i < 100; i++)
            connect_and_close(said[kind], lengths[kind]);
        struct net_link *link = dial(url, 1);
        uint64_t started = loop_now_ms();
        is_served(link);
        ck_assert_uint_lt(loop_now_ms() - started, 3000);
        net_link_close(link);
        ck_assert(net_link_connected(old));
        is_served(old);
    }
    net_link_close(old);
    net_server_close(server);
}
END_TEST

START_TEST(a_client_that_speaks_nonsense_harms_nobody)
{
    static const char nonsense[] = "\0SP\0\0\x30\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff";
    static const char headless[] = "\0SP\0\0\x30\0\0\1\0\0\0\0\0\0\0\3abc";
    struct net_server *server = serve(url, echo, 0);
    struct net_link *link = dial(url, 1);
    is_served(link);
    for (int i = 0; i < 20; i++) {
        connect_and_close(nonsense, sizeof nonsense - 1);
        connect_and_close(headless, sizeof headless - 1);
    }
    is_served(link);
    ck_assert_uint_eq(handled, 2);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

static int count_descriptors(void)
{
    int count = 0;
    DIR *open_ones = opendir("/proc/self/fd");
    while (readdir(open_ones) != NULL)
        count++;
    closedir(open_ones);
    return count;
}

static char page[4096];

static void flood_again(void *arg, enum net_result result, const char *bytes, size_t length)
{
    (void)result, (void)bytes, (void)length;
    net_call(arg, page, sizeof page, 1000, flood_again, arg);
}

static void flood_for_ever(void)
{
    ck_assert_int_eq(loop_create(&loop, &error), 0); /* a process of its own has its own */
    struct net_link *link = dial(url, 64);
    for (int i = 0; i < 64; i++)
        net_call(link, page, sizeof page, 1000, flood_again, link);
    for (;;)
        loop_wait(loop, UINT64_MAX);
}

/* A process that starts clients, three at a time, and kills them amid their calls. */
static pid_t start_killing(int rounds)
{
    enum { CLIENTS = 3 };
    pid_t killer = fork();
    ck_assert_int_ge(killer, 0);
    if (killer > 0)
        return killer;
    for (int round = 0; round < rounds; round++) {
        pid_t clients[CLIENTS];
        for (int i = 0; i < CLIENTS; i++)
            if ((clients[i] = fork()) == 0)
                flood_for_ever();
        sleep_ms(30 + round % 20);
        for (int i = 0; i < CLIENTS; i++) {
            kill(clients[i], SIGKILL);
            waitpid(clients[i], NULL, 0);
        }
    }
    _exit(0);
}

START_TEST(clients_killed_amid_calls_leave_nothing_behind)
{
    enum { OURS = 8 /* more than enough for one server and one link */ };
    int before = count_descriptors();
    pid_t killer = start_killing(40);
    struct net_server *server = serve(url, echo, 0);
    struct net_link *link = dial(url, 1);
    int status;
    run_until(waitpid(killer, &status, WNOHANG) == killer);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_gt(handled, 0);
    run_until(count_descriptors() <= before + OURS);
    is_served(link);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

/* ---- clients that are slow, or silent ---- */

static int connect_raw(void)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static const char greeting_and_request[] = "\0SP\0\0\x30\0\0"
                                           "\1\0\0\0\0\0\0\0\x0b\0\0\0\7\x80\0\0\1abc";

START_TEST(a_message_may_come_byte_by_byte_and_through_a_device)
{
    static const char expected[] = "\0SP\0\0\x31\0\0"
                                   "\1\0\0\0\0\0\0\0\x0b\0\0\0\7\x80\0\0\1abc";
    char got[64];
    ssize_t length = 0;
    struct net_server *server = serve(url, echo, 0);
    int fd = connect_raw();
    for (size_t i = 0; i < sizeof greeting_and_request - 1; i++) {
        ck_assert_int_eq(send(fd, greeting_and_request + i, 1, MSG_NOSIGNAL), 1);
        run_for_ms(1);
    }
    run_until((length = recv(fd, got, sizeof got, MSG_PEEK)) == sizeof expected - 1);
    ck_assert_mem_eq(got, expected, sizeof expected - 1);
    close(fd);
    net_server_close(server);
}
END_TEST

static void reply_much(void *arg, struct net_request *request, const struct net_peer *peer,
                       const char *bytes, size_t length)
{
    static const char much[64 * 1024];
    (void)arg, (void)peer, (void)bytes, (void)length;
    handled++;
    net_reply(request, much, sizeof much);
}

/* Sends requests for as long as the other side reads them. */
static uint32_t ask_without_reading(int fd)
{
    const size_t skipped = 8;
    uint32_t count = 0;
    send(fd, greeting_and_request, skipped, MSG_NOSIGNAL);
    for (uint64_t until_ms = loop_now_ms() + 300; loop_now_ms() < until_ms;) {
        count += send(fd, greeting_and_request + skipped, sizeof greeting_and_request - 1 - skipped,
                      MSG_NOSIGNAL) > 0;
        loop_wait(loop, loop_now_ms());
    }
    return count;
}

START_TEST(who_does_not_read_is_not_read_from_and_at_last_given_up)
{
    enum { OWED_MOST = 1024 * 1024, SENT = 64 * 1024, PATIENCE_MS = 10000 };
    char greeting[8];
    struct net_server *server = serve(url, reply_much, 0);
    struct net_link *link = dial(url, 1);
    int silent = connect_raw(), deaf = connect_raw();
    uint64_t began_ms = loop_now_ms();
    ck_assert_uint_gt(ask_without_reading(deaf), handled);
    ck_assert_uint_le(handled, 2 * OWED_MOST / SENT); /* half of it in the kernel */
    ck_assert_int_eq(ask(link, "hello"), NET_OK);     /* others are served */

    run_until(recv(silent, greeting, sizeof greeting, 0) == sizeof greeting);
    run_until(recv(silent, greeting, sizeof greeting, 0) == 0);
    ck_assert_uint_ge(loop_now_ms() - began_ms, PATIENCE_MS);
    run_until(send(deaf, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
    ck_assert_int_eq(ask(link, "hello"), NET_OK);
    close(silent);
    close(deaf);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

START_TEST(a_peer_that_is_silent_behind_a_connection_that_stands_is_dialled_anew)
{
    enum { SILENT_MS = 10000 };
    static const char greeting[] = "\0SP\0\0\x31\0\0";
    struct sockaddr_un address = address_of(path);
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), first, second;
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listening, 4), 0);
    struct net_link *link = dial(url, 2);
    run_until((first = accept(listening, NULL, NULL)) >= 0);
    ck_assert_int_eq(send(first, greeting, sizeof greeting - 1, MSG_NOSIGNAL), 8);
    run_until(net_link_connected(link));
    uint64_t began_ms = loop_now_ms();

    ck_assert_int_eq(net_call(link, "a", 1, 100, count_result, NULL), 0);
    run_for_ms(500); /* a call that is not answered in its time alone means nothing */
    ck_assert(net_link_connected(link));
    ck_assert_int_eq(net_call(link, "b", 1, SILENT_MS, count_result, NULL), 0);
    run_until((second = accept(listening, NULL, NULL)) >= 0);
    ck_assert_uint_ge(loop_now_ms() - began_ms, SILENT_MS);
    ck_assert_int_eq(send(second, greeting, sizeof greeting - 1, MSG_NOSIGNAL), 8);
    run_until(net_link_connected(link));
    net_link_close(link);
    close(first);
    close(second);
    close(listening);
}
END_TEST

START_TEST(when_there_are_too_many_those_that_ask_for_nothing_make_room)
{
    enum { GUESTS = 20, ROOM = 8 };
    int guests[GUESTS];
    char byte;
    struct net_link *link = dial(url, 1);
    struct net_server *server = serve(url, echo, 0);
    ck_assert_int_eq(ask(link, "hello"), NET_OK); /* it has asked before */
    int lowest = open("/", O_RDONLY | O_CLOEXEC);
    close(lowest);
    net_server_bound(server, (uint32_t)lowest + ROOM + 1); /* one is the guest's own end */
    for (int i = 0; i < GUESTS; i++) {
        int fd = connect_raw();
        guests[i] = fcntl(fd, F_DUPFD, 500); /* out of the way of the server's */
        close(fd);
        run_for_ms(5);
    }
    struct net_server_counts counts;
    net_server_counts(server, &counts);
    ck_assert_uint_le(counts.connections, ROOM + 2);
    ck_assert_uint_ge(counts.refused, GUESTS - ROOM - 2);
    run_until(recv(guests[0], &byte, 1, 0) >= 0 && recv(guests[0], &byte, 1, 0) <= 0);
    ck_assert(net_link_connected(link));
    ck_assert_int_eq(ask(link, "again"), NET_OK);
    for (int i = 0; i < GUESTS; i++)
        close(guests[i]);
    net_link_close(link);
    net_server_close(server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net");
    TCase *calls = tcase_create("calls");
    tcase_add_checked_fixture(calls, set_up, tear_down);
    tcase_add_test(calls, every_call_gets_its_own_reply_over_ipc);
    tcase_add_test(calls, every_call_gets_its_own_reply_over_tcp);
    tcase_add_test(calls, an_empty_message_is_one);
    tcase_add_test(calls, a_request_beyond_max_waiting_is_told_busy_at_once);
    tcase_add_test(calls, a_link_refuses_more_calls_than_it_was_made_for);
    tcase_add_test(calls, a_request_that_is_too_long_comes_without_its_bytes);
    tcase_add_test(calls, a_reply_may_be_four_times_as_long);
    tcase_add_test(calls, the_peer_of_a_unix_socket_is_known);
    tcase_add_test(calls, the_peer_of_a_tcp_connection_is_not);
    tcase_add_test(calls, a_call_without_an_answer_ends_in_its_time);
    tcase_set_timeout(calls, 60);
    suite_add_tcase(suite, calls);

    TCase *connections = tcase_create("connections");
    tcase_add_checked_fixture(connections, set_up, tear_down);
    tcase_add_test(connections, a_call_with_nobody_there_is_unreachable_soon);
    tcase_add_test(connections, a_call_whose_server_goes_is_unreachable_and_not_sent_again);
    tcase_add_test(connections, a_link_connects_again_when_its_server_returns);
    tcase_add_test(connections,
                   a_peer_that_is_silent_behind_a_connection_that_stands_is_dialled_anew);
    tcase_add_test(connections, when_there_are_too_many_those_that_ask_for_nothing_make_room);
    tcase_add_test(connections, closing_a_link_ends_its_calls_first);
    tcase_add_test(connections, a_closing_server_sends_what_it_has_said);
    tcase_add_test(connections, servers_and_links_may_close_while_calls_are_made);
    tcase_set_timeout(connections, 60);
    suite_add_tcase(suite, connections);

    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, set_up, tear_down);
    tcase_add_test(files, a_regular_file_is_never_deleted);
    tcase_add_test(files, a_symbolic_link_is_never_followed);
    tcase_add_test(files, two_servers_cannot_share_a_path);
    tcase_add_test(files, a_stale_socket_is_replaced);
    tcase_add_test(files, a_path_is_absolute_and_at_most_107_bytes_long);
    tcase_add_test(files, tcp_is_served_on_loopback_only);
    tcase_add_test(files, the_socket_file_has_the_mode_and_group_asked_for);
    suite_add_tcase(suite, files);

    TCase *vanishing = tcase_create("vanishing clients");
    tcase_add_checked_fixture(vanishing, set_up, tear_down);
    tcase_add_test(vanishing, clients_that_connect_and_close_at_once_make_nobody_deaf);
    tcase_add_test(vanishing, a_client_that_speaks_nonsense_harms_nobody);
    tcase_add_test(vanishing, clients_killed_amid_calls_leave_nothing_behind);
    tcase_add_test(vanishing, a_message_may_come_byte_by_byte_and_through_a_device);
    tcase_add_test(vanishing, who_does_not_read_is_not_read_from_and_at_last_given_up);
    tcase_set_timeout(vanishing, 60);
    suite_add_tcase(suite, vanishing);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
