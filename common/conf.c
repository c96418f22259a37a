/*
 * common/conf.c - configuration files: INI, as pgbouncer's.
 *
 * libinih splits lines into names and values. It also forgives: it folds repeated sections and
 * keys, takes an indented line for more of the value above, cuts what is too long and keeps no
 * line numbers. A coordinator of money must not run on half of a setting, so conf_read_line()
 * stands between the file and the library and lets only lines through that mean one thing.
 */
#include "common/conf.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <ini.h>

#include "common/must.h"
#include "core/base/ids.h"

enum { KEYS_MAX = 64, KNOWN_KEYS_BYTES = 200 };

struct reading {
    const char *path;
    FILE *file;
    const struct conf_key *keys;
    conf_section_fn *open;
    void *arg;
    struct error *error;
    bool failed; /* *error is set; the rest of the file is not looked at */

    int line;
    char *text; /* of the line; getline's */
    size_t text_room;

    char **sections; /* the full names of all so far; the last is open */
    size_t section_count;
    const char *prefix; /* of the open one in the table of keys: "tm", "rm " */
    void *values;       /* its struct */
    uint64_t seen;      /* its keys so far, a bit each */
};

/* ---- what to say ---- */

/* "file:line: " and what is wrong there. */
__attribute__((format(printf, 2, 3))) static void conf_refuse_line(struct reading *reading,
                                                                   const char *format, ...)
{
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    fail(reading->error, "%s:%d: %s", reading->path, reading->line, what);
    reading->failed = true;
}

static void conf_refuse_key(struct reading *reading, const char *key, const char *what)
{
    const char *section = reading->sections[reading->section_count - 1];
    conf_refuse_line(reading, "[%s] %s: %s", section, key, what);
}

static void hint_known_keys(struct reading *reading)
{
    char known[KNOWN_KEYS_BYTES] = "";
    size_t length = 0;
    for (const struct conf_key *key = reading->keys; key->section != NULL; key++) {
        if (strcmp(key->section, reading->prefix) == 0 && length < sizeof known)
            length += (size_t)snprintf(known + length, sizeof known - length, "%s%s",
                                       length > 0 ? ", " : "", key->key);
    }
    fail_hint(reading->error, "the keys of this section are: %s", known);
}

/* ---- sections ---- */

/* The table's word for this section, NULL if it knows none. *name is what is behind the blank. */
static const char *conf_find_section(const struct reading *reading, const char *section,
                                     const char **name)
{
    for (const struct conf_key *key = reading->keys; key->section != NULL; key++) {
        size_t length = strlen(key->section);
        bool named = length > 0 && key->section[length - 1] == ' ';
        if (named && strncmp(section, key->section, length) == 0 && section[length] != '\0') {
            *name = section + length;
            return key->section;
        }
        if (!named && strcmp(section, key->section) == 0) {
            *name = "";
            return key->section;
        }
    }
    return NULL;
}

/* Remember it; false if it was there before. */
static bool conf_add_section(struct reading *reading, const char *section)
{
    for (size_t i = 0; i < reading->section_count; i++) {
        if (strcmp(reading->sections[i], section) == 0)
            return false;
    }
    size_t bytes = (reading->section_count + 1) * sizeof *reading->sections;
    reading->sections = must_grow(reading->sections, bytes, "a file's sections");
    reading->sections[reading->section_count++] = must_copy(section, "a section's name");
    return true;
}

static void conf_open_section(struct reading *reading, const char *section)
{
    const char *name = NULL;
    reading->prefix = conf_find_section(reading, section, &name);
    if (reading->prefix == NULL) {
        conf_refuse_line(reading, "[%s]: unknown section", section);
        return;
    }
    if (!conf_add_section(reading, section)) {
        conf_refuse_line(reading, "[%s]: this section is here a second time", section);
        return;
    }
    struct error why = {0};
    reading->seen = 0;
    reading->values = reading->open(reading->arg, reading->prefix, name, &why);
    if (reading->values == NULL) {
        conf_refuse_line(reading, "[%s]: %s", section, why.message);
        if (why.hint[0] != '\0')
            fail_hint(reading->error, "%s", why.hint);
    }
}

