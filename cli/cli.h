/*
 * cli/cli.h - what the commands of assentctl share.
 *
 * A command line is another spelling of a request: options and operands become the
 * request's fields as they are, and it is the coordinator that judges them.
 */
#ifndef ASSENT_CLI_CLI_H
#define ASSENT_CLI_CLI_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/wire.h"

/* How assentctl ends, for scripts. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1, /* refused or rolled back */
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 3,
    EXIT_IN_PROGRESS = 4,
};

struct command;

struct cli {
    const struct command *command; /* the one being run */
    const char *urls;              /* -u: of the coordinator, comma-separated; or NULL */
    const char *conf_path;         /* -c: assentd.ini, or NULL */
    bool json;
    uint32_t watch_s; /* --watch: run the command again, each so many seconds; 0: once */
};

/* argv[0] is the command's own name. Returns an exit code. */
typedef int command_fn(struct cli *cli, int argc, char **argv);

struct command {
    const char *name;
    const char *operands; /* as the usage line shows them */
    const char *summary;  /* one line, for the list of commands */
    const char *help;     /* whole lines about its options, or "" */
    command_fn *run;
    bool repeats; /* a report, which --watch may repeat */
};

/* An option that becomes a field of the request. */
enum field_kind {
    FIELD_TEXT,
    FIELD_LIST /* may be given again */,
    FIELD_TRUE /* takes no value */
};

struct field_option {
    const char *option; /* without its dashes; NULL ends the list */
    const char *field;
    enum field_kind kind;
};

/* Read a command's options into request (NULL: it has none of its own) and count its operands.
 * --json and --help belong to every command. `ordered` stops at the first operand, so that later
 * ones may begin with a dash.
 *
 * Returns the index in argv of the first operand, or -1 with *code set: the command ends. */
int options_read(struct cli *cli, int argc, char **argv, const struct field_option *fields,
                 bool ordered, int operands_least, int operands_most, cJSON *request, int *code);

/* Says `error:` and how to use the command; returns EXIT_USAGE. */
int usage_error(const struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* cli/transaction_command.c */
command_fn begin_command, enlist_command, exec_command, commit_command, rollback_command,
    outcome_command;
/* cli/report_command.c */
command_fn status_command, agents_command, list_command, show_command;
/* cli/check_command.c */
command_fn check_command;
/* cli/indoubt_command.c */
command_fn in_doubt_command;
/* cli/settle_command.c */
command_fn resolve_command, forget_command, rm_command;
/* `agents WORD`: is it one that changes something? Then argv[0] is that word. */
bool settles_agents(const char *word);
command_fn rm_settle;
/* cli/recover_command.c */
command_fn recover_command;
/* cli/audit_command.c */
command_fn audit_command;
/* cli/log_command.c */
command_fn log_command;

#endif
