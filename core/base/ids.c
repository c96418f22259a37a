/*
 * core/base/ids.c - the names of global transactions and their branches.
 *
 * A name has exactly one text form, and reading accepts no other: what is read
 * is written again and compared. So two texts that differ never name the same
 * branch, and no reader has to know every way in which base64 can be sloppy.
 */
#include "core/base/ids.h"

#include <assert.h>
#include <string.h>

enum {
    U64_BYTES = 21,
    TM_NAME_LENGTH = 31,
    RM_NAME_LENGTH = 31,
    BRANCH_NAME_LENGTH = 24,
};

/* XID_FORMAT_ID as the drivers write it. */
static const char gid_prefix[] = "1095978580_";
enum { GID_PREFIX_LENGTH = sizeof gid_prefix - 1 };

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* ---- texts and numbers ---- */

size_t text_length(const char *text, size_t room)
{
    size_t length = 0;
    while (length + 1 < room && text[length] != '\0')
        length++;
    return length;
}

bool text_equal(const char *a, const char *b, size_t room)
{
    for (size_t i = 0; i < room; i++) {
        if (a[i] != b[i])
            return false;
        if (a[i] == '\0')
            return true;
    }
    return true;
}

void text_copy(char *out, size_t room, const char *text, size_t length)
{
    assert(room > 0);
    if (length >= room) {
        length = room - 1;
        /* 10xxxxxx continues a character: do not leave its first half behind. */
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80)
            length--;
    }
    memcpy(out, text, length);
    out[length] = '\0';
}

void hex_write(const void *bytes, size_t length, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = bytes;
    for (size_t i = 0; i < length; i++) {
        *out++ = digits[from[i] >> 4];
        *out++ = digits[from[i] & 15];
    }
    *out = '\0';
}

size_t u64_format(uint64_t value, char *out)
{
    char reversed[U64_BYTES];
    size_t length = 0;
    do {
        reversed[length++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < length; i++)
        out[i] = reversed[length - 1 - i];
    out[length] = '\0';
    return length;
}

bool u64_parse(const char *text, size_t length, uint64_t *out)
{
    if (length == 0 || (text[0] == '0' && length > 1))
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* ---- names ---- */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_name_character(char c)
{
    return is_lower(c) || (c >= '0' && c <= '9') || c == '-';
}

static bool all_name_characters(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!is_name_character(text[i]))
            return false;
    }
    return true;
}

bool tm_name_valid(const char *text, size_t length)
{
    return length >= 1 && length <= TM_NAME_LENGTH && is_lower(text[0]) &&
           all_name_characters(text, length);
}

bool rm_name_valid(const char *text, size_t length)
{
    return length >= 1 && length <= RM_NAME_LENGTH && is_lower(text[0]) &&
           all_name_characters(text, length);
}

bool branch_name_valid(const char *text, size_t length)
{
    return length >= 1 && length <= BRANCH_NAME_LENGTH && all_name_characters(text, length);
}

/* ---- gtrid: <tm>.<incarnation>.<sequence> ---- */

size_t gtrid_format(const struct gtrid *gtrid, char out[GTRID_BYTES])
{
    char text[TM_NAME_BYTES + 2 * U64_BYTES];
    size_t length = text_length(gtrid->tm, sizeof gtrid->tm);
    memcpy(text, gtrid->tm, length);
    text[length++] = '.';
    length += u64_format(gtrid->incarnation, text + length);
    text[length++] = '.';
    length += u64_format(gtrid->sequence, text + length);
    /* Numbers that fill the room would take a TM longer than the universe has had. */
    assert(length < GTRID_BYTES);
    memcpy(out, text, length + 1);
    return length;
}

/* Where c is first found, length when it is not. */
static size_t ids_position_of(char c, const char *text, size_t length)
{
    size_t at = 0;
    while (at < length && text[at] != c)
        at++;
    return at;
}

bool gtrid_parse(const char *text, size_t length, struct gtrid *out)
{
    if (length >= GTRID_BYTES)
        return false;
    size_t name_length = ids_position_of('.', text, length);
    if (name_length == length || !tm_name_valid(text, name_length))
        return false;
    const char *incarnation = text + name_length + 1;
    size_t left = length - name_length - 1;
    size_t incarnation_length = ids_position_of('.', incarnation, left);
    if (incarnation_length == left)
        return false;
    const char *sequence = incarnation + incarnation_length + 1;

    memset(out, 0, sizeof *out);
    text_copy(out->tm, sizeof out->tm, text, name_length);
    return u64_parse(incarnation, incarnation_length, &out->incarnation) &&
           u64_parse(sequence, left - incarnation_length - 1, &out->sequence) &&
           out->incarnation > 0 && out->sequence > 0;
}

bool gtrid_equal(const struct gtrid *a, const struct gtrid *b)
{
    return a->incarnation == b->incarnation && a->sequence == b->sequence &&
           text_equal(a->tm, b->tm, sizeof a->tm);
}

/* ---- bqual: <rm> or <rm>/<branch> ---- */

size_t bqual_format(const struct branch_id *branch, char out[BQUAL_BYTES])
{
    size_t length = text_length(branch->rm, sizeof branch->rm);
    memcpy(out, branch->rm, length);
    size_t branch_length = text_length(branch->branch, sizeof branch->branch);
    if (branch_length > 0) {
        out[length++] = '/';
        memcpy(out + length, branch->branch, branch_length);
        length += branch_length;
    }
    out[length] = '\0';
    return length;
}

