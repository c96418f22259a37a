/*
 * cli/check_command.c - check: preflight of the coordinator and of all databases.
 *
 * The coordinator looks at itself and asks the agents. When it is down, --agents looks at its log
 * and asks each agent of its configuration: what would stand in the way of its start.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/call.h"
#include "cli/dry_start.h"
#include "cli/paint.h"
#include "cli/table.h"
#include "common/findings.h"
#include "common/must.h"
#include "config.h"

enum { CHECK_WAIT_MS = 25 * 1000 }; /* the agents have 20 s */

/* ---- without the coordinator ---- */

static void check_log(const struct site *site, const struct dry_start *start, cJSON *findings)
{
    char fix[512];
    dry_start_advice(site, start, fix, sizeof fix);
    findings_add(findings, "coordinator", "error", fix, "is not running%s%s",
                 start->why[0] != '\0' ? ": " : "", start->why);
}

/* Would it accept the log that is here? */
static void check_registration(struct dry_start *start, const char *rm, const char *url,
                               cJSON *findings)
{
    const struct registry *registry = coordinator_registry(start->coordinator);
    struct failure failure;
    cJSON *prepared;
    uint32_t at = registry_find(registry, rm);
    if (at == UINT32_MAX ||
        call_quietly(url, call_request("prepared"), CALL_WAIT_MS, &prepared, &failure) != EXIT_DONE)
        return;
    dry_start_register(start, at, prepared);
    cJSON_Delete(prepared);
    if (registry->rms[at].state == RM_REFUSED)
        findings_add(findings, rm, "error", "bring the newest log back",
                     "would refuse this coordinator (%s): %s",
                     refusal_word(registry->rms[at].refusal),
                     refusal_meaning(registry->rms[at].refusal));
    if (registry->rms[at].state == RM_QUARANTINED)
        findings_add(findings, rm, "error", "assentctl agents release, once its data is compared",
                     "its database has lost durable data or is another one");
}

static void check_agent(struct dry_start *start, const struct site_rm *rm, cJSON *findings)
{
    struct failure failure;
    cJSON *answer;
    if (call_quietly(rm->url, call_request("check"), CHECK_WAIT_MS, &answer, &failure) !=
        EXIT_DONE) {
        findings_add(findings, rm->name, "error", "start its agent: assent-agent -c FILE", "%s",
                     failure.message);
        return;
    }
    findings_take(findings, rm->name, answer);
    cJSON_Delete(answer);
    if (start->coordinator != NULL)
        check_registration(start, rm->name, rm->url, findings);
}

static int report_of_agents(const struct cli *cli, cJSON **report)
{
    struct site *site = must_alloc(sizeof *site, "a site");
    struct dry_start start;
    int code = site_read(cli, site);
    if (code != EXIT_DONE)
        goto free_site;
    cJSON *findings = cJSON_CreateArray();
    dry_start(site, &start);
    if (start.in_use)
        findings_add(findings, "coordinator", "error", "assentctl check", "%s", start.why);
    else
        check_log(site, &start, findings);
    for (uint32_t i = 0; i < site->rm_count; i++)
        check_agent(&start, &site->rms[i], findings);
    dry_start_free(&start);
    *report = wire_ok();
    cJSON_AddStringToObject(*report, "tm", site->tm);
    cJSON_AddStringToObject(*report, "version", PACKAGE_VERSION);
    cJSON_AddItemToObject(*report, "findings", findings_sorted(findings));

free_site:
    free(site);
    return code;
}

/* ---- for people ---- */

static void print_findings(const cJSON *findings)
{
    char scratch[SCRATCH_BYTES];
    for (const cJSON *finding = json_first(findings); finding != NULL; finding = finding->next) {
        const char *severity = json_text(finding, "severity", scratch);
        const char *fix = json_text(finding, "fix", scratch);
        enum paint paint = paint_of(severity);
        paint_begin(paint);
        fputs(severity, stdout);
        paint_end(paint);
        printf(": %s: ", json_text(finding, "where", scratch));
        text_put(stdout, json_text(finding, "what", scratch));
        putchar('\n');
        if (fix[0] == '\0')
            continue;
        fputs("  to change: ", stdout);
        text_put(stdout, fix);
        putchar('\n');
    }
}

static int count(const cJSON *findings, const char *severity)
{
    char scratch[SCRATCH_BYTES];
    int found = 0;
    for (const cJSON *finding = json_first(findings); finding != NULL; finding = finding->next)
        found += strcmp(json_text(finding, "severity", scratch), severity) == 0;
    return found;
}

int check_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"agents", "agents", FIELD_TRUE},
        {"strict", "strict", FIELD_TRUE},
        {NULL, NULL, FIELD_TEXT},
    };
    cJSON *options = cJSON_CreateObject(), *report = NULL;
    int code;

    if (options_read(cli, argc, argv, fields, false, 0, 0, options, &code) < 0)
        goto delete_options;
    code = cJSON_HasObjectItem(options, "agents")
               ? report_of_agents(cli, &report)
               : call_coordinator(cli, call_request("check"), CHECK_WAIT_MS, &report);
    if (code == EXIT_UNREACHABLE && !cli->json)
        tell("hint", "assentctl -c assentd.ini check --agents looks without it");
    if (code != EXIT_DONE)
        goto delete_options;
    const cJSON *findings = json_child(report, "findings");
    int errors = count(findings, "error"), warnings = count(findings, "warning");
    if (cli->json) {
        print_json(report);
    } else {
        print_findings(findings);
        printf("%d error%s, %d warning%s\n", errors, errors == 1 ? "" : "s", warnings,
               warnings == 1 ? "" : "s");
    }
    if (errors > 0 || (warnings > 0 && cJSON_HasObjectItem(options, "strict")))
        code = EXIT_REFUSED;
    cJSON_Delete(report);

delete_options:
    cJSON_Delete(options);
    return code;
}
