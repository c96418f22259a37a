/*
 * tm/check.h - preflight: what will go wrong, before it does.
 */
#ifndef ASSENT_TM_CHECK_H
#define ASSENT_TM_CHECK_H

#include "tm/inquiry.h"

/* What the agents have found at their databases (words, by RM), and the coordinator at itself and
 * at them: findings, the severest first. The caller deletes it. */
cJSON *check_report(const struct server *server, const struct agent_word *words);

#endif
