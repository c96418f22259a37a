/*
 * lib/reason.c - why something was not done, and whether it is worth while to run it again.
 *
 * An error's own `retryable` says that the same request may be sent again; the library has done
 * that already as long as there was time. What an application wants to know is whether the whole
 * transaction, run again from its begin, may succeed: it may when the fault lay in the moment, and
 * not in the data or the statement.
 */
#include <string.h>

#include "lib/transaction.h"

const char *assent_strerror(int code)
{
    static const char *const words[] = {
        [ASSENT_OK] = "done",
        [-ASSENT_EABORTED] = "rolled back: nothing has happened",
        [-ASSENT_EUNKNOWN] = "the outcome is not known yet: ask for it",
        [-ASSENT_EUSAGE] = "this cannot be asked for now, or not in this way",
        [-ASSENT_EREFUSED] = "refused",
        [-ASSENT_ESQL] = "PostgreSQL refused the statement",
        [-ASSENT_EKEY] = "the key names a transaction that is live or has committed",
        [-ASSENT_ENOTKNOWN] = "the coordinator knows no such transaction",
        [-ASSENT_EMIXED] = "committed in one database and rolled back in another",
        [-ASSENT_ECOMMITTED] = "it has been committed: too late to roll back",
        [-ASSENT_EUNREACHABLE] = "nobody could be reached",
        [-ASSENT_ETIMEOUT] = "no answer in time",
        [-ASSENT_ENOMEM] = "out of memory",
        [-ASSENT_EAGAIN] = "under way",
    };
    if (code > 0 || -code >= (int)(sizeof words / sizeof *words))
        return "no code of Assent's";
    return words[-code];
}

static void copy(char *into, size_t room, const char *text)
{
    size_t length = strnlen(text, room - 1);
    memcpy(into, text, length);
    into[length] = '\0';
}

void assent_reason_clear(struct assent *txn)
{
    struct assent_words *words = &txn->words;
    memset(words, 0, sizeof *words);
    txn->reason = (struct assent_reason){
        .code = words->code,
        .rm = words->rm,
        .sqlstate = words->sqlstate,
        .message = words->message,
        .detail = words->detail,
        .hint = words->hint,
    };
}

void assent_reason_set(struct assent *txn, const char *word, const char *message)
{
    assent_reason_clear(txn);
    copy(txn->words.code, sizeof txn->words.code, word);
    copy(txn->words.message, sizeof txn->words.message, message);
}

/* PostgreSQL's codes for what passes: no connection, a serialization failure or deadlock, too few
 * resources, a shutdown, a lock that was not to be had in time. */
static bool passes(const char *sqlstate)
{
    static const char *const classes[] = {"08", "40", "53", "57P", "55P03"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strncmp(sqlstate, classes[i], strlen(classes[i])) == 0)
            return true;
    return false;
}

static int code_of(const char *word)
{
    static const struct {
        const char *word;
        int code;
    } codes[] = {
        {"sql_error", ASSENT_ESQL},
        {"key_in_use", ASSENT_EKEY},
        {"unknown_transaction", ASSENT_ENOTKNOWN},
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(word, codes[i].word) == 0)
            return codes[i].code;
    return ASSENT_EREFUSED;
}

static void read_words(struct assent_words *words, const cJSON *object)
{
    copy(words->code, sizeof words->code, assent_field(object, "code"));
    copy(words->rm, sizeof words->rm, assent_field(object, "rm"));
    copy(words->sqlstate, sizeof words->sqlstate, assent_field(object, "sqlstate"));
    copy(words->message, sizeof words->message, assent_field(object, "message"));
    copy(words->detail, sizeof words->detail, assent_field(object, "detail"));
    copy(words->hint, sizeof words->hint, assent_field(object, "hint"));
}

int assent_reason_read_error(struct assent *txn, const cJSON *reply)
{
    const cJSON *error = assent_field_object(reply, "error");
    assent_reason_clear(txn);
    read_words(&txn->words, error);
    txn->reason.retryable =
        cJSON_IsTrue(assent_field_object(error, "retryable")) || passes(txn->words.sqlstate);
    return code_of(txn->words.code);
}

int assent_sql_failed(struct assent *txn, const char *rm, const char *sqlstate, const char *message)
{
    struct assent_words *words = &txn->words;
    assent_reason_set(txn, "sql_error", message);
    words->message[strcspn(words->message, "\n")] = '\0'; /* libpq's end in one */
    copy(words->rm, sizeof words->rm, rm);
    copy(words->sqlstate, sizeof words->sqlstate, sqlstate);
    txn->reason.retryable = passes(words->sqlstate);
    return ASSENT_ESQL;
}

/* Who said no without an SQLSTATE was the agent: it was restarted, or had no connection. Only a
 * branch that nobody prepared will not be prepared the next time either. */
static bool agent_refused(const struct assent_words *words)
{
    static const char not_prepared[] = "branch_not_prepared";
    return words->rm[0] != '\0' && words->sqlstate[0] == '\0' &&
           strncmp(words->message, not_prepared, sizeof not_prepared - 1) != 0;
}

void assent_reason_read_abort(struct assent *txn, const cJSON *reply)
{
    assent_reason_clear(txn);
    read_words(&txn->words, assent_field_object(reply, "reason"));
    /* A coordinator that was restarted meanwhile knows no reason. */
    bool no_reason = txn->words.message[0] == '\0';
    txn->reason.retryable = no_reason || passes(txn->words.sqlstate) || agent_refused(&txn->words);
}
