/*
 * tm/main.c - assentd: its command line.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "config.h"
#include "tm/server.h"

static const char usage[] =
    "assentd - the coordinator of transactions over several PostgreSQL databases\n"
    "\n"
    "Usage: assentd -c FILE [OPTION]\n"
    "\n"
    "  -c, --config FILE   configuration; see assentd(8)\n"
    "      --check-config  read it, say what is wrong with it, and end\n"
    "      --moved         accept a log that was written on another host or in another\n"
    "                      directory: only if no other copy of it will ever be started\n"
    "      --unfence       an agent has refused this log, and yet it is the newest: register\n"
    "                      again; only if no other copy of it will ever be started\n"
    "  -v, --verbose       log more\n"
    "      --version       print the version\n"
    "      --help          print this\n"
    "\n"
    "It stays in the foreground and logs to stderr. SIGTERM lets running transactions finish\n"
    "and stops; a second one stops at once, which is as safe.\n";

enum { OPTION_CHECK = 256, OPTION_MOVED, OPTION_UNFENCE, OPTION_VERSION, OPTION_HELP };

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},   {"check-config", no_argument, NULL, OPTION_CHECK},
    {"moved", no_argument, NULL, OPTION_MOVED}, {"unfence", no_argument, NULL, OPTION_UNFENCE},
    {"verbose", no_argument, NULL, 'v'},        {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},   {NULL, 0, NULL, 0},
};

static int main_report(const struct error *error)
{
    log_error("%s", error->message);
    if (error->hint[0] != '\0')
        log_error("hint: %s", error->hint);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static struct settings settings;
    struct error error = {.message = ""};
    const char *path = NULL;
    bool check_only = false;
    struct server_claims claims = {.moved = false};

    for (int option; (option = getopt_long(argc, argv, "c:v", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'v':
            logger_set_level(LEVEL_DEBUG);
            break;
        case OPTION_CHECK:
            check_only = true;
            break;
        case OPTION_MOVED:
            claims.moved = true;
            break;
        case OPTION_UNFENCE:
            claims.unfence = true;
            break;
        case OPTION_VERSION:
            puts("assentd " PACKAGE_VERSION);
            return EXIT_SUCCESS;
        case OPTION_HELP:
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            fputs("Try `assentd --help`.\n", stderr);
            return 2;
        }
    }
    if (path == NULL || optind != argc) {
        fputs(usage, stderr);
        return 2;
    }
    if (settings_read(path, &settings, &error) != 0)
        return main_report(&error);
    if (check_only) {
        printf("%s: ok, tm %s, %u resource managers\n", path, settings.tm, settings.rm_count);
        return EXIT_SUCCESS;
    }
    if (server_run(&settings, &claims, &error) != 0)
        return main_report(&error);
    return EXIT_SUCCESS;
}
