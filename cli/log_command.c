/*
 * cli/log_command.c - assentctl log: reads a coordinator's log with no daemon.
 *
 *     assentctl log dump DIR [--gtrid GTRID] [--since LSN]
 *     assentctl log verify DIR
 *     assentctl log stat DIR
 *
 * It changes nothing, works on a copy, and beside a daemon that is writing. A look that comes
 * first says how far the log can be believed; what is dumped is up to there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/call.h"
#include "cli/table.h"
#include "core/message/record.h"
#include "log/reader.h"

/* What the records are asked for. */
struct wish {
    const struct cli *cli;
    const char *tm;
    const char *gtrid; /* NULL: all */
    uint64_t since;    /* lsn */
    uint64_t until;    /* lsn */
};

static void add_number(cJSON *object, const char *name, uint64_t number)
{
    char text[SCRATCH_BYTES];
    snprintf(text, sizeof text, "%" PRIu64, number);
    cJSON_AddStringToObject(object, name, text);
}

static void add_text(cJSON *object, const char *name, const char *text)
{
    if (text[0] != '\0')
        cJSON_AddStringToObject(object, name, text);
}

static void add_some(cJSON *object, const char *name, uint64_t number)
{
    if (number != 0)
        add_number(object, name, number);
}

static void add_branches(cJSON *object, const struct record *record)
{
    if (record->branch_count == 0)
        return;
    cJSON *branches = cJSON_AddArrayToObject(object, "branches");
    for (uint32_t i = 0; i < record->branch_count; i++) {
        cJSON *branch = cJSON_CreateObject();
        add_text(branch, "rm", record->branches[i].rm);
        add_text(branch, "branch", record->branches[i].branch);
        add_some(branch, "xid", record->branches[i].xid);
        cJSON_AddItemToArray(branches, branch);
    }
}

static void add_acceptors(cJSON *object, const struct roster *roster)
{
    if (roster->count == 0)
        return;
    cJSON *acceptors = cJSON_AddArrayToObject(object, "acceptors");
    for (uint32_t i = 0; i < roster->count; i++)
        cJSON_AddItemToArray(acceptors, cJSON_CreateString(roster->agents[i]));
    if (roster->tm)
        cJSON_AddItemToArray(acceptors, cJSON_CreateString("this log"));
}

/* "" for a record that is about no transaction. */
static void gtrid_of(const struct record *record, const char *tm, char out[GTRID_BYTES])
{
    struct gtrid gtrid = {.incarnation = record->incarnation, .sequence = record->sequence};
    out[0] = '\0';
    if (record->sequence == 0)
        return;
    snprintf(gtrid.tm, sizeof gtrid.tm, "%s", tm);
    gtrid_format(&gtrid, out);
}

/* The fields that the record has, those that say nothing left out. */
static void add_fields(cJSON *object, const struct record *record, const char *tm)
{
    char gtrid[GTRID_BYTES], instance[33];
    gtrid_of(record, tm, gtrid);
    add_text(object, record->type == RECORD_HORIZON ? "up_to" : "gtrid", gtrid);
    if (record->type == RECORD_START) {
        hex_write(record->instance.bytes, sizeof record->instance.bytes, instance);
        add_text(object, "instance", instance);
    }
    add_text(object, "key", record->key);
    add_text(object, "label", record->label);
    add_text(object, "application", record->application);
    add_text(object, "outcome", outcome_word(record->outcome));
    add_text(object, "rm", record->rm);
    add_text(object, "url", record->url);
    add_some(object, "beat", record->beat);
    add_some(object, "system_identifier", record->system_identifier);
    add_some(object, "timeline", record->timeline);
    add_branches(object, record);
    add_acceptors(object, &record->roster);
    add_some(object, "ballot", record->ballot);
    add_some(object, "running_ms", record->date);
    add_text(object, "who", record->who);
    add_text(object, "why", record->why);
}

