/*
 * tm/check.c - preflight: what will go wrong, before it does.
 *
 * Each agent looks at its database, its roles and its standbys (rm-agent/postgres/preflight.c).
 * Here is the coordinator's half: its disk, its log, its limits, and whether all are of one mind
 * about version and time. A finding says how severe it is, what it is, and what to change.
 */
#include "tm/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/findings.h"
#include "config.h"

enum {
    MEBIBYTE = 1024 * 1024,
    SEGMENTS_KEPT = 6,        /* the log stays below so many */
    SYNC_SLOW_US = 20 * 1000, /* each commit waits for one */
    SYNC_STALL_US = 1000 * 1000,
    CLOCK_DIFFERENCE_US = 1000 * 1000,
    NEARLY_ALL_PERCENT = 80,
};

static const char coordinator[] = "coordinator";

/* ---- the coordinator ---- */

/* As the log's keeper has seen it: the loop does not look itself, for a disk may let it wait. */
static void check_disk(const struct server *server, cJSON *findings)
{
    const char *dir = server->settings->data_dir;
    uint64_t needed = (uint64_t)SEGMENTS_KEPT * server->settings->segment_bytes / MEBIBYTE + 1;
    struct wal_stats stats;
    wal_stats(server->wal, &stats);
    if (stats.disk_least == 0) {
        findings_add(findings, coordinator, "warning", "[tm] data_dir",
                     "%s: how much room its disk has cannot be told", dir);
        return;
    }
    uint64_t free = stats.disk_free / MEBIBYTE;
    if (free < needed)
        findings_add(findings, coordinator, "error", "make room, or move [tm] data_dir",
                     "%s has %" PRIu64 " MiB free; the log may need %" PRIu64
                     " MiB more, and stops without them",
                     dir, free, needed);
    else if (free < 4 * needed || stats.disk_free < stats.disk_least)
        findings_add(findings, coordinator, "warning", "make room, or move [tm] data_dir",
                     "%s has only %" PRIu64 " MiB free", dir, free);
    if (stats.disk_files < 100)
        findings_add(findings, coordinator, "error", "remove files, or move [tm] data_dir",
                     "%s has room for only %" PRIu64 " more files", dir, stats.disk_files);
}

static void check_syncs(const struct server *server, cJSON *findings)
{
    struct wal_stats stats;
    wal_stats(server->wal, &stats);
    uint64_t mean_us = stats.syncs == 0 ? 0 : stats.sync_us_sum / stats.syncs;
    const char *fix = "[tm] data_dir on a disk with a protected write cache";
    if (mean_us > SYNC_SLOW_US)
        findings_add(findings, coordinator, "warning", fix,
                     "the log's disk takes %" PRIu64 ".%" PRIu64
                     " ms for an fdatasync on average, and every commit waits for one",
                     mean_us / 1000, mean_us / 100 % 10);
    else
        findings_add(findings, coordinator, "notice", "",
                     "the log's disk takes %" PRIu64 ".%02" PRIu64
                     " ms for an fdatasync on average, %" PRIu64 ".%02" PRIu64 " ms at most",
                     mean_us / 1000, mean_us / 10 % 100, stats.sync_us_max / 1000,
                     stats.sync_us_max / 10 % 100);
    if (stats.sync_us_max > SYNC_STALL_US)
        findings_add(findings, coordinator, "warning", fix,
                     "the log's disk has once taken %" PRIu64 " ms for an fdatasync",
                     stats.sync_us_max / 1000);
}

static void check_limits(const struct server *server, cJSON *findings)
{
    struct coordinator_counts counts;
    coordinator_counts(server->coordinator, &counts);
    uint32_t most = server->settings->max_transactions;
    if ((uint64_t)counts.live * 100 >= (uint64_t)most * NEARLY_ALL_PERCENT)
        findings_add(findings, coordinator, "warning", "[tm] max_transactions",
                     "%" PRIu32 " of at most %" PRIu32
                     " transactions are live; beyond, begin is refused",
                     counts.live, most);
    if (counts.mixed_live > 0)
        findings_add(findings, coordinator, "error", "assentctl list --state mixed",
                     "%" PRIu32 " transactions ended differently by another's hand",
                     counts.mixed_live);
}

