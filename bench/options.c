/*
 * bench/options.c - assent-bench: what it was asked to do.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "config.h"

enum { EXIT_USAGE = 2 };

static const char help[] =
    "Usage: assent-bench [OPTION]...\n"
    "Compares ways of committing in several PostgreSQL databases, side by side in one run.\n"
    "\n"
    "  --mode MODE,...       raw            the client alone: PREPARE and COMMIT PREPARED, no\n"
    "                                       durable decision (unsafe)\n"
    "                        raw-pipelined  the same in libpq's pipeline mode\n"
    "                        own            own connections, the coordinator decides\n"
    "                        own-pipelined  the same in libpq's pipeline mode\n"
    "                        exec           through the agents\n"
    "                        own-3pc, own-pipelined-3pc, exec-3pc\n"
    "                                       the same by three-phase commit\n"
    "                        decide         the coordinator alone, agents that say yes at once\n"
    "                        decide-remembering\n"
    "                                       the same by one that has decided many before\n"
    "                        (default: raw,raw-pipelined,own,exec)\n"
    "  --protocol WORD       `2pc' (default) or `3pc' for the modes that have both, or\n"
    "                        `2pc,3pc' for each of them by both\n"
    "  --clients N,...       transactions under way at once (32); with several, one table\n"
    "  --databases N,...     in each transaction (2); with several, one table\n"
    "  --seconds S           for each mode and number of clients (5)\n"
    "  --slice S             length of a slice: the modes take turns (0.5)\n"
    "  --pinned S            then S seconds more with a prepared transaction pending in each\n"
    "                        database, and what each mode has kept of its rate\n"
    "  --remembered N        decide-remembering: transactions decided before (1000000)\n"
    "  --live N              then what so many live transactions take of a coordinator's\n"
    "                        memory (at most 200000)\n"
    "  --wait WORD           commit answers when `applied' (default) or `decided'\n"
    "  --batch N             decide: requests in one message (16)\n"
    "  --self-contained      start throw-away clusters and daemons (from where I am)\n"
    "  --folder DIR          where their folder is made (/tmp)\n"
    "  --pool N              the agents' pool_size (16)\n"
    "  --url URL             use the coordinator that runs there\n"
    "  --rm NAME=CONNINFO    and its resource manager; as often as there are databases;\n"
    "                        a table assent_bench is made in each and dropped\n"
    "  --json                the figures as JSON\n"
    "  --plot FILE.svg       and as a picture: throughput and latency against the\n"
    "                        clients, or the databases\n"
    "  --version, --help\n";

enum option_code {
    OPTION_MODE = 256,
    OPTION_PROTOCOL,
    OPTION_CLIENTS,
    OPTION_DATABASES,
    OPTION_SECONDS,
    OPTION_SLICE,
    OPTION_WAIT,
    OPTION_BATCH,
    OPTION_SELF_CONTAINED,
    OPTION_FOLDER,
    OPTION_PINNED,
    OPTION_REMEMBERED,
    OPTION_LIVE,
    OPTION_POOL,
    OPTION_URL,
    OPTION_RM,
    OPTION_JSON,
    OPTION_PLOT,
    OPTION_VERSION,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"mode", required_argument, NULL, OPTION_MODE},
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"clients", required_argument, NULL, OPTION_CLIENTS},
    {"databases", required_argument, NULL, OPTION_DATABASES},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"slice", required_argument, NULL, OPTION_SLICE},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"self-contained", no_argument, NULL, OPTION_SELF_CONTAINED},
    {"folder", required_argument, NULL, OPTION_FOLDER},
    {"pinned", required_argument, NULL, OPTION_PINNED},
    {"remembered", required_argument, NULL, OPTION_REMEMBERED},
    {"live", required_argument, NULL, OPTION_LIVE},
    {"pool", required_argument, NULL, OPTION_POOL},
    {"url", required_argument, NULL, OPTION_URL},
    {"rm", required_argument, NULL, OPTION_RM},
    {"json", no_argument, NULL, OPTION_JSON},
    {"plot", required_argument, NULL, OPTION_PLOT},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static _Noreturn void misused(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void misused(const char *format, ...)
{
    va_list values;
    fputs("error: ", stderr);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputs("\nTry `assent-bench --help'.\n", stderr);
    exit(EXIT_USAGE);
}

static uint32_t number(const char *option, const char *text, uint32_t most)
{
    char *rest;
    unsigned long value = strtoul(text, &rest, 10);
    if (*text == '\0' || *rest != '\0' || value < 1 || value > most)
        misused("--%s wants a number from 1 to %u, not \"%s\"", option, most, text);
    return (uint32_t)value;
}

static double duration_s(const char *option, const char *text)
{
    char *rest;
    double value = strtod(text, &rest);
    if (*text == '\0' || *rest != '\0' || !(value >= 0.05 && value <= 3600))
        misused("--%s wants seconds, from 0.05 to 3600, not \"%s\"", option, text);
    return value;
}

static void add_mode(struct options *options, const struct mode *mode)
{
    if (options->mode_count == MODES_MAX)
        misused("--mode: at most %d", MODES_MAX);
    options->modes[options->mode_count++] = mode;
}

static void read_modes(struct options *options, char *text)
{
    char *rest = NULL;
    options->mode_count = 0;
    for (char *name = strtok_r(text, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        const struct mode *mode = mode_find(name);
        if (mode == NULL)
            misused("--mode: there is no mode \"%s\"", name);
        add_mode(options, mode);
    }
    if (options->mode_count == 0)
        misused("--mode wants one at least");
}

/* The modes that have a variety by 3pc: by these protocols. */
static void apply_protocols(struct options *options, const char *protocols)
{
    const struct options asked = *options;
    bool by_two = strcmp(protocols, "3pc") != 0, by_three = strcmp(protocols, "2pc") != 0;
    if (strcmp(protocols, "2pc,3pc") != 0 && by_two == by_three)
        misused("--protocol wants `2pc', `3pc' or `2pc,3pc', not \"%s\"", protocols);
    options->mode_count = 0;
    for (uint32_t i = 0; i < asked.mode_count; i++) {
        const struct mode *mode = asked.modes[i], *other = mode_by_three(mode);
        if (other == NULL || by_two)
            add_mode(options, mode);
        if (other != NULL && by_three)
            add_mode(options, other);
    }
}

