/*
 * log/reader.h - reads a log from its newest checkpoint to its end, and judges that end.
 */
#ifndef ASSENT_LOG_READER_H
#define ASSENT_LOG_READER_H

#include "log/checkpoint.h"

/* Where a record is: in which file, and where in it. */
struct log_place {
    enum file_kind kind;
    uint64_t number;
    uint64_t offset;
};

/* Given every record in order, the log's own (SEAL, STOP) too. Anything but 0 ends the reading
 * and is its result; negative with *error set. */
typedef int log_visit_fn(void *arg, const struct log_place *place, const struct frame *frame,
                         struct error *error);

/* How a log ends, and so how it goes on. */
struct log_end {
    struct uuid log;
    char tm[TM_NAME_BYTES];
    uint64_t checkpoint;         /* the lsn of the one that was read, 0 none */
    uint64_t checkpoint_segment; /* its place, or the log's beginning */
    uint64_t checkpoint_offset;
    uint64_t damaged_checkpoint; /* the lsn of a newer one that could not be read, 0 none */
    struct chain chain;
    uint64_t segment; /* that the next record goes to; 0: there is no log here */
    uint64_t offset;  /* in that segment */
    uint64_t segment_bytes;
    uint64_t newest_segment; /* at least segment: what is above holds nothing but a torn tail */
    uint64_t dirty_end;      /* behind the last byte of segment that is not zero */
    uint64_t batch_segment;  /* where the last batch is: no record vouches for it */
    uint64_t batch_offset;
    uint64_t batch_end;
    uint64_t records;
    bool torn;             /* behind the end is what a crash left of a batch */
    bool clean;            /* the last record is STOP */
    char home[HOME_BYTES]; /* where it was written last; "" unknown */
};

/*
 * Read the log in dir, which no other process should be writing. tm, unless NULL, is whose log
 * it has to be; whole: begin as early as can be and not at the newest checkpoint.
 *
 * Returns 0 with *end set, also when there is no log (end->segment 0). Negative with *error set
 * when the log cannot be believed, or visit() said so; *end then says how far we came.
 */
int log_read(const struct log_dir *dir, const char *tm, bool whole, struct log_end *end,
             log_visit_fn *visit, void *arg, struct error *error);

/* How a log ends that a daemon may be writing at this moment: what then looks torn or corrupt
 * is looked at again. All records up to end->chain.lsn will not change any more. */
int log_survey(const struct log_dir *dir, bool whole, struct log_end *end, struct error *error);

#endif
