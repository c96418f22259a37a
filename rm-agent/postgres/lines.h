/*
 * rm-agent/postgres/lines.h - the connections that sessions run on.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_LINES_H
#define ASSENT_RM_AGENT_POSTGRES_LINES_H

#include "rm-agent/agent.h"
#include "rm-agent/postgres/result.h"

struct session;

/* A connection for sessions. */
struct line {
    struct line *next;
    struct agent *agent;
    struct pg *pg;
    uint32_t role;
    char login[ROLE_NAME_BYTES]; /* "": not known */
    uint64_t opened_ms;
    struct backend backend; /* entered; pid 0: not yet */
    struct session *session;
    struct rows rows;
    bool idle;    /* reset, and free for any session of its role */
    bool retired; /* made before the configuration was read again: to be closed after use */
    bool entering;
    bool closed;
};

struct lines {
    struct line *first;
    uint32_t count;
};

/* Gives the session a line of its role: one that is free, else a new one. True: it is ready; else
 * session_enter() follows, or session_lost(). */
bool line_take(struct session *session);
/* The session did nothing on it. */
void line_return(struct line *line);
/* The session is done with it: nothing that it set may reach the next one. `reset` answers a
 * LINE_RESET that it has sent behind its last command, NULL: none. */
#define LINE_RESET                                                                                 \
    {                                                                                              \
        .sql = "DISCARD ALL"                                                                       \
    }
void line_give_back(struct line *line, const struct pg_reply *reset);
/* The options were read again: lines that are free are closed, the others after use. */
void lines_reconfigure(struct agent *agent);
/* Every second or so: those that are free and have become too old are closed. */
void lines_tick(struct agent *agent, uint64_t now_ms);
/* Its backend may still be at work: it is to be ended. */
struct backend line_close(struct line *line);

#endif
