/*
 * core/base/errors.h - every error that a client of Assent can be answered with.
 *
 * One list: the enum, the words on the wire, the HTTP status, whether the same
 * request may simply be sent again, and what the words mean all come from here;
 * doc/errors.md is made from it.
 */
#ifndef ASSENT_CORE_BASE_ERRORS_H
#define ASSENT_CORE_BASE_ERRORS_H

/* X(NAME, word, http status, retryable, meaning and what to do) */
#define ERROR_CODES(X)                                                                             \
    X(INVALID_REQUEST, "invalid_request", 400, false,                                              \
      "The request cannot be read or a field is missing, mistyped or out of range; the message "   \
      "names it. Mend the request.")                                                               \
    X(NOT_PERMITTED, "not_permitted", 403, false,                                                  \
      "This caller may not do this. Private and admin operations are for the daemon's own user "   \
      "and root.")                                                                                 \
    X(UNKNOWN_OPERATION, "unknown_operation", 404, false, "No operation has this name.")           \
    X(UNKNOWN_TRANSACTION, "unknown_transaction", 404, false,                                      \
      "This coordinator does not know the transaction. It never began, or belongs to another.")    \
    X(UNKNOWN_RM, "unknown_rm", 404, false,                                                        \
      "No resource manager of this name is configured; `assentctl agents` lists them.")            \
    X(WRONG_STATE, "wrong_state", 409, false,                                                      \
      "The transaction is past the point where this can be asked for.")                            \
    X(TOO_MANY_BRANCHES, "too_many_branches", 409, false,                                          \
      "A transaction has at most 32 branches, and one of 3pc at most 15 resource managers.")       \
    X(KEY_IN_USE, "key_in_use", 409, false,                                                        \
      "A transaction with this key is live or has committed; the detail names it.")                \
    X(REQUEST_ID_REUSED, "request_id_reused", 409, false,                                          \
      "The same request_id came with other fields. Draw a new one for each begin.")                \
    X(RM_UNAVAILABLE, "rm_unavailable", 503, true,                                                 \
      "The agent of this resource manager is not connected. Try again.")                           \
    X(RM_REFUSED, "rm_refused", 503, false,                                                        \
      "The agent of this resource manager does not accept this coordinator; `assentctl agents` "   \
      "says why.")                                                                                 \
    X(RM_QUARANTINED, "rm_quarantined", 503, false,                                                \
      "The database lost durable data. A DBA has to look at it and release it.")                   \
    X(RM_PAUSED, "rm_paused", 503, true,                                                           \
      "A DBA has paused this resource manager: new branches are refused and running ones "         \
      "finish. Try again once it is resumed.")                                                     \
    X(CONTRADICTED, "contradicted", 409, false,                                                    \
      "The log or the evidence says otherwise, or nobody can know. It is done only with "          \
      "`force`, and the transaction is then reported as `mixed`.")                                 \
    X(FENCED, "fenced", 503, false,                                                                \
      "This coordinator has been superseded, or its log is not the newest; `assentctl status` "    \
      "says why. It begins and decides nothing.")                                                  \
    X(NOT_READY, "not_ready", 503, true,                                                           \
      "The coordinator is stopping, or waits for its agents after a start. Try again.")            \
    X(BUSY, "busy", 503, true, "A limit on what is under way at once is reached. Try again.")      \
    X(KEYS_FULL, "keys_full", 503, true,                                                           \
      "`max_keys` keys are remembered, so no transaction with a key is begun until the oldest of " \
      "them has been kept for `key_retention`. Raise `max_keys`, or begin without a key.")         \
    X(OUTCOMES_FULL, "outcomes_full", 503, true,                                                   \
      "The outcomes of `max_outcomes` transactions are remembered, so none is begun until the "    \
      "oldest have been kept for `retention`. Raise `max_outcomes`.")                              \
    X(TIMEOUT, "timeout", 504, true, "No answer came in time; what was asked may have happened.")  \
    X(UNREACHABLE, "unreachable", 504, true, "No connection to the other side.")                   \
    X(BRANCH_NOT_PREPARED, "branch_not_prepared", 409, false,                                      \
      "The branch's gid is not among the prepared transactions of its database.")                  \
    X(BRANCH_LOST, "branch_lost", 409, true,                                                       \
      "The branch's session is gone and its work with it. Roll back and run again.")               \
    X(BRANCH_PREPARED, "branch_prepared", 409, false,                                              \
      "The branch is prepared already; no more SQL can run in it.")                                \
    X(INVALID_SESSION, "invalid_session", 403, false,                                              \
      "The session ticket does not belong to this branch.")                                        \
    X(OUT_OF_SEQUENCE, "out_of_sequence", 409, false,                                              \
      "`n` is neither the next statement of the branch nor the last one again.")                   \
    X(SQL_ERROR, "sql_error", 422, false,                                                          \
      "PostgreSQL refused the statement; the sqlstate says why.")                                  \
    X(RESULT_TOO_LARGE, "result_too_large", 422, false,                                            \
      "The result is larger than one message. Ask for fewer rows.")                                \
    X(RESULT_ENCODING, "result_encoding", 422, false,                                              \
      "The statement has run, but its result is no text in UTF-8. Ask for such bytes by "          \
      "encode() or convert_from().")                                                               \
    X(RM_IS_WITNESS, "rm_is_witness", 409, false,                                                  \
      "This agent holds no data: it only takes part in the decisions of 3pc transactions.")        \
    X(BRANCH_DIFFERS, "branch_differs", 409, false,                                                \
      "The branch is enlisted already with another role or isolation, or not read_only. Enlist "   \
      "it "                                                                                        \
      "without them to have it as it is, or enlist another branch.")                               \
    X(INTERNAL, "internal", 500, false, "A fault in Assent. Please report it.")

enum error_code {
    ERR_NONE = 0,
#define X(name, word, http, retryable, meaning) ERR_##name,
    ERROR_CODES(X)
#undef X
        ERR_CODES
};

#endif
