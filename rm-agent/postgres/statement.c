/*
 * rm-agent/postgres/statement.c - which SQL may run in a branch's session.
 *
 * A branch is one transaction from its first statement to PREPARE. A COMMIT in between would
 * make half of the work final. The extended protocol runs one statement a call, so what the
 * statement does is told by its first words, behind blanks, comments and semicolons. This
 * refuses before harm is done; that the transaction is still the same one is checked again
 * before PREPARE.
 */
#include "rm-agent/postgres/statement.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

enum { WORD_BYTES = 16 };

/* PostgreSQL nests its comments. */
static const char *skip_comment(const char *at)
{
    int depth = 0;
    do {
        if (at[0] == '/' && at[1] == '*') {
            depth++;
            at += 2;
        } else if (at[0] == '*' && at[1] == '/') {
            depth--;
            at += 2;
        } else if (*at != '\0') {
            at++;
        }
    } while (depth > 0 && *at != '\0');
    return at;
}

static const char *skip_to_word(const char *at)
{
    for (;;) {
        at += strspn(at, " \t\n\r\f\v;");
        if (at[0] == '-' && at[1] == '-')
            at += strcspn(at, "\n\r");
        else if (at[0] == '/' && at[1] == '*')
            at = skip_comment(at);
        else
            return at;
    }
}

/* The next word, cut at WORD_BYTES; "" if something else stands there. */
static const char *take_word(const char *at, char word[WORD_BYTES])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    at = skip_to_word(at);
    size_t length = strspn(at, letters);
    size_t kept = length < WORD_BYTES ? length : WORD_BYTES - 1;
    memcpy(word, at, kept);
    word[kept] = '\0';
    return at + length;
}

static bool is(const char *word, const char *keyword)
{
    return strcasecmp(word, keyword) == 0;
}

/* ROLLBACK [WORK | TRANSACTION] TO a savepoint stays inside the transaction. */
static bool rolls_back_to_savepoint(const char *rest)
{
    char word[WORD_BYTES];
    rest = take_word(rest, word);
    if (is(word, "work") || is(word, "transaction"))
        take_word(rest, word);
    return is(word, "to");
}

const char *statement_refusal(const char *sql)
{
    char first[WORD_BYTES], second[WORD_BYTES];
    const char *rest = take_word(sql, first);
    take_word(rest, second);

    if (is(first, "begin") || is(first, "start"))
        return "the branch's transaction has begun already";
    if (is(first, "commit") || is(first, "end") || is(first, "abort"))
        return "the branch is finished by committing or rolling back its global transaction";
    if (is(first, "rollback") && !rolls_back_to_savepoint(rest))
        return "the branch is finished by committing or rolling back its global transaction";
    if (is(first, "prepare") && is(second, "transaction"))
        return "the agent prepares the branch when its global transaction commits";
    if (is(first, "copy"))
        return "COPY needs a connection of the application's own";
    return NULL;
}
