/*
 * cli/table.h - tables as psql draws them, and ages in words.
 */
#ifndef ASSENT_CLI_TABLE_H
#define ASSENT_CLI_TABLE_H

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_COLUMNS_MAX = 1664 }; /* PostgreSQL's own limit for a result */

/* Write text to out (NULL: only measure), what a terminal would act upon as \xNN. Returns how many
 * columns of the screen it takes. */
int text_put(FILE *out, const char *text);

/* rows is an array of arrays of texts, a null being an empty cell. A column in which every cell is
 * a number is right-aligned. */
void table_print(const char *const *titles, size_t columns, const cJSON *rows);

/* Append a row to rows, and a cell to a row: a text (NULL and "" are empty), or an object's field,
 * a text or a number. */
cJSON *table_row(cJSON *rows);
void table_cell(cJSON *row, const char *text);
void table_field(cJSON *row, const cJSON *object, const char *field);

/* "name   text" on a line of its own, the name width wide; nothing when text is empty. A state's
 * word is coloured. */
void line_print(int width, const char *name, const char *text);

/* "850 ms", "12 s", "5 min 3 s", "2 h 5 min", "4 d 1 h". */
enum { AGE_BYTES = 48 };
const char *age_words(uint64_t age_ms, char out[AGE_BYTES]);

#endif
