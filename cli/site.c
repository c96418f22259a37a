/*
 * cli/site.c - the coordinator's configuration, as far as assentctl works without the coordinator.
 *
 * assentd judges its file; here only what is wanted of it is read.
 */
#include "cli/site.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/address.h"
#include "cli/call.h"

static void take_tm(struct site *site, const char *key, const char *value)
{
    if (strcmp(key, "name") == 0)
        snprintf(site->tm, sizeof site->tm, "%s", value);
    else if (strcmp(key, "data_dir") == 0)
        snprintf(site->data_dir, sizeof site->data_dir, "%s", value);
    else if (strcmp(key, "max_transactions") == 0)
        site->max_transactions = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(key, "max_branches") == 0)
        site->max_branches = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(key, "max_outcomes") == 0)
        site->max_outcomes = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(key, "max_keys") == 0)
        site->max_keys = (uint32_t)strtoul(value, NULL, 10);
}

static int take(void *arg, const char *section, const char *key, const char *value)
{
    struct site *site = arg;
    if (strcmp(section, "tm") == 0)
        take_tm(site, key, value);
    if (strncmp(section, "rm ", 3) == 0 && strcmp(key, "url") == 0 && site->rm_count < RMS_MAX) {
        struct site_rm *rm = &site->rms[site->rm_count++];
        snprintf(rm->name, sizeof rm->name, "%s", section + 3 + strspn(section + 3, " "));
        snprintf(rm->url, sizeof rm->url, "%s", value);
    }
    return 1;
}

int site_read(const struct cli *cli, struct site *out)
{
    char message[512];
    *out = (struct site){
        .path = cli->conf_path != NULL ? cli->conf_path : ADDRESS_DEFAULT_CONF,
        .max_transactions = 10000,
        .max_branches = 40000,
        .max_outcomes = 2000000000,
        .max_keys = 10000000,
    };
    int line = ini_parse(out->path, take, out);
    if (line != 0)
        snprintf(message, sizeof message, line < 0 ? "cannot read %s" : "%s: line %d is no INI",
                 out->path, line);
    else if (out->tm[0] == '\0' || out->rm_count == 0)
        snprintf(message, sizeof message, "%s has no [tm] name or no [rm NAME]", out->path);
    else
        message[0] = '\0';
    if (message[0] != '\0') {
        tell("error", message);
        tell("hint", "give -c assentd.ini, the coordinator's own file");
        return EXIT_USAGE;
    }
    if (out->data_dir[0] == '\0')
        snprintf(out->data_dir, sizeof out->data_dir, "/var/lib/assent/%s", out->tm);
    return EXIT_DONE;
}