static void add_payload(cJSON *object, const struct frame *frame, const char *tm)
{
    struct record record;
    char home[HOME_BYTES];
    if (frame->type == RECORD_SEAL || frame->type == RECORD_STOP) {
        snprintf(home, sizeof home, "%.*s", (int)frame->length, (const char *)frame->payload);
        add_text(object, "at_home", home);
    } else if (record_decode(frame->type, frame->version, frame->payload, frame->length, &record) ==
               RECORD_OK) {
        add_fields(object, &record, tm);
    } else {
        add_number(object, "unknown_type", frame->type);
        add_number(object, "version", frame->version);
        add_number(object, "bytes", frame->length);
    }
}

/* accounts(xid 723) ledger/second(xid 99) */
static void print_branches(const cJSON *branches)
{
    const cJSON *branch;
    cJSON_ArrayForEach(branch, branches)
    {
        char scratch[SCRATCH_BYTES];
        const char *name = json_text(branch, "branch", scratch);
        printf(" %s%s%s", json_text(branch, "rm", scratch), name[0] != '\0' ? "/" : "", name);
        const char *xid = json_text(branch, "xid", scratch);
        if (xid[0] != '\0')
            printf("(xid %s)", xid);
    }
}

/* One record, one line: its fields as "name value", but for those that speak for themselves. */
static void print_line(const struct log_place *place, const struct frame *frame,
                       const cJSON *fields)
{
    char file[FILE_NAME_BYTES];
    file_name(place->kind, place->number, file);
    printf("%10" PRIu64 " %5" PRIu64 "  %s:%-9" PRIu64 " %s", frame->lsn, frame->incarnation, file,
           place->offset, record_name(frame->type));
    const cJSON *field;
    cJSON_ArrayForEach(field, fields)
    {
        if (cJSON_IsArray(field)) {
            print_branches(field);
            continue;
        }
        bool plain = strcmp(field->string, "gtrid") == 0 || strcmp(field->string, "rm") == 0;
        printf(" %s%s", plain ? "" : field->string, plain ? "" : " ");
        text_put(stdout, field->valuestring);
    }
    putchar('\n');
}

static void print_object(const struct log_place *place, const struct frame *frame,
                         const cJSON *fields)
{
    char file[FILE_NAME_BYTES];
    cJSON *object = cJSON_CreateObject();
    file_name(place->kind, place->number, file);
    add_number(object, "lsn", frame->lsn);
    add_number(object, "incarnation", frame->incarnation);
    cJSON_AddStringToObject(object, "file", file);
    add_number(object, "offset", place->offset);
    cJSON_AddStringToObject(object, "type", record_name(frame->type));
    const cJSON *field;
    cJSON_ArrayForEach(field, fields)
        cJSON_AddItemToObject(object, field->string, cJSON_Duplicate(field, true));
    print_json(object);
    cJSON_Delete(object);
}

static int dump_one(void *arg, const struct log_place *place, const struct frame *frame,
                    struct error *error)
{
    const struct wish *wish = arg;
    char scratch[SCRATCH_BYTES];
    (void)error;
    if (frame->lsn > wish->until)
        return 1; /* written after the first look */
    if (frame->lsn < wish->since)
        return 0;
    cJSON *fields = cJSON_CreateObject();
    add_payload(fields, frame, wish->tm);
    if (wish->gtrid == NULL || strcmp(json_text(fields, "gtrid", scratch), wish->gtrid) == 0)
        (wish->cli->json ? print_object : print_line)(place, frame, fields);
    cJSON_Delete(fields);
    return 0;
}

static int tell_error(const struct error *error)
{
    tell("error", error->message);
    tell("hint", error->hint);
    return EXIT_REFUSED;
}

/* In words, how the log ends. */
static const char *ending(const struct log_dir *dir, const struct log_end *end)
{
    if (log_dir_in_use(dir))
        return "in use by a daemon";
    if (end->torn)
        return "torn: its last bytes are what a crash leaves, or a copy taken while assentd was "
               "writing; nothing that was acknowledged is missing, the next start removes them";
    return end->clean ? "stopped cleanly" : "not stopped cleanly, whole to its end";
}

