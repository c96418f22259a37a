/*
 * common/conf.h - configuration files: INI, as pgbouncer's.
 *
 * A program describes each key it knows in a table; reading refuses an unknown key
 * or section, a duplicate and a bad value, naming file, line and key.
 */
#ifndef ASSENT_COMMON_CONF_H
#define ASSENT_COMMON_CONF_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

enum conf_kind {
    CONF_TEXT,     /* char[size]: longer is an error */
    CONF_DURATION, /* uint32_t milliseconds: 500ms, 30s, 5min, 2h, 1d */
    CONF_COUNT,    /* uint32_t, between least and most */
    CONF_SIZE,     /* uint32_t bytes, between least and most: 512kB, 16MB, 1GB (of 1024) */
    CONF_MODE,     /* uint32_t, octal file mode */
    CONF_BOOL,     /* bool: on/off, true/false, yes/no, 1/0 */
};

struct conf_key {
    const char *section; /* "tm"; "rm " with a blank at its end: any section `[rm NAME]` */
    const char *key;
    enum conf_kind kind;
    size_t offset;        /* into the section's struct */
    size_t size;          /* TEXT: room; else ignored */
    uint32_t least, most; /* COUNT, SIZE */
};

/* Called once for each section as it opens, with the name behind the blank ("" if it has
 * none); returns the struct its keys are written to, or NULL with *error set. */
typedef void *conf_section_fn(void *arg, const char *section, const char *name,
                              struct error *error);

/* Returns 0, or -1 with *error naming file, line and key. keys ends with a NULL section. */
int conf_read(const char *path, const struct conf_key *keys, conf_section_fn *section, void *arg,
              struct error *error);

/* "30s" -> 30000; false if it is no duration or exceeds uint32_t. */
bool conf_parse_duration(const char *text, uint32_t *ms);
/* "16MB" -> 16777216; false if it is no size or exceeds uint32_t. */
bool conf_parse_size(const char *text, uint32_t *bytes);

#endif
