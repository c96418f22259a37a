/*
 * log/checkpoint.h - a snapshot that stands for all records up to one place in the log.
 *
 * The file is a header page and records in the handed-over form: the state itself is told in
 * records, so that whoever replays a log replays a checkpoint with the same code.
 */
#ifndef ASSENT_LOG_CHECKPOINT_H
#define ASSENT_LOG_CHECKPOINT_H

#include "log/directory.h"

/* header: log, tm, place, records, body_bytes; the rest is filled in when it is written. */
struct snapshot {
    struct file_header header;
    uint8_t *body; /* malloc'ed, owned */
};

/* Write it aside, sync, give it its name, sync the directory. Negative with *error and errno;
 * the checkpoints that were there are as good as before. */
int checkpoint_write(const struct log_dir *dir, const struct snapshot *snapshot,
                     struct error *error);
/* The whole of it, checked to the last bit. The caller frees out->body. */
int checkpoint_read(const struct log_dir *dir, uint64_t lsn, struct snapshot *out,
                    struct error *error);
int checkpoint_remove(const struct log_dir *dir, uint64_t lsn, struct error *error);
/* snapshot may be NULL. */
void snapshot_free(struct snapshot *snapshot);

#endif
