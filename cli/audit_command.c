/*
 * cli/audit_command.c - assentctl audit: who has settled what, when and why.
 *
 *     assentctl [-c assentd.ini] audit [--dir DIR]
 *     assentctl [-c assentd.ini] audit verify [--dir DIR]
 *
 * Reads the coordinator's file; no daemon is needed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/address.h"
#include "cli/call.h"
#include "cli/table.h"
#include "common/must.h"
#include "common/trail.h"

static int add_line(void *arg, const char *json)
{
    cJSON *line = cJSON_Parse(json);
    if (line != NULL)
        cJSON_AddItemToArray(arg, line);
    return 0;
}

static void print_lines(const struct cli *cli, const cJSON *lines)
{
    static const char *const titles[] = {"at", "who", "what", "about", "outcome", "reason"};
    char scratch[SCRATCH_BYTES];
    cJSON *rows = cJSON_CreateArray();
    if (cli->json) {
        print_json(lines);
        cJSON_Delete(rows);
        return;
    }
    for (const cJSON *line = lines->child; line != NULL; line = line->next) {
        cJSON *row = cJSON_CreateArray();
        const char *gtrid = json_text(line, "gtrid", scratch);
        bool heuristic = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "heuristic"));
        char about[128], outcome[64];
        snprintf(about, sizeof about, "%s%s%s", gtrid, gtrid[0] != '\0' ? " " : "",
                 json_text(line, "rm", scratch));
        snprintf(outcome, sizeof outcome, "%s%s", json_text(line, "outcome", scratch),
                 heuristic ? " (heuristic)" : "");
        table_cell(row, json_text(line, "at", scratch));
        table_cell(row, json_text(line, "who", scratch));
        table_cell(row, json_text(line, "what", scratch));
        table_cell(row, about);
        table_cell(row, outcome);
        table_cell(row, json_text(line, "reason", scratch));
        cJSON_AddItemToArray(rows, row);
    }
    table_print(titles, sizeof titles / sizeof *titles, rows);
    cJSON_Delete(rows);
}

static int verify(const struct cli *cli, const struct trail_end *end)
{
    if (cli->json)
        printf("{\"ok\":%s,\"lines\":%" PRIu64 ",\"broken_line\":%" PRIu64 ",\"hash\":\"%s\"}\n",
               end->broken_line == 0 ? "true" : "false", end->lines, end->broken_line, end->hash);
    else if (end->broken_line == 0)
        printf("%" PRIu64 " lines, none changed; the last has %s\n", end->lines, end->hash);
    if (end->broken_line == 0)
        return EXIT_DONE;
    if (!cli->json)
        fprintf(stderr,
                "error: line %" PRIu64 " of %" PRIu64
                " is not what was written, or one before it was taken out\n"
                "hint: the coordinator's journal has every line too, behind `audit:`\n",
                end->broken_line, end->lines);
    return EXIT_REFUSED;
}

static int read_trail(const struct cli *cli, const char *dir, bool check)
{
    struct trail_end end;
    struct error error;
    char path[512];
    cJSON *lines = cJSON_CreateArray();
    snprintf(path, sizeof path, "%s/%s", dir, TRAIL_NAME);
    int code = EXIT_DONE;
    if (trail_read(path, add_line, lines, &end, &error) != 0) {
        tell("error", error.message);
        code = EXIT_REFUSED;
    } else if (check) {
        code = verify(cli, &end);
    } else {
        print_lines(cli, lines);
    }
    cJSON_Delete(lines);
    return code;
}

int audit_command(struct cli *cli, int argc, char **argv)
{
    static const struct field_option fields[] = {
        {"dir", "dir", FIELD_TEXT},
        {NULL, NULL, FIELD_TEXT},
    };
    char scratch[SCRATCH_BYTES];
    char *dir = NULL;
    cJSON *options = cJSON_CreateObject();
    int code;
    int operand = options_read(cli, argc, argv, fields, false, 0, 1, options, &code);
    if (operand < 0)
        goto delete_options;
    bool check = operand < argc;
    if (check && strcmp(argv[operand], "verify") != 0) {
        code = usage_error(cli, "audit takes verify or nothing, not %s", argv[operand]);
        goto delete_options;
    }
    if (cJSON_HasObjectItem(options, "dir"))
        dir = must_copy(json_text(options, "dir", scratch), "a folder's name");
    else
        code = address_find_data_dir(cli, &dir);
    if (dir != NULL)
        code = read_trail(cli, dir, check);
    free(dir);

delete_options:
    cJSON_Delete(options);
    return code;
}
