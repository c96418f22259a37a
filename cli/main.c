/*
 * cli/main.c - assentctl, the command line of DBAs and of shell scripts.
 *
 *     assentctl [-u URL] [-c assentd.ini] [--json] COMMAND ...
 *
 * This file reads the command line; each family of commands has a file of its own.
 */
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/address.h"
#include "cli/cli.h"
#include "config.h"

enum {
    OWN_OPTIONS_MAX = 16,
    OPTION_JSON = 256,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_WATCH,
    OPTION_FIELD
};

static const struct command commands[] = {
    {"begin", "", "begin a transaction and print its gtrid",
     "  --timeout DURATION   roll back unless committed by then, for example 30s\n"
     "  --rm NAME            enlist this resource manager at once; may be given again\n"
     "  --key KEY            your own name for it, unique, to ask for its outcome by\n"
     "  --label TEXT         what people are to see in `list`: what it is for\n"
     "  --application NAME   and who does it\n"
     "  --traceparent TRACE  and in which trace, as W3C Trace Context has it\n"
     "  --protocol 2pc|3pc   3pc: the agents finish it alone if the coordinator is gone\n",
     begin_command, false},
    {"enlist", "GTRID RM[/BRANCH]", "make a branch and print its gid",
     "  --read-only          the branch only reads\n"
     "  --isolation LEVEL    such as serializable\n"
     "  --role NAME          log in as the agent's [exec NAME]\n",
     enlist_command, false},
    {"exec", "GTRID RM[/BRANCH] SQL [PARAM]...",
     "run one statement in a branch, enlisting it first",
     "Options come before GTRID; $1, $2, ... in SQL stand for the parameters.\n"
     "  --read-only, --isolation LEVEL, --role NAME   as in enlist\n",
     exec_command, false},
    {"commit", "GTRID", "commit on every database or none, and print the outcome",
     "  --wait applied       until every database has applied it (the default)\n"
     "  --wait decided       until it is decided and on the coordinator's disk\n"
     "  --wait-for DURATION  how long, 10s unless given\n",
     commit_command, false},
    {"rollback", "GTRID", "undo on every database, and print the outcome", "", rollback_command,
     false},
    {"outcome", "GTRID | --key KEY", "print how a transaction ended", "", outcome_command, false},
    {"status", "", "how the coordinator is", "", status_command, true},
    {"agents", "[waive|release|retire RM]", "the databases' agents and how they are",
     "  waive RM             do not wait for this agent to register any more\n"
     "  release RM           its database lost durable data and has been looked at: go on\n"
     "  retire RM            it takes part no more\n"
     "    --reason TEXT      why, for the audit trail; needed\n"
     "    --force            retire it although transactions still have work there\n"
     "    --yes              do not ask on a terminal\n",
     agents_command, true},
    {"rm", "pause|resume RM", "drain a resource manager for maintenance",
     "  pause RM             new branches are refused, running ones finish\n"
     "    --wait             until nothing has work there any more\n"
     "  resume RM            new branches are taken again\n"
     "    --reason TEXT      why, for the audit trail\n",
     rm_command, false},
    {"resolve", "GTRID commit|rollback", "settle a transaction by a DBA's word",
     "  --reason TEXT        why, for the audit trail; needed\n"
     "  --dry-run            only show branches, tables and sessions, and whether it would be "
     "mixed\n"
     "  --rm RM[/BRANCH]     only this branch of a transaction that is committing\n"
     "  --force              also against the log, or where nobody can know: a heuristic outcome\n"
     "  --yes                do not ask on a terminal\n",
     resolve_command, false},
    {"forget", "GTRID", "a mixed or resolved transaction has been dealt with",
     "  --reason TEXT        why, for the audit trail; needed\n"
     "  --dry-run            only show what is kept of it\n"
     "  --force              although a branch of it is still prepared\n"
     "  --yes                do not ask on a terminal\n",
     forget_command, false},
    {"list", "", "live transactions",
     "  --state STATE        only these: active, preparing, committing, rolling-back, ...\n",
     list_command, true},
    {"show", "GTRID", "one transaction, its branches, and whom it waits for",
     "  --timeline           what happened when\n", show_command, true},
    {"in-doubt", "", "what is in doubt, why, and what to do",
     "  --agents             the coordinator is down: ask the agents of -c FILE themselves, and\n"
     "                       read its log if it is here\n",
     in_doubt_command, true},
    {"check", "", "what will go wrong, before it does: databases, roles, disk, clocks, versions",
     "  --agents             the coordinator is down: look at its log and ask the agents of -c "
     "FILE\n"
     "  --strict             exit 1 for warnings too, not for errors alone\n",
     check_command, true},
    {"recover", "--lost-log | --adopt RM", "the coordinator's log is gone: start a new one",
     "  --lost-log           of -c FILE: what the agents prove, and what they cannot; nothing is\n"
     "                       done without --yes\n"
     "    --commit GTRID     say that it was decided so, where nothing proves it; may be given "
     "again\n"
     "    --rollback GTRID   the same; `rest`: all that is left\n"
     "    --without RM       leave this agent out; it has to adopt the new log later\n"
     "  --adopt RM           have an agent that was away follow the log that is here now\n"
     "    --reason TEXT      why, for the audit trail; needed\n"
     "    --yes              do it\n",
     recover_command, false},
    {"audit", "[verify]", "who has settled what, when and why",
     "  verify               whether any line of the trail was changed or taken out; exit 1 if so\n"
     "    --dir DIR          the coordinator's data_dir, if not that of -c FILE\n",
     audit_command, false},
    {"log", "dump|verify|stat DIR", "read a coordinator's log, with no daemon",
     "  dump DIR             its records, one a line\n"
     "    --gtrid GTRID      only those of this transaction\n"
     "    --since LSN        only those from this one on\n"
     "  verify DIR           whether all of it can be believed; exit 1 if not\n"
     "  stat DIR             how much there is of what\n",
     log_command, false},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(void)
{
    puts("Usage: assentctl [-u URL] [-c FILE] [--json] COMMAND [ARGUMENT]...\n"
         "\n"
         "Begin, end and look at transactions over several databases.\n"
         "\n"
         "Commands (assentctl COMMAND --help tells more):");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-9s %s\n", commands[i].name, commands[i].summary);
    puts(
        "\n"
        "Options:\n"
        "  -u, --url URL[,URL]...  the coordinator, for example ipc:///run/assent/bank.sock\n"
        "  -c, --config FILE       take it from [tm] listen of this assentd.ini\n"
        "      --json              print JSON for programs, not tables for people\n"
        "  -h, --help              this text\n"
        "  -V, --version           the version\n"
        "\n"
        "Without -u and -c the environment's ASSENT_URL counts, then " ADDRESS_DEFAULT_CONF ".\n"
        "\n"
        "Exit: 0 done, 1 refused or rolled back, 2 bad usage, 3 unreachable, 4 still in progress.");
}

static void print_usage(FILE *out, const struct command *command)
{
    fprintf(out, "Usage: assentctl %s%s%s [OPTION]...\n", command->name,
            command->operands[0] != '\0' ? " " : "", command->operands);
}

static void print_command_help(const struct command *command)
{
    print_usage(stdout, command);
    printf("\n%s\n\n%s  --json               print JSON\n", command->summary, command->help);
    if (command->repeats)
        puts("  --watch SECONDS      again and again, until it is interrupted");
}

int usage_error(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    if (cli->command != NULL)
        fprintf(stderr, "hint: assentctl %s --help\n", cli->command->name);
    else
        fputs("hint: assentctl --help\n", stderr);
    return EXIT_USAGE;
}

static void take_field(cJSON *request, const struct field_option *field, const char *value)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(request, field->field);

    switch (field->kind) {
    case FIELD_TRUE:
        cJSON_DeleteItemFromObjectCaseSensitive(request, field->field);
        cJSON_AddTrueToObject(request, field->field);
        break;
    case FIELD_TEXT:
        cJSON_DeleteItemFromObjectCaseSensitive(request, field->field);
        cJSON_AddStringToObject(request, field->field, value);
        break;
    case FIELD_LIST:
        if (list == NULL)
            list = cJSON_AddArrayToObject(request, field->field);
        cJSON_AddItemToArray(list, cJSON_CreateString(value));
        break;
    }
}

