/*
 * rm-agent/config.c - the agent's configuration file.
 */
#include "rm-agent/config.h"

#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"

enum {
    POOL_SIZE = 16,
    MAX_SESSIONS = 64,
    SESSION_LIFETIME_MS = 5 * 60 * 1000,
    MAX_BRANCHES = 16384,
    MAX_ROW = 8 * 1024 * 1024,
    MAX_ROW_LEAST = 1024 * 1024,
    MAX_ROW_MOST = 1024 * 1024 * 1024,
    TERMINATION_TIMEOUT_MS = 5000,
    TERMINATION_LEAST_MS = 2000
};

#define AGENT(field)      offsetof(struct agent_options, field)
#define ROOM(type, field) sizeof(((type *)NULL)->field)
#define AGENT_TEXT(key, field)                                                                     \
    {                                                                                              \
        "agent", key, CONF_TEXT, AGENT(field), ROOM(struct agent_options, field), 0, 0             \
    }

static const struct conf_key keys[] = {
    AGENT_TEXT("rm", rm),
    AGENT_TEXT("listen", listen),
    AGENT_TEXT("conninfo", conninfo),
    AGENT_TEXT("socket_group", socket_group),
    AGENT_TEXT("peer_url", peer_url),
    AGENT_TEXT("state_file", state_file),
    {"agent", "witness", CONF_BOOL, AGENT(witness), 0, 0, 0},
    {"agent", "termination_timeout", CONF_DURATION, AGENT(termination_timeout_ms), 0, 0, 0},
    {"agent", "socket_mode", CONF_MODE, AGENT(socket_mode), 0, 0, 0},
    {"agent", "pool_size", CONF_COUNT, AGENT(pool_size), 0, 1, 1000},
    {"agent", "max_sessions", CONF_COUNT, AGENT(max_sessions), 0, 1, 10000},
    {"agent", "session_lifetime", CONF_DURATION, AGENT(session_lifetime_ms), 0, 0, 0},
    {"agent", "max_branches", CONF_COUNT, AGENT(max_branches), 0, 64, 1000000},
    {"agent", "max_row", CONF_SIZE, AGENT(max_row), 0, MAX_ROW_LEAST, MAX_ROW_MOST},
    {"exec ", "conninfo", CONF_TEXT, offsetof(struct exec_role, conninfo),
     ROOM(struct exec_role, conninfo), 0, 0},
    {NULL, NULL, CONF_TEXT, 0, 0, 0, 0},
};

static void *section(void *arg, const char *name, const char *role, struct error *error)
{
    struct agent_options *options = arg;
    if (strcmp(name, "agent") == 0)
        return options;
    if (strlen(role) >= ROLE_BYTES) {
        fail(error, "[exec %s]: the name is longer than %d bytes", role, ROLE_BYTES - 1);
        return NULL;
    }
    if (options->role_count == EXEC_ROLES_MAX) {
        fail(error, "[exec %s]: more than %d such sections", role, EXEC_ROLES_MAX);
        return NULL;
    }
    struct exec_role *out = &options->roles[options->role_count++];
    text_copy(out->name, sizeof out->name, role, strlen(role));
    return out;
}

/* libpq's own words may quote the conninfo, password and all: do not repeat them. */
static int check_conninfo(const char *path, const char *where, const char *conninfo,
                          struct error *error)
{
    PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);
    if (parsed == NULL)
        return fail(error, "%s: conninfo in [%s] is no connection string", path, where);
    PQconninfoFree(parsed);
    return 0;
}

/* Others would find out only when they need it. */
static int check_peer_url(const char *path, const char *url, struct error *error)
{
    if (url[0] == '\0' || strncmp(url, "ipc:///", 7) == 0 || strncmp(url, "tcp://", 6) == 0)
        return 0;
    return fail(error, "%s: peer_url in [agent]: expected ipc:///path or tcp://host:port", path);
}

