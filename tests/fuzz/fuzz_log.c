/*
 * tests/fuzz/fuzz_log.c - the log's reader on hostile bytes, for libFuzzer.
 *
 * The first byte says what the rest is: a whole segment as it stands, a whole checkpoint beside
 * a good segment, or damage to a good segment (offset, offset, byte; again and again). The
 * reader must end, touch nothing outside of the file, and never tell a record that was not
 * written: whatever it visits has to be a beginning of the good log.
 *
 *     clang -fsanitize=fuzzer,address ... && ./fuzz_log -max_len=16384
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/message/record.h"
#include "log/reader.h"

enum { BYTES = 4 * HEADER_BYTES, RECORDS = 40 };

static uint8_t good[BYTES];
static uint64_t checksums[RECORDS + 1]; /* of the good records, by lsn */
static struct log_dir dir;

static void write_good_log(void)
{
    struct file_header header = {
        .kind = FILE_SEGMENT, .bytes = BYTES, .log = {{1, 2, 3}}, .tm = "bank", .segment = 1};
    struct chain chain;
    uint8_t handed[256], payload[200];
    size_t at = HEADER_BYTES;
    header_write(&header, good);
    chain_begin(&chain, &header.log);
    chain.incarnation = 1;
    for (uint64_t i = 0; i < RECORDS; i++) {
        memset(payload, (int)i, sizeof payload);
        handed_write(RECORD_BEAT, payload, 5 * i, handed);
        at += frame_write(&chain, i / 4 * 4, handed, good + at);
        checksums[chain.lsn] = chain.checksum;
    }
}

static void store(const char *name, const uint8_t *bytes, size_t length)
{
    int fd = openat(dir.fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || !write_at(fd, bytes, length, 0))
        abort();
    close(fd);
}

static int on_record(void *arg, const struct log_place *place, const struct frame *frame,
                     struct error *error)
{
    const bool *damaged = arg;
    volatile uint8_t last = frame->length > 0 ? frame->payload[frame->length - 1] : 0;
    (void)last;
    (void)error;
    if (*damaged && place->kind == FILE_SEGMENT)
        assert(frame->lsn <= RECORDS && frame->checksum == checksums[frame->lsn]);
    return 0;
}

static void damage(uint8_t bytes[BYTES], const uint8_t *data, size_t size)
{
    for (; size >= 3; data += 3, size -= 3)
        bytes[(data[0] | data[1] << 8) % BYTES] = data[2];
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char path[] = "/dev/shm/fuzz-log-XXXXXX";
    struct error error;
    (void)argc;
    (void)argv;
    write_good_log();
    if (mkdtemp(path) == NULL || log_dir_open(&dir, path, &error) != 0)
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[BYTES];
    static struct log_end end;
    struct error error;
    bool damaged = true;
    if (size == 0)
        return 0;
    memcpy(bytes, good, BYTES);
    unlinkat(dir.fd, "checkpoint-00000000000000000007", 0);
    if (data[0] % 3 == 0) {
        damage(bytes, data + 1, size - 1);
        store("wal-0000000001", bytes, BYTES);
    } else if (data[0] % 3 == 1) {
        store("wal-0000000001", bytes, BYTES);
        store("checkpoint-00000000000000000007", data + 1, size - 1);
    } else {
        damaged = false;
        store("wal-0000000001", data + 1, size - 1);
    }
    log_read(&dir, NULL, data[0] & 0x80, &end, on_record, &damaged, &error);
    return 0;
}
