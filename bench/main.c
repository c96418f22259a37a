/*
 * bench/main.c - assent-bench: options, and the order of things.
 */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "config.h"

enum { EXIT_USAGE = 2, READY_S = 30 };

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
    "                        (default: raw,raw-pipelined,own,exec)\n"
    "  --clients N,...       transactions under way at once (32); with several, one table\n"
    "  --databases N         in each transaction (2)\n"
    "  --seconds S           for each mode and number of clients (5)\n"
    "  --slice S             length of a slice: the modes take turns (0.5)\n"
    "  --pinned S            then S seconds more with a prepared transaction pending in each\n"
    "                        database, and what each mode has kept of its rate\n"
    "  --wait WORD           commit answers when `applied' (default) or `decided'\n"
    "  --batch N             decide: requests in one message (16)\n"
    "  --self-contained      start throw-away clusters and daemons (from where I am)\n"
    "  --folder DIR          where their folder is made (/tmp)\n"
    "  --pool N              the agents' pool_size (16)\n"
    "  --url URL             use the coordinator that runs there\n"
    "  --rm NAME=CONNINFO    and its resource manager; as often as there are databases;\n"
    "                        a table assent_bench is made in each and dropped\n"
    "  --json                the figures as JSON\n"
    "  --plot FILE.svg       and as a picture: throughput and latency against clients\n"
    "  --version, --help\n";

enum option_code {
    OPTION_MODE = 256,
    OPTION_CLIENTS,
    OPTION_DATABASES,
    OPTION_SECONDS,
    OPTION_SLICE,
    OPTION_WAIT,
    OPTION_BATCH,
    OPTION_SELF_CONTAINED,
    OPTION_FOLDER,
    OPTION_PINNED,
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
    {"clients", required_argument, NULL, OPTION_CLIENTS},
    {"databases", required_argument, NULL, OPTION_DATABASES},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"slice", required_argument, NULL, OPTION_SLICE},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"self-contained", no_argument, NULL, OPTION_SELF_CONTAINED},
    {"folder", required_argument, NULL, OPTION_FOLDER},
    {"pinned", required_argument, NULL, OPTION_PINNED},
    {"pool", required_argument, NULL, OPTION_POOL},
    {"url", required_argument, NULL, OPTION_URL},
    {"rm", required_argument, NULL, OPTION_RM},
    {"json", no_argument, NULL, OPTION_JSON},
    {"plot", required_argument, NULL, OPTION_PLOT},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/* ---- the end ---- */

static pid_t ours; /* a child that fails before exec leaves what is ours alone */

static void clean_up(void)
{
    if (getpid() == ours)
        site_close();
}

void stop(const char *format, ...)
{
    va_list values;
    fputs("error: ", stderr);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    clean_up();
    /* nng's threads may still call into what exit handlers would free. */
    _exit(EXIT_FAILURE);
}

void stop_error(const struct error *error)
{
    stop("%s%s%s", error->message, error->hint[0] == '\0' ? "" : "\nhint: ", error->hint);
}

/* ---- options ---- */

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

static void read_modes(struct options *options, char *text)
{
    char *rest = NULL;
    options->mode_count = 0;
    for (char *name = strtok_r(text, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        const struct mode *mode = mode_find(name);
        if (mode == NULL)
            misused("--mode: there is no mode \"%s\"", name);
        if (options->mode_count == MODES_MAX)
            misused("--mode: at most %d", MODES_MAX);
        options->modes[options->mode_count++] = mode;
    }
}

static void read_clients(struct options *options, char *text)
{
    char *rest = NULL;
    options->client_counts = 0;
    for (char *count = strtok_r(text, ",", &rest); count != NULL;
         count = strtok_r(NULL, ",", &rest)) {
        if (options->client_counts == CLIENT_COUNTS_MAX)
            misused("--clients: at most %d numbers", CLIENT_COUNTS_MAX);
        options->clients[options->client_counts++] = number("clients", count, CLIENTS_MAX);
    }
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

static void read_options(struct bench *bench, int argc, char **argv)
{
    static char default_modes[] = "raw,raw-pipelined,own,exec", default_clients[] = "32";
    struct options *options = &bench->options;
    uint32_t rms = 0;
    int code;
    *options = (struct options){
        .databases = 2,
        .batch = 16,
        .pool = 16,
        .seconds = 5,
        .slice_s = 0.5,
        .wait = "applied",
        .folder = "/tmp",
    };
    read_modes(options, default_modes);
    read_clients(options, default_clients);
    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (code) {
        case OPTION_MODE:
            read_modes(options, optarg);
            break;
        case OPTION_CLIENTS:
            read_clients(options, optarg);
            break;
        case OPTION_DATABASES:
            options->databases = number("databases", optarg, DATABASES_MAX);
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
        case OPTION_POOL:
            options->pool = number("pool", optarg, 1000);
            break;
        case OPTION_URL:
            options->url = optarg;
            break;
        case OPTION_RM:
            read_rm(bench, &rms, optarg);
            options->databases = rms;
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
    if (options->mode_count == 0 || options->client_counts == 0)
        misused("--mode and --clients want at least one each");
    if (options->pinned_s > 0 && (options->client_counts != 1 || options->json))
        misused("--pinned wants one number of clients, and prints no JSON");
    if (options->slice_s > options->seconds)
        options->slice_s = options->seconds;
    if (options->self_contained == (rms > 0) || options->self_contained == (options->url != NULL))
        misused("give either --self-contained, or --url and as many --rm as there are databases");
}

/* ---- what the run needs ---- */

static bool ready(struct coordinator_site *site)
{
    cJSON *status = ask_status(site);
    const cJSON *rm;
    const char *of_tm = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "state"));
    bool all = of_tm != NULL && strcmp(of_tm, "ready") == 0 && net_link_connected(site->calls);
    cJSON_ArrayForEach(rm, cJSON_GetObjectItemCaseSensitive(status, "rms"))
    {
        const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(rm, "state"));
        all = all && state != NULL && strcmp(state, "up") == 0;
    }
    cJSON_Delete(status);
    return all;
}

