/*
 * lib/json.h - requests are written as text, replies are read by cJSON.
 */
#ifndef ASSENT_LIB_JSON_H
#define ASSENT_LIB_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* {"op":"begin",...}; a want of memory is told at its end. */
struct assent_text {
    FILE *file;
    bool open; /* its last brace is missing */
    char *bytes;
    size_t length;
};

void assent_text_begin(struct assent_text *text, const char *op);
/* The application's own words instead. */
void assent_text_copy(struct assent_text *text, const char *request);
/* Nothing is written for a NULL. */
void assent_text_add(struct assent_text *text, const char *name, const char *value);
void assent_text_add_number(struct assent_text *text, const char *name, uint64_t value);
void assent_text_add_true(struct assent_text *text, const char *name);
/* count texts, a NULL among them as null. */
void assent_text_add_list(struct assent_text *text, const char *name, int count,
                          const char *const *values);
/* Returns 0 with bytes and length, the caller's, or -1. */
int assent_text_end(struct assent_text *text);

/* A field's text; "" when it is missing or none. */
const char *assent_field(const cJSON *object, const char *name);
/* A field's number, also one that travels as text. */
uint64_t assent_field_number(const cJSON *object, const char *name);
const cJSON *assent_field_object(const cJSON *object, const char *name);

#endif
