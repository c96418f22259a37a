/*
 * cli/prepared.c - everything that is prepared in one database, as its agent says.
 *
 * A list that is cut would be taken for all there is: what is not on it would be left as it is, or
 * be decided without being known. So either all pages have been read, or nothing has.
 */
#include "cli/prepared.h"

enum {
    FULL_PAGE = 250,   /* with its locks and those that wait, a branch is 10 KiB at worst */
    BRIEF_PAGE = 1000, /* the most that an agent gives */
    PAGES_MAX = 1000,  /* more would be an agent that goes round in circles */
};

static int ask_page(const char *url, bool brief, const cJSON *after, uint32_t wait_ms, cJSON **page,
                    struct failure *failure)
{
    cJSON *question = call_request("prepared");
    cJSON_AddNumberToObject(question, "limit", brief ? BRIEF_PAGE : FULL_PAGE);
    cJSON_AddBoolToObject(question, "brief", brief);
    if (after != NULL)
        cJSON_AddItemToObject(question, "after", cJSON_Duplicate(after, true));
    return call_quietly(url, question, wait_ms, page, failure);
}

/* Before there were pages an agent said no more than this many, and not that there were more. */
static bool may_be_cut(const cJSON *page)
{
    return cJSON_GetObjectItemCaseSensitive(page, "total") == NULL &&
           cJSON_GetArraySize(json_child(page, "prepared")) >= BRIEF_PAGE;
}

static void append(cJSON *list, cJSON *more)
{
    cJSON *item;
    while ((item = cJSON_DetachItemFromArray(more, 0)) != NULL)
        cJSON_AddItemToArray(list, item);
}

static int fail_with(struct failure *failure, cJSON **answer, const char *why)
{
    refuse(failure, ERR_RM_UNAVAILABLE, "%s", why);
    cJSON_Delete(*answer);
    *answer = NULL;
    return EXIT_REFUSED;
}

int prepared_ask(const char *url, bool brief, uint32_t wait_ms, cJSON **answer,
                 struct failure *failure)
{
    int code = ask_page(url, brief, NULL, wait_ms, answer, failure);
    if (code != EXIT_DONE)
        return code;
    if (may_be_cut(*answer))
        return fail_with(failure, answer,
                         "the agent is of an older version and may not have said all that is "
                         "prepared: install the present one, and start it");
    cJSON *list = cJSON_GetObjectItemCaseSensitive(*answer, "prepared");
    cJSON *next = cJSON_DetachItemFromObjectCaseSensitive(*answer, "next");
    for (int pages = 1; cJSON_IsObject(next); pages++) {
        cJSON *page;
        code = ask_page(url, brief, next, wait_ms, &page, failure);
        cJSON_Delete(next);
        if (code != EXIT_DONE || pages == PAGES_MAX) {
            cJSON_Delete(code == EXIT_DONE ? page : NULL);
            return fail_with(failure, answer,
                             code == EXIT_DONE ? "the agent's list of what is prepared has no end"
                                               : failure->message);
        }
        append(list, cJSON_GetObjectItemCaseSensitive(page, "prepared"));
        next = cJSON_DetachItemFromObjectCaseSensitive(page, "next");
        cJSON_Delete(page);
    }
    cJSON_Delete(next);
    return EXIT_DONE;
}
