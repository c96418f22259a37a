/*
 * common/indoubt.h - the report of everything that is in doubt, put together from what the
 * coordinator knows and what each agent has said.
 *
 * The daemon makes it of itself and its agents, and assentctl, when no coordinator runs, of its
 * log and of the agents: the same facts, and so the same words.
 */
#ifndef ASSENT_COMMON_INDOUBT_H
#define ASSENT_COMMON_INDOUBT_H

#include <cjson/cJSON.h>

#include "core/coordinator/coordinator.h"

struct indoubt_agent {
    const char *rm, *url;
    enum rm_state state;
    const cJSON *answer; /* to indoubt_question(); NULL: none came */
    const char *error;   /* why not */
};

struct indoubt_sources {
    const char *tm;
    const struct coordinator *coordinator; /* NULL: none can be asked, nor its log read */
    const char *silence;                   /* then: why */
    const char *start;                     /* the command that starts it; "": it runs */
    uint64_t now_ms;
    uint32_t agent_count;
    struct indoubt_agent agents[RMS_MAX];
};

/* What to ask the agent of this RM next (coordinator may be NULL), after what it has said so far,
 * heard, NULL for nothing yet. The caller deletes it. NULL: it has said all that there is, or as
 * much as a report takes. */
cJSON *indoubt_question(const struct coordinator *coordinator, const char *rm, uint64_t now_ms,
                        const cJSON *heard);
/* Adds an answer to what was heard before, NULL for nothing, and returns both; takes the answer. */
cJSON *indoubt_hear(cJSON *heard, cJSON *answer);

/* The report, what needs attention first; doc/in-doubt.md has its fields. The caller deletes it. */
cJSON *indoubt_report(const struct indoubt_sources *sources);

#endif
