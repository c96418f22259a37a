/*
 * rm-agent/postgres/install.c - `assent-agent --install-schema`, run once by a DBA.
 *
 * The only thing that the agent's program does with another's rights, and apart from the
 * daemon: it connects, runs sql/ in one transaction, and ends.
 */
#include "rm-agent/postgres/install.h"

#include <stdio.h>
#include <string.h>

#include "rm-agent/config.h"
#include "rm-agent/postgres/schema_sql.h"

enum { ROLES_BYTES = EXEC_ROLES_MAX * (ROLE_NAME_BYTES + 1) };

static int run(PGconn *conn, const char *what, PGresult *result, struct error *error)
{
    ExecStatusType status = PQresultStatus(result);
    const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
    int rc = 0;
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        rc = fail(error, "%s: %s", what, PQerrorMessage(conn));
        if (hint != NULL)
            fail_hint(error, "%s", hint);
    }
    PQclear(result);
    return rc;
}

static int install_set(PGconn *conn, const char *name, const char *value, struct error *error)
{
    const char *const values[] = {name, value};
    return run(conn, "tell the script about roles",
               PQexecParams(conn, "SELECT pg_catalog.set_config($1, $2, false)", 2, NULL, values,
                            NULL, NULL, 0),
               error);
}

/* The roles of the [exec ROLE] sections, as the script takes them: with commas between. */
static int exec_roles(const struct agent_options *options, const char *agent, char out[ROLES_BYTES],
                      struct error *error)
{
    out[0] = '\0';
    for (uint32_t i = 0; i < options->role_count; i++) {
        char user[ROLE_NAME_BYTES];
        if (conninfo_user(options->roles[i].conninfo, user, error) != 0)
            return -1;
        if (strchr(user, ',') != NULL)
            return fail(error, "role \"%s\": a comma in its name is not supported", user);
        if (strcmp(user, agent) == 0)
            continue;
        if (out[0] != '\0')
            strcat(out, ",");
        strcat(out, user);
    }
    return 0;
}

int install_schema(const struct agent_options *options, const char *admin, struct error *error)
{
    char agent[ROLE_NAME_BYTES], roles[ROLES_BYTES];
    if (conninfo_user(options->conninfo, agent, error) != 0 ||
        exec_roles(options, agent, roles, error) != 0)
        return -1;
    int rc = -1;
    PGconn *conn = PQconnectdb(admin != NULL ? admin : options->conninfo);
    if (PQstatus(conn) != CONNECTION_OK) {
        fail(error, "connect as administrator: %s", PQerrorMessage(conn));
        goto finish;
    }
    /* An administrator runs nothing that stands in `public` under a name of PostgreSQL's. */
    if (run(conn, "set its path", PQexec(conn, "SET search_path = pg_catalog, pg_temp"), error) !=
        0)
        goto finish;
    if (install_set(conn, "assent.agent_role", agent, error) != 0 ||
        install_set(conn, "assent.exec_roles", roles, error) != 0)
        goto finish;
    for (const struct schema_file *file = schema_files; file->name != NULL; file++)
        if (run(conn, file->name, PQexec(conn, file->text), error) != 0)
            goto finish;
    printf("schema assent is installed in database %s for role %s%s%s\n", PQdb(conn), agent,
           roles[0] == '\0' ? "" : ", which is a member of ", roles);
    rc = 0;

finish:
    PQfinish(conn);
    return rc;
}
