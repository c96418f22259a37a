/*
 * bench/bench-log.c - what the log costs, beside the least that it could cost.
 *
 *     bench-log [-s SECONDS] [DIR]
 *
 * With 1, 8, 64 and 512 transactions in flight, each waiting for its COMMIT record: records a
 * second, CPU a record, and the same of a bare loop in the same minute, on the same disk: one
 * pwrite and one fdatasync of as many bytes, into segments that it fills with zeros first. The
 * two take turns in short slices; the ratio is the median of those of neighbouring slices.
 *
 * All in flight may come together: all wait for one sync, all are answered, all come again, and
 * the disk rests meanwhile. That is the log at its worst. Or in two halves: one is on its way to
 * the disk while the other comes back, as with clients that know nothing of each other.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/message/record.h"
#include "log/directory.h"
#include "log/wal.h"

enum { IN_FLIGHT_MAX = 512, PAIRS_MAX = 1000, APART_US = 50 };

#define SLICE_S 0.2

static const char *top = "/tmp";
static double seconds = 2;
static char dir[PATH_MAX];

static _Noreturn void stop(const struct error *error)
{
    fprintf(stderr, "error: %s\nhint: %s\n", error->message, error->hint);
    exit(1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* A decision over two databases, as most are. */
static size_t write_commit(uint8_t *out, uint64_t sequence)
{
    struct record record = {
        .type = RECORD_COMMIT,
        .incarnation = 1,
        .sequence = sequence,
        .branch_count = 2,
        .branches = {{.rm = "accounts", .xid = 4711}, {.rm = "ledger", .xid = 815}},
    };
    return record_append(&record, out);
}

static size_t write_commits(uint8_t *out, uint32_t count)
{
    size_t length = 0;
    for (uint32_t i = 0; i < count; i++)
        length += write_commit(out + length, i);
    return length;
}

/* What a loop has done so far. */
struct figures {
    double records;
    double wall_s;
    double cpu_s;
};

/* ---- the log ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t durable;

static void on_durable(void *arg, uint64_t records, uint64_t durable_lsn)
{
    (void)arg;
    (void)durable_lsn;
    pthread_mutex_lock(&lock);
    durable = records;
    pthread_mutex_unlock(&lock);
    pthread_cond_signal(&changed);
}

static int on_record(void *arg, const struct wal_record *record, struct error *error)
{
    (void)arg;
    (void)record;
    (void)error;
    return 0;
}

static struct wal *begin_log(void)
{
    struct wal_options options = {.dir = dir, .tm = "bench"};
    struct wal_info info;
    struct error error;
    struct wal *wal;
    durable = 0;
    if (wal_open(&wal, &options, &info, on_record, NULL, &error) != 0 ||
        wal_begin(wal, 1, on_durable, NULL, &error) != 0)
        stop(&error);
    return wal;
}

/* Wait until more than `seen` are durable; returns how many. */
static uint64_t wait_durable(uint64_t seen)
{
    pthread_mutex_lock(&lock);
    while (durable == seen)
        pthread_cond_wait(&changed, &lock);
    seen = durable;
    pthread_mutex_unlock(&lock);
    return seen;
}

/* One turn of a daemon's loop after the other: as many new decisions as were answered, at most a
 * group at a time. */
static void run_log(struct wal *wal, uint32_t in_flight, uint32_t group, struct figures *figures)
{
    static uint8_t bytes[IN_FLIGHT_MAX * 256];
    size_t each = write_commits(bytes, in_flight) / in_flight;
    uint64_t before = durable, handed = durable, seen = durable;
    double began = now_s(), cpu = cpu_s();
    while (now_s() - began < SLICE_S) {
        if (in_flight - (handed - seen) < group) {
            seen = wait_durable(seen);
            continue;
        }
        wal_append(wal, bytes, group * each, group);
        handed += group;
        if (wal_wants_checkpoint(wal))
            wal_checkpoint(wal, &(struct wal_snapshot){.state = {bytes, each}}, handed);
        if (in_flight - (handed - seen) >= group)
            usleep(APART_US); /* two groups that have met part again */
    }
    while (seen < handed)
        seen = wait_durable(seen);
    figures->wall_s += now_s() - began;
    figures->cpu_s += cpu_s() - cpu;
    figures->records += (double)(seen - before);
}

