/*
 * cli/paint.h - colours, for people at a terminal only.
 */
#ifndef ASSENT_CLI_PAINT_H
#define ASSENT_CLI_PAINT_H

#include <stdio.h>

enum paint { PAINT_NONE = 0, PAINT_GOOD, PAINT_CARE, PAINT_BAD, PAINT_BOLD };

/* Colours go to stdout if it is a terminal, TERM is not dumb and NO_COLOR is not set. */
void paint_begin(enum paint paint);
void paint_end(enum paint paint);

/* The colour of a state's, verdict's or severity's word; PAINT_NONE for any other text. */
enum paint paint_of(const char *word);

#endif
