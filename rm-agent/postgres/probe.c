/*
 * rm-agent/postgres/probe.c - one question on a connection that is opened for it and closed behind
 * it.
 *
 * What an application or a promotion would find is found by trying it: whether a role may log in,
 * whether the other host is a standby of this server.
 */
#include "rm-agent/postgres/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"

struct probe {
    struct pg *pg;
    const char *sql;
    int count;
    char *values[PROBE_VALUES_MAX];
    probe_done_fn *done;
    void *arg;
};

static void probe_end(struct probe *probe, const struct pg_reply *reply, const char *why)
{
    probe->done(probe->arg, reply, why);
    pg_close(probe->pg);
    for (int i = 0; i < probe->count; i++)
        free(probe->values[i]);
    free(probe);
}

static void probe_answered(void *arg, const struct pg_reply *replies, int count)
{
    (void)count;
    if (!replies->alive)
        return; /* down() follows */
    if (replies->sqlstate[0] != '\0')
        probe_end(arg, NULL, replies->message);
    else
        probe_end(arg, replies, "");
}

static void probe_up(void *arg)
{
    struct probe *probe = arg;
    const struct pg_statement statement = {
        .sql = probe->sql, .count = probe->count, .values = (const char *const *)probe->values};
    pg_run(probe->pg, &statement, 1, probe_answered, probe);
}

static void probe_down(void *arg, const char *why)
{
    probe_end(arg, NULL, why);
}

void probe(struct agent *agent, const char *conninfo, const struct probe_question *question,
           probe_done_fn *done, void *arg)
{
    struct probe *probe = must_alloc(sizeof *probe, "a question to another server");
    struct pg_options options = {
        .conninfo = conninfo,
        .settings = settings_of_probes,
        .up = probe_up,
        .down = probe_down,
        .arg = probe,
    };
    probe->sql = question->sql;
    probe->count = question->count;
    probe->done = done;
    probe->arg = arg;
    for (int i = 0; i < question->count; i++)
        probe->values[i] = must_copy(question->values[i], "a parameter of a question");
    probe->pg = pg_open(agent->set, &options);
}

/* ---- the hosts of a conninfo ---- */

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword != NULL; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val == NULL ? "" : options->val;
    return "";
}

/* Piece number `at` of a list with commas; the only one stands for all. */
static int piece(const char *list, int at, const char **start)
{
    const char *comma = list;
    for (int i = 0; i < at && (comma = strchr(comma, ',')) != NULL; i++)
        comma++;
    *start = comma != NULL ? comma : list;
    return (int)strcspn(*start, ",");
}

static int pieces(const char *list)
{
    int count = list[0] != '\0';
    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

int conninfo_hosts(const char *conninfo)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    int hosts = options == NULL ? 0 : pieces(option_value(options, "host"));
    int addresses = options == NULL ? 0 : pieces(option_value(options, "hostaddr"));
    PQconninfoFree(options);
    return hosts > addresses ? hosts : addresses;
}

static void write_option(FILE *out, const char *keyword, const char *value, int length)
{
    fprintf(out, "%s='", keyword);
    for (int i = 0; i < length; i++)
        fprintf(out, value[i] == '\'' || value[i] == '\\' ? "\\%c" : "%c", value[i]);
    fputs("' ", out);
}

char *conninfo_of_host(const char *conninfo, int at)
{
    static const char *const listed[] = {"host", "hostaddr", "port"};
    char *text = NULL;
    size_t length;
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    FILE *out = open_memstream(&text, &length);
    if (options == NULL || out == NULL)
        abort(); /* it has been parsed before */
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
        const char *value = option->val;
        int bytes = value == NULL ? 0 : (int)strlen(value);
        for (size_t i = 0; value != NULL && i < sizeof listed / sizeof *listed; i++)
            if (strcmp(option->keyword, listed[i]) == 0)
                bytes = piece(option->val, at, &value);
        if (bytes > 0 && strcmp(option->keyword, "target_session_attrs") != 0)
            write_option(out, option->keyword, value, bytes);
    }
    fputs("target_session_attrs=any", out);
    fclose(out);
    PQconninfoFree(options);
    return text;
}

void conninfo_host_name(const char *conninfo, int at, char *out, size_t room)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *host = option_value(options, "host"), *port = option_value(options, "port");
    if (host[0] == '\0')
        host = option_value(options, "hostaddr");
    int host_bytes = piece(host, at, &host), port_bytes = piece(port, at, &port);
    snprintf(out, room, "%.*s%s%.*s", host_bytes, host, port_bytes > 0 ? " port " : "", port_bytes,
             port);
    PQconninfoFree(options);
}
