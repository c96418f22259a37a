/*
 * cli/dry_start.h - what a start of the coordinator would find, without starting it.
 *
 * The log is read as assentd reads it, and each agent's answer is judged as that agent judges an
 * offer: by the same code, so that what is said of a transaction is what a start would do. Nothing
 * is written and no agent is registered with.
 */
#ifndef ASSENT_CLI_DRY_START_H
#define ASSENT_CLI_DRY_START_H

#include "cli/site.h"
#include "core/coordinator/coordinator.h"

struct dry_start {
    struct coordinator *coordinator; /* NULL: there is no log to go by */
    char why[512];                   /* then: why not */
    bool in_use;                     /* because a coordinator runs on it */
    bool missing;                    /* because there is none */
    struct uuid log;
};

/* Ended by dry_start_free(). */
void dry_start(const struct site *site, struct dry_start *out);
/* The agent of this RM (of the coordinator's registry) has answered `prepared`. */
void dry_start_register(struct dry_start *start, uint32_t rm, const cJSON *answer);
void dry_start_free(struct dry_start *start);

/* What to run next: assentd with the log that is here, or what is left to do without one. */
void dry_start_advice(const struct site *site, const struct dry_start *start, char *out,
                      size_t room);

#endif
