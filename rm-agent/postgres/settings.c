/*
 * rm-agent/postgres/settings.c - what the agent's sessions with PostgreSQL depend on.
 */
#include "rm-agent/postgres/settings.h"

#include <stddef.h>

/* Names are PostgreSQL's own and nobody else's. Commits wait for the disk where it is not said
 * otherwise. Texts are written in one way, whoever else reads or compares them. Warnings are heard.
 * A server that was told to refuse writes (as providers do while its disk is full) still lets a
 * session say otherwise: what was decided is applied. And no clock of the server's ends a session
 * but those below. A server that does not know a setting yet needs none of it (transaction_timeout
 * came with 17). */
#define OWN                                                                                        \
    {"search_path", "pg_catalog, pg_temp"}, {"role", "none"}, {"synchronous_commit", "on"},        \
        {"default_transaction_isolation", "read committed"},                                       \
        {"default_transaction_read_only", "off"}, {"default_transaction_deferrable", "off"},       \
        {"DateStyle", "ISO, MDY"}, {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"},             \
        {"standard_conforming_strings", "on"}, {"quote_all_identifiers", "off"},                   \
        {"client_min_messages", "warning"}, {"row_security", "on"}, {"transaction_timeout", "0"},  \
        {"idle_session_timeout", "0"},                                                             \
    {                                                                                              \
        "client_connection_check_interval", "2s"                                                   \
    }

/* The agent runs its own few statements again and again: PostgreSQL would else plan those with
 * arrays anew each time, for as many elements as there are. */
#define PLAN_ONCE                                                                                  \
    {"plan_cache_mode", "force_generic_plan"},                                                     \
    {                                                                                              \
        "jit", "off"                                                                               \
    }

/* Plans are made once, when assent.session is all but empty, and would read the whole table.
 * While a prepared transaction pins it, it fills with dead rows: only an index stays quick.
 * What is then scanned all the same counts as so dear that PostgreSQL would compile each
 * statement first, which takes longer than all that it saves. */
const struct pg_setting settings_of_control[] = {
    OWN,
    PLAN_ONCE,
    {"lock_timeout", "10s"},
    {"statement_timeout", "0"},
    {"idle_in_transaction_session_timeout", "0"},
    {"enable_seqscan", "off"},
    {"enable_bitmapscan", "off"},
    {NULL, NULL},
};

const struct pg_setting settings_of_workers[] = {
    OWN,
    PLAN_ONCE,
    {"lock_timeout", "10s"},
    {"statement_timeout", "0"},
    {"idle_in_transaction_session_timeout", "10s"},
    {NULL, NULL},
};

const struct pg_setting settings_of_probes[] = {
    OWN,
    {"lock_timeout", "5s"},
    {"statement_timeout", "5s"},
    {"idle_in_transaction_session_timeout", "10s"},
    {NULL, NULL},
};

/* A branch waits between its statements, for as long as its transaction may take, and its backend
 * must not outlive its client. transaction_timeout, which is not known everywhere, is set with
 * BEGIN. */
const char startup_of_sessions[] = "-c idle_in_transaction_session_timeout=0"
                                   " -c idle_session_timeout=0"
                                   " -c client_connection_check_interval=2s";
