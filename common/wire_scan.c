/*
 * common/wire_scan.c - is it JSON, every byte of it?
 *
 * A message is scanned once before cJSON sees it. The scan refuses every byte that JSON does
 * not allow and every bracket that does not match, so that cJSON, which is lenient and
 * recursive, only ever gets whole, shallow text and cannot be led astray.
 */
#include <string.h>

#include "common/must.h"

#include "common/wire_fields.h"

/* Length of the well-formed UTF-8 character at the start of bytes, 0 if there is none: no
 * overlong form, no surrogate, nothing above U+10FFFF (Unicode, table 3-7). */
static size_t utf8_length(const unsigned char *bytes, size_t left)
{
    unsigned char first = bytes[0];
    if (first < 0x80)
        return 1;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0xc2 || first > 0xf4 || length > left)
        return 0;
    unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (bytes[1] < least || bytes[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xbf)
            return 0;
    return length;
}

void text_mend(char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t length = utf8_length((const unsigned char *)text, left);
        if (length == 0)
            *text = '?';
        length = length == 0 ? 1 : length;
        text += length;
        left -= length;
    }
}

bool text_is_utf8(const char *text, size_t length)
{
    while (length > 0) {
        size_t character = utf8_length((const unsigned char *)text, length);
        if (character == 0)
            return false;
        text += character;
        length -= character;
    }
    return true;
}

struct scan {
    const unsigned char *start, *at, *end;
    uint32_t depth;
    bool is_array[NESTING_MAX];
    struct failure *failure;
};

static int scan_refuse(const struct scan *scan, const char *what)
{
    return refuse(scan->failure, ERR_INVALID_REQUEST, "not valid JSON: %s at byte %zu", what,
                  (size_t)(scan->at - scan->start));
}