/* Sets rm and branch, and leaves the gtrid as it is. */
bool bqual_parse(const char *text, size_t length, struct branch_id *out)
{
    size_t rm_length = ids_position_of('/', text, length);
    if (!rm_name_valid(text, rm_length))
        return false;
    memset(out->rm, 0, sizeof out->rm);
    memset(out->branch, 0, sizeof out->branch);
    text_copy(out->rm, sizeof out->rm, text, rm_length);
    if (rm_length == length)
        return true;
    const char *branch = text + rm_length + 1;
    size_t branch_length = length - rm_length - 1;
    if (!branch_name_valid(branch, branch_length))
        return false;
    text_copy(out->branch, sizeof out->branch, branch, branch_length);
    return true;
}

bool txn_not_after(const struct txn_number *a, const struct txn_number *b)
{
    if (a->incarnation != b->incarnation)
        return a->incarnation < b->incarnation;
    return a->sequence <= b->sequence;
}

bool branch_equal(const struct branch_id *a, const struct branch_id *b)
{
    return gtrid_equal(&a->gtrid, &b->gtrid) && text_equal(a->rm, b->rm, sizeof a->rm) &&
           text_equal(a->branch, b->branch, sizeof a->branch);
}

/* ---- gid: <format id>_<base64 of gtrid>_<base64 of bqual> ---- */

/* Standard base64 with padding; no terminating zero. Returns the length. */
static size_t base64_encode(const char *text, size_t length, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t bits = (uint32_t)(unsigned char)text[i] << 16;
        if (left > 1)
            bits |= (uint32_t)(unsigned char)text[i + 1] << 8;
        if (left > 2)
            bits |= (uint32_t)(unsigned char)text[i + 2];
        out[written++] = base64_digits[bits >> 18 & 63];
        out[written++] = base64_digits[bits >> 12 & 63];
        out[written++] = left > 1 ? base64_digits[bits >> 6 & 63] : '=';
        out[written++] = left > 2 ? base64_digits[bits & 63] : '=';
    }
    return written;
}

/* The six bits of a digit; 64 for a character that is none. */
static uint32_t base64_value(char digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return (uint32_t)(digit - 'A');
    if (digit >= 'a' && digit <= 'z')
        return (uint32_t)(digit - 'a') + 26;
    if (digit >= '0' && digit <= '9')
        return (uint32_t)(digit - '0') + 52;
    if (digit == '+')
        return 62;
    if (digit == '/')
        return 63;
    return 64;
}

/* Bits that padding leaves over are not looked at: the caller compares the canonical form.
 * The decoded length, 0 when it is no base64 or does not fit into room. */
static size_t base64_decode(const char *text, size_t length, char *out, size_t room)
{
    if (length == 0 || length % 4 != 0 || length / 4 * 3 > room)
        return 0;
    size_t padding = text[length - 1] != '=' ? 0 : text[length - 2] != '=' ? 1 : 2;
    size_t written = 0;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t bits = 0;
        for (size_t j = i; j < i + 4; j++) {
            uint32_t value = j < length - padding ? base64_value(text[j]) : 0;
            if (value > 63)
                return 0;
            bits = bits << 6 | value;
        }
        out[written++] = (char)(bits >> 16 & 255);
        out[written++] = (char)(bits >> 8 & 255);
        out[written++] = (char)(bits & 255);
    }
    return written - padding;
}

size_t gid_format(const struct branch_id *branch, char out[GID_BYTES])
{
    char text[GTRID_BYTES > BQUAL_BYTES ? GTRID_BYTES : BQUAL_BYTES];
    size_t length = GID_PREFIX_LENGTH;
    memcpy(out, gid_prefix, GID_PREFIX_LENGTH);
    length += base64_encode(text, gtrid_format(&branch->gtrid, text), out + length);
    out[length++] = '_';
    length += base64_encode(text, bqual_format(branch, text), out + length);
    out[length] = '\0';
    return length;
}

bool gid_parse(const char *text, size_t length, struct branch_id *out)
{
    if (length >= GID_BYTES || length < GID_PREFIX_LENGTH ||
        memcmp(text, gid_prefix, GID_PREFIX_LENGTH) != 0)
        return false;
    const char *gtrid = text + GID_PREFIX_LENGTH;
    size_t left = length - GID_PREFIX_LENGTH;
    size_t gtrid_length = ids_position_of('_', gtrid, left);
    if (gtrid_length == left)
        return false;
    const char *bqual = gtrid + gtrid_length + 1;
    size_t bqual_length = left - gtrid_length - 1;

    char decoded[GID_BYTES];
    size_t decoded_length = base64_decode(gtrid, gtrid_length, decoded, sizeof decoded);
    if (!gtrid_parse(decoded, decoded_length, &out->gtrid))
        return false;
    decoded_length = base64_decode(bqual, bqual_length, decoded, sizeof decoded);
    if (!bqual_parse(decoded, decoded_length, out))
        return false;

    char canonical[GID_BYTES];
    return gid_format(out, canonical) == length && memcmp(canonical, text, length) == 0;
}
