/*
 * core/coordinator/registry.h - who may speak: registration, fencing, and when abort may be
 * presumed.
 *
 * An agent stores for each TM which log, incarnation and instance it has accepted, and
 * judges every offer by that row. A TM keeps a book of its agents: who has accepted this
 * start, who refused and why, and what each has proved durable (its beat).
 */
#ifndef ASSENT_CORE_COORDINATOR_REGISTRY_H
#define ASSENT_CORE_COORDINATOR_REGISTRY_H

#include "core/message/message.h"

/* ---- the agent's side ---- */

/* What an agent's database keeps of one TM. */
struct tm_row {
    bool exists;
    struct uuid log;
    uint64_t incarnation;
    struct uuid instance;
    uint64_t lsn; /* highest position seen in any order */
};

/* Judge an offer by what is stored (PROTOCOL: the instance already stored is always accepted
 * again; the position and the ancestors count only when incarnation and instance are new). */
enum refusal registry_judge(const struct tm_row *stored, const struct offer *offer);

enum adopted {
    ADOPT_NOW,      /* store it, and reset the position: it was one of the lost log */
    ADOPT_NEEDLESS, /* the agent follows this log already, or none at all */
    ADOPT_OTHER,    /* it follows yet another one than was seen */
    ADOPT_LATER,    /* it has accepted as late a start of the lost log: gtrids could be the same */
};

/* Judge an adoption by what is stored. */
enum adopted registry_adopt(const struct tm_row *stored, const struct adoption *adoption);

/* ---- the TM's side ---- */

enum rm_state {
    RM_DOWN = 0,    /* no answer yet, or the connection was lost */
    RM_UP,          /* has accepted this start and is connected */
    RM_REFUSED,     /* does not accept this log, instance or start */
    RM_QUARANTINED, /* its database lost durable data */
};

struct rm {
    char name[RM_NAME_BYTES];
    char url[URL_BYTES];
    bool configured; /* in this start's configuration */
    bool logged;     /* an AGENT record is in the log, or handed to it */
    bool durable;    /* that record is on disk: branches may be enlisted */
    bool retired;
    bool witness;                   /* holds no data: an acceptor only */
    bool waived;                    /* a DBA: do not wait for it */
    bool paused;                    /* a DBA: no new branches */
    bool quarantined;               /* in the log, until a DBA releases it */
    bool accepted;                  /* has accepted this start of the TM, be it up or down now */
    struct start_id accepted_start; /* the last one that it is known to have accepted */
    bool proved;                    /* replay: has accepted the newest start so far */
    uint64_t offer_lsn; /* end of the log at the first start since the last that it accepted */
    enum rm_state state;
    enum refusal refusal;
    uint64_t agent_incarnation;
    uint64_t beat; /* highest that is known durable, logged as BEAT */
    uint64_t system_identifier;
    uint32_t timeline;
    /* What its agent has shown last; while it is quarantined not what we had remembered. */
    uint64_t found_beat;
    uint64_t found_system_identifier;
    uint32_t found_timeline;
    uint64_t found_met;
    /* What its agent drew when it first stored this TM, as far as we have heard; 0 not known. */
    uint64_t met;
    /* Up to this transaction its database may have lost what it promised: RELEASED. 0 none. */
    uint64_t released_incarnation, released_sequence;
    char database[64];
    char server_version[32];
    char peer_url[URL_BYTES]; /* where other agents reach it, if elsewhere than we do */
};

struct registry {
    uint32_t count;
    struct rm rms[RMS_MAX];
    bool fenced;        /* for good: it is in the log, and only an operator takes it back */
    uint32_t fenced_by; /* index */
    uint32_t start_count;
    struct start_id starts[ANCESTORS_MAX - 1]; /* the newest earlier ones, oldest first */
    bool unfenced;                             /* an operator has said so at this start */
    bool established; /* every configured agent had once accepted this log: in the log */
    bool same_host;   /* presume_abort = same-host, and the fingerprint is unchanged */
};

/* Index of an RM by name, or UINT32_MAX. */
uint32_t registry_find(const struct registry *registry, const char *rm);
/* Adds it if it is new; UINT32_MAX when the table is full. */
uint32_t registry_add(struct registry *registry, const char *rm, const char *url);

/* A start has recovered the log up to here. What is offered to an agent that has not accepted the
 * start before stays as it was: the records of such a start prove nothing to it, they would only
 * fill the gap that an old backup tore. (Found by tests/model/registration.pml, M_THIS_START.) */
void registry_restart(struct registry *registry, uint64_t recovered_lsn);

/* One more start of this log is an earlier one now. */
void registry_ancestor(struct registry *registry, const struct start_id *start);
/* What the agent of this RM is to be told of earlier starts, and of where the log ended. */
void registry_offer(const struct registry *registry, uint32_t rm, struct offer *out);

enum registration {
    REGISTRATION_ACCEPTED = 0,
    REGISTRATION_LEFT_OUT,    /* refused, a newcomer: nobody waits for it */
    REGISTRATION_FENCED,      /* refused, and this TM must stop */
    REGISTRATION_QUARANTINED, /* accepted, but its database lost what it had promised */
};

/* Take an agent's answer into the book. */
enum registration registry_register(struct registry *registry, uint32_t rm,
                                    const struct answer *answer);
void registry_lost(struct registry *registry, uint32_t rm);

/* Have all configured agents accepted this log, now for the first time? The caller logs it. */
bool registry_newly_established(const struct registry *registry);

/* Has any agent accepted this start? Before that a log may be an old one, whose next gtrids were
 * given out already. */
bool registry_any_accepted(const struct registry *registry);

/* May this start presume that an older incarnation's transaction without a record was aborted?
 * Only once every agent that could know better has accepted this start. *waits_for, if not
 * NULL, is set to the index of one that has not. */
bool registry_may_presume(const struct registry *registry, uint32_t *waits_for);

const char *rm_state_word(enum rm_state state); /* "up", ... */

#endif