static int dump(const struct log_dir *dir, const struct log_end *end, struct wish *wish,
                bool damaged, const struct error *damage)
{
    struct log_end again;
    struct error error;
    wish->tm = end->tm;
    wish->until = end->chain.lsn;
    if (!wish->cli->json)
        printf("%10s %5s  %-24s %s\n", "lsn", "inc", "at", "record");
    int rc = log_read(dir, NULL, true, &again, dump_one, wish, &error);
    if (damaged)
        return tell_error(damage);
    if (rc < 0)
        return tell_error(&error);
    if (end->torn)
        fprintf(stderr, "the log is %s\n", ending(dir, end));
    return EXIT_DONE;
}

static uint64_t disk_bytes(const struct log_dir *dir, enum file_kind kind, size_t *count,
                           uint64_t *oldest)
{
    uint64_t *numbers, bytes = 0;
    struct error error;
    *count = 0;
    *oldest = 0;
    if (file_list(dir, kind, &numbers, count, &error) != 0)
        return 0;
    for (size_t i = 0; i < *count; i++) {
        char name[FILE_NAME_BYTES];
        struct stat status;
        file_name(kind, numbers[i], name);
        if (fstatat(dir->fd, name, &status, 0) == 0)
            bytes += (uint64_t)status.st_blocks * 512;
    }
    if (*count > 0)
        *oldest = numbers[0];
    free(numbers);
    return bytes;
}

/* Why the oldest segment is still there. */
static void add_pin(cJSON *object, const struct log_dir *dir, uint64_t oldest)
{
    uint64_t *lsns;
    size_t count;
    char text[128] = "the log's beginning: there are not two checkpoints yet";
    struct file_header older;
    uint8_t *body = NULL;
    struct error error;
    if (file_list(dir, FILE_CHECKPOINT, &lsns, &count, &error) != 0)
        return;
    if (count >= 2 &&
        snapshot_read(dir, FILE_CHECKPOINT, lsns[count - 2], &older, &body, &error) == 0) {
        if (oldest < older.segment)
            snprintf(text, sizeof text, "nothing: it is the next one to be used again");
        else
            snprintf(text, sizeof text, "the older checkpoint, at lsn %" PRIu64, lsns[count - 2]);
    }
    cJSON_AddStringToObject(object, "oldest_segment_kept_for", text);
    free(body);
    free(lsns);
}

static cJSON *describe(const struct log_dir *dir, const struct log_end *end)
{
    char text[64];
    size_t segments, checkpoints, outcomes, keys;
    uint64_t oldest, unused;
    cJSON *object = cJSON_CreateObject();
    uint64_t segment_bytes = disk_bytes(dir, FILE_SEGMENT, &segments, &oldest);
    uint64_t checkpoint_bytes = disk_bytes(dir, FILE_CHECKPOINT, &checkpoints, &unused);
    uint64_t archive_bytes = disk_bytes(dir, FILE_OUTCOMES, &outcomes, &unused);
    archive_bytes += disk_bytes(dir, FILE_KEYS, &keys, &unused);
    cJSON_AddStringToObject(object, "tm", end->tm);
    hex_write(end->log.bytes, sizeof end->log.bytes, text);
    cJSON_AddStringToObject(object, "log", text);
    add_number(object, "incarnation", end->chain.incarnation);
    add_number(object, "newest_lsn", end->chain.lsn);
    add_number(object, "records", end->records);
    add_number(object, "segments", segments);
    add_number(object, "segment_bytes", segment_bytes);
    add_number(object, "checkpoints", checkpoints);
    add_number(object, "checkpoint_bytes", checkpoint_bytes);
    add_number(object, "archives", outcomes + keys);
    add_number(object, "archive_bytes", archive_bytes);
    add_number(object, "oldest_segment", oldest);
    add_pin(object, dir, oldest);
    snprintf(text, sizeof text, "wal-%010" PRIu64 " offset %" PRIu64, end->segment, end->offset);
    cJSON_AddStringToObject(object, "end", text);
    cJSON_AddBoolToObject(object, "torn", end->torn);
    cJSON_AddStringToObject(object, "state", ending(dir, end));
    add_text(object, "home", end->home);
    return object;
}

