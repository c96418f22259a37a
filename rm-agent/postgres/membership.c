/*
 * rm-agent/postgres/membership.c - the grants by which the agent finishes what others have
 * prepared.
 */
#include "rm-agent/postgres/membership.h"

#include <stdio.h>
#include <string.h>

const char *membership_word(const struct agent *agent)
{
    return agent->identity.grants_have_options ? "SET" : "MEMBER";
}

/* As an identifier; always quoted. */
static void quote(const char *name, char out[2 * ROLE_NAME_BYTES + 2])
{
    *out++ = '"';
    for (; *name != '\0'; name++) {
        if (*name == '"')
            *out++ = '"';
        *out++ = *name;
    }
    strcpy(out, "\"");
}

void membership_grant(const struct agent *agent, const char *role, char *out, size_t room)
{
    char owner[2 * ROLE_NAME_BYTES + 2], member[2 * ROLE_NAME_BYTES + 2];
    quote(role, owner);
    quote(agent->identity.login, member);
    snprintf(out, room, "GRANT %s TO %s%s", owner, member,
             agent->identity.grants_have_options ? " WITH INHERIT TRUE, SET TRUE" : "");
}
