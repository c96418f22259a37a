/*
 * tests/sim/main.c - assent-sim: lives through nights, one seed each.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/mutant.h"
#include "tests/sim/coverage.h"
#include "tests/sim/sim.h"

enum { JOBS_MAX = 16 };

static struct sim sim;
static bool goes_on; /* behind a violation */

static void usage(FILE *out)
{
    fprintf(
        out,
        "usage: assent-sim --seed N [--verbose]       one night, and its transcript\n"
        "       assent-sim --seeds N [--from M] [--jobs J] [--coverage] [--go-on]\n"
        "                                             a range; stops at the first violation, or\n"
        "                                             goes on\n"
        "       ... --theme NAME                      each a night of this theme; names are\n"
        "                                             those of doc/testing.md, and ordinary:\n"
        "                                             a night of none\n"
        "       assent-sim --nights FILE              those whose seeds are in it\n"
        "       assent-sim --mutants[=NAME]           is every planted mistake found?\n"
        "       assent-sim --mutant NAME --seed N     one of them at work\n");
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int run_one(uint64_t seed, bool verbose)
{
    bool good = sim_run(&sim, seed, verbose);
    printf("seed %" PRIu64 ": %" PRIu64 " happenings, %.1f s of its time, digest %016" PRIx64 "\n",
           seed, sim.happenings, (double)sim.now_us / 1e6, sim.digest);
    if (good)
        return 0;
    printf("VIOLATION: %s\n", sim.violation);
    return 1;
}

static void say_violation(uint64_t seed)
{
    printf("seed %" PRIu64 ": VIOLATION: %s\nreplay: tests/sim/assent-sim%s%s --seed %" PRIu64
           " --verbose\n",
           seed, sim.violation, sim.theme != 0 ? " --theme " : "",
           sim.theme != 0 ? theme_name(sim.theme) : "", seed);
    fflush(stdout);
}

/* An assertion of the core is a violation like any other, and needs its seed. */
static void on_fatal(int signal_number)
{
    char text[200];
    int length = snprintf(text, sizeof text,
                          "seed %" PRIu64 ": VIOLATION: ended by signal %d\nreplay: "
                          "tests/sim/assent-sim%s%s --seed %" PRIu64 " --verbose\n",
                          sim.seed, signal_number, sim.theme != 0 ? " --theme " : "",
                          sim.theme != 0 ? theme_name(sim.theme) : "", sim.seed);
    if (write(STDOUT_FILENO, text, (size_t)length) < 0)
        _exit(2);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* One process of a range: every jobs-th seed. */
static int run_share(uint64_t from, uint64_t count, uint64_t job, uint64_t jobs, uint64_t *digest,
                     uint64_t *happenings)
{
    signal(SIGABRT, on_fatal);
    signal(SIGSEGV, on_fatal);
    int failed = 0;
    for (uint64_t i = job; i < count; i += jobs) {
        if (!sim_run(&sim, from + i, false)) {
            say_violation(from + i);
            failed = 1;
            if (!goes_on)
                break;
        }
        *digest += sim.digest;
        *happenings += sim.happenings;
    }
    return failed;
}

static uint32_t find_theme(const char *name)
{
    uint32_t theme = theme_find(name);
    if (theme == 0) {
        fprintf(stderr, "assent-sim: no theme: %s\n", name);
        exit(2);
    }
    return theme;
}

/* "4711  why it is there", or, where it is a night of a theme, "restored 4711  why". */
static bool read_night(const char *line, uint64_t *seed)
{
    char theme[32];
    sim.theme = 0;
    if (sscanf(line, "%" SCNu64, seed) == 1)
        return true;
    if (sscanf(line, "%31s %" SCNu64, theme, seed) != 2)
        return false;
    sim.theme = find_theme(theme);
    return true;
}

static int run_nights(const char *path)
{
    char line[256];
    uint64_t seed, count = 0;
    int failed = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        return 2;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (!read_night(line, &seed))
            continue;
        count++;
        if (sim_run(&sim, seed, false))
            continue;
        say_violation(seed);
        failed = 1;
    }
    fclose(file);
    printf("%" PRIu64 " nights of %s: %s\n", count, path, failed ? "VIOLATED" : "no violation");
    return failed || count == 0;
}

struct share {
    uint64_t digest, happenings;
};

/* A process of its own for a share of the seeds; what it says comes through *out. */
static pid_t start_share(uint64_t from, uint64_t count, uint64_t job, uint64_t jobs, int *out)
{
    int ends[2];
    if (pipe(ends) != 0)
        return -1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct share share = {0, 0};
        int rc = run_share(from, count, job, jobs, &share.digest, &share.happenings);
        if (write(ends[1], &share, sizeof share) != sizeof share || coverage_send(ends[1]) != 0)
            rc = 1;
        _exit(rc);
    }
    close(ends[1]);
    *out = ends[0];
    return child;
}

