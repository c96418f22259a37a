/*
 * common/findings.h - what a preflight has found: where, how severe, what, and what to change.
 */
#ifndef ASSENT_COMMON_FINDINGS_H
#define ASSENT_COMMON_FINDINGS_H

#include <cjson/cJSON.h>

/* Append one: severity is "error", "warning" or "notice"; fix may be "". */
void findings_add(cJSON *findings, const char *where, const char *severity, const char *fix,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Append what an agent has found, in its answer to `check`. */
void findings_take(cJSON *findings, const char *where, const cJSON *answer);
/* By severity, and else in the order in which they were found. Takes the array. */
cJSON *findings_sorted(cJSON *findings);

#endif