/* What getopt, kept silent, has stumbled over. */
static int bad_option(const struct cli *cli, int option, char **argv)
{
    const char *given = argv[optind > 0 ? optind - 1 : 0];

    if (option == ':')
        return usage_error(cli, "%s wants a value", given);
    if (optopt > 0 && optopt < OPTION_JSON) /* a letter, perhaps among others */
        return usage_error(cli, "there is no option -%c", optopt);
    return usage_error(cli, "there is no option %s", given);
}

static bool read_seconds(const char *text, uint32_t *out)
{
    uint64_t seconds;
    bool good = u64_parse(text, strlen(text), &seconds) && seconds >= 1 && seconds <= 3600;

    *out = good ? (uint32_t)seconds : 0;
    return good;
}

int options_read(struct cli *cli, int argc, char **argv, const struct field_option *fields,
                 bool ordered, int operands_least, int operands_most, cJSON *request, int *code)
{
    struct option options[OWN_OPTIONS_MAX + 4] = {
        {"json", no_argument, NULL, OPTION_JSON},
        {"help", no_argument, NULL, OPTION_HELP},
    };
    int option, count = 2;

    if (cli->command->repeats)
        options[count++] = (struct option){"watch", required_argument, NULL, OPTION_WATCH};
    for (int i = 0; fields != NULL && fields[i].option != NULL && i < OWN_OPTIONS_MAX; i++)
        options[count + i] = (struct option){
            fields[i].option,
            fields[i].kind == FIELD_TRUE ? no_argument : required_argument,
            NULL,
            OPTION_FIELD + i,
        };

    opterr = 0;
    optind = 0; /* getopt starts anew */
    while ((option = getopt_long(argc, argv, ordered ? "+:h" : ":h", options, NULL)) != -1) {
        if (option == OPTION_JSON) {
            cli->json = true;
        } else if (option == OPTION_HELP || option == 'h') {
            print_command_help(cli->command);
            *code = EXIT_DONE;
            return -1;
        } else if (option == OPTION_WATCH) {
            if (!read_seconds(optarg, &cli->watch_s)) {
                *code = usage_error(cli, "--watch takes 1 to 3600 seconds, not %s", optarg);
                return -1;
            }
        } else if (option >= OPTION_FIELD && fields != NULL) {
            take_field(request, &fields[option - OPTION_FIELD], optarg);
        } else {
            *code = bad_option(cli, option, argv);
            return -1;
        }
    }
    if (argc - optind < operands_least || argc - optind > operands_most) {
        *code = usage_error(cli, "%s takes %s", cli->command->name,
                            operands_most == 0 ? "no operands" : cli->command->operands);
        return -1;
    }
    *code = EXIT_DONE;
    return optind;
}