/* The four digits behind \u, -1 if they are not there. */
static int32_t scan_code_unit(struct scan *scan)
{
    int32_t unit = 0;
    if (scan->end - scan->at < 6 || scan->at[0] != '\\' || scan->at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(scan->at[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    scan->at += 6;
    return unit;
}

static int scan_escape(struct scan *scan)
{
    if (scan->end - scan->at < 2)
        return scan_refuse(scan, "the text ends early");
    if (scan->at[1] != 'u') {
        if (scan->at[1] == '\0' || strchr("\"\\/bfnrt", scan->at[1]) == NULL)
            return scan_refuse(scan, "an unknown escape");
        scan->at += 2;
        return 0;
    }
    int32_t unit = scan_code_unit(scan);
    if (unit < 0)
        return scan_refuse(scan, "an unknown escape");
    if (unit == 0)
        return scan_refuse(scan, "a NUL character");
    if (unit < 0xd800 || unit > 0xdfff)
        return 0;
    int32_t low = unit < 0xdc00 ? scan_code_unit(scan) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return scan_refuse(scan, "half of a surrogate pair");
    return 0;
}

static int scan_string(struct scan *scan)
{
    scan->at++;
    while (scan->at < scan->end) {
        unsigned char byte = *scan->at;
        if (byte == '"') {
            scan->at++;
            return 0;
        }
        if (byte == '\\') {
            if (scan_escape(scan) != 0)
                return -1;
            continue;
        }
        if (byte < 0x20)
            return scan_refuse(scan, "a control character in a text");
        size_t length = utf8_length(scan->at, (size_t)(scan->end - scan->at));
        if (length == 0)
            return scan_refuse(scan, "invalid UTF-8");
        scan->at += length;
    }
    return scan_refuse(scan, "the text ends early");
}

static size_t scan_digits(struct scan *scan)
{
    const unsigned char *first = scan->at;
    while (scan->at < scan->end && is_digit(*scan->at))
        scan->at++;
    return (size_t)(scan->at - first);
}

static bool scan_one_of(struct scan *scan, const char *bytes)
{
    if (scan->at == scan->end || *scan->at == '\0' || strchr(bytes, *scan->at) == NULL)
        return false;
    scan->at++;
    return true;
}

/* cJSON reads no longer ones. */
enum { NUMBER_MOST = 63 };

static int scan_number(struct scan *scan)
{
    const unsigned char *first = scan->at;
    scan_one_of(scan, "-");
    if (!scan_one_of(scan, "0") && scan_digits(scan) == 0)
        return scan_refuse(scan, "a malformed number");
    if (scan_one_of(scan, ".") && scan_digits(scan) == 0)
        return scan_refuse(scan, "a malformed number");
    if (scan_one_of(scan, "eE")) {
        scan_one_of(scan, "+-");
        if (scan_digits(scan) == 0)
            return scan_refuse(scan, "a malformed number");
    }
    if (scan->at < scan->end && is_digit(*scan->at))
        return scan_refuse(scan, "a malformed number");
    if (scan->at - first > NUMBER_MOST)
        return refuse(scan->failure, ERR_INVALID_REQUEST,
                      "a number has more than %d characters: send it as a text", NUMBER_MOST);
    return 0;
}

static int scan_open(struct scan *scan)
{
    if (scan->depth == NESTING_MAX)
        return refuse(scan->failure, ERR_INVALID_REQUEST, "nested deeper than %d", NESTING_MAX);
    scan->is_array[scan->depth++] = *scan->at++ == '[';
    return 0;
}

static int scan_close(struct scan *scan)
{
    if (scan->depth == 0 || scan->is_array[scan->depth - 1] != (*scan->at == ']'))
        return scan_refuse(scan, "an unexpected bracket");
    scan->depth--;
    scan->at++;
    return 0;
}

static int scan_token(struct scan *scan)
{
    unsigned char byte = *scan->at;
    if (byte == '"')
        return scan_string(scan);
    if (byte == '{' || byte == '[')
        return scan_open(scan);
    if (byte == '}' || byte == ']')
        return scan_close(scan);
    if (byte == '-' || is_digit(byte))
        return scan_number(scan);
    /* Where these may stand is what cJSON knows. */
    if (byte == ',' || byte == ':' || (byte >= 'a' && byte <= 'z')) {
        scan->at++;
        return 0;
    }
    return scan_refuse(scan, "an unexpected byte");
}

static bool scan_is_blank(unsigned char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static void scan_blanks(struct scan *scan)
{
    while (scan->at < scan->end && scan_is_blank(*scan->at))
        scan->at++;
}

/* One object with nothing but blanks around it, every bracket of it matched. */
int wire_scan(const char *bytes, size_t length, struct failure *failure)
{
    const unsigned char *start = (const unsigned char *)bytes;
    struct scan scan = {.start = start, .at = start, .end = start + length, .failure = failure};

    scan_blanks(&scan);
    if (scan.at == scan.end || *scan.at != '{')
        return refuse(failure, ERR_INVALID_REQUEST, "expected one JSON object");
    do {
        if (scan_token(&scan) != 0)
            return -1;
        scan_blanks(&scan);
    } while (scan.depth > 0 && scan.at < scan.end);
    if (scan.depth > 0)
        return scan_refuse(&scan, "the text ends early");
    if (scan.at < scan.end)
        return scan_refuse(&scan, "something behind the object");
    return 0;
}

/* ---- numbers as they were written ---- */

/* The next number, outside of texts. */
static const char *scan_next_number(const char *at, const char *end)
{
    bool text = false;
    for (; at < end; at++) {
        if (*at == '"')
            text = !text;
        else if (text && *at == '\\')
            at++;
        else if (!text && (*at == '-' || is_digit((unsigned char)*at)))
            return at;
    }
    return end;
}

static const char *wire_keep_numbers_of(cJSON *item, const char *at, const char *end)
{
    if (cJSON_IsNumber(item)) {
        at = scan_next_number(at, end);
        size_t length = 0;
        while (at + length < end && strchr("+-.0123456789eE", at[length]) != NULL)
            length++;
        item->valuestring = must_have(cJSON_malloc(length + 1), "a number's digits");
        text_copy(item->valuestring, length + 1, at, length);
        return at + length;
    }
    cJSON *child;
    cJSON_ArrayForEach(child, item)
    {
        at = wire_keep_numbers_of(child, at, end);
    }
    return at;
}

/* cJSON keeps the order of the text: the first number of the tree is the first one written. */
void wire_keep_numbers(cJSON *object, const char *bytes, size_t length)
{
    wire_keep_numbers_of(object, bytes, bytes + length);
}