static void check_state(const struct server *server, cJSON *findings)
{
    const struct registry *registry = coordinator_registry(server->coordinator);
    char sentence[FENCE_BYTES];
    uint32_t waits_for;
    if (registry->fenced) {
        admin_fence_sentence(registry, sentence);
        findings_add(findings, coordinator, "error", "start the newest copy of the log", "%s",
                     sentence);
    } else if (!registry_may_presume(registry, &waits_for)) {
        findings_add(findings, coordinator, "warning", "start the agent",
                     "what earlier starts left undecided waits for %s to register",
                     registry->rms[waits_for].name);
    }
}

/* ---- each agent ---- */

static void check_clock(const struct agent_word *word, const char *rm, cJSON *findings)
{
    const char *told = member_text(word->answer, "now_us");
    int64_t difference_us = word->heard_us - strtoll(told, NULL, 10);
    if (told[0] == '\0' || llabs(difference_us) < CLOCK_DIFFERENCE_US)
        return;
    findings_add(
        findings, rm, "warning", "let both hosts keep time by NTP",
        "its host's clock is %lld ms %s the coordinator's; nothing depends on it but the times in "
        "the logs",
        (long long)llabs(difference_us) / 1000, difference_us > 0 ? "behind" : "ahead of");
}

static void check_version(const struct agent_word *word, const char *rm, cJSON *findings)
{
    const char *version = member_text(word->answer, "version");
    if (strcmp(version, PACKAGE_VERSION) != 0)
        findings_add(findings, rm, "notice", "install the same version",
                     "its agent is of version %s, the coordinator of " PACKAGE_VERSION,
                     version[0] != '\0' ? version : "unknown");
}

static void check_registration(const struct server *server, uint32_t at, cJSON *findings)
{
    const struct rm *rm = &coordinator_registry(server->coordinator)->rms[at];
    if (rm->state == RM_REFUSED)
        findings_add(findings, rm->name, "error", "assentctl agents",
                     "refuses this coordinator (%s): %s", refusal_word(rm->refusal),
                     refusal_meaning(rm->refusal));
    else if (rm->state == RM_QUARANTINED)
        findings_add(findings, rm->name, "error",
                     "assentctl agents release, once its data is compared",
                     "is quarantined: its database has lost durable data or is another one");
    else if (rm->state == RM_DOWN)
        findings_add(findings, rm->name, "error", "start its agent: assent-agent -c FILE",
                     "is not connected");
    if (!rm->configured)
        findings_add(findings, rm->name, "warning", "[rm NAME], or assentctl agents retire NAME",
                     "is in the log but not in the configuration");
}

static void check_agent(const struct server *server, uint32_t at, const struct agent_word *word,
                        cJSON *findings)
{
    const struct rm *rm = &coordinator_registry(server->coordinator)->rms[at];
    if (rm->retired)
        return;
    check_registration(server, at, findings);
    if (word->answer == NULL && rm->state == RM_DOWN)
        return;
    if (word->answer == NULL) {
        findings_add(findings, rm->name, "error", "start its agent: assent-agent -c FILE",
                     "its agent has not checked anything: %s", word->error);
        return;
    }
    findings_take(findings, rm->name, word->answer);
    check_clock(word, rm->name, findings);
    check_version(word, rm->name, findings);
}

/* ---- the whole ---- */

cJSON *check_report(const struct server *server, const struct agent_word *words)
{
    cJSON *findings = cJSON_CreateArray();
    check_state(server, findings);
    check_disk(server, findings);
    check_syncs(server, findings);
    check_limits(server, findings);
    for (uint32_t i = 0; i < coordinator_registry(server->coordinator)->count; i++)
        check_agent(server, i, &words[i], findings);
    cJSON *report = wire_ok();
    cJSON_AddStringToObject(report, "tm", server->settings->tm);
    cJSON_AddStringToObject(report, "version", PACKAGE_VERSION);
    cJSON_AddItemToObject(report, "findings", findings_sorted(findings));
    return report;
}
