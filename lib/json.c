/*
 * lib/json.c - requests are written as text, replies are read by cJSON.
 */
#include "lib/json.h"

#include <inttypes.h>
#include <stdlib.h>

static void put_text(FILE *out, const char *text)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < ' ')
            fprintf(out, "\\u%04x", byte);
        else if (byte == '"' || byte == '\\')
            fprintf(out, "\\%c", byte);
        else
            putc(byte, out);
    }
    putc('"', out);
}

static void put_name(const struct assent_text *text, const char *name)
{
    putc(',', text->file);
    put_text(text->file, name);
    putc(':', text->file);
}

void assent_text_begin(struct assent_text *text, const char *op)
{
    text->file = open_memstream(&text->bytes, &text->length);
    text->open = true;
    if (text->file == NULL)
        return;
    fputs("{\"op\":", text->file);
    put_text(text->file, op);
}

void assent_text_copy(struct assent_text *text, const char *request)
{
    text->file = open_memstream(&text->bytes, &text->length);
    text->open = false;
    if (text->file != NULL)
        fputs(request, text->file);
}

void assent_text_add(struct assent_text *text, const char *name, const char *value)
{
    if (text->file == NULL || value == NULL)
        return;
    put_name(text, name);
    put_text(text->file, value);
}

void assent_text_add_number(struct assent_text *text, const char *name, uint64_t value)
{
    if (text->file == NULL)
        return;
    put_name(text, name);
    fprintf(text->file, "%" PRIu64, value);
}

void assent_text_add_true(struct assent_text *text, const char *name)
{
    if (text->file == NULL)
        return;
    put_name(text, name);
    fputs("true", text->file);
}

void assent_text_add_list(struct assent_text *text, const char *name, int count,
                          const char *const *values)
{
    if (text->file == NULL)
        return;
    put_name(text, name);
    putc('[', text->file);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            putc(',', text->file);
        if (values[i] != NULL)
            put_text(text->file, values[i]);
        else
            fputs("null", text->file);
    }
    putc(']', text->file);
}

int assent_text_end(struct assent_text *text)
{
    if (text->file == NULL)
        return -1;
    if (text->open)
        putc('}', text->file);
    bool whole = ferror(text->file) == 0;
    if (fclose(text->file) == 0 && whole)
        return 0;
    free(text->bytes);
    return -1;
}

const char *assent_field(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
}

uint64_t assent_field_number(const cJSON *object, const char *name)
{
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(object, name);
    if (cJSON_IsString(field))
        return strtoull(field->valuestring, NULL, 10);
    return cJSON_IsNumber(field) && field->valuedouble > 0 ? (uint64_t)field->valuedouble : 0;
}

const cJSON *assent_field_object(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}
