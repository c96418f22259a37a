/*
 * cli/check_command.c - check: preflight of the coordinator and of all databases.
 */
#include <stdio.h>
#include <string.h>

#include "cli/call.h"
#include "cli/paint.h"
#include "cli/table.h"

enum { CHECK_WAIT_MS = 25 * 1000 }; /* the agents have 20 s */

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
        {"strict", "strict", FIELD_TRUE},
        {NULL, NULL, FIELD_TEXT},
    };
    cJSON *options = cJSON_CreateObject(), *report = NULL;
    int code;

    if (options_read(cli, argc, argv, fields, false, 0, 0, options, &code) < 0)
        goto delete_options;
    code = call_coordinator(cli, call_request("check"), CHECK_WAIT_MS, &report);
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
