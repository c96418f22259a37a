/*
 * tm/settings.h - assentd's configuration file.
 */
#ifndef ASSENT_TM_SETTINGS_H
#define ASSENT_TM_SETTINGS_H

#include "common/conf.h"
#include "core/coordinator/registry.h"

struct rm_settings {
    char name[RM_NAME_BYTES];
    char url[URL_BYTES];
};

struct settings {
    char tm[TM_NAME_BYTES];
    char data_dir[256];
    char listen[URL_BYTES];
    char http_listen[64]; /* "": no HTTP */
    char socket_group[64];
    uint32_t http_max_waiting;
    bool http_admin; /* a DBA's requests are taken over HTTP too */
    uint32_t socket_mode;
    uint32_t transaction_timeout_ms;
    uint32_t log_min_duration_ms; /* 0: no transaction is logged as slow */
    uint32_t in_doubt_alarm_ms;   /* 0: never */
    uint32_t retention_ms;
    uint32_t key_retention_ms;
    uint32_t max_outcomes;
    uint32_t max_keys;
    uint32_t max_transactions;
    uint32_t max_branches;
    uint32_t max_waiting;
    uint32_t segment_bytes;
    char presume_abort[32]; /* "registered" or "same-host" */
    uint32_t rm_count;
    struct rm_settings rms[RMS_MAX];
};

/* Read and check the whole file; what it leaves out has its default. Returns 0, or -1 with
 * *error naming file, line and key. */
int settings_read(const char *path, struct settings *out, struct error *error);

#endif