/* The options before COMMAND. Returns false with *code when there is no more to do. */
static bool read_global_options(struct cli *cli, int argc, char **argv, int *code)
{
    static const struct option options[] = {
        {"url", required_argument, NULL, 'u'},    {"config", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, OPTION_JSON}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0},
    };
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:u:c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'u':
            cli->urls = optarg;
            break;
        case 'c':
            cli->conf_path = optarg;
            break;
        case OPTION_JSON:
            cli->json = true;
            break;
        case 'h':
            print_help();
            *code = EXIT_DONE;
            return false;
        case 'V':
            puts("assentctl (Assent) " PACKAGE_VERSION);
            *code = EXIT_DONE;
            return false;
        default:
            *code = bad_option(cli, option, argv);
            return false;
        }
    }
    if (optind == argc) {
        *code = usage_error(cli, "no command given");
        return false;
    }
    return true;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* A coordinator that cannot be reached for a while does not end the watch. */
static int run_again(struct cli *cli, int argc, char **argv)
{
    fflush(stdout);
    sleep(cli->watch_s);
    if (isatty(STDOUT_FILENO))
        fputs("\033[H\033[2J", stdout);
    else if (!cli->json)
        putchar('\n');
    return cli->command->run(cli, argc, argv);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    int code;

    /* What we print is UTF-8, whatever the terminal's locale thinks of it. */
    if (setlocale(LC_CTYPE, "") == NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");

    if (!read_global_options(&cli, argc, argv, &code))
        return code;
    argc -= optind;
    argv += optind;
    const struct command *command = find_command(argv[0]);
    if (command == NULL)
        return usage_error(&cli, "no command is called %s", argv[0]);
    cli.command = command;
    code = command->run(&cli, argc, argv);
    while (cli.watch_s > 0)
        code = run_again(&cli, argc, argv);
    return code;
}
