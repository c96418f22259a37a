/*
 * cli/paint.c - colours, for people at a terminal only.
 */
#include "cli/paint.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *word;
    enum paint paint;
} words[] = {
    {"up", PAINT_GOOD},
    {"ready", PAINT_GOOD},
    {"ok", PAINT_GOOD},
    {"committed", PAINT_GOOD},
    {"starting", PAINT_CARE},
    {"draining", PAINT_CARE},
    {"paused", PAINT_CARE},
    {"down", PAINT_BAD},
    {"refused", PAINT_BAD},
    {"quarantined", PAINT_BAD},
    {"fenced", PAINT_BAD},
    {"mixed", PAINT_BAD},
    {"heuristic", PAINT_BAD},
    {"unknown", PAINT_BAD},
    {"error", PAINT_BAD},
    {"in-doubt", PAINT_CARE},
    {"waits", PAINT_CARE},
    {"warning", PAINT_CARE},
    {"will-commit", PAINT_CARE},
    {"will-roll-back", PAINT_CARE},
    {"safe-to-roll-back", PAINT_CARE},
};

enum paint paint_of(const char *word)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i].word, word) == 0)
            return words[i].paint;
    return PAINT_NONE;
}

static bool wanted(void)
{
    static int answer = -1;
    if (answer < 0) {
        const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
        answer = isatty(STDOUT_FILENO) && term != NULL && strcmp(term, "dumb") != 0 &&
                 (no_color == NULL || no_color[0] == '\0');
    }
    return answer != 0;
}

void paint_begin(enum paint paint)
{
    static const char *const codes[] = {
        [PAINT_GOOD] = "\033[32m",
        [PAINT_CARE] = "\033[33m",
        [PAINT_BAD] = "\033[1;31m",
        [PAINT_BOLD] = "\033[1m",
    };
    if (paint != PAINT_NONE && wanted())
        fputs(codes[paint], stdout);
}

void paint_end(enum paint paint)
{
    if (paint != PAINT_NONE && wanted())
        fputs("\033[0m", stdout);
}
