/*
 * log/reader.c - reads a log from its newest checkpoint to its end, and judges that end.
 *
 * Reading stops at the first record that does not continue the chain. What is behind it
 * decides. Nothing but zeros: this is the end. A valid later record that says "when I was
 * written, the missing one was known to be on disk": an acknowledged record is gone, the log
 * is corrupt and refused. Otherwise nothing behind the stop was ever acknowledged: a torn tail.
 */
#include "log/reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/message/record.h"

enum { SURVEY_TRIES = 5, SURVEY_PAUSE_US = 20 * 1000 };

struct reader {
    const struct log_dir *dir;
    const char *tm;
    struct log_end *end;
    log_visit_fn *visit;
    void *arg;
    bool archive_damaged; /* of a checkpoint that could be read */
    uint8_t *bytes;       /* the segment at hand */
    struct file_header header;
};

static int reader_corrupt_hint(struct error *error)
{
    return fail_hint(error, "put an undamaged copy of this same log in its place; never an older "
                            "one. `assentctl log dump` shows what can still be read. A copy that "
                            "was taken while assentd was writing: take it again");
}

/* Every file of a log carries the same uuid and TM. */
static int reader_check_identity(struct reader *reader, enum file_kind kind, uint64_t number,
                                 const struct file_header *header, struct error *error)
{
    struct log_end *end = reader->end;
    if (end->tm[0] == '\0') {
        end->log = header->log;
        memcpy(end->tm, header->tm, sizeof end->tm);
        chain_begin(&end->chain, &end->log);
    }
    if (memcmp(&end->log, &header->log, sizeof end->log) != 0) {
        char name[FILE_NAME_BYTES];
        file_name(kind, number, name);
        fail(error, "%s/%s belongs to another log than its neighbours", reader->dir->path, name);
        return reader_corrupt_hint(error);
    }
    if (reader->tm != NULL && strcmp(reader->tm, end->tm) != 0) {
        fail(error, "the log in %s is that of TM %s, not of %s", reader->dir->path, end->tm,
             reader->tm);
        return fail_hint(error, "give each TM a data_dir of its own");
    }
    return 0;
}

/* What the log's own records say. */
static void reader_note_own(struct log_end *end, const struct frame *frame)
{
    end->clean = frame->type == RECORD_STOP;
    if (frame->type == RECORD_SEAL && frame->length > 0 && frame->length < sizeof end->home) {
        memcpy(end->home, frame->payload, frame->length);
        end->home[frame->length] = '\0';
    }
}

/* The records of a checkpoint, or of an archive, which stand for all records up to its lsn. */
static int reader_visit_snapshot(struct reader *reader, const struct file_header *header,
                                 const uint8_t *body, struct error *error)
{
    struct log_end *end = reader->end;
    uint64_t number = header->kind == FILE_CHECKPOINT ? header->lsn : header->segment;
    size_t at = 0;
    for (uint64_t i = 0; i < header->records; i++) {
        struct frame frame;
        if (!handed_read(body + at, header->body_bytes - at, &frame)) {
            char name[FILE_NAME_BYTES];
            file_name(header->kind, number, name);
            return fail(error, "%s/%s: record %" PRIu64 " is malformed", reader->dir->path, name,
                        i + 1);
        }
        frame.incarnation = header->incarnation;
        frame.lsn = header->lsn;
        frame.durable_lsn = header->lsn;
        reader_note_own(end, &frame);
        struct log_place place = {header->kind, number, HEADER_BYTES + at};
        end->records++;
        int rc = reader->visit(reader->arg, &place, &frame, error);
        if (rc != 0)
            return rc;
        at += frame.bytes;
    }
    return 0;
}

