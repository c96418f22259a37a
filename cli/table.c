/*
 * cli/table.c - tables as psql draws them, and ages in words.
 *
 * Cells come from databases and from other people's labels: a control character in one of
 * them must never reach the terminal, so every cell goes through text_put().
 */
#include "cli/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "cli/call.h"
#include "cli/paint.h"

/* Of one column. */
struct layout {
    int width;
    bool number; /* in every row */
};

int text_put(FILE *out, const char *text)
{
    mbstate_t state = {0};
    size_t left = strlen(text);
    int width = 0;

    while (left > 0) {
        wchar_t wide = L'\0';
        size_t bytes = mbrtowc(&wide, text, left, &state);
        if (bytes > left || wcwidth(wide) < 0) {
            if (out != NULL)
                fprintf(out, "\\x%02x", (unsigned char)*text);
            state = (mbstate_t){0};
            bytes = 1;
            width += 4;
        } else {
            if (out != NULL)
                fwrite(text, 1, bytes, out);
            width += wcwidth(wide);
        }
        text += bytes;
        left -= bytes;
    }
    return width;
}

static const char *cell_text(const cJSON *cell)
{
    return cJSON_IsString(cell) ? cell->valuestring : "";
}

static bool is_number(const char *text)
{
    static const char digits[] = "0123456789";
    size_t sign = *text == '-' ? 1 : 0;
    size_t whole = strspn(text + sign, digits);

    text += sign + whole;
    if (*text == '.')
        text += 1 + strspn(text + 1, digits);
    return whole > 0 && *text == '\0';
}

static void put_blanks(int count)
{
    for (int i = 0; i < count; i++)
        putchar(' ');
}

/* The last cell of a line has no blanks behind it. */
static void put_cell(const char *text, int width, bool right, bool first, bool last)
{
    int blanks = width - text_put(NULL, text);
    bool before = right && text[0] != '\0';

    fputs(first ? " " : "| ", stdout);
    put_blanks(before ? blanks : 0);
    paint_begin(paint_of(text));
    text_put(stdout, text);
    paint_end(paint_of(text));
    put_blanks(last ? 0 : before ? 1 : blanks + 1);
}

static void put_titles(const char *const *titles, const struct layout *layout, size_t columns)
{
    for (size_t i = 0; i < columns; i++) {
        int blanks = layout[i].width - text_put(NULL, titles[i]);
        fputs(i == 0 ? " " : "| ", stdout);
        put_blanks(blanks / 2);
        text_put(stdout, titles[i]);
        put_blanks(blanks - blanks / 2 + 1);
    }
    putchar('\n');
    for (size_t i = 0; i < columns; i++) {
        if (i > 0)
            putchar('+');
        for (int dash = 0; dash < layout[i].width + 2; dash++)
            putchar('-');
    }
    putchar('\n');
}

static void measure(const char *const *titles, size_t columns, const cJSON *rows,
                    struct layout *layout)
{
    for (size_t i = 0; i < columns; i++)
        layout[i] = (struct layout){.width = text_put(NULL, titles[i]), .number = true};
    for (const cJSON *row = cJSON_GetArrayItem(rows, 0); row != NULL; row = row->next) {
        struct layout *column = layout;
        for (const cJSON *cell = row->child; cell != NULL && column < layout + columns;
             cell = cell->next, column++) {
            int width = text_put(NULL, cell_text(cell));
            column->width = width > column->width ? width : column->width;
            column->number = column->number && (width == 0 || is_number(cell_text(cell)));
        }
    }
}

void table_print(const char *const *titles, size_t columns, const cJSON *rows)
{
    static struct layout layout[TABLE_COLUMNS_MAX];
    int count = cJSON_GetArraySize(rows);

    assert(columns <= TABLE_COLUMNS_MAX);
    measure(titles, columns, rows, layout);
    put_titles(titles, layout, columns);
    for (const cJSON *row = cJSON_GetArrayItem(rows, 0); row != NULL; row = row->next) {
        const cJSON *cell = row->child;
        for (size_t i = 0; cell != NULL && i < columns; cell = cell->next, i++)
            put_cell(cell_text(cell), layout[i].width, layout[i].number, i == 0, i + 1 == columns);
        putchar('\n');
    }
    printf("(%d row%s)\n", count, count == 1 ? "" : "s");
}

void table_cell(cJSON *row, const char *text)
{
    cJSON_AddItemToArray(row, cJSON_CreateString(text != NULL ? text : ""));
}

cJSON *table_row(cJSON *rows)
{
    cJSON *row = cJSON_CreateArray();

    cJSON_AddItemToArray(rows, row);
    return row;
}

void table_field(cJSON *row, const cJSON *object, const char *field)
{
    char scratch[SCRATCH_BYTES];

    table_cell(row, json_text(object, field, scratch));
}

void line_print(int width, const char *name, const char *text)
{
    if (text[0] == '\0')
        return;
    printf("%-*s ", width, name);
    paint_begin(paint_of(text));
    text_put(stdout, text);
    paint_end(paint_of(text));
    putchar('\n');
}

const char *age_words(uint64_t age_ms, char out[AGE_BYTES])
{
    static const struct {
        uint64_t seconds;
        const char *large, *small;
        uint64_t small_seconds;
    } units[] = {
        {86400, "d", "h", 3600},
        {3600, "h", "min", 60},
        {60, "min", "s", 1},
    };
    uint64_t age_s = age_ms / 1000;

    if (age_s == 0) {
        snprintf(out, AGE_BYTES, "%" PRIu64 " ms", age_ms);
        return out;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        uint64_t large = age_s / units[i].seconds;
        uint64_t small = age_s % units[i].seconds / units[i].small_seconds;
        if (large == 0)
            continue;
        if (small == 0)
            snprintf(out, AGE_BYTES, "%" PRIu64 " %s", large, units[i].large);
        else
            snprintf(out, AGE_BYTES, "%" PRIu64 " %s %" PRIu64 " %s", large, units[i].large, small,
                     units[i].small);
        return out;
    }
    snprintf(out, AGE_BYTES, "%" PRIu64 " s", age_s);
    return out;
}