static void read_counts(const char *option, struct counts *out, char *text, uint32_t most)
{
    char *rest = NULL;
    out->count = 0;
    for (char *count = strtok_r(text, ",", &rest); count != NULL;
         count = strtok_r(NULL, ",", &rest)) {
        if (out->count == COUNTS_MAX)
            misused("--%s: at most %d numbers", option, COUNTS_MAX);
        out->values[out->count++] = number(option, count, most);
    }
    if (out->count == 0)
        misused("--%s wants a number at least", option);
}

static uint32_t most_of(const struct counts *counts)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < counts->count; i++)
        most = counts->values[i] > most ? counts->values[i] : most;
    return most;
}

static void read_rm(struct bench *bench, uint32_t *rms, const char *text)
{
    const char *equals = strchr(text, '=');
    if (*rms == DATABASES_MAX)
        misused("--rm: at most %d", DATABASES_MAX);
    struct database_site *site = &bench->databases[(*rms)++];
    if (equals == NULL || !rm_name_valid(text, (size_t)(equals - text)) ||
        strlen(equals + 1) >= sizeof site->conninfo)
        misused("--rm wants NAME=CONNINFO, not \"%s\"", text);
    text_copy(site->rm, sizeof site->rm, text, (size_t)(equals - text));
    snprintf(site->conninfo, sizeof site->conninfo, "%s", equals + 1);
}

