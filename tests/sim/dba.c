/*
 * tests/sim/dba.c - a DBA who settles things at random moments, and in the end those that are left.
 *
 * He speaks to the coordinator as assentctl does: by requests that may get lost, whose answers he
 * does not wait for. By night he is careless: any transaction, any outcome, force or none. Once
 * all is quiet he does what a page of doc/operations.md tells him.
 */
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "tests/sim/sim.h"

/* He is called when this much time of quiet has not settled it. */
enum { CALLED_SECONDS = 20 };

static void ask(struct sim *sim, const struct request *request)
{
    size_t length;
    char *text = wire_write_request(request, &length);
    struct message message = {
        .type = MESSAGE_REQUEST, .from = app_node(0), .to = host_node(0), .serial = 0};
    note(sim, "dba", "asks %s", text);
    send_text(sim, &message, text, length);
}

static void wire_begin_request(struct request *request, enum op op, const char *why)
{
    memset(request, 0, sizeof *request);
    request->op = op;
    text_copy(request->why, sizeof request->why, why, strlen(why));
}

static void ask_about(struct sim *sim, enum op op, uint32_t rm)
{
    struct request request;
    wire_begin_request(&request, op, "as it looks to me");
    text_copy(request.rm, sizeof request.rm, rm_word(rm), strlen(rm_word(rm)));
    ask(sim, &request);
}

static void resolve(struct sim *sim, struct fate *fate, bool commit, bool force)
{
    struct request request;
    wire_begin_request(&request, OP_RESOLVE, "as it looks to me");
    request.has_gtrid = true;
    request.gtrid = fate->gtrid;
    request.wanted = commit ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK;
    request.force = force;
    if (fate->branch_count > 0 && choice(sim, 3000)) {
        uint64_t at = between(sim, 0, fate->branch_count - 1);
        memcpy(request.rm, fate->branches[at].id.rm, RM_NAME_BYTES);
        memcpy(request.branch, fate->branches[at].id.branch, BRANCH_NAME_BYTES);
    }
    fate->forced |= force;
    ask(sim, &request);
}

static void forget(struct sim *sim, const struct fate *fate, bool force)
{
    struct request request;
    wire_begin_request(&request, OP_FORGET, "it has been seen to");
    request.has_gtrid = true;
    request.gtrid = fate->gtrid;
    request.force = force;
    ask(sim, &request);
}

/* One of the last that were begun: the others have mostly ended. */
static struct fate *any_fate(struct sim *sim)
{
    struct checker *checker = &sim->checker;
    uint32_t least = checker->count > 6 ? checker->count - 6 : 0;
    return checker->count == 0 ? NULL : &checker->fates[between(sim, least, checker->count - 1)];
}

void dba_strikes(struct sim *sim)
{
    static const enum op about_rm[] = {OP_WAIVE, OP_RELEASE, OP_PAUSE, OP_RESUME};
    struct fate *fate = any_fate(sim);
    uint64_t drawn = between(sim, 0, 9);
    uint32_t rm = (uint32_t)between(sim, 0, sim->plan.rms - 1);
    /* The one who is waived might have been the one to know that the log is an old one. */
    if (about_rm[drawn % 4] == OP_WAIVE && drawn < 4 && sim->plan.log_may_fork)
        return;
    if (drawn < 4) {
        ask_about(sim, about_rm[drawn], rm);
    } else if (fate != NULL && drawn < 9) {
        bool commit = choice(sim, 5000);
        resolve(sim, fate, commit, choice(sim, 5000));
    } else if (fate != NULL) {
        forget(sim, fate, false);
    }
}

/* He looks into pg_prepared_xacts: what was voted for, and is there, is not lost. */
static bool is_prepared(struct sim *sim, const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        const struct fate_branch *branch = &fate->branches[i];
        const struct prepared *prepared =
            database_find(&sim->databases[rm_number(branch->id.rm)], &branch->id);
        if (prepared != NULL &&
            (!fate->commit_durable || (branch->in_record && prepared->xid == branch->voted_xid)))
            return true;
    }
    return false;
}

