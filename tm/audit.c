/*
 * tm/audit.c - the audit trail follows the log: each decision of a person has a line in both.
 */
#include "tm/audit.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/trail.h"
#include "common/wire.h"

enum { WAITING_MAX = 64, HEADER_BYTES = 8 };

struct waiting {
    uint64_t number; /* of the record, in this start */
    struct record record;
};

struct audit {
    const char *tm;
    char path[512];
    int fd;
    char hash[TRAIL_HASH_BYTES];
    uint64_t last_lsn; /* the highest that a line has named */
    uint64_t handed;
    uint32_t waiting_count;
    struct waiting waiting[WAITING_MAX]; /* more than the core lets be under way at once */
};

bool audit_is_for(uint8_t type)
{
    switch (type) {
    case RECORD_RESOLVED:
    case RECORD_WAIVED:
    case RECORD_RELEASED:
    case RECORD_RETIRED:
    case RECORD_PAUSED:
    case RECORD_FENCED:
    case RECORD_MIXED:
    case RECORD_QUARANTINED:
        return true;
    default:
        return false;
    }
}

/* ---- a line ---- */

static const char *audit_what(const struct record *record)
{
    switch (record->type) {
    case RECORD_RESOLVED:
        return record->outcome == OUTCOME_FORGOTTEN ? "forget" : "resolve";
    case RECORD_WAIVED:
        return "waive";
    case RECORD_RELEASED:
        return "release";
    case RECORD_RETIRED:
        return "retire";
    case RECORD_PAUSED:
        return record->flags != 0 ? "pause" : "resume";
    case RECORD_FENCED:
        return record->flags != 0 ? "fenced" : "unfence";
    case RECORD_MIXED:
        return "mixed";
    default:
        return "quarantined";
    }
}

static void audit_add_text(cJSON *object, const char *name, const char *text)
{
    if (text[0] != '\0')
        cJSON_AddStringToObject(object, name, text);
}

static void audit_add_transaction(cJSON *object, const struct audit *audit,
                                  const struct record *record)
{
    struct gtrid gtrid = {.incarnation = record->incarnation, .sequence = record->sequence};
    char text[GTRID_BYTES];
    if (record->type != RECORD_RESOLVED && record->type != RECORD_MIXED)
        return;
    text_copy(gtrid.tm, sizeof gtrid.tm, audit->tm, strlen(audit->tm));
    gtrid_format(&gtrid, text);
    cJSON_AddStringToObject(object, "gtrid", text);
    if (record->outcome != OUTCOME_FORGOTTEN)
        cJSON_AddStringToObject(object, "outcome", outcome_word(record->outcome));
    if (record->branch_count == 1) {
        audit_add_text(object, "rm", record->branches[0].rm);
        audit_add_text(object, "branch", record->branches[0].branch);
    }
    if (record->type == RECORD_RESOLVED && (record->flags & RESOLVED_HEURISTIC) != 0)
        cJSON_AddTrueToObject(object, "heuristic");
}

static char *audit_line(const struct audit *audit, const struct record *record, uint64_t lsn)
{
    char at[32], number[24];
    time_t now = time(NULL);
    struct tm utc;
    cJSON *object = cJSON_CreateObject();
    gmtime_r(&now, &utc);
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &utc);
    u64_format(lsn, number);
    cJSON_AddStringToObject(object, "lsn", number);
    cJSON_AddStringToObject(object, "at", at);
    cJSON_AddStringToObject(object, "who", record->who[0] != '\0' ? record->who : "assentd");
    cJSON_AddStringToObject(object, "what", audit_what(record));
    audit_add_transaction(object, audit, record);
    audit_add_text(object, "rm", record->rm);
    audit_add_text(object, "reason", record->why);
    size_t length;
    return wire_print(object, &length);
}

/* Into the page cache, in one piece; the log is what survives a power cut. */
static void audit_append(struct audit *audit, const struct record *record, uint64_t lsn)
{
    char line[TRAIL_HASH_BYTES + TRAIL_LINE_MAX];
    char hash[TRAIL_HASH_BYTES];
    char *json = audit_line(audit, record, lsn);
    trail_hash(audit->hash, json, hash);
    int length = snprintf(line, sizeof line, "%s %s\n", hash, json);
    log_notice("audit: %s %s", hash, json);
    free(json);
    if (write(audit->fd, line, (size_t)length) != length) {
        log_error("%s: %s; what is missing is added at the next start", audit->path,
                  strerror(errno));
        return;
    }
    memcpy(audit->hash, hash, sizeof hash);
    if (audit->last_lsn < lsn)
        audit->last_lsn = lsn;
}

/* ---- following the log ---- */

static int audit_take_lsn(void *arg, const char *json)
{
    struct audit *audit = arg;
    cJSON *object = cJSON_Parse(json);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "lsn"));
    uint64_t lsn;
    if (text != NULL && u64_parse(text, strlen(text), &lsn) && audit->last_lsn < lsn)
        audit->last_lsn = lsn;
    cJSON_Delete(object);
    return 0;
}

int audit_open(struct audit **out, const char *data_dir, const char *tm, struct error *error)
{
    struct trail_end end;
    struct audit *audit = must_alloc(sizeof *audit, "the audit trail");
    audit->tm = tm;
    audit->fd = -1;
    snprintf(audit->path, sizeof audit->path, "%s/%s", data_dir, TRAIL_NAME);
    *out = audit;
    if (trail_read(audit->path, audit_take_lsn, audit, &end, error) != 0)
        return -1;
    if (end.broken_line != 0)
        log_error("%s: line %llu was changed, or one before it was taken out: see `assentctl "
                  "audit verify`",
                  audit->path, (unsigned long long)end.broken_line);
    memcpy(audit->hash, end.hash, sizeof audit->hash);
    audit->fd = open(audit->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (audit->fd < 0 || ftruncate(audit->fd, (off_t)end.whole_bytes) != 0)
        return fail_errno(error, "open %s", audit->path);
    return 0;
}

void audit_close(struct audit *audit)
{
    if (audit == NULL)
        return;
    if (audit->fd >= 0) {
        fsync(audit->fd);
        close(audit->fd);
    }
    free(audit);
}

void audit_recovered(struct audit *audit, const struct record *record)
{
    if (record->lsn > audit->last_lsn)
        audit_append(audit, record, record->lsn);
}

void audit_handed(struct audit *audit, const uint8_t *records, size_t length)
{
    for (size_t at = 0; at < length;) {
        struct record_header header;
        memcpy(&header, records + at, sizeof header);
        audit->handed++;
        if (audit_is_for(header.type) && audit->waiting_count < WAITING_MAX) {
            struct waiting *waiting = &audit->waiting[audit->waiting_count++];
            waiting->number = audit->handed;
            record_decode(header.type, header.version, records + at + HEADER_BYTES, header.length,
                          &waiting->record);
        }
        at += (HEADER_BYTES + header.length + 7) / 8 * 8;
    }
}

void audit_durable(struct audit *audit, uint64_t records, uint64_t lsn)
{
    uint32_t done = 0;
    while (done < audit->waiting_count && audit->waiting[done].number <= records)
        audit_append(audit, &audit->waiting[done++].record, lsn);
    audit->waiting_count -= done;
    memmove(audit->waiting, audit->waiting + done, audit->waiting_count * sizeof *audit->waiting);
}
