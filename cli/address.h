/*
 * cli/address.h - where the coordinator listens.
 */
#ifndef ASSENT_CLI_ADDRESS_H
#define ASSENT_CLI_ADDRESS_H

#include "cli/cli.h"

#define ADDRESS_DEFAULT_CONF "/etc/assent/assentd.ini"

/* -u, else `listen` in the file of -c, else ASSENT_URL, else `listen` in the default file. Returns
 * EXIT_DONE with *urls, malloc'ed and comma-separated; else EXIT_USAGE, with the reason told. */
int address_find(const struct cli *cli, char **urls);

/* data_dir in the file of -c or the default file, or what it is when the file names none. Returns
 * EXIT_DONE with *dir, malloc'ed; else EXIT_USAGE, with the reason told. */
int address_find_data_dir(const struct cli *cli, char **dir);

#endif
