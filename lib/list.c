/*
 * lib/list.c - what else a coordinator can be asked: lists, and any request as JSON.
 */
#include <stdlib.h>

#include "lib/transaction.h"

struct owned_list {
    struct assent_list list; /* what the caller sees */
    cJSON *object;           /* has all the texts */
    struct assent_listed items[];
};

static void fill_item(struct assent_listed *item, const cJSON *transaction)
{
    *item = (struct assent_listed){
        .gtrid = assent_field(transaction, "gtrid"),
        .state = assent_field(transaction, "state"),
        .label = assent_field(transaction, "label"),
        .key = assent_field(transaction, "key"),
        .age_ms = assent_field_number(transaction, "age_ms"),
    };
}

static struct owned_list *read_list(const cJSON *reply)
{
    cJSON *copy = cJSON_Duplicate(assent_field_object(reply, "transactions"), true);
    if (!cJSON_IsArray(copy)) {
        cJSON_Delete(copy);
        return NULL;
    }
    size_t count = (size_t)cJSON_GetArraySize(copy), filled = 0;
    struct owned_list *owned = calloc(1, sizeof *owned + count * sizeof *owned->items);
    if (owned == NULL) {
        cJSON_Delete(copy);
        return NULL;
    }
    const cJSON *transaction;
    cJSON_ArrayForEach(transaction, copy) fill_item(&owned->items[filled++], transaction);
    owned->object = copy;
    owned->list = (struct assent_list){.count = count, .items = owned->items};
    return owned;
}

static int finish_list(struct assent *txn, const struct assent_answer *answer)
{
    if (answer->ending != ASSENT_ANSWERED)
        return answer->code;
    struct owned_list *owned = read_list(answer->object);
    if (owned == NULL)
        return assent_fail(txn, ASSENT_ENOMEM, "internal", "out of memory");
    *txn->list_out = &owned->list;
    return 0;
}

int assent_list(struct assent *txn, const char *state, struct assent_list **out,
                uint32_t timeout_ms)
{
    int rc = assent_prepare(txn, true, "");
    if (rc != 0)
        return rc;
    txn->list_out = out;
    struct assent_text text;
    assent_text_begin(&text, "list");
    assent_text_add(&text, "state", state);
    return assent_start(txn, &text, NULL, timeout_ms, finish_list);
}

void assent_list_free(struct assent_list *list)
{
    struct owned_list *owned = (struct owned_list *)list;
    if (owned == NULL)
        return;
    cJSON_Delete(owned->object);
    free(owned);
}

static int finish_ask(struct assent *txn, const struct assent_answer *answer)
{
    if (answer->ending == ASSENT_UNANSWERED)
        return answer->code;
    return *txn->text_out != NULL ? 0
                                  : assent_fail(txn, ASSENT_ENOMEM, "internal", "out of memory");
}

int assent_ask(struct assent *txn, const char *request, char **reply, uint32_t timeout_ms)
{
    int rc = assent_prepare(txn, true, "");
    if (rc != 0)
        return rc;
    *reply = NULL;
    txn->text_out = reply;
    struct assent_text text;
    assent_text_copy(&text, request);
    return assent_start(txn, &text, NULL, timeout_ms, finish_ask);
}