static bool is_end_or_comment(const char *text)
{
    text += strspn(text, " \t\r\n");
    return *text == '\0' || *text == ';' || *text == '#';
}

/* `[name]`, and nothing else on the line. */
static void conf_read_section_line(struct reading *reading, const char *text)
{
    const char *start = text + 1 + strspn(text + 1, " \t");
    const char *end = strchr(start, ']');
    if (end == NULL || !is_end_or_comment(end + 1)) {
        conf_refuse_line(reading, "a section is written as [name], alone on its line");
        return;
    }
    while (end > start && isblank((unsigned char)end[-1]))
        end--;
    char *section = must_copy_bytes(start, (size_t)(end - start), "a section's name");
    conf_open_section(reading, section);
    free(section);
}

/* ---- lines ---- */

/* libinih's way to the file, in the place of fgets. Ends the input at the first fault. */
static char *conf_read_line(char *out, int room, void *arg)
{
    static const char byte_order_mark[] = "\xEF\xBB\xBF";
    struct reading *reading = arg;
    if (reading->failed)
        return NULL;
    errno = 0;
    ssize_t length = getline(&reading->text, &reading->text_room, reading->file);
    if (length < 0) {
        if (errno != 0) {
            fail_errno(reading->error, "read %s", reading->path);
            reading->failed = true;
        }
        return NULL;
    }
    reading->line++;
    if (strlen(reading->text) != (size_t)length) {
        conf_refuse_line(reading, "there is a zero byte in this line");
        return NULL;
    }
    const char *text = reading->text;
    if (reading->line == 1 && strncmp(text, byte_order_mark, strlen(byte_order_mark)) == 0)
        text += strlen(byte_order_mark);
    text += strspn(text, " \t");
    if (*text == '[')
        conf_read_section_line(reading, text);
    else if (strlen(text) >= (size_t)room && !is_end_or_comment(text))
        conf_refuse_line(reading, "this line is too long");
    if (reading->failed)
        return NULL;
    /* Of what may be longer, a comment or a section, libinih needs no more than this. */
    snprintf(out, (size_t)room, "%s", text);
    return out;
}

/* ---- values ---- */

struct unit {
    const char *name;
    uint64_t worth;
};

/* A whole number and one of the units, which end with NULL. */
static bool conf_parse_with_unit(const char *text, const struct unit *units, uint32_t *out)
{
    size_t digits = strspn(text, "0123456789");
    uint64_t number = 0;
    if (digits == 0 || digits > 10)
        return false;
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (uint64_t)(text[i] - '0');
    for (; units->name != NULL; units++) {
        if (strcmp(text + digits, units->name) == 0 && number <= UINT32_MAX / units->worth) {
            *out = (uint32_t)(number * units->worth);
            return true;
        }
    }
    return false;
}

