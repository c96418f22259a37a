/*
 * tm/openapi.h - the text of tm/openapi.json, inside the program. The build makes openapi.c
 * (scripts/embed-text).
 */
#ifndef ASSENT_TM_OPENAPI_H
#define ASSENT_TM_OPENAPI_H

extern const char openapi_json[];

#endif