static bool tm_ready(struct bench *bench)
{
    return ready(&bench->tm);
}

static bool agents_ready(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->options.databases; i++)
        if (!net_link_connected(bench->databases[i].agent))
            return false;
    return true;
}

static bool stub_ready(struct bench *bench)
{
    return ready(&bench->stub);
}

/* Where the agents are, the coordinator says. */
static void find_agents(struct bench *bench)
{
    static const char text[] = "{\"op\":\"agents\"}";
    char *reply = NULL;
    size_t length;
    if (net_call_wait(bench->tm.looks, text, sizeof text - 1, READY_S * 1000, &reply, &length) !=
        NET_OK)
        stop("the coordinator at %s does not answer", bench->tm.url);
    cJSON *object = cJSON_ParseWithLength(reply, length);
    const cJSON *agent;
    cJSON_ArrayForEach(agent, cJSON_GetObjectItemCaseSensitive(object, "agents"))
    {
        const char *rm = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(agent, "rm"));
        const char *url = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(agent, "url"));
        for (uint32_t i = 0; rm != NULL && url != NULL && i < bench->options.databases; i++)
            if (strcmp(rm, bench->databases[i].rm) == 0)
                snprintf(bench->databases[i].agent_url, URL_BYTES, "%s", url);
    }
    cJSON_Delete(object);
    free(reply);
}

static void open_links(struct bench *bench)
{
    struct error error;
    ask_open(&bench->tm, bench->clients_most);
    run_until(bench, tm_ready, READY_S, "the coordinator has met its agents");
    find_agents(bench);
    for (uint32_t i = 0; i < bench->options.databases; i++) {
        struct database_site *site = &bench->databases[i];
        if (net_link_open(&site->agent, site->agent_url, bench->clients_most, &error) != 0)
            stop_error(&error);
    }
    run_until(bench, agents_ready, READY_S, "the agents can be reached");
}

static void make_clients(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->options.client_counts; i++)
        if (bench->options.clients[i] > bench->clients_most)
            bench->clients_most = bench->options.clients[i];
    bench->clients = calloc(bench->clients_most, sizeof *bench->clients);
    if (bench->clients == NULL)
        stop("out of memory");
    for (uint32_t i = 0; i < bench->clients_most; i++) {
        bench->clients[i].bench = bench;
        bench->clients[i].number = i;
    }
}

/* Is there a mode that needs databases, or that does without? */
static bool some_mode(const struct bench *bench, bool databases)
{
    for (uint32_t i = 0; i < bench->options.mode_count; i++)
        if (bench->options.modes[i]->databases == databases)
            return true;
    return false;
}

static void set_up(struct bench *bench)
{
    static const int signals[] = {SIGINT, SIGTERM, 0};
    struct error error;
    ours = getpid();
    if (loop_create(&bench->loop, &error) != 0 || loop_signals(bench->loop, signals, &error) != 0)
        stop_error(&error);
    make_clients(bench);
    if (some_mode(bench, true)) {
        if (bench->options.self_contained)
            site_databases(bench);
        else
            snprintf(bench->tm.url, sizeof bench->tm.url, "%s", bench->options.url);
        open_links(bench);
        work_open(bench);
    }
    if (some_mode(bench, false)) {
        site_stubs(bench);
        ask_open(&bench->stub, bench->clients_most);
        run_until(bench, stub_ready, READY_S, "the coordinator has met the stub agents");
    }
}

static void close_link(struct net_link *link)
{
    if (link != NULL)
        net_link_close(link);
}

static void tear_down(struct bench *bench)
{
    if (some_mode(bench, true))
        work_close(bench);
    close_link(bench->tm.calls);
    close_link(bench->tm.looks);
    close_link(bench->stub.calls);
    close_link(bench->stub.looks);
    for (uint32_t i = 0; i < bench->options.databases; i++)
        close_link(bench->databases[i].agent);
    site_close();
    stub_close();
    loop_free(bench->loop);
    free(bench->clients);
}

static void run_pinned(struct bench *bench, const struct figures *before)
{
    static struct figures pinned[MODES_MAX];
    uint32_t count = bench->options.mode_count;
    for (uint32_t i = 0; i < count; i++)
        pinned[i] = (struct figures){.mode = before[i].mode, .clients = before[i].clients};
    pinned_begin(bench);
    run(bench, pinned, bench->options.pinned_s / count);
    pinned_end(bench);
    pinned_report(bench, before, pinned, count);
    for (uint32_t i = 0; i < count; i++)
        free(pinned[i].samples_us);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    static struct figures all[CLIENT_COUNTS_MAX * MODES_MAX];
    read_options(&bench, argc, argv);
    set_up(&bench);
    const struct options *options = &bench.options;
    uint32_t count = 0;
    for (uint32_t i = 0; i < options->client_counts; i++) {
        struct figures *figures = &all[count];
        for (uint32_t j = 0; j < options->mode_count; j++)
            all[count++] =
                (struct figures){.mode = options->modes[j], .clients = options->clients[i]};
        run(&bench, figures, options->seconds);
    }
    report(&bench, all, count);
    if (options->pinned_s > 0)
        run_pinned(&bench, all);
    if (options->plot != NULL)
        plot(options->plot, all, count);
    tear_down(&bench);
    for (uint32_t i = 0; i < count; i++)
        free(all[i].samples_us);
    return EXIT_SUCCESS;
}