/* Call each archive that the checkpoint refers to: only look whether it is whole, or visit it. */
static int reader_read_archives(struct reader *reader, const struct file_header *checkpoint,
                                bool visit, struct error *error)
{
    for (int archive = 0; archive < ARCHIVES; archive++) {
        const struct archive_run *run = &checkpoint->archives[archive];
        enum file_kind kind = archive_kind(archive);
        for (uint64_t number = run->first; run->last != 0 && number <= run->last; number++) {
            struct file_header header;
            uint8_t *body;
            if (snapshot_read(reader->dir, kind, number, &header, &body, error) != 0)
                return reader_corrupt_hint(error);
            if (memcmp(&header.log, &checkpoint->log, sizeof header.log) != 0) {
                char name[FILE_NAME_BYTES];
                file_name(kind, number, name);
                free(body);
                fail(error, "%s/%s belongs to another log than its neighbours", reader->dir->path,
                     name);
                return reader_corrupt_hint(error);
            }
            int rc = visit ? reader_visit_snapshot(reader, &header, body, error) : 0;
            free(body);
            if (rc != 0)
                return rc;
        }
    }
    return 0;
}

/* Begin where the checkpoint says. */
static int reader_begin_at_checkpoint(struct reader *reader, const struct file_header *header,
                                      const uint8_t *body, struct error *error)
{
    struct log_end *end = reader->end;
    if (reader_check_identity(reader, FILE_CHECKPOINT, header->lsn, header, error) != 0)
        return -1;
    end->chain.checksum = header->checksum;
    end->chain.lsn = header->lsn;
    end->chain.incarnation = header->incarnation;
    end->checkpoint = header->lsn;
    end->segment = header->segment;
    end->offset = header->offset;
    int rc = reader_read_archives(reader, header, true, error);
    return rc != 0 ? rc : reader_visit_snapshot(reader, header, body, error);
}

/* Take the first checkpoint of these that can be read, with all its archives: a damaged one is rot
 * in a finished file, and the segments since the older one are kept for just that case. But the two
 * share most of their archives. What is missing of those cannot be had from the segments. */
static int reader_find_checkpoint(struct reader *reader, const uint64_t *lsns, size_t count,
                                  bool whole, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t lsn = lsns[whole ? i : count - 1 - i];
        struct file_header header;
        uint8_t *body = NULL;
        if (snapshot_read(reader->dir, FILE_CHECKPOINT, lsn, &header, &body, error) == 0) {
            if (reader_read_archives(reader, &header, false, error) == 0) {
                int rc = reader_begin_at_checkpoint(reader, &header, body, error);
                free(body);
                return rc;
            }
            reader->archive_damaged = true;
            free(body);
        }
        if (reader->end->damaged_checkpoint == 0)
            reader->end->damaged_checkpoint = lsn;
    }
    return 0;
}

static void reader_note_batch(struct log_end *end, const struct frame *frame)
{
    /* The writer syncs one batch before it begins the next. */
    if (frame->lsn == frame->durable_lsn + 1) {
        end->batch_segment = end->segment;
        end->batch_offset = end->offset;
    }
    end->batch_end = end->offset + frame->bytes;
}

/* Behind the last byte from `from` on that is not zero; `from` if all are. Most of a segment is
 * zeros, so they are passed by the block. */
static uint64_t reader_find_dirty_end(const uint8_t *bytes, uint64_t from, uint64_t until)
{
    enum { BLOCK = 4096 };
    while (until - from >= BLOCK && all_zero(bytes + until - BLOCK, BLOCK))
        until -= BLOCK;
    while (until > from && bytes[until - 1] == 0)
        until--;
    return until;
}

/* Visit the records of the segment at hand that continue the chain. */
static int reader_walk(struct reader *reader, struct error *error)
{
    struct log_end *end = reader->end;
    struct frame frame;
    while (frame_read(reader->bytes + end->offset, reader->header.bytes - end->offset,
                      end->chain.seed, &frame) &&
           chain_follows(&end->chain, &frame)) {
        struct log_place place = {FILE_SEGMENT, end->segment, end->offset};
        reader_note_own(end, &frame);
        reader_note_batch(end, &frame);
        end->records++;
        int rc = reader->visit(reader->arg, &place, &frame, error);
        if (rc != 0)
            return rc;
        chain_advance(&end->chain, &frame);
        end->offset += frame.bytes;
    }
    end->dirty_end = reader_find_dirty_end(reader->bytes, end->offset, reader->header.bytes);
    return 0;
}

