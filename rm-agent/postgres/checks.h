/*
 * rm-agent/postgres/checks.h - what a DBA is told about a server, as questions to the server
 * itself.
 *
 * Each answers a row for each thing that is not as it should be: severity (`error`, `warning`,
 * `notice`), what, and what to change.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_CHECKS_H
#define ASSENT_RM_AGENT_POSTGRES_CHECKS_H

#define INSTALL_SCHEMA "assent-agent -c FILE --install-schema --conninfo ADMIN"

/* Settings, standbys, ages. */
extern const char check_server[];
/* Are there slots and connections enough? $1 is max_sessions, $2 pool_size. */
extern const char check_sizes[];
/* The schema `assent` and the rights in it. $1 is the version that we need. */
extern const char check_schema[];
/* The role $1 of a section [exec ROLE]. */
extern const char check_role[];
/* On another host of the conninfo: $1 is when the server that we use was started, $2 its system
 * identifier, $3 its max_prepared_transactions, $4 how messages name the host. */
extern const char check_host[];
/* As an [exec ROLE] section logs in: $1 is the system identifier and $2 the database that it must
 * reach, $3 the section. */
extern const char check_login[];

#endif
