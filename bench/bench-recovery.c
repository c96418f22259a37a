/*
 * bench/bench-recovery.c - how long a coordinator takes from its start until it serves.
 *
 *     bench-recovery [-n STARTS] ASSENTD [DIR]
 *
 * Makes logs (new; of 1,000 transactions that are live; of 1,000,000 that are over), none of them
 * with a checkpoint to lean on, starts assentd on each and waits for what it tells systemd. The
 * middle one of a few starts, its memory at the most, and how many it found live.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/message/record.h"
#include "log/wal.h"

enum { TURN_RECORDS = 500, STARTS_MOST = 99, READY_WITHIN_S = 60 };

static const char *assentd;
static char top[PATH_MAX / 2];
static int starts = 5;

static _Noreturn void stop(const char *what)
{
    perror(what);
    exit(1);
}

static _Noreturn void stop_for(const struct error *error)
{
    fprintf(stderr, "error: %s\nhint: %s\n", error->message, error->hint);
    exit(1);
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ---- a log to start from ---- */

struct story {
    struct wal *wal;
    uint8_t bytes[TURN_RECORDS * 256];
    size_t length;
    uint32_t records;
};

static void hand_over(struct story *story)
{
    wal_append(story->wal, story->bytes, story->length, story->records);
    story->length = story->records = 0;
}

static void add(struct story *story, const struct record *record)
{
    story->length += record_append(record, story->bytes + story->length);
    if (++story->records == TURN_RECORDS)
        hand_over(story);
}

/* A decision over two databases, as most are. */
static void add_transaction(struct story *story, uint64_t sequence, bool over)
{
    struct record record = {
        .type = RECORD_COMMIT,
        .incarnation = 1,
        .sequence = sequence,
        .branch_count = 2,
        .branches = {{.rm = "accounts", .xid = sequence}, {.rm = "ledger", .xid = sequence}},
    };
    add(story, &record);
    if (over) {
        record.type = RECORD_END;
        add(story, &record);
    }
}

static int no_record(void *arg, const struct wal_record *record, struct error *error)
{
    (void)arg;
    (void)record;
    (void)error;
    return 0;
}

static void nobody_waits(void *arg, uint64_t records, uint64_t durable_lsn)
{
    (void)arg;
    (void)records;
    (void)durable_lsn;
}

static void write_log(const char *dir, uint64_t transactions, bool over)
{
    static struct story story;
    struct wal_options options = {.dir = dir, .tm = "bench"};
    struct wal_info info;
    struct error error;
    if (wal_open(&story.wal, &options, &info, no_record, NULL, &error) != 0 ||
        wal_begin(story.wal, 1, nobody_waits, NULL, &error) != 0)
        stop_for(&error);
    add(&story, &(struct record){.type = RECORD_START, .incarnation = 1});
    for (uint64_t sequence = 1; sequence <= transactions; sequence++)
        add_transaction(&story, sequence, over);
    hand_over(&story);
    wal_close(story.wal, false);
}

/* ---- a start ---- */

static void write_conf(const char *path, const char *dir)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        stop(path);
    fprintf(file,
            "[tm]\nname = bench\ndata_dir = %s\nlisten = ipc://%s/tm.sock\n"
            "[rm accounts]\nurl = ipc://%s/accounts.sock\n"
            "[rm ledger]\nurl = ipc://%s/ledger.sock\n",
            dir, top, top, top);
    fclose(file);
}

/* What systemd would be told. */
static int open_notify_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = READY_WITHIN_S};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", top);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        setenv("NOTIFY_SOCKET", address.sun_path, 1) != 0)
        stop(address.sun_path);
    return fd;
}

static pid_t spawn(const char *conf)
{
    pid_t child = fork();
    if (child < 0)
        stop("fork");
    if (child > 0)
        return child;
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    execl(assentd, "assentd", "-c", conf, (char *)NULL);
    _exit(127);
}

struct start {
    double ready_ms;
    long memory_kb;
};

static struct start start_once(const char *conf, int notify)
{
    struct start start = {0};
    struct rusage usage;
    char word[256] = "";
    int status;
    double began = now_ms();
    pid_t child = spawn(conf);
    while (strstr(word, "READY=1") == NULL) {
        ssize_t length = recv(notify, word, sizeof word - 1, 0);
        if (length < 0) {
            kill(child, SIGKILL);
            stop("assentd was not ready in time");
        }
        word[length] = '\0';
    }
    start.ready_ms = now_ms() - began;
    kill(child, SIGKILL);
    if (wait4(child, &status, 0, &usage) != child)
        stop("wait for assentd");
    start.memory_kb = usage.ru_maxrss;
    return start;
}

static int by_time(const void *a, const void *b)
{
    double left = ((const struct start *)a)->ready_ms, right = ((const struct start *)b)->ready_ms;
    return (left > right) - (left < right);
}

static void measure(const char *name, uint64_t transactions, bool over, int notify)
{
    char dir[PATH_MAX], conf[PATH_MAX];
    struct start all[STARTS_MOST];
    snprintf(dir, sizeof dir, "%s/%s", top, name);
    snprintf(conf, sizeof conf, "%s/%s.ini", top, name);
    write_log(dir, transactions, over);
    write_conf(conf, dir);
    for (int i = 0; i < starts; i++)
        all[i] = start_once(conf, notify);
    for (int i = 0; i < starts; i++)
        qsort(all, (size_t)starts, sizeof *all, by_time);
    printf("%-8s %9" PRIu64 " %10.1f %12.1f %10.1f\n", name, transactions, all[starts / 2].ready_ms,
           all[0].ready_ms, (double)all[starts / 2].memory_kb / 1024);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "n:")) != -1)
        starts = option == 'n' ? atoi(optarg) : 0;
    if (starts < 1 || starts > STARTS_MOST || optind >= argc) {
        fprintf(stderr, "usage: bench-recovery [-n STARTS] ASSENTD [DIR]\n");
        return 2;
    }
    assentd = argv[optind];
    snprintf(top, sizeof top, "%s/bench-recovery-XXXXXX",
             optind + 1 < argc ? argv[optind + 1] : "/tmp");
    if (mkdtemp(top) == NULL)
        stop(top);
    int notify = open_notify_socket();
    printf("%-8s %9s %10s %12s %10s\n", "log", "COMMITs", "ready, ms", "quickest, ms",
           "memory, MB");
    measure("new", 0, false, notify);
    measure("live", 1000, false, notify);
    measure("over", 1000 * 1000, true, notify);

    char command[PATH_MAX];
    snprintf(command, sizeof command, "rm -r '%s'", top);
    return system(command) == 0 ? 0 : 1;
}
