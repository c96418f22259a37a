/*
 * core/coordinator/clients.c - what clients ask of the coordinator.
 *
 * Everything may be asked twice: a begin by its request_id, the rest by its nature. A key names
 * a transaction that is live or has committed, for as long as outcomes are remembered.
 */
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

/* begin's fields, so that a repetition is told from a mix-up. Not its request_id, and not what may
 * differ from one time of sending to the next: a traceparent names each. */
static uint64_t clients_begin_hash(const struct request *request)
{
    uint64_t numbers[3] = {request->timeout_ms, request->protocol, request->rm_count};
    uint64_t hash = hash_bytes(numbers, sizeof numbers, 1);
    hash = hash_bytes(request->key, text_length(request->key, KEY_BYTES), hash);
    hash = hash_bytes(request->origin.label, text_length(request->origin.label, LABEL_BYTES), hash);
    for (uint32_t i = 0; i < request->rm_count; i++)
        hash = hash_bytes(request->rms[i], text_length(request->rms[i], RM_NAME_BYTES), hash);
    return hash;
}

static void clients_say_begun(struct step *s)
{
    struct reply *reply = output_answer(s);
    facts_gtrid(s->c, s->txn->incarnation, s->txn->sequence, &reply->gtrid);
    if (s->txn->deadline_ms > s->event->now_ms)
        reply->left_ms = (uint32_t)(s->txn->deadline_ms - s->event->now_ms);
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        output_show_branch(s, b, reply);
}

/* A begin that was sent again gets the answer of the first. True if it was answered. */
static bool clients_answer_repetition(struct step *s)
{
    const struct request *request = s->event->request;
    struct live *live = &s->c->live;
    if (request->request_id[0] == '\0')
        return false;

    uint32_t at = live_find_request(live, request->caller, request->request_id);
    const struct ended *ended = live_find_ended_request(live, request->caller, request->request_id);
    if (at == NO_ITEM && ended == NULL)
        return false;
    uint64_t first = at != NO_ITEM ? live->txns[at].request_hash : ended->request_hash;
    if (first != clients_begin_hash(request)) {
        output_refuse(s, ERR_REQUEST_ID_REUSED);
    } else if (at != NO_ITEM) {
        output_select(s, at);
        clients_say_begun(s);
    } else {
        facts_gtrid(s->c, ended->incarnation, ended->sequence, &output_answer(s)->gtrid);
    }
    return true;
}

/* True if the key belongs to a transaction that is live or has committed, or if that cannot be
 * known yet; it was answered then. */
static bool clients_answer_key_in_use(struct step *s)
{
    const struct request *request = s->event->request;
    uint64_t incarnation, sequence;
    if (request->key[0] == '\0')
        return false;

    uint32_t at = live_find_key(&s->c->live, request->key);
    if (at != NO_ITEM) {
        output_select(s, at);
        struct reply *reply = output_answer(s);
        output_tell_progress(s, reply);
        reply->error = ERR_KEY_IN_USE;
        return true;
    }
    if (!MUTANT(KEY_FORGOTTEN) && retention_find_key(s->c, request->key, &incarnation, &sequence)) {
        struct reply *reply = output_answer(s);
        reply->error = ERR_KEY_IN_USE;
        reply->outcome = OUTCOME_COMMITTED;
        facts_gtrid(s->c, incarnation, sequence, &reply->gtrid);
        return true;
    }
    /* A log that may be an old one cannot say that a key was never used. */
    if (!registry_may_presume(&s->c->registry, NULL)) {
        output_refuse(s, ERR_NOT_READY);
        return true;
    }
    return false;
}

/* Can all RMs that begin names take part? If not it is answered. */
static bool clients_rms_available(struct step *s)
{
    const struct request *request = s->event->request;
    for (uint32_t i = 0; i < request->rm_count; i++) {
        uint32_t rm = registry_find(&s->c->registry, request->rms[i]);
        if (rm == UINT32_MAX || s->c->registry.rms[rm].retired) {
            struct reply *reply = output_answer(s);
            reply->error = ERR_UNKNOWN_RM;
            memcpy(reply->reason.rm, request->rms[i], RM_NAME_BYTES);
            return false;
        }
        if (!facts_may_enlist(&s->c->registry.rms[rm])) {
            output_refuse_rm(s, &s->c->registry.rms[rm]);
            return false;
        }
    }
    if (slots_free(&s->c->live.txn_slots) == 0 ||
        slots_free(&s->c->live.branch_slots) < request->rm_count) {
        output_refuse(s, ERR_BUSY);
        return false;
    }
    return true;
}