/* ---- the bare loop ---- */

static int zeroed_file(void)
{
    static const uint8_t zeros[256 * 1024];
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/bare", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (uint64_t at = 0; at < WAL_SEGMENT_BYTES; at += sizeof zeros) {
        if (!write_at(fd, zeros, sizeof zeros, at))
            abort();
    }
    if (fsync(fd) != 0)
        abort();
    return fd;
}

struct bare {
    int fd;
    uint64_t at;
};

static void run_bare(struct bare *bare, uint32_t group, struct figures *figures)
{
    static uint8_t bytes[IN_FLIGHT_MAX * 256];
    size_t length = (STAMP_BYTES + write_commit(bytes, 0)) * group;
    double began = now_s(), cpu = cpu_s();
    while (now_s() - began < SLICE_S) {
        if (bare->at + length > WAL_SEGMENT_BYTES) {
            close(bare->fd);
            bare->fd = zeroed_file();
            bare->at = 0;
        }
        if (!write_at(bare->fd, bytes, length, bare->at) || fdatasync(bare->fd) != 0)
            abort();
        bare->at += length;
        figures->records += group;
    }
    figures->wall_s += now_s() - began;
    figures->cpu_s += cpu_s() - cpu;
}

/* ---- side by side ---- */

static void fresh_dir(void)
{
    snprintf(dir, sizeof dir, "%s/bench-log-XXXXXX", top);
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        exit(1);
    }
}

static void remove_dir(void)
{
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    if (system(command) != 0)
        fprintf(stderr, "%s is left behind\n", dir);
}

static void add_up(struct figures *sum, const struct figures *slice)
{
    sum->records += slice->records;
    sum->wall_s += slice->wall_s;
    sum->cpu_s += slice->cpu_s;
}

static double rate(const struct figures *figures)
{
    return figures->records / figures->wall_s;
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Turn about, so that both meet the same moods of the disk. */
static void compare(uint32_t in_flight, uint32_t group)
{
    struct figures log = {0}, bare = {0};
    double ratios[PAIRS_MAX];
    int pairs = 0;
    fresh_dir();
    struct wal *wal = begin_log();
    struct bare file = {.fd = zeroed_file()};
    for (double left = seconds; left > 0 && pairs < PAIRS_MAX; left -= SLICE_S) {
        struct figures log_slice = {0}, bare_slice = {0};
        run_bare(&file, group, &bare_slice);
        run_log(wal, in_flight, group, &log_slice);
        ratios[pairs++] = rate(&log_slice) / rate(&bare_slice);
        add_up(&log, &log_slice);
        add_up(&bare, &bare_slice);
    }
    close(file.fd);
    wal_close(wal, true);
    remove_dir();
    qsort(ratios, (size_t)pairs, sizeof *ratios, by_size);
    printf("%9" PRIu32 " %6" PRIu32 " %14.0f %8.2f %15.0f %8.2f %7.2f\n", in_flight, group,
           rate(&log), log.cpu_s * 1e6 / log.records, rate(&bare), bare.cpu_s * 1e6 / bare.records,
           ratios[pairs / 2]);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "s:")) != -1) {
        if (option != 's')
            return 2;
        seconds = atof(optarg);
    }
    if (optind < argc)
        top = argv[optind];
    printf("%9s %6s %14s %8s %15s %8s %7s\n", "in flight", "group", "log, records/s", "CPU us",
           "bare, records/s", "CPU us", "ratio");
    for (uint32_t in_flight = 1; in_flight <= IN_FLIGHT_MAX; in_flight *= 8) {
        compare(in_flight, in_flight);
        if (in_flight > 1)
            compare(in_flight, in_flight / 2);
    }
    return 0;
}
