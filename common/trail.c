/*
 * common/trail.c - the audit trail's file: lines that are only added, each bound to all before it.
 */
#include "common/trail.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/ids.h"

void trail_hash(const char before[TRAIL_HASH_BYTES], const char *json, char out[TRAIL_HASH_BYTES])
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, TRAIL_HASH_BYTES - 1, (const uint8_t *)before);
    sha256_update(&context, strlen(json), (const uint8_t *)json);
    sha256_digest(&context, sizeof digest, digest);
    hex_write(digest, sizeof digest, out);
}

/* One line that ends as it should; *json is what stands behind its hash. */
static void trail_take_line(struct trail_end *end, char *line, const char **json)
{
    char expected[TRAIL_HASH_BYTES];
    size_t length = strlen(line);
    end->lines++;
    bool shaped = length > TRAIL_HASH_BYTES && line[TRAIL_HASH_BYTES - 1] == ' ';
    *json = shaped ? line + TRAIL_HASH_BYTES : line;
    if (shaped)
        line[TRAIL_HASH_BYTES - 1] = '\0';
    trail_hash(end->hash, *json, expected);
    if (end->broken_line == 0 && (!shaped || strcmp(expected, line) != 0))
        end->broken_line = end->lines;
    if (shaped)
        memcpy(end->hash, line, TRAIL_HASH_BYTES);
}

int trail_read(const char *path, trail_each_fn *each, void *arg, struct trail_end *out,
               struct error *error)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int rc = 0;
    memset(out, 0, sizeof *out);
    memset(out->hash, '0', TRAIL_HASH_BYTES - 1);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT ? 0 : fail_errno(error, "read %s", path);

    while (rc == 0 && (length = getline(&line, &room, file)) > 0) {
        const char *json;
        if (line[length - 1] != '\n')
            break; /* a crash tore it */
        line[length - 1] = '\0';
        out->whole_bytes += (uint64_t)length;
        trail_take_line(out, line, &json);
        if (each != NULL)
            rc = each(arg, json);
    }
    if (ferror(file))
        rc = fail_errno(error, "read %s", path);
    free(line);
    fclose(file);
    return rc < 0 ? rc : 0;
}