static void clients_begin(struct step *s)
{
    struct coordinator *c = s->c;
    const struct request *request = s->event->request;
    if (request->protocol == PROTOCOL_3PC && request->rm_count > ACCEPTORS_MAX) {
        output_refuse(s, ERR_TOO_MANY_BRANCHES);
        return;
    }
    if (clients_answer_repetition(s))
        return;
    if (c->draining || !registry_any_accepted(&c->registry)) {
        output_refuse(s, ERR_NOT_READY);
        return;
    }
    if (clients_answer_key_in_use(s) || !clients_rms_available(s))
        return;
    enum error_code full = retention_full(c, request->key[0] != '\0');
    if (full != ERR_NONE) {
        output_refuse(s, full);
        return;
    }

    output_select(s, live_add(&c->live, c->incarnation, ++c->sequence));
    struct txn *txn = s->txn;
    uint32_t timeout_ms =
        request->timeout_ms != 0 ? request->timeout_ms : c->settings.transaction_timeout_ms;
    txn->state = TXN_ACTIVE;
    txn->protocol = request->protocol;
    txn->begun_ms = s->event->now_ms;
    txn->deadline_ms = s->event->now_ms + timeout_ms;
    memcpy(txn->key, request->key, KEY_BYTES);
    txn->origin = request->origin;
    memcpy(txn->request_id, request->request_id, REQUEST_ID_BYTES);
    txn->caller = request->caller;
    txn->request_hash = clients_begin_hash(request);
    live_enter_key(&c->live, s->at);
    live_enter_request(&c->live, s->at);
    for (uint32_t i = 0; i < request->rm_count; i++)
        prepare_enlist(s, registry_find(&c->registry, request->rms[i]), "");
    c->begun++;
    clients_say_begun(s);
    output_set_timer(s);
}

/* By key: live, or committed, or unknown; a log that may be an old one does not know. */
static void clients_outcome_by_key(struct step *s)
{
    const char *key = s->event->request->key;
    struct gtrid gtrid;
    uint32_t at = live_find_key(&s->c->live, key);
    if (at != NO_ITEM)
        facts_gtrid(s->c, s->c->live.txns[at].incarnation, s->c->live.txns[at].sequence, &gtrid);
    else if (retention_find_key(s->c, key, &gtrid.incarnation, &gtrid.sequence))
        facts_gtrid(s->c, gtrid.incarnation, gtrid.sequence, &gtrid);
    else {
        bool may_presume = registry_may_presume(&s->c->registry, NULL);
        struct reply *reply = output_answer(s);
        reply->error = may_presume ? ERR_UNKNOWN_TRANSACTION : ERR_NOT_READY;
        reply->has_remembered = may_presume;
        reply->remembered_ms = retention_keys_ms(s->c);
        return;
    }
    stray_say_what_is_known(s, &gtrid);
}

void clients_request(struct step *s)
{
    const struct request *request = s->event->request;
    struct coordinator *c = s->c;

    /* A fence is read from the log, before the start is durable: what status says at once is what
     * everybody is told. */
    if (c->registry.fenced && request->op != OP_OUTCOME) {
        output_refuse(s, ERR_FENCED);
        return;
    }
    if (!c->started) {
        output_refuse(s, ERR_NOT_READY);
        return;
    }
    if (request->op == OP_BEGIN) {
        clients_begin(s);
        return;
    }
    if (dba_is_request(request->op) && !request->has_gtrid) {
        dba_request(s);
        return;
    }
    if (request->op == OP_OUTCOME && !request->has_gtrid) {
        clients_outcome_by_key(s);
        return;
    }
    if (!text_equal(request->gtrid.tm, c->settings.tm, TM_NAME_BYTES)) {
        output_refuse(s, ERR_UNKNOWN_TRANSACTION);
        return;
    }
    output_select(s, live_find(&c->live, request->gtrid.incarnation, request->gtrid.sequence));
    switch (request->op) {
    case OP_ENLIST:
        coordinator_event(s, TE_ENLIST);
        break;
    case OP_COMMIT:
        coordinator_event(s, TE_COMMIT);
        break;
    case OP_ROLLBACK:
        coordinator_event(s, TE_ROLLBACK);
        break;
    case OP_OUTCOME:
        stray_say_what_is_known(s, &request->gtrid);
        break;
    case OP_RESOLVE:
    case OP_FORGET:
        s->txn = NULL; /* the record is about what the request names, live or not */
        dba_request(s);
        break;
    default:
        output_refuse(s, ERR_UNKNOWN_OPERATION);
    }
}
