/*
 * log/checkpoint.h - a snapshot that stands for all records up to one place in the log.
 *
 * The file is a header page and records in the handed-over form: the state itself is told in
 * records, so that whoever replays a log replays a checkpoint with the same code.
 */
#ifndef ASSENT_LOG_CHECKPOINT_H
#define ASSENT_LOG_CHECKPOINT_H

#include "log/directory.h"

/* Of outcomes or keys, what no archive has yet. */
struct archive_part {
    uint8_t *body; /* malloc'ed, owned; NULL: nothing */
    uint64_t body_bytes, records;
    uint64_t newest; /* date in it */
    uint64_t oldest; /* date of all that is remembered: files that end before it may go */
};

/* header: log, tm, place, records, body_bytes; the rest is filled in when it is written. */
struct snapshot {
    struct file_header header;
    uint8_t *body;   /* malloc'ed, owned */
    uint64_t number; /* its owner's */
    struct archive_part archives[ARCHIVES];
};

/* Write it aside, sync, give it its name, sync the directory. Negative with *error and errno;
 * the checkpoints that were there are as good as before. */
int checkpoint_write(const struct log_dir *dir, const struct snapshot *snapshot,
                     struct error *error);
/* The same of one archive of a snapshot, under this number. */
int archive_write(const struct log_dir *dir, const struct snapshot *snapshot, enum archive archive,
                  uint64_t number, struct error *error);
/* The whole of it, checked to the last bit. The caller frees *body. */
int snapshot_read(const struct log_dir *dir, enum file_kind kind, uint64_t number,
                  struct file_header *header, uint8_t **body, struct error *error);
/* Remove a file that is not needed any more. */
int snapshot_remove(const struct log_dir *dir, enum file_kind kind, uint64_t number,
                    struct error *error);
/* snapshot may be NULL. */
void snapshot_free(struct snapshot *snapshot);

#endif
