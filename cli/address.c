/*
 * cli/address.c - where the coordinator listens.
 *
 * What is given on the command line counts before the environment, and that before the
 * file where a package puts the coordinator's configuration.
 */
#include "cli/address.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/must.h"

/* assentd checks its file; here only the one address in it is wanted. */
static int take_listen(void *arg, const char *section, const char *key, const char *value)
{
    char **listen = arg;

    if (*listen == NULL && strcmp(section, "tm") == 0 && strcmp(key, "listen") == 0)
        *listen = must_copy(value, "an address");
    return 1;
}

static int read_listen(const char *path, char **urls)
{
    *urls = NULL;
    if (ini_parse(path, take_listen, urls) < 0) {
        fprintf(stderr, "error: cannot read %s\n", path);
        return EXIT_USAGE;
    }
    if (*urls == NULL) {
        fprintf(stderr, "error: %s has no listen in its section [tm]\n", path);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

int address_find(const struct cli *cli, char **urls)
{
    const char *environment = getenv("ASSENT_URL");
    const char *given = cli->urls;

    if (given == NULL && cli->conf_path != NULL)
        return read_listen(cli->conf_path, urls);
    if (given == NULL && environment != NULL && environment[0] != '\0')
        given = environment;
    if (given == NULL && access(ADDRESS_DEFAULT_CONF, R_OK) == 0)
        return read_listen(ADDRESS_DEFAULT_CONF, urls);
    if (given == NULL) {
        fputs("error: which coordinator?\n"
              "hint: give -u URL or -c assentd.ini, or set ASSENT_URL\n",
              stderr);
        return EXIT_USAGE;
    }
    *urls = must_copy(given, "an address");
    return EXIT_DONE;
}

struct place {
    char name[64];
    char data_dir[256];
};

static int take_place(void *arg, const char *section, const char *key, const char *value)
{
    struct place *place = arg;

    if (strcmp(section, "tm") == 0 && strcmp(key, "name") == 0)
        snprintf(place->name, sizeof place->name, "%s", value);
    if (strcmp(section, "tm") == 0 && strcmp(key, "data_dir") == 0)
        snprintf(place->data_dir, sizeof place->data_dir, "%s", value);
    return 1;
}

int address_find_data_dir(const struct cli *cli, char **dir)
{
    const char *path = cli->conf_path != NULL ? cli->conf_path : ADDRESS_DEFAULT_CONF;
    struct place place = {0};

    if (ini_parse(path, take_place, &place) < 0) {
        fprintf(stderr,
                "error: cannot read %s\n"
                "hint: give -c assentd.ini, or --dir with the coordinator's data_dir\n",
                path);
        return EXIT_USAGE;
    }
    if (place.data_dir[0] == '\0')
        snprintf(place.data_dir, sizeof place.data_dir, "/var/lib/assent/%s", place.name);
    *dir = must_copy(place.data_dir, "a folder's name");
    return EXIT_DONE;
}
