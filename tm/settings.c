/*
 * tm/settings.c - assentd's configuration file.
 */
#include "tm/settings.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "log/wal.h"
#include "tm/http.h"

#define TM_TEXT(key)                                                                               \
    {                                                                                              \
        "tm", #key, CONF_TEXT, offsetof(struct settings, key),                                     \
            sizeof(((struct settings *)0)->key), 0, 0                                              \
    }

static const struct conf_key keys[] = {
    {"tm", "name", CONF_TEXT, offsetof(struct settings, tm), TM_NAME_BYTES, 0, 0},
    TM_TEXT(data_dir),
    TM_TEXT(listen),
    TM_TEXT(http_listen),
    {"tm", "http_max_waiting", CONF_COUNT, offsetof(struct settings, http_max_waiting), 0, 1,
     10000},
    {"tm", "http_admin", CONF_BOOL, offsetof(struct settings, http_admin), 0, 0, 0},
    TM_TEXT(socket_group),
    {"tm", "socket_mode", CONF_MODE, offsetof(struct settings, socket_mode), 0, 0, 0},
    {"tm", "transaction_timeout", CONF_DURATION, offsetof(struct settings, transaction_timeout_ms),
     0, 0, 0},
    {"tm", "log_min_duration", CONF_DURATION, offsetof(struct settings, log_min_duration_ms), 0, 0,
     0},
    {"tm", "in_doubt_alarm", CONF_DURATION, offsetof(struct settings, in_doubt_alarm_ms), 0, 0, 0},
    {"tm", "retention", CONF_DURATION, offsetof(struct settings, retention_ms), 0, 0, 0},
    {"tm", "key_retention", CONF_DURATION, offsetof(struct settings, key_retention_ms), 0, 0, 0},
    {"tm", "max_outcomes", CONF_COUNT, offsetof(struct settings, max_outcomes), 0, 1, 4000000000},
    {"tm", "max_keys", CONF_COUNT, offsetof(struct settings, max_keys), 0, 1, 500000000},
    {"tm", "max_transactions", CONF_COUNT, offsetof(struct settings, max_transactions), 0, 1,
     1000000},
    {"tm", "max_branches", CONF_COUNT, offsetof(struct settings, max_branches), 0, 1, 8000000},
    {"tm", "max_waiting", CONF_COUNT, offsetof(struct settings, max_waiting), 0, 1, 100000},
    TM_TEXT(presume_abort),
    {"log", "segment_size", CONF_SIZE, offsetof(struct settings, segment_bytes), 0,
     WAL_SEGMENT_BYTES_LEAST, WAL_SEGMENT_BYTES_MOST},
    {"rm ", "url", CONF_TEXT, offsetof(struct rm_settings, url), URL_BYTES, 0, 0},
    {NULL, NULL, CONF_TEXT, 0, 0, 0, 0},
};

static void *settings_open_section(void *arg, const char *section, const char *name,
                                   struct error *error)
{
    struct settings *settings = arg;
    if (strcmp(section, "tm") == 0 || strcmp(section, "log") == 0)
        return settings;
    if (!rm_name_valid(name, strlen(name))) {
        fail(error, "[rm %s]: a resource manager's name is [a-z][a-z0-9-]{0,30}", name);
        return NULL;
    }
    if (settings->rm_count == RMS_MAX) {
        fail(error, "[rm %s]: at most %d resource managers", name, RMS_MAX);
        return NULL;
    }
    struct rm_settings *rm = &settings->rms[settings->rm_count++];
    text_copy(rm->name, sizeof rm->name, name, strlen(name));
    return rm;
}

static int settings_check(const char *path, const struct settings *settings, struct error *error)
{
    if (!tm_name_valid(settings->tm, strlen(settings->tm)))
        return fail(error, "%s: [tm] name: needed, [a-z][a-z0-9-]{0,30}", path);
    if (settings->listen[0] == '\0')
        return fail(error, "%s: [tm] listen: needed, for example ipc:///run/assent/%s.sock", path,
                    settings->tm);
    struct error why;
    if (settings->http_listen[0] != '\0' && http_check_url(settings->http_listen, &why) != 0)
        return fail(error, "%s: [tm] http_listen: %s", path, why.message);
    if (strcmp(settings->presume_abort, "registered") != 0 &&
        strcmp(settings->presume_abort, "same-host") != 0)
        return fail(error, "%s: [tm] presume_abort: `registered` or `same-host`, not `%s`", path,
                    settings->presume_abort);
    if (settings->transaction_timeout_ms == 0)
        return fail(error, "%s: [tm] transaction_timeout: must not be 0", path);
    if (settings->retention_ms == 0 || settings->key_retention_ms == 0)
        return fail(error, "%s: [tm] retention, key_retention: must not be 0", path);
    if (settings->rm_count == 0)
        return fail(error, "%s: no [rm NAME] section: there is nothing to coordinate", path);
    for (uint32_t i = 0; i < settings->rm_count; i++)
        if (settings->rms[i].url[0] == '\0')
            return fail(error, "%s: [rm %s] url: needed, its agent's listen address", path,
                        settings->rms[i].name);
    return 0;
}

int settings_read(const char *path, struct settings *out, struct error *error)
{
    *out = (struct settings){
        .socket_mode = 0660,
        .transaction_timeout_ms = 30 * 1000,
        .in_doubt_alarm_ms = 5 * 60 * 1000,
        .retention_ms = 7u * 24 * 60 * 60 * 1000,
        .key_retention_ms = 24u * 60 * 60 * 1000,
        .max_outcomes = 2000000000,
        .max_keys = 10000000,
        .max_transactions = 10000,
        .max_branches = 40000,
        .max_waiting = 12000,
        .http_max_waiting = 240,
        .presume_abort = "registered",
        .segment_bytes = WAL_SEGMENT_BYTES,
    };
    if (conf_read(path, keys, settings_open_section, out, error) != 0)
        return -1;
    if (settings_check(path, out, error) != 0)
        return -1;
    if (out->data_dir[0] == '\0')
        snprintf(out->data_dir, sizeof out->data_dir, "/var/lib/assent/%s", out->tm);
    return 0;
}
