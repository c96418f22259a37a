/*
 * common/findings.c - what a preflight has found: where, how severe, what, and what to change.
 */
#include "common/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/wire.h"

enum { WHAT_BYTES = 1024 };

static const char *const severities[] = {"error", "warning", "notice"};

void findings_add(cJSON *findings, const char *where, const char *severity, const char *fix,
                  const char *format, ...)
{
    char what[WHAT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    cJSON *finding = cJSON_CreateObject();
    cJSON_AddStringToObject(finding, "where", where);
    cJSON_AddStringToObject(finding, "severity", severity);
    cJSON_AddStringToObject(finding, "what", what);
    cJSON_AddStringToObject(finding, "fix", fix);
    cJSON_AddItemToArray(findings, finding);
}

void findings_take(cJSON *findings, const char *where, const cJSON *answer)
{
    const cJSON *found;
    cJSON_ArrayForEach(found, cJSON_GetObjectItemCaseSensitive(answer, "findings"))
        findings_add(findings, where, member_text(found, "severity"), member_text(found, "fix"),
                     "%s", member_text(found, "what"));
}

cJSON *findings_sorted(cJSON *findings)
{
    cJSON *out = cJSON_CreateArray();
    for (size_t i = 0; i < sizeof severities / sizeof severities[0]; i++)
        for (cJSON *finding = findings->child, *next; finding != NULL; finding = next) {
            next = finding->next;
            if (strcmp(member_text(finding, "severity"), severities[i]) == 0)
                cJSON_AddItemToArray(out, cJSON_DetachItemViaPointer(findings, finding));
        }
    cJSON_Delete(findings);
    return out;
}
