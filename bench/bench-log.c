/*
 * bench/bench-log.c - what the log costs, beside the least that it could cost.
 *
 *     bench-log [-s SECONDS] [DIR]
 *
 * With 1, 8, 64 and 512 transactions in flight, each waiting for its COMMIT record: records a
 * second, CPU a record, and the same of a bare loop in the same minute, on the same disk: one
 * pwrite and one fdatasync of as many bytes, into segments that it fills with zeros first. Then
 * how long it takes to open a log of 1,000,000 COMMIT records.
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

#include "core/record.h"
#include "log/directory.h"
#include "log/wal.h"

enum { IN_FLIGHT_MAX = 512, RECOVERY_RECORDS = 1000000 };

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
    struct record unused;
    (void)arg;
    (void)error;
    return record_decode(record->type, record->version, record->payload, record->length, &unused) ==
                   RECORD_OK
               ? 0
               : -1;
}

static struct wal *open_log(struct wal_info *info)
{
    struct wal_options options = {.dir = dir, .tm = "bench"};
    struct error error;
    struct wal *wal;
    if (wal_open(&wal, &options, info, on_record, NULL, &error) != 0)
        stop(&error);
    return wal;
}

static struct wal *begin_log(void)
{
    struct wal_info info;
    struct error error;
    struct wal *wal = open_log(&info);
    durable = 0;
    if (wal_begin(wal, info.incarnation + 1, on_durable, NULL, &error) != 0)
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

/* One turn of a daemon's loop after the other: as many new decisions as were answered. */
static void run_log(struct wal *wal, uint32_t in_flight, struct figures *figures)
{
    static uint8_t bytes[IN_FLIGHT_MAX * 256];
    size_t each = write_commits(bytes, in_flight) / in_flight;
    uint64_t before = durable, handed = durable, seen = durable;
    double began = now_s(), cpu = cpu_s();
    while (now_s() - began < SLICE_S) {
        uint32_t records = (uint32_t)(in_flight - (handed - seen));
        wal_append(wal, bytes, records * each, records);
        handed += records;
        if (wal_wants_checkpoint(wal))
            wal_checkpoint(wal, bytes, each, handed);
        seen = wait_durable(seen);
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

static void run_bare(struct bare *bare, uint32_t in_flight, struct figures *figures)
{
    static uint8_t bytes[IN_FLIGHT_MAX * 256];
    size_t length = (STAMP_BYTES + write_commit(bytes, 0)) * in_flight;
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
        figures->records += in_flight;
    }
    figures->wall_s += now_s() - began;
    figures->cpu_s += cpu_s() - cpu;
}

/* ---- recovery ---- */

static void run_recovery(void)
{
    static uint8_t bytes[100 * 256];
    struct wal_info info;
    struct wal *wal = begin_log();
    size_t length = write_commits(bytes, 100);
    for (uint64_t i = 0; i < RECOVERY_RECORDS / 100; i++)
        wal_append(wal, bytes, length, 100);
    wal_close(wal, true);
    double began = now_s();
    wal = open_log(&info);
    printf("opening a log of %" PRIu64 " COMMIT records: %.3f s\n", info.records, now_s() - began);
    wal_close(wal, false);
}

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

/* Turn about in short slices, so that both meet the same moods of the disk. */
static void compare(uint32_t in_flight)
{
    struct figures log = {0}, bare = {0};
    fresh_dir();
    struct wal *wal = begin_log();
    struct bare file = {.fd = zeroed_file()};
    for (double left = seconds; left > 0; left -= SLICE_S) {
        run_bare(&file, in_flight, &bare);
        run_log(wal, in_flight, &log);
    }
    close(file.fd);
    wal_close(wal, true);
    remove_dir();
    double log_s = log.records / log.wall_s, bare_s = bare.records / bare.wall_s;
    printf("%9" PRIu32 " %14.0f %8.2f %15.0f %8.2f %7.2f\n", in_flight, log_s,
           log.cpu_s * 1e6 / log.records, bare_s, bare.cpu_s * 1e6 / bare.records, log_s / bare_s);
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
    printf("%9s %14s %8s %15s %8s %7s\n", "in flight", "log, records/s", "CPU us",
           "bare, records/s", "CPU us", "ratio");
    compare(1);
    compare(8);
    compare(64);
    compare(512);
    fresh_dir();
    run_recovery();
    remove_dir();
    return 0;
}
