/*
 * rm-agent/postgres/session.h - one branch's session, for the files that lead it from BEGIN to its
 * end.
 *
 *     sessions.c   which there are, what is asked of them, statements
 *     lines.c      the connections that they run on
 *     opening.c    the first statement: connect, enter the gid, BEGIN
 *     ending.c     PREPARE TRANSACTION, COMMIT, ROLLBACK
 *     used.c       what is remembered of a branch once its session is over
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_SESSION_H
#define ASSENT_RM_AGENT_POSTGRES_SESSION_H

#include <uthash.h>

#include "rm-agent/postgres/exec.h"
#include "rm-agent/postgres/lines.h"
#include "rm-agent/postgres/sessions.h"

enum session_state {
    SESSION_CONNECTING, /* waits for its line */
    SESSION_ENTERING,   /* its gid goes into assent.session */
    SESSION_BEGINNING,
    SESSION_IDLE,
    SESSION_RUNNING, /* a statement */
    SESSION_ENDING,  /* the wish is being fulfilled */
    SESSION_OVER,    /* only the gid is remembered, and who owns what it prepared */
};

enum { MARK_SECRET_BYTES = 16 };

/* How it is to end, once the statement that runs is done. */
enum wish { WISH_NONE, WISH_PREPARE, WISH_COMMIT, WISH_ROLLBACK };

struct session {
    struct agent *agent;
    struct branch_id branch;
    char gid[GID_BYTES];
    enum session_state state;
    enum wish wish;
    uint32_t role; /* index into the options' roles */
    bool read_only;
    enum isolation isolation;
    uint32_t allowed_ms; /* from its opening */
    bool opened;         /* the participant knows of it */
    bool leaves;         /* read-only to its end: COMMIT instead of PREPARE */
    bool barred;         /* from being prepared: another agent ends the transaction */
    bool own;            /* no session: the application prepared it itself */
    struct line *line;
    char xid[NUMBER_BYTES]; /* of the transaction that began */
    char secret[2 * MARK_SECRET_BYTES +
                1]; /* proves to assent.mark() that we say it, in this session */
    char owner[ROLE_NAME_BYTES];
    uint64_t lsn;      /* WISH_COMMIT */
    bool or_prepare;   /* WISH_COMMIT: where no marker can be written, PREPARE */
    uint64_t beat;     /* on disk once its PREPARE or COMMIT is */
    struct exec *exec; /* waiting or running */
    uint64_t n;        /* statements begun */
    char *last_reply;  /* to statement n, if it was numbered */
    size_t last_length;
    struct failure failed; /* why its transaction can no longer commit */
    uint32_t asks;         /* answers under way that still point here */
    bool forgotten;        /* freed with the last of them */
    UT_hash_handle hh;
};

/* Gids that are to be taken out of assent.session. */
struct leaving {
    uint32_t asks; /* questions under way that do it */
    char *gids;    /* those that wait for it, as an array's text without its last brace */
    size_t length, room;
};

struct sessions {
    struct session *by_gid;
    uint32_t open; /* sessions that are not over */
    struct lines lines;
    struct leaving leaving;
};

/* ---- sessions.c ---- */

struct session *session_find(struct agent *agent, const char *gid);
struct session *session_find_branch(struct agent *agent, const struct branch_id *branch);
/* One that is over: it only remembers the gid. */
struct session *session_add(struct agent *agent, const char *gid, const struct branch_id *branch);
/* Frees it if it is forgotten and no answer under way still points to it. */
void session_release(struct session *session);
/* Does what comes next in a session that is idle. */
void session_go_on(struct session *session);
/* Runs the statement that waits, in one trip with those `before` it. Its reply, which is the last,
 * goes to session_ran(). */
void session_run(struct session *session, const struct pg_statement *before, int count,
                 pg_done_fn *done);
void session_ran(struct line *line, const struct pg_reply *reply);
/* Refuses the statement that waits or runs, if there is one. */
void session_refuse_exec(struct session *session, enum error_code code, const char *message);
/* From here on only the gid counts, and who owns what was prepared. */
void session_over(struct session *session);
/* Nothing was done in it: it need not be remembered, and may be tried again. */
void session_drop(struct session *session, enum error_code code, const char *why);
/* Its connection is gone, or will be once the backend notices. */
void session_lost(struct session *session, const char *why);

/* ---- opening.c ---- */

void session_open(struct session *session);
/* Its line is ready: enter the gid, and go on to BEGIN. */
void session_enter(struct session *session);

/* ---- ending.c ---- */

/* Do as is wished; the answer is an event of the branch. */
void session_end(struct session *session);
/* Tell the event once the backend can do nothing any more; why: a literal, or NULL. */
void session_tell_when_gone(struct agent *agent, const struct branch_id *branch,
                            struct backend backend, enum participant_event_type type,
                            const char *why);

/* ---- used.c ---- */

/* Take the gid out of assent.session, some time. */
void used_delete(struct agent *agent, const char *gid);
/* The gid is about to be entered: a wish to delete it from before must not come behind that. */
void used_settle(struct agent *agent, const char *gid);

#endif
