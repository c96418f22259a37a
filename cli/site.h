/*
 * cli/site.h - the coordinator's configuration, as far as assentctl works without the coordinator.
 */
#ifndef ASSENT_CLI_SITE_H
#define ASSENT_CLI_SITE_H

#include "cli/cli.h"
#include "core/coordinator/registry.h"

struct site_rm {
    char name[RM_NAME_BYTES];
    char url[URL_BYTES];
};

struct site {
    const char *path;
    char tm[TM_NAME_BYTES];
    char data_dir[256];
    uint32_t max_transactions, max_branches, max_outcomes, max_keys;
    uint32_t rm_count;
    struct site_rm rms[RMS_MAX];
};

/* The file of -c, else the default one. Returns EXIT_DONE; else EXIT_USAGE, the reason told. */
int site_read(const struct cli *cli, struct site *out);

#endif