static int reader_load_segment(struct reader *reader, uint64_t number, struct error *error)
{
    free(reader->bytes);
    reader->bytes = NULL;
    if (file_read(reader->dir, FILE_SEGMENT, number, &reader->bytes, &reader->header, error) != 0)
        return reader_corrupt_hint(error);
    return reader_check_identity(reader, FILE_SEGMENT, number, &reader->header, error);
}

/* Find, from offset on in the segment at hand, a record that proves the next one of the chain
 * to have been on disk. Returns its offset, or 0. */
static uint64_t reader_find_proof(const struct reader *reader, uint64_t offset, struct frame *proof)
{
    uint64_t missing = reader->end->chain.lsn + 1;
    for (; offset + FRAME_HEADER_BYTES <= reader->header.bytes; offset += 8) {
        const uint8_t *at = reader->bytes + offset;
        size_t room = reader->header.bytes - offset;
        if (frame_peek(at, room, proof) && proof->lsn > missing && proof->durable_lsn >= missing &&
            frame_read(at, room, reader->end->chain.seed, proof))
            return offset;
    }
    return 0;
}

/* Reading has stopped at end->segment, end->offset, with something behind it. */
static int reader_judge_tail(struct reader *reader, struct error *error)
{
    struct log_end *end = reader->end;
    char name[FILE_NAME_BYTES], proof_name[FILE_NAME_BYTES];
    struct frame proof;
    uint64_t offset = end->offset;
    file_name(FILE_SEGMENT, end->segment, name);
    for (uint64_t number = end->segment; number <= end->newest_segment; number++) {
        if (reader_load_segment(reader, number, error) != 0)
            return -1;
        offset = reader_find_proof(reader, offset, &proof);
        if (offset != 0) {
            file_name(FILE_SEGMENT, number, proof_name);
            fail(error,
                 "%s/%s is corrupt at offset %" PRIu64 ": the record with lsn %" PRIu64
                 " was acknowledged and is damaged or missing (record %" PRIu64
                 " at offset %" PRIu64 " of %s vouches for it)",
                 reader->dir->path, name, end->offset, end->chain.lsn + 1, proof.lsn, offset,
                 proof_name);
            return reader_corrupt_hint(error);
        }
        offset = HEADER_BYTES;
    }
    end->torn = true;
    end->clean = false;
    return 0;
}

/* Segments from here on have to be there without a gap. */
static int reader_check_dense(const struct reader *reader, uint64_t first, const uint64_t *numbers,
                              size_t count, struct error *error)
{
    uint64_t expected = first;
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] == expected)
            expected++;
    }
    if (count > 0 && expected == numbers[count - 1] + 1 && expected > first)
        return 0;
    char name[FILE_NAME_BYTES];
    file_name(FILE_SEGMENT, expected, name);
    fail(error, "%s/%s is missing: the log cannot be read past lsn %" PRIu64, reader->dir->path,
         name, reader->end->chain.lsn);
    return reader_corrupt_hint(error);
}

/* Does the segment at hand begin with the chain's next record? Then the one before it was
 * complete, whatever is in the room that was left there. */
static bool reader_continues_here(const struct reader *reader)
{
    struct frame frame;
    const struct chain *chain = &reader->end->chain;
    return frame_read(reader->bytes + HEADER_BYTES, reader->header.bytes - HEADER_BYTES,
                      chain->seed, &frame) &&
           chain_follows(chain, &frame);
}