/* Too many of its acceptors have lost what they said: he looks what has become of it, and says so.
 */
static void resolve_stuck(struct sim *sim, const struct txn_view *view)
{
    if (view->state != SHOWN_PRECOMMITTING || !checker_is_stuck(sim, &view->gtrid))
        return;
    struct fate *fate = checker_fate(sim, &view->gtrid);
    bool committed = false;
    for (uint32_t i = 0; i < fate->branch_count; i++)
        committed |= fate->branches[i].commits > 0;
    struct request request;
    wire_begin_request(&request, OP_RESOLVE, "its acceptors have lost what they said");
    request.has_gtrid = true;
    request.gtrid = fate->gtrid;
    request.wanted = committed ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK;
    request.force = true;
    fate->forced = true;
    ask(sim, &request);
}

/* Of a committed transaction whose database came back without the branch: it was committed, and
 * the DBA will bring the data back by himself. */
static void resolve_lost(struct sim *sim, const struct txn_view *view)
{
    struct request request;
    if (view->state != SHOWN_COMMITTING || is_prepared(sim, checker_fate(sim, &view->gtrid)))
        return;
    wire_begin_request(&request, OP_RESOLVE, "lost with its database, and brought back by hand");
    request.has_gtrid = true;
    request.gtrid = view->gtrid;
    request.wanted = OUTCOME_COMMITTED;
    ask(sim, &request);
}

static bool fate_lost_its_end(const struct fate *fate)
{
    for (uint32_t i = 0; i < fate->branch_count; i++)
        if (fate->branches[i].lost_end)
            return true;
    return false;
}

/* It is over, and came back with a database that has lost its COMMIT or ROLLBACK PREPARED: the
 * coordinator, who does not remember enough of it any more, has raised an alarm. */
static void resolve_come_back(struct sim *sim, struct fate *fate)
{
    struct request request;
    if (!is_prepared(sim, fate))
        return;
    wire_begin_request(&request, OP_RESOLVE, "it has come back with its database");
    request.has_gtrid = true;
    request.gtrid = fate->gtrid;
    request.wanted = fate->commit_durable ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK;
    request.force = true;
    fate->forced = true;
    ask(sim, &request);
}

static bool is_live(const struct coordinator *coordinator, const struct gtrid *gtrid)
{
    static struct txn_view view;
    for (uint32_t i = 0; coordinator_list(coordinator, &i, 0, &view); i++)
        if (gtrid_equal(&view.gtrid, gtrid))
            return true;
    return false;
}

void dba_tidies(struct sim *sim)
{
    static struct txn_view view;
    const struct host *host = &sim->hosts[0];
    bool comes = sim->plan.dba || sim->now_us > sim->plan.quiet_us + CALLED_SECONDS * SECOND;
    if (!comes || !host->up || !coordinator_ready(host->coordinator))
        return;
    const struct registry *registry = coordinator_registry(host->coordinator);
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++) {
        const struct rm *known = &registry->rms[host->index_of[rm]];
        if (known->paused)
            ask_about(sim, OP_RESUME, rm);
        if (known->state == RM_QUARANTINED)
            ask_about(sim, OP_RELEASE, rm);
    }
    for (uint32_t i = 0; coordinator_list(host->coordinator, &i, 0, &view); i++)
        if (view.state == SHOWN_PRECOMMITTING)
            resolve_stuck(sim, &view);
        else if (view.state == SHOWN_MIXED && fate_lost_its_end(checker_fate(sim, &view.gtrid)) &&
                 is_prepared(sim, checker_fate(sim, &view.gtrid)))
            forget(sim, checker_fate(sim, &view.gtrid), true); /* it follows what was decided */
        else
            resolve_lost(sim, &view);
    for (uint32_t i = 0; i < sim->checker.count; i++) {
        struct fate *fate = &sim->checker.fates[i];
        if (fate_lost_its_end(fate) && !is_live(host->coordinator, &fate->gtrid))
            resolve_come_back(sim, fate);
    }
}