bool conf_parse_duration(const char *text, uint32_t *ms)
{
    static const struct unit units[] = {{"ms", 1},      {"s", 1000},     {"min", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
    return conf_parse_with_unit(text, units, ms);
}

bool conf_parse_size(const char *text, uint32_t *bytes)
{
    static const struct unit units[] = {{"kB", 1024}, {"MB", 1 << 20}, {"GB", 1 << 30}, {NULL, 0}};
    return conf_parse_with_unit(text, units, bytes);
}

static bool conf_parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"on", "true", "yes", "1"};
    static const char *const no[] = {"off", "false", "no", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool conf_parse_mode(const char *text, uint32_t *out)
{
    size_t length = strlen(text);
    if (length < 3 || length > 4 || strspn(text, "01234567") != length)
        return false;
    *out = (uint32_t)strtoul(text, NULL, 8);
    return true;
}

static bool conf_parse_count(const char *text, const struct conf_key *key, uint32_t *out)
{
    uint64_t number;
    if (!u64_parse(text, strlen(text), &number) || number < key->least || number > key->most)
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool conf_parse_size_within(const char *text, const struct conf_key *key, uint32_t *out)
{
    return conf_parse_size(text, out) && *out >= key->least && *out <= key->most;
}

static void conf_set_value(struct reading *reading, const struct conf_key *key, const char *value)
{
    char *field = (char *)reading->values + key->offset;
    char what[128];

    switch (key->kind) {
    case CONF_TEXT:
        if (strlen(value) >= key->size) {
            snprintf(what, sizeof what, "the value is longer than %zu bytes", key->size - 1);
            conf_refuse_key(reading, key->key, what);
            return;
        }
        strcpy(field, value);
        return;
    case CONF_DURATION:
        if (!conf_parse_duration(value, (uint32_t *)(void *)field))
            conf_refuse_key(reading, key->key,
                            "a duration is needed, for example 500ms, 30s, 5min, 2h or 1d; "
                            "at most 49d");
        return;
    case CONF_COUNT:
        if (!conf_parse_count(value, key, (uint32_t *)(void *)field)) {
            snprintf(what, sizeof what, "a whole number from %" PRIu32 " to %" PRIu32 " is needed",
                     key->least, key->most);
            conf_refuse_key(reading, key->key, what);
        }
        return;
    case CONF_SIZE:
        if (!conf_parse_size_within(value, key, (uint32_t *)(void *)field)) {
            snprintf(what, sizeof what,
                     "a size from %" PRIu32 "kB to %" PRIu32 "MB is needed, for example 16MB",
                     key->least / 1024, key->most / (1024 * 1024));
            conf_refuse_key(reading, key->key, what);
        }
        return;
    case CONF_MODE:
        if (!conf_parse_mode(value, (uint32_t *)(void *)field))
            conf_refuse_key(reading, key->key, "an octal file mode is needed, for example 0660");
        return;
    case CONF_BOOL:
        if (!conf_parse_bool(value, (bool *)field))
            conf_refuse_key(reading, key->key, "on or off is needed");
        return;
    }
}

/* libinih's call for each `key = value`. It cuts long section names, so its own is not used. */
static int conf_read_value(void *arg, const char *cut_section, const char *name, const char *value)
{
    (void)cut_section;
    struct reading *reading = arg;
    if (reading->section_count == 0) {
        conf_refuse_line(reading, "a key needs a [section] above it");
        return 0;
    }
    for (size_t i = 0; reading->keys[i].section != NULL; i++) {
        const struct conf_key *key = &reading->keys[i];
        if (strcmp(key->section, reading->prefix) != 0 || strcmp(key->key, name) != 0)
            continue;
        assert(i < KEYS_MAX);
        if ((reading->seen & UINT64_C(1) << i) != 0)
            conf_refuse_key(reading, name, "this key is here a second time");
        else
            conf_set_value(reading, key, value);
        reading->seen |= UINT64_C(1) << i;
        return !reading->failed;
    }
    conf_refuse_key(reading, name, "unknown key");
    hint_known_keys(reading);
    return 0;
}

int conf_read(const char *path, const struct conf_key *keys, conf_section_fn *section, void *arg,
              struct error *error)
{
    struct reading reading = {
        .path = path, .keys = keys, .open = section, .arg = arg, .error = error};
    reading.file = fopen(path, "re");
    if (reading.file == NULL)
        return fail_errno(error, "open %s", path);

    /* The number of the first line that libinih could not split or that conf_read_value() refused.
     */
    int bad_line = ini_parse_stream(conf_read_line, &reading, conf_read_value, &reading);
    if (bad_line != 0 && (!reading.failed || bad_line < reading.line)) {
        reading.line = bad_line;
        conf_refuse_line(&reading, "this is neither [section] nor key = value");
    }

    for (size_t i = 0; i < reading.section_count; i++)
        free(reading.sections[i]);
    free(reading.sections);
    free(reading.text);
    fclose(reading.file);
    return reading.failed ? -1 : 0;
}