static int reader_read_segments(struct reader *reader, struct error *error)
{
    struct log_end *end = reader->end;
    if (reader_load_segment(reader, end->segment, error) != 0)
        return -1;
    if (end->offset > reader->header.bytes)
        return fail(error, "%s: the checkpoint's place is outside of its segment",
                    reader->dir->path);
    for (;;) {
        end->segment_bytes = reader->header.bytes;
        int rc = reader_walk(reader, error);
        if (rc != 0)
            return rc;
        bool dirty = end->dirty_end > end->offset;
        if (end->segment == end->newest_segment)
            return dirty ? reader_judge_tail(reader, error) : 0;
        if (reader_load_segment(reader, end->segment + 1, error) != 0)
            return -1;
        if (dirty && !reader_continues_here(reader))
            return reader_judge_tail(reader, error);
        end->segment++;
        end->offset = HEADER_BYTES;
    }
}

/* No log, or one whose first segment is still being made. But what is left of one is not nothing.
 */
static int reader_nothing_here(const struct log_dir *dir, struct error *error)
{
    for (int archive = 0; archive < ARCHIVES; archive++) {
        uint64_t *numbers;
        size_t count;
        if (file_list(dir, archive_kind(archive), &numbers, &count, error) != 0)
            return -1;
        free(numbers);
        if (count > 0) {
            fail(error, "%s holds archives of a log, and nothing else of it", dir->path);
            return reader_corrupt_hint(error);
        }
    }
    return 0;
}

int log_read(const struct log_dir *dir, const char *tm, bool whole, struct log_end *end,
             log_visit_fn *visit, void *arg, struct error *error)
{
    struct reader reader = {.dir = dir, .tm = tm, .end = end, .visit = visit, .arg = arg};
    uint64_t *segments = NULL, *checkpoints = NULL;
    size_t segment_count, checkpoint_count;
    int rc = -1;
    memset(end, 0, sizeof *end);
    if (file_list(dir, FILE_SEGMENT, &segments, &segment_count, error) != 0 ||
        file_list(dir, FILE_CHECKPOINT, &checkpoints, &checkpoint_count, error) != 0)
        goto free_lists;
    if (segment_count == 0 && checkpoint_count == 0) {
        rc = reader_nothing_here(dir, error);
        goto free_lists;
    }
    if (!whole || segment_count == 0 || segments[0] != 1)
        rc = reader_find_checkpoint(&reader, checkpoints, checkpoint_count, whole, error);
    else
        rc = 0; /* the log is here from its first record on */
    if (rc != 0)
        goto free_lists;
    if (end->checkpoint == 0 && reader.archive_damaged &&
        (segment_count == 0 || segments[0] != 1)) {
        rc = -1; /* *error says which */
        goto free_lists;
    }
    if (end->checkpoint == 0) {
        /* Complete since the beginning, or not readable at all. */
        end->segment = 1;
        end->offset = HEADER_BYTES;
    }
    end->checkpoint_segment = end->segment;
    end->checkpoint_offset = end->offset;
    rc = reader_check_dense(&reader, end->segment, segments, segment_count, error);
    if (rc != 0)
        goto free_lists;
    end->newest_segment = segments[segment_count - 1];
    rc = reader_read_segments(&reader, error);

free_lists:
    free(reader.bytes);
    free(checkpoints);
    free(segments);
    return rc;
}

static int reader_pass_over(void *arg, const struct log_place *place, const struct frame *frame,
                            struct error *error)
{
    (void)arg;
    (void)place;
    (void)frame;
    (void)error;
    return 0;
}

int log_survey(const struct log_dir *dir, bool whole, struct log_end *end, struct error *error)
{
    for (int tries = 1;; tries++) {
        int rc = log_read(dir, NULL, whole, end, reader_pass_over, NULL, error);
        if ((rc == 0 && !end->torn) || tries == SURVEY_TRIES || !log_dir_in_use(dir))
            return rc;
        usleep(SURVEY_PAUSE_US);
    }
}
