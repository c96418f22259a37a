/*
 * rm-agent/postgres/schema_sql.h - the text of sql/, inside the program: --install-schema works
 * wherever the program is. The build makes schema_sql.c (scripts/embed-sql).
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_SCHEMA_SQL_H
#define ASSENT_RM_AGENT_POSTGRES_SCHEMA_SQL_H

struct schema_file {
    const char *name; /* "assent.sql" */
    const char *text;
};

/* In the order in which they are run; ends with a NULL name. */
extern const struct schema_file schema_files[];

#endif