static int end_share(pid_t child, int in, struct share *sum)
{
    struct share share;
    int status;
    bool heard = read(in, &share, sizeof share) == sizeof share && coverage_receive(in) == 0;
    close(in);
    waitpid(child, &status, 0);
    if (!heard)
        return 1;
    sum->digest += share.digest;
    sum->happenings += share.happenings;
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static int run_range(uint64_t from, uint64_t count, uint64_t jobs)
{
    double began = seconds();
    pid_t children[JOBS_MAX];
    int ins[JOBS_MAX];
    struct share sum = {0, 0};
    int failed = 0;
    for (uint64_t job = 0; job < jobs; job++) {
        children[job] = start_share(from, count, job, jobs, &ins[job]);
        if (children[job] < 0)
            return 1;
    }
    for (uint64_t job = 0; job < jobs; job++)
        failed |= end_share(children[job], ins[job], &sum);
    double took = seconds() - began;
    printf("%" PRIu64 " seeds from %" PRIu64 ": %s, %" PRIu64 " happenings, %.1f s, %.2f ms a "
           "seed, digest %016" PRIx64 "\n",
           count, from, failed ? "VIOLATED" : "no violation", sum.happenings, took,
           took * 1000 / (double)count, sum.digest);
    return failed;
}

/* ---- planted mistakes ---- */

enum { MUTANT_SEEDS = 20000, THEME_SEEDS = 2000 };

/* Those that are looked for in nights of a theme: doc/testing.md says who else finds them. */
static const char *const theme_of[MUTANTS_END] = {
    [MUTANT_SUSPICION_FORGOTTEN] = "restored",  [MUTANT_NEWCOMER_ONCE] = "lost-answers",
    [MUTANT_QUARANTINED_COUNTS] = "quarantine", [MUTANT_CHUNK_DATED_BY_FIRST] = "uptime",
    [MUTANT_DATED_BY_UPTIME] = "uptime",        [MUTANT_FULL_FORGETS] = "full-table",
    [MUTANT_LATE_STATEMENT] = "late-statement", [MUTANT_MARKER_OF_ANYBODY] = "markers",
    [MUTANT_ROW_NOT_CARRIED_OUT] = "how-soon",  [MUTANT_FORGOTTEN_EARLY] = "horizon",
    [MUTANT_FORGOTTEN_IS_UNDONE] = "uptime",    [MUTANT_LOST_IS_REMEMBERED] = "lost-log",
    [MUTANT_LOST_VOTES_PROVE] = "lost-log",     [MUTANT_LOST_BY_NAME] = "lost-log",
    [MUTANT_ADOPTED_BEHIND] = "lost-log",
};

static const struct {
    const char *name;
    const char *words;
} mutants[MUTANTS_END] = {
#define X(name, words) [MUTANT_##name] = {#name, words},
    MUTANTS(X)
#undef X
};

enum mutant mutant_planted = MUTANT_NONE;

/* What the process that makes the mistake leaves behind, whichever way it ends. */
struct find {
    uint64_t seed;
    char violation[sizeof((struct sim *)0)->violation];
};

static void look_for(enum mutant mutant, struct find *find)
{
    mutant_planted = mutant;
    if (freopen("/dev/null", "w", stderr) == NULL)
        _exit(0);
    strcpy(find->violation, "an assertion fails");
    uint64_t seeds = MUTANT_SEEDS;
    if (sim.theme == 0 && theme_of[mutant] != NULL)
        sim.theme = theme_find(theme_of[mutant]);
    if (sim.theme != 0)
        seeds = THEME_SEEDS;
    for (find->seed = 1; find->seed <= seeds; find->seed++) {
        if (sim_run(&sim, find->seed, false))
            continue;
        memcpy(find->violation, sim.violation, sizeof find->violation);
        _exit(1);
    }
    _exit(0);
}

/* In a process of its own: a mistake may well end in an assertion, which is found too. */
static bool mutant_found(enum mutant mutant)
{
    const char *theme = sim.theme != 0 ? theme_name(sim.theme) : theme_of[mutant];
    struct find *find =
        mmap(NULL, sizeof *find, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (find == MAP_FAILED)
        return false;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        look_for(mutant, find);
    int status = 0;
    bool found = child > 0 && waitpid(child, &status, 0) == child &&
                 (WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    if (found)
        printf("%-21s seed %5" PRIu64 "%s%s  %s\n", mutants[mutant].name, find->seed,
               theme != NULL ? " of " : "", theme != NULL ? theme : "", find->violation);
    else
        printf("%-21s ESCAPED     %s\n", mutants[mutant].name, mutants[mutant].words);
    munmap(find, sizeof *find);
    return found;
}

static int run_mutants(const char *only)
{
    unsigned found = 0, all = 0;
    for (unsigned i = 1; i < MUTANTS_END; i++) {
        if (only != NULL && strcmp(only, mutants[i].name) != 0)
            continue;
        all++;
        found += mutant_found((enum mutant)i);
    }
    printf("%u of %u planted mistakes found within %d nights each, or %d of their theme\n", found,
           all, MUTANT_SEEDS, THEME_SEEDS);
    return found == all ? 0 : 1;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 0);
    if (*end != '\0' || end == text) {
        fprintf(stderr, "assent-sim: not a number: %s\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 'n'},
        {"from", required_argument, NULL, 'f'},
        {"jobs", required_argument, NULL, 'j'},
        {"verbose", no_argument, NULL, 'v'},
        {"mutants", optional_argument, NULL, 'm'},
        {"coverage", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {"mutant", required_argument, NULL, 'p'},
        {"nights", required_argument, NULL, 'w'},
        {"theme", required_argument, NULL, 't'},
        {"go-on", no_argument, NULL, 'g'},
        {NULL, 0, NULL, 0},
    };
    uint64_t seed = 0, seeds = 0, from = 1, jobs = 1;
    bool verbose = false, one = false, coverage = false, all_mutants = false;
    const char *only = NULL, *nights = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's':
            seed = number(optarg);
            one = true;
            break;
        case 'n':
            seeds = number(optarg);
            break;
        case 'f':
            from = number(optarg);
            break;
        case 'j':
            jobs = number(optarg);
            break;
        case 'v':
            verbose = true;
            break;
        case 'c':
            coverage = true;
            break;
        case 'm':
            all_mutants = true;
            only = optarg;
            break;
        case 'p':
            for (unsigned i = 1; i < MUTANTS_END; i++)
                if (strcmp(mutants[i].name, optarg) == 0)
                    mutant_planted = (enum mutant)i;
            break;
        case 't':
            sim.theme = find_theme(optarg);
            break;
        case 'g':
            goes_on = true;
            break;
        case 'w':
            nights = optarg;
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (all_mutants)
        return run_mutants(only);
    if (one)
        return run_one(seed, verbose);
    if (nights != NULL)
        return run_nights(nights);
    if (seeds == 0 || jobs == 0 || jobs > JOBS_MAX) {
        usage(stderr);
        return 2;
    }
    int failed = run_range(from, seeds, jobs);
    if (coverage)
        failed |= coverage_print();
    return failed;
}
