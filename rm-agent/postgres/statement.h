/*
 * rm-agent/postgres/statement.h - which SQL may run in a branch's session.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_STATEMENT_H
#define ASSENT_RM_AGENT_POSTGRES_STATEMENT_H

/* NULL if it may run; else why not, for the application. The text is refused only for what
 * would end or replace the branch's transaction, or needs the client's own connection. */
const char *statement_refusal(const char *sql);

#endif