/* What was asked for fits together. rms: how many were named. */
static void check_options(struct bench *bench, uint32_t rms)
{
    struct options *options = &bench->options;
    if (options->databases.count == 0)
        options->databases = (struct counts){.values = {rms > 0 ? rms : 2}, .count = 1};
    bench->clients_most = most_of(&options->clients);
    bench->databases_most = most_of(&options->databases);
    if (options->clients.count > 1 && options->databases.count > 1)
        misused("several numbers for --clients or for --databases, not for both");
    if (options->pinned_s > 0 && options->clients.count * options->databases.count > 1)
        misused("--pinned wants one number of clients, and of databases");
    for (uint32_t i = 0; i < options->mode_count; i++)
        if (options->pinned_s > 0 && options->modes[i]->site != SITE_DATABASES)
            misused("--pinned wants modes that work in databases, not %s", options->modes[i]->name);
    if (options->slice_s > options->seconds)
        options->slice_s = options->seconds;
    if (options->self_contained == (rms > 0) || options->self_contained == (options->url != NULL) ||
        (rms > 0 && rms != bench->databases_most))
        misused("give either --self-contained, or --url and as many --rm as there are databases");
}

void read_options(struct bench *bench, int argc, char **argv)
{
    static char default_modes[] = "raw,raw-pipelined,own,exec", default_clients[] = "32";
    struct options *options = &bench->options;
    const char *protocols = "2pc";
    uint32_t rms = 0;
    int code;
    *options = (struct options){
        .batch = 16,
        .pool = 16,
        .seconds = 5,
        .slice_s = 0.5,
        .remembered = 1000000,
        .wait = "applied",
        .folder = "/tmp",
    };
    read_modes(options, default_modes);
    read_counts("clients", &options->clients, default_clients, CLIENTS_MAX);
    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (code) {
        case OPTION_MODE:
            read_modes(options, optarg);
            break;
        case OPTION_PROTOCOL:
            protocols = optarg;
            break;
        case OPTION_CLIENTS:
            read_counts("clients", &options->clients, optarg, CLIENTS_MAX);
            break;
        case OPTION_DATABASES:
            read_counts("databases", &options->databases, optarg, DATABASES_MAX);
            break;
        case OPTION_SECONDS:
            options->seconds = duration_s("seconds", optarg);
            break;
        case OPTION_SLICE:
            options->slice_s = duration_s("slice", optarg);
            break;
        case OPTION_WAIT:
            if (strcmp(optarg, "applied") != 0 && strcmp(optarg, "decided") != 0)
                misused("--wait wants `applied' or `decided', not \"%s\"", optarg);
            options->wait = optarg;
            break;
        case OPTION_BATCH:
            options->batch = number("batch", optarg, BATCH_LARGEST);
            break;
        case OPTION_SELF_CONTAINED:
            options->self_contained = true;
            break;
        case OPTION_FOLDER:
            options->folder = optarg;
            break;
        case OPTION_PINNED:
            options->pinned_s = duration_s("pinned", optarg);
            break;
        case OPTION_REMEMBERED:
            options->remembered = number("remembered", optarg, 100 * 1000 * 1000);
            break;
        case OPTION_LIVE:
            options->live = number("live", optarg, LIVE_MAX);
            break;
        case OPTION_POOL:
            options->pool = number("pool", optarg, 1000);
            break;
        case OPTION_URL:
            options->url = optarg;
            break;
        case OPTION_RM:
            read_rm(bench, &rms, optarg);
            break;
        case OPTION_JSON:
            options->json = true;
            break;
        case OPTION_PLOT:
            options->plot = optarg;
            break;
        case OPTION_VERSION:
            puts("assent-bench (" PACKAGE_NAME ") " PACKAGE_VERSION);
            exit(EXIT_SUCCESS);
        case OPTION_HELP:
            fputs(help, stdout);
            exit(EXIT_SUCCESS);
        default:
            fputs("Try `assent-bench --help'.\n", stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc)
        misused("what is \"%s\"?", argv[optind]);
    apply_protocols(options, protocols);
    check_options(bench, rms);
}
