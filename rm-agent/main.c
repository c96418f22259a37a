/*
 * rm-agent/main.c - assent-agent: carries a coordinator's decisions out in one database.
 */
#include <config.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/logger.h"
#include "rm-agent/agent.h"
#include "rm-agent/config.h"
#include "rm-agent/postgres/install.h"

enum { EXIT_USAGE = 2, LAST_WORDS_MS = 1000 };

enum { OPTION_CHECK = 256, OPTION_INSTALL, OPTION_CONNINFO };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"install-schema", no_argument, NULL, OPTION_INSTALL},
    {"conninfo", required_argument, NULL, OPTION_CONNINFO},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "Usage: assent-agent -c FILE [OPTION]\n"
    "Carries out in one PostgreSQL database what an Assent coordinator decides.\n"
    "\n"
    "  -c, --config FILE     configuration, for example /etc/assent/assent-agent.ini\n"
    "      --check-config    read the configuration, say whether it is right, and end\n"
    "      --install-schema  install the schema \"assent\" in the database, and end;\n"
    "                        a DBA runs it once\n"
    "      --conninfo ADMIN  connect like this to install the schema\n"
    "  -V, --version         print the version and end\n"
    "  -h, --help            print this and end\n";

static int complain(const struct error *error)
{
    fprintf(stderr, "error: %s\n", error->message);
    if (error->hint[0] != '\0')
        fprintf(stderr, "hint: %s\n", error->hint);
    return EXIT_FAILURE;
}

static int misused(void)
{
    fputs("Try `assent-agent --help'.\n", stderr);
    return EXIT_USAGE;
}

/* The same process, since a supervisor watches it, and nothing else of what it was. */
static int start_over(char **argv)
{
    logger_flush(LAST_WORDS_MS);
    execv("/proc/self/exe", argv);
    perror("error: start over");
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static struct agent_options options;
    const char *config = NULL, *admin = NULL;
    bool check = false, install = false;
    struct error error = {.hint = ""};
    for (int option; (option = getopt_long(argc, argv, "c:Vh", long_options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            config = optarg;
            break;
        case OPTION_CHECK:
            check = true;
            break;
        case OPTION_INSTALL:
            install = true;
            break;
        case OPTION_CONNINFO:
            admin = optarg;
            break;
        case 'V':
            puts("assent-agent " PACKAGE_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            fputs(help, stdout);
            return EXIT_SUCCESS;
        default:
            return misused();
        }
    }
    if (config == NULL || optind != argc || (admin != NULL && !install))
        return misused();
    if (config_read(config, &options, &error) != 0)
        return complain(&error);
    if (check) {
        printf("%s is right\n", config);
        return EXIT_SUCCESS;
    }
    if (install)
        return install_schema(&options, admin, &error) == 0 ? EXIT_SUCCESS : complain(&error);
    int status = agent_run(config, &options);
    return status == EXIT_START_OVER ? start_over(argv) : status;
}