static int stat_log(const struct cli *cli, const struct log_dir *dir, const struct log_end *end)
{
    cJSON *object = describe(dir, end);
    if (cli->json) {
        print_json(object);
    } else {
        const cJSON *field;
        cJSON_ArrayForEach(field, object)
        {
            if (!cJSON_IsString(field))
                continue;
            printf("%-24s ", field->string);
            text_put(stdout, field->valuestring);
            putchar('\n');
        }
    }
    cJSON_Delete(object);
    return EXIT_DONE;
}

/* Every checkpoint and archive can be read to its last bit? The chain has been followed already. */
static int verify_snapshots(const struct log_dir *dir, struct error *error)
{
    int rc = 0;
    for (enum file_kind kind = FILE_CHECKPOINT; rc == 0 && kind <= FILE_KEYS; kind++) {
        uint64_t *numbers;
        size_t count;
        rc = file_list(dir, kind, &numbers, &count, error);
        for (size_t i = 0; rc == 0 && i < count; i++) {
            struct file_header header;
            uint8_t *body;
            rc = snapshot_read(dir, kind, numbers[i], &header, &body, error);
            if (rc == 0)
                free(body);
        }
        free(numbers);
    }
    return rc;
}

static int verify(const struct cli *cli, const struct log_dir *dir, const struct log_end *end)
{
    struct error error;
    if (verify_snapshots(dir, &error) != 0 && !log_dir_in_use(dir))
        return tell_error(&error);
    if (cli->json)
        return stat_log(cli, dir, end);
    printf("ok: the log of %s, %" PRIu64 " records up to lsn %" PRIu64 ", %s\n", end->tm,
           end->records, end->chain.lsn, ending(dir, end));
    return EXIT_DONE;
}

static int run(struct wish *wish, const char *verb, const struct log_dir *dir)
{
    struct log_end end;
    struct error error = {0};
    int rc = log_survey(dir, true, &end, &error);
    if (rc == 0 && end.segment == 0) {
        fail(&error, "there is no log in %s", dir->path);
        return tell_error(&error);
    }
    if (strcmp(verb, "dump") == 0)
        return dump(dir, &end, wish, rc != 0, &error);
    if (rc != 0)
        return tell_error(&error);
    return strcmp(verb, "stat") == 0 ? stat_log(wish->cli, dir, &end)
                                     : verify(wish->cli, dir, &end);
}

static const struct field_option log_options[] = {
    {"gtrid", "gtrid", FIELD_TEXT},
    {"since", "since", FIELD_TEXT},
    {NULL, NULL, FIELD_TEXT},
};

int log_command(struct cli *cli, int argc, char **argv)
{
    char scratch[SCRATCH_BYTES];
    struct log_dir dir;
    struct error error;
    int code;
    cJSON *options = cJSON_CreateObject();
    int operand = options_read(cli, argc, argv, log_options, false, 2, 2, options, &code);
    if (operand < 0)
        goto delete_options;
    const char *verb = argv[operand];
    const char *since = json_text(options, "since", scratch);
    struct wish wish = {.cli = cli};
    if (cJSON_HasObjectItem(options, "gtrid"))
        wish.gtrid = cJSON_GetObjectItemCaseSensitive(options, "gtrid")->valuestring;
    if (strcmp(verb, "dump") != 0 && strcmp(verb, "verify") != 0 && strcmp(verb, "stat") != 0)
        code = usage_error(cli, "log takes dump, verify or stat, not %s", verb);
    else if (since[0] != '\0' && !u64_parse(since, strlen(since), &wish.since))
        code = usage_error(cli, "--since takes an lsn, not %s", since);
    else if (log_dir_open(&dir, argv[operand + 1], &error) != 0)
        code = tell_error(&error);
    else {
        code = run(&wish, verb, &dir);
        log_dir_close(&dir);
    }

delete_options:
    cJSON_Delete(options);
    return code;
}
