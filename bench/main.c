/*
 * bench/main.c - assent-bench: the order of things.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"

enum { READY_S = 30 };

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
    _exit(EXIT_FAILURE); /* what exit() would clean up is clean */
}

void stop_error(const struct error *error)
{
    stop("%s%s%s", error->message, error->hint[0] == '\0' ? "" : "\nhint: ", error->hint);
}

/* ---- what the run needs ---- */

static bool coordinator_ready(struct bench *bench)
{
    struct coordinator_site *site = &bench->coordinators[bench->opening];
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

static bool agents_ready(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->databases_most; i++)
        if (!net_link_connected(bench->databases[i].agent))
            return false;
    return true;
}

/* Where the agents are, the coordinator says. */
static void find_agents(struct bench *bench)
{
    static const char text[] = "{\"op\":\"agents\"}";
    char *reply = NULL;
    size_t length;
    const struct coordinator_site *site = &bench->coordinators[SITE_DATABASES];
    if (net_call_wait(site->looks, text, sizeof text - 1, READY_S * 1000, &reply, &length) !=
        NET_OK)
        stop("the coordinator at %s does not answer", site->url);
    cJSON *object = cJSON_ParseWithLength(reply, length);
    const cJSON *agent;
    cJSON_ArrayForEach(agent, cJSON_GetObjectItemCaseSensitive(object, "agents"))
    {
        const char *rm = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(agent, "rm"));
        const char *url = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(agent, "url"));
        for (uint32_t i = 0; rm != NULL && url != NULL && i < bench->databases_most; i++)
            if (strcmp(rm, bench->databases[i].rm) == 0)
                snprintf(bench->databases[i].agent_url, URL_BYTES, "%s", url);
    }
    cJSON_Delete(object);
    free(reply);
}

static void meet(struct bench *bench, enum site site)
{
    bench->opening = site;
    ask_open(&bench->coordinators[site], bench->loop, bench->clients_most);
    run_until(bench, coordinator_ready, READY_S, "the coordinator has met its agents");
}

static void meet_agents(struct bench *bench)
{
    struct error error;
    find_agents(bench);
    for (uint32_t i = 0; i < bench->databases_most; i++) {
        struct database_site *site = &bench->databases[i];
        if (net_link_open(&site->agent, bench->loop, site->agent_url, bench->clients_most,
                          &error) != 0)
            stop_error(&error);
    }
    run_until(bench, agents_ready, READY_S, "the agents can be reached");
}

static void make_clients(struct bench *bench)
{
    bench->clients = calloc(bench->clients_most, sizeof *bench->clients);
    if (bench->clients == NULL)
        stop("out of memory");
    for (uint32_t i = 0; i < bench->clients_most; i++) {
        bench->clients[i].bench = bench;
        bench->clients[i].number = i;
    }
}

static bool wanted(const struct bench *bench, enum site site)
{
    for (uint32_t i = 0; i < bench->options.mode_count; i++)
        if (bench->options.modes[i]->site == site)
            return true;
    return site == SITE_LIVE && bench->options.live > 0;
}

static void set_up_databases(struct bench *bench)
{
    struct coordinator_site *site = &bench->coordinators[SITE_DATABASES];
    if (bench->options.self_contained)
        site_databases(bench);
    else
        snprintf(site->url, sizeof site->url, "%s", bench->options.url);
    meet(bench, SITE_DATABASES);
    meet_agents(bench);
    work_open(bench);
}

static void set_up(struct bench *bench)
{
    static const int signals[] = {SIGINT, SIGTERM, 0};
    struct error error;
    ours = getpid();
    if (loop_create(&bench->loop, &error) != 0 || loop_signals(bench->loop, signals, &error) != 0)
        stop_error(&error);
    make_clients(bench);
    if (wanted(bench, SITE_DATABASES))
        set_up_databases(bench);
    for (enum site site = SITE_STUBS; site < SITES; site++)
        if (wanted(bench, site)) {
            site_stubs(bench, site);
            meet(bench, site);
        }
    if (wanted(bench, SITE_REMEMBERING))
        many_remember(bench);
}

static void close_link(struct net_link *link)
{
    if (link != NULL)
        net_link_close(link);
}

static void tear_down(struct bench *bench)
{
    if (wanted(bench, SITE_DATABASES))
        work_close(bench);
    for (enum site site = 0; site < SITES; site++) {
        close_link(bench->coordinators[site].calls);
        close_link(bench->coordinators[site].looks);
    }
    for (uint32_t i = 0; i < bench->databases_most; i++)
        close_link(bench->databases[i].agent);
    site_close();
    stub_close();
    loop_free(bench->loop);
    free(bench->clients);
}

/* ---- the run ---- */

/* All modes with so many clients and databases; their figures follow those that are there. */
static void run_modes(struct bench *bench, struct results *results, uint32_t clients,
                      uint32_t databases)
{
    struct figures *figures = &results->all[results->count];
    for (uint32_t i = 0; i < bench->options.mode_count; i++)
        figures[i] = (struct figures){
            .mode = bench->options.modes[i], .clients = clients, .databases = databases};
    run(bench, figures, bench->options.seconds);
    results->count += bench->options.mode_count;
}

static void run_pinned(struct bench *bench, struct results *results)
{
    uint32_t count = bench->options.mode_count;
    for (uint32_t i = 0; i < count; i++)
        results->pinned[i] = (struct figures){.mode = results->all[i].mode,
                                              .clients = results->all[i].clients,
                                              .databases = results->all[i].databases};
    pinned_begin(bench);
    run(bench, results->pinned, bench->options.pinned_s / count);
    pinned_end(bench);
}

static void run_all(struct bench *bench, struct results *results)
{
    const struct options *options = &bench->options;
    for (uint32_t i = 0; i < options->clients.count; i++)
        for (uint32_t j = 0; j < options->databases.count; j++)
            run_modes(bench, results, options->clients.values[i], options->databases.values[j]);
    if (options->pinned_s > 0)
        run_pinned(bench, results);
    if (options->live > 0)
        many_live(bench, &results->live);
}

static void results_free(struct results *results)
{
    for (uint32_t i = 0; i < results->count; i++)
        free(results->all[i].samples_us);
    for (uint32_t i = 0; i < MODES_MAX; i++)
        free(results->pinned[i].samples_us);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    static struct results results;
    read_options(&bench, argc, argv);
    set_up(&bench);
    run_all(&bench, &results);
    report(&bench, &results);
    if (bench.options.plot != NULL)
        plot(bench.options.plot, results.all, results.count);
    tear_down(&bench);
    results_free(&results);
    return EXIT_SUCCESS;
}