static int check(const char *path, struct agent_options *options, struct error *error)
{
    if (!rm_name_valid(options->rm, strlen(options->rm)))
        return fail(error, "%s: rm in [agent] must be a name of small letters, digits and -", path);
    if (options->listen[0] == '\0')
        return fail(error, "%s: listen in [agent] is missing", path);
    if (options->conninfo[0] == '\0')
        return fail(error, "%s: conninfo in [agent] is missing", path);
    if (check_conninfo(path, "agent", options->conninfo, error) != 0)
        return -1;
    if (check_peer_url(path, options->peer_url, error) != 0)
        return -1;
    if (options->state_file[0] != '\0' && options->state_file[0] != '/')
        return fail(error, "%s: state_file in [agent]: expected an absolute path", path);
    if (options->termination_timeout_ms < TERMINATION_LEAST_MS)
        return fail(error, "%s: termination_timeout in [agent] must be at least %d ms", path,
                    TERMINATION_LEAST_MS);
    if (options->witness && options->role_count > 0)
        return fail(error, "%s: a witness holds no data: it has no section [exec %s]", path,
                    options->roles[0].name);
    for (uint32_t i = 0; i < options->role_count; i++) {
        if (options->roles[i].conninfo[0] == '\0')
            return fail(error, "%s: conninfo in [exec %s] is missing", path,
                        options->roles[i].name);
        char where[sizeof "exec " + ROLE_BYTES];
        snprintf(where, sizeof where, "exec %s", options->roles[i].name);
        if (check_conninfo(path, where, options->roles[i].conninfo, error) != 0)
            return -1;
    }
    return 0;
}

int config_read(const char *path, struct agent_options *out, struct error *error)
{
    memset(out, 0, sizeof *out);
    out->pool_size = POOL_SIZE;
    out->max_sessions = MAX_SESSIONS;
    out->session_lifetime_ms = SESSION_LIFETIME_MS;
    out->max_branches = MAX_BRANCHES;
    out->max_row = MAX_ROW;
    out->termination_timeout_ms = TERMINATION_TIMEOUT_MS;
    if (conf_read(path, keys, section, out, error) != 0 || check(path, out, error) != 0)
        return -1;
    if (out->role_count == 0) {
        /* With no section of its own SQL runs as the agent's role: fit for a first try. */
        out->role_count = 1;
        memcpy(out->roles[0].conninfo, out->conninfo, sizeof out->conninfo);
    }
    return 0;
}

int conninfo_user(const char *conninfo, char out[ROLE_NAME_BYTES], struct error *error)
{
    PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);
    const char *user = NULL;
    for (PQconninfoOption *option = parsed; option != NULL && option->keyword != NULL; option++)
        if (strcmp(option->keyword, "user") == 0)
            user = option->val;
    if (user == NULL)
        user = getenv("PGUSER");
    const struct passwd *self = user == NULL ? getpwuid(geteuid()) : NULL;
    if (self != NULL)
        user = self->pw_name;
    int rc = 0;
    if (user == NULL || strlen(user) >= ROLE_NAME_BYTES)
        rc = fail(error, "a conninfo names no user");
    else
        memcpy(out, user, strlen(user) + 1);
    PQconninfoFree(parsed);
    return rc;
}

enum { OTHER_FILES = 16 }; /* the control connection, names that are looked up, certificates */

/* PostgreSQL's connections come first, then the other agents, and a name that is looked up. */
int config_plan_descriptors(const struct agent_options *options, struct descriptors *out,
                            struct error *error)
{
    uint32_t own = options->pool_size + options->max_sessions + RMS_MAX + OTHER_FILES;
    if (descriptors_plan(out, own, error) == 0)
        return 0;
    return fail_hint(error,
                     "Raise LimitNOFILE of its service, or lower max_sessions (%u) or "
                     "pool_size (%u).",
                     options->max_sessions, options->pool_size);
}
