/*
 * rm-agent/postgres/targets.c - where a conninfo leads to: hosts, that are tried one after the
 * other.
 *
 * The lists of libpq are host, hostaddr and port, with commas; one port is for all hosts.
 */
#include "rm-agent/postgres/targets.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"

struct host {
    char *name;   /* "" : none, a folder or a name */
    char *number; /* "": none, or its address */
    char *port;   /* "": none */
};

struct targets {
    uint32_t count, at;
    struct host *hosts;
    bool numbered;                 /* the conninfo has addresses of its own: all entries need one */
    char *names, *numbers, *ports; /* of the one that was taken */
};

/* ---- lists ---- */

static uint32_t list_count(const char *list)
{
    uint32_t count = 1;
    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

/* malloc'ed; "" behind the end. */
static char *list_item(const char *list, uint32_t at)
{
    for (; at > 0 && *list != '\0'; list++)
        at -= *list == ',';
    char *item = must_copy_bytes(list, at > 0 ? 0 : strcspn(list, ","), "a host of a conninfo");
    return item;
}

/* ---- reading ---- */

/* What libpq makes of it, with all that it reads besides. A mode that there is not keeps it from
 * connecting: it finds that out before it looks for any host. */
static PQconninfoOption *effective(const char *conninfo)
{
    const char *const keywords[] = {"dbname", "sslmode", NULL};
    const char *const values[] = {conninfo, "not to be connected", NULL};
    PGconn *conn = PQconnectStartParams(keywords, values, 1);
    /* What cannot be read has the defaults: there is no other reason than memory. */
    PQconninfoOption *options = must_have(PQconninfo(conn), "the options of a conninfo");
    PQfinish(conn);
    return options;
}

static const char *option_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword != NULL; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val == NULL ? "" : options->val;
    return "";
}

static struct host *more_hosts(struct host *hosts, uint32_t count)
{
    struct host *larger = must_grow(hosts, count * sizeof *larger, "the hosts of a conninfo");
    return larger;
}

struct targets *targets_read(const char *conninfo)
{
    PQconninfoOption *options = effective(conninfo);
    struct targets *targets = must_alloc(sizeof *targets, "the hosts of a conninfo");
    const char *names = option_of(options, "host"), *numbers = option_of(options, "hostaddr");
    const char *ports = option_of(options, "port");
    targets->numbered = numbers[0] != '\0';
    targets->count = list_count(targets->numbered ? numbers : names);
    targets->hosts = more_hosts(NULL, targets->count);
    for (uint32_t i = 0; i < targets->count; i++)
        targets->hosts[i] = (struct host){
            .name = list_item(names, i),
            .number = list_item(numbers, i),
            .port = list_item(ports, list_count(ports) == 1 ? 0 : i),
        };
    PQconninfoFree(options);
    return targets;
}

static void host_free(struct host *host)
{
    free(host->name);
    free(host->number);
    free(host->port);
}

static void forget_taken(struct targets *targets)
{
    free(targets->names);
    free(targets->numbers);
    free(targets->ports);
    targets->names = targets->numbers = targets->ports = NULL;
}

void targets_free(struct targets *targets)
{
    if (targets == NULL)
        return;
    for (uint32_t i = 0; i < targets->count; i++)
        host_free(&targets->hosts[i]);
    forget_taken(targets);
    free(targets->hosts);
    free(targets);
}

/* ---- one after the other ---- */

uint32_t targets_left(const struct targets *targets)
{
    return targets->count - targets->at;
}

const char *targets_name(const struct targets *targets)
{
    const struct host *host = &targets->hosts[targets->at];
    bool named = host->number[0] == '\0' && host->name[0] != '\0' && host->name[0] != '/' &&
                 host->name[0] != '@' && lookup_is_name(host->name);
    return named ? host->name : NULL;
}

void targets_found(struct targets *targets, const struct addresses *found)
{
    uint32_t more = found->count - 1, at = targets->at;
    struct host named = targets->hosts[at];
    targets->hosts = more_hosts(targets->hosts, targets->count + more);
    memmove(targets->hosts + at + 1 + more, targets->hosts + at + 1,
            (targets->count - at - 1) * sizeof *targets->hosts);
    targets->count += more;
    for (uint32_t i = 0; i < found->count; i++)
        targets->hosts[at + i] = (struct host){
            .name = list_item(named.name, 0),
            .number = list_item(found->list[i], 0),
            .port = list_item(named.port, 0),
        };
    host_free(&named);
}

/* The text, or the text and itself again behind a comma. */
static char *again(const char *text, bool twice)
{
    char *out = NULL;
    if (asprintf(&out, "%s%s%s", text, twice ? "," : "", twice ? text : "") < 0)
        must_have(NULL, "the hosts of a conninfo");
    return out;
}

void targets_take(struct targets *targets, struct target *out)
{
    const struct host *host = &targets->hosts[targets->at++];
    /* libpq takes an empty hostaddr for none that is given, and would go on to the conninfo's; in a
     * list it is an empty one. So one without stands there twice, if the conninfo has some. */
    bool twice = targets->numbered && host->number[0] == '\0';
    forget_taken(targets);
    targets->names = again(host->name, twice);
    targets->numbers = again(host->number, twice);
    targets->ports = again(host->port, twice);
    *out = (struct target){
        .host = targets->names, .hostaddr = targets->numbers, .port = targets->ports};
}

void targets_skip(struct targets *targets)
{
    targets->at++;
}
