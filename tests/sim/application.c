/*
 * tests/sim/application.c - applications: they begin, enlist, work, commit, lose patience, die,
 * and come back with questions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "tests/sim/sim.h"

enum { TRIES_MAX = 6, ASKS_MAX = 3 };

static struct application *app_of(struct sim *sim, uint32_t app)
{
    return &sim->apps[app];
}

static const char *who(const struct application *app)
{
    static const char *const words[APPS] = {"app-a", "app-b", "app-c"};
    return words[app->index];
}

static void proceed(struct sim *sim, struct application *app);

static void timer(struct sim *sim, struct application *app, uint64_t after_us)
{
    struct happening when = {
        .type = HAPPENS_APPLICATION, .who = app->index, .life = ++app->generation};
    schedule(sim, after_us, when);
}

static void go_to(struct sim *sim, struct application *app, enum app_step step, uint64_t after_us)
{
    app->step = step;
    app->tries = 0;
    app->serial = 0;
    timer(sim, app, after_us);
}

/* ---- its plans ---- */

static void plan_branch(struct sim *sim, struct application *app, uint32_t at)
{
    struct app_branch *branch = &app->branches[at];
    memset(branch, 0, sizeof *branch);
    branch->rm = (uint32_t)((at + app->txn + app->index) % sim->plan.data_rms);
    if (at >= sim->plan.data_rms)
        snprintf(branch->name, sizeof branch->name, "b%u", at);
    branch->read_only = choice(sim, sim->plan.read_only);
    branch->own_connection = !branch->read_only && choice(sim, sim->plan.own_connection);
    branch->statements = (uint32_t)between(sim, 1, 3);
    branch->backend = UINT32_MAX;
}

static void plan_transaction(struct sim *sim, struct application *app)
{
    app->branch = 0;
    app->branch_count = (uint32_t)between(sim, 2, sim->plan.rms < 4 ? sim->plan.rms : 4);
    app->three_phase = choice(sim, sim->plan.three_phase);
    if (choice(sim, sim->plan.one_branch))
        app->branch_count = 1;
    if (app->branch_count < TXN_BRANCHES && choice(sim, 500))
        app->branch_count = sim->plan.rms + 1 <= TXN_BRANCHES ? sim->plan.rms + 1 : TXN_BRANCHES;
    for (uint32_t i = 0; i < app->branch_count; i++)
        plan_branch(sim, app, i);
    if (choice(sim, sim->plan.read_only_all))
        for (uint32_t i = 0; i < app->branch_count; i++) {
            app->branches[i].read_only = true;
            app->branches[i].own_connection = false;
        }
    app->has_gtrid = false;
    app->asks = 0;
    app->again = false;
    app->commit = !choice(sim, sim->plan.rollback);
    app->decided = choice(sim, 4000);
    app->at_once = choice(sim, 2000);
    app->keyed = choice(sim, sim->plan.keyed);
    app->impatient = app->commit && choice(sim, sim->plan.impatient);
    app->key[0] = '\0';
    if (app->keyed)
        snprintf(app->key, sizeof app->key, "order-%u-%u", app->index, app->txn);
    snprintf(app->request_id, sizeof app->request_id, "request-%u-%04u-%08u", app->index, app->txn,
             (unsigned)between(sim, 0, 99999999));
}

/* ---- what it says ---- */

static void send_request(struct sim *sim, struct application *app, struct request *request)
{
    size_t length;
    app->serial = ++sim->next_serial;
    uint32_t host = 0;
    if (sim->hosts[1].up && choice(sim, 5000))
        host = 1;
    char *text = wire_write_request(request, &length);
    struct message message = {
        .type = MESSAGE_REQUEST,
        .from = app_node(app->index),
        .from_life = app->life,
        .to = host_node(host),
        .serial = app->serial,
    };
    note(sim, who(app), "asks %s", text);
    send_text(sim, &message, text, length);
}

static struct request new_request(const struct application *app, enum op op)
{
    struct request request;
    memset(&request, 0, sizeof request);
    request.op = op;
    request.has_gtrid = app->has_gtrid && op != OP_BEGIN;
    request.gtrid = app->gtrid;
    return request;
}

static void say_begin(struct sim *sim, struct application *app)
{
    struct request request = new_request(app, OP_BEGIN);
    memcpy(request.key, app->key, sizeof request.key);
    memcpy(request.request_id, app->request_id, sizeof request.request_id);
    request.protocol = app->three_phase ? PROTOCOL_3PC : PROTOCOL_2PC;
    if (app->at_once)
        strcpy(request.rms[request.rm_count++], rm_word(app->branches[0].rm));
    send_request(sim, app, &request);
}

static void say_enlist(struct sim *sim, struct application *app)
{
    const struct app_branch *branch = &app->branches[app->branch];
    struct request request = new_request(app, OP_ENLIST);
    strcpy(request.rm, rm_word(branch->rm));
    memcpy(request.branch, branch->name, sizeof request.branch);
    request.read_only = branch->read_only;
    send_request(sim, app, &request);
}

static void say_end(struct sim *sim, struct application *app)
{
    bool second_thoughts = app->impatient && app->tries == 2;
    struct request request =
        new_request(app, app->commit && !second_thoughts ? OP_COMMIT : OP_ROLLBACK);
    request.wait = app->decided ? WAIT_DECIDED : WAIT_APPLIED;
    request.wait_ms = 2000;
    if (app->commit)
        checker_asked_to_commit(sim, &app->gtrid, app->key);
    send_request(sim, app, &request);
    if (choice(sim, sim->plan.duplicate / 4)) {
        uint64_t serial = app->serial;
        app->branch = 0;
        say_enlist(sim, app);
        app->serial = serial;
    }
    if (choice(sim, sim->plan.duplicate)) {
        uint64_t serial = app->serial;
        send_request(sim, app, &request);
        app->serial = choice(sim, 5000) ? serial : app->serial;
    }
}

static void say_ask(struct sim *sim, struct application *app)
{
    struct request request = new_request(app, OP_OUTCOME);
    if (!app->has_gtrid)
        memcpy(request.key, app->key, sizeof request.key);
    send_request(sim, app, &request);
}

static struct branch_id branch_id_of(const struct application *app, const struct app_branch *branch)
{
    struct branch_id id;
    memset(&id, 0, sizeof id);
    id.gtrid = app->gtrid;
    strcpy(id.rm, rm_word(branch->rm));
    memcpy(id.branch, branch->name, sizeof id.branch);
    return id;
}

/* One statement through the agent. */
static void say_exec(struct sim *sim, struct application *app, const struct app_branch *branch)
{
    app->serial = ++sim->next_serial;
    struct message message = {
        .type = MESSAGE_EXEC,
        .from = app_node(app->index),
        .from_life = app->life,
        .to = agent_node(branch->rm),
        .serial = app->serial,
    };
    message.exec.branch = branch_id_of(app, branch);
    message.exec.ticket = branch->ticket;
    message.exec.allowed_ms = branch->allowed_ms;
    message.exec.read_only = branch->read_only;
    message.exec.n = branch->done + 1;
    send_text(sim, &message, NULL, 0);
}

/* BEGIN, the work, and PREPARE TRANSACTION on its own connection. */
static void work_alone(struct sim *sim, struct application *app, struct app_branch *branch)
{
    struct database *database = &sim->databases[branch->rm];
    struct branch_id id = branch_id_of(app, branch);
    if (!database->up) {
        timer(sim, app, 100 * MS);
        app->tries++;
        return;
    }
    branch->backend = backend_open(sim, branch->rm, true, app->index, app->life);
    branch->backend_serial = database->backends[branch->backend].serial;
    backend_begin(sim, branch->rm, branch->backend, false);
    database->backends[branch->backend].statements = branch->statements;
    database->backends[branch->backend].failed = chance(sim, sim->plan.statement_fails);
    uint32_t at = command_new(sim, branch->rm, SQL_OWN_PREPARE, &id);
    struct statement *command = &sim->commands[at];
    command->of_application = true;
    command->app = app->index;
    command->client_life = app->life;
    command->backend = branch->backend;
    command->number = app->branch;
    app->serial = command->serial;
    command_send(sim, at);
    timer(sim, app, 5 * SECOND);
}

/* A loop that runs a block again, and does not notice that it had been prepared before. */
static void run_block_again(struct sim *sim, struct application *app)
{
    struct app_branch *branch = &app->branches[between(sim, 0, app->branch_count - 1)];
    struct database *database = &sim->databases[branch->rm];
    struct branch_id id = branch_id_of(app, branch);
    if (!branch->own_connection || !database->up || !chance(sim, sim->plan.run_again))
        return;
    uint32_t at = command_new(sim, branch->rm, SQL_OWN_PREPARE, &id);
    struct statement *statement = &sim->commands[at];
    statement->of_application = true;
    statement->app = app->index;
    statement->backend = backend_open(sim, branch->rm, true, app->index, app->life);
    backend_begin(sim, branch->rm, statement->backend, false);
    database->backends[statement->backend].statements = branch->statements;
    command_send(sim, at);
}

/* ---- its course ---- */

static void next_transaction(struct sim *sim, struct application *app)
{
    app->txn++;
    if (app->txn >= sim->plan.txns || sim->quiet) {
        go_to(sim, app, APP_REST, 0);
        return;
    }
    plan_transaction(sim, app);
    go_to(sim, app, APP_BEGIN, between(sim, 0, 400 * MS));
}

static void give_up(struct sim *sim, struct application *app)
{
    switch (app->step) {
    case APP_BEGIN:
        if (app->keyed)
            go_to(sim, app, APP_ASK, 100 * MS);
        else
            next_transaction(sim, app);
        break;
    case APP_ENLIST:
    case APP_WORK:
        app->commit = false;
        go_to(sim, app, APP_END, 0);
        break;
    case APP_END:
        go_to(sim, app, APP_ASK, 0);
        break;
    case APP_ASK:
        next_transaction(sim, app);
        break;
    case APP_REST:
        break;
    }
}

static void work(struct sim *sim, struct application *app)
{
    if (chance(sim, sim->plan.forged_markers))
        database_forge_marker(sim, app->branches[0].rm, &app->gtrid);
    while (app->branch < app->branch_count) {
        struct app_branch *branch = &app->branches[app->branch];
        if (branch->own_connection && !branch->worked) {
            work_alone(sim, app, branch);
            return;
        }
        if (!branch->own_connection && branch->done < branch->statements) {
            say_exec(sim, app, branch);
            bool last = branch->done + 1 == branch->statements;
            if (last && app->branch + 1 == app->branch_count && chance(sim, sim->plan.hasty))
                go_to(sim, app, APP_END, between(sim, 0, 5 * MS)); /* it does not wait for it */
            else
                timer(sim, app, 600 * MS);
            return;
        }
        app->branch++;
    }
    if (choice(sim, sim->plan.abandon))
        next_transaction(sim, app); /* it is left to its deadline */
    else
        go_to(sim, app, APP_END, between(sim, 0, 20 * MS));
}

static void proceed(struct sim *sim, struct application *app)
{
    uint32_t tries_max = sim->quiet && app->step == APP_ASK ? 1000 : TRIES_MAX;
    if (++app->tries > tries_max) {
        give_up(sim, app);
        return;
    }
    switch (app->step) {
    case APP_BEGIN:
        say_begin(sim, app);
        timer(sim, app, 700 * MS);
        break;
    case APP_ENLIST:
        say_enlist(sim, app);
        timer(sim, app, 700 * MS);
        break;
    case APP_WORK:
        work(sim, app);
        break;
    case APP_END:
        say_end(sim, app);
        run_block_again(sim, app);
        if (app->impatient && app->tries == 1)
            timer(sim, app, between(sim, 1 * MS, 60 * MS));
        else
            timer(sim, app, 3 * SECOND);
        break;
    case APP_ASK:
        if (app->has_gtrid)
            run_block_again(sim, app);
        say_ask(sim, app);
        timer(sim, app, 400 * MS);
        break;
    case APP_REST:
        break;
    }
}

void application_timer(struct sim *sim, uint32_t app)
{
    proceed(sim, app_of(sim, app));
}

/* Nobody knows the key: what the application was about to do has not been done. */
static void run_again_under_key(struct sim *sim, struct application *app)
{
    char key[KEY_BYTES];
    if (app->again || sim->quiet) {
        next_transaction(sim, app);
        return;
    }
    memcpy(key, app->key, sizeof key);
    plan_transaction(sim, app);
    memcpy(app->key, key, sizeof key);
    app->keyed = true;
    app->again = true;
    go_to(sim, app, APP_BEGIN, between(sim, 0, 50 * MS));
}

void application_start(struct sim *sim, uint32_t index)
{
    struct application *app = app_of(sim, index);
    bool first = app->life == 0 && app->generation == 0;
    app->up = true;
    app->life = ++sim->next_life;
    if (first) {
        plan_transaction(sim, app);
        go_to(sim, app, APP_BEGIN, between(sim, 0, 200 * MS));
        return;
    }
    /* What it has kept of its last transaction is the key, if it gave one. */
    note(sim, who(app), "is back");
    app->has_gtrid = false;
    if (app->keyed && app->step != APP_REST && choice(sim, 5000))
        run_again_under_key(sim, app);
    else if (app->keyed && app->step != APP_REST)
        go_to(sim, app, APP_ASK, 10 * MS);
    else if (app->step != APP_REST)
        next_transaction(sim, app);
}

void application_crash(struct sim *sim, uint32_t index)
{
    struct application *app = app_of(sim, index);
    if (!app->up)
        return;
    note(sim, who(app), "dies");
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        backends_orphan(sim, rm, app->life);
    app->up = false;
    app->generation++;
    app->life = ++sim->next_life;
    struct happening again = {.type = HAPPENS_APPLICATION_START, .who = index};
    schedule(sim, between(sim, 20 * MS, sim->quiet ? 50 * MS : 2 * SECOND), again);
}

/* ---- what it hears ---- */

static void take_ticket(struct app_branch *branch, const cJSON *item)
{
    const char *session = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "session"));
    unsigned long long ticket = 0;
    if (session != NULL && sscanf(session, "%llu.%u", &ticket, &branch->allowed_ms) == 2)
        branch->ticket = ticket;
    branch->enlisted = true;
}

static void take_begun(struct sim *sim, struct application *app, const struct reply *reply,
                       const cJSON *object)
{
    app->gtrid = reply->gtrid;
    app->has_gtrid = true;
    if (reply->branch_count == 1)
        take_ticket(&app->branches[0],
                    cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(object, "branches"), 0));
    app->branch = app->branches[0].enlisted ? 1 : 0;
    if (app->branch == app->branch_count) {
        app->branch = 0;
        go_to(sim, app, APP_WORK, 0);
    } else {
        go_to(sim, app, APP_ENLIST, 0);
    }
}

static void take_enlisted(struct sim *sim, struct application *app, const cJSON *object)
{
    take_ticket(&app->branches[app->branch], cJSON_GetObjectItemCaseSensitive(object, "branch"));
    if (++app->branch < app->branch_count) {
        go_to(sim, app, APP_ENLIST, 0);
        return;
    }
    app->branch = 0;
    go_to(sim, app, APP_WORK, 0);
}

static void take_outcome(struct sim *sim, struct application *app, const struct reply *reply)
{
    if (reply->outcome == OUTCOME_IN_PROGRESS) {
        if (app->step != APP_ASK)
            go_to(sim, app, APP_ASK, 200 * MS);
        return; /* its timer asks again */
    }
    if (app->asks++ < ASKS_MAX && choice(sim, 3000)) {
        /* And much later, again; or as if it had never been answered. */
        if (choice(sim, 3000))
            app->commit = choice(sim, 5000);
        bool ask = !app->has_gtrid || choice(sim, 7000);
        go_to(sim, app, ask ? APP_ASK : APP_END, between(sim, 100 * MS, 4 * SECOND));
        return;
    }
    next_transaction(sim, app);
}

static void take_refusal(struct sim *sim, struct application *app, enum error_code error)
{
    switch (app->step) {
    case APP_BEGIN:
        if (error == ERR_KEY_IN_USE)
            go_to(sim, app, APP_ASK, 0);
        return; /* else its timer tries again */
    case APP_ENLIST:
        if (error == ERR_RM_UNAVAILABLE || error == ERR_NOT_READY || error == ERR_BUSY)
            return;
        give_up(sim, app);
        return;
    case APP_END:
        if (error == ERR_NOT_READY || error == ERR_BUSY)
            return;
        go_to(sim, app, APP_ASK, 100 * MS);
        return;
    case APP_ASK:
        if (error == ERR_UNKNOWN_TRANSACTION && app->has_gtrid)
            next_transaction(sim, app);
        else if (error == ERR_UNKNOWN_TRANSACTION)
            run_again_under_key(sim, app);
        return;
    case APP_WORK:
    case APP_REST:
        return;
    }
}

static enum op op_of(const struct application *app)
{
    switch (app->step) {
    case APP_BEGIN:
        return OP_BEGIN;
    case APP_ENLIST:
        return OP_ENLIST;
    case APP_END:
        return app->commit ? OP_COMMIT : OP_ROLLBACK;
    default:
        return OP_OUTCOME;
    }
}

static void take_reply(struct sim *sim, struct application *app, const struct message *message)
{
    struct failure failure;
    struct reply reply;
    cJSON *object = wire_parse(message->text, message->length, &failure);
    if (object == NULL) {
        violation(sim, "a reply cannot be read: %s", failure.message);
        return;
    }
    if (wire_read_reply(object, op_of(app), &reply, &failure) != 0) {
        if (failure.code == ERR_INTERNAL || failure.code == ERR_INVALID_REQUEST)
            violation(sim, "a request is refused: %s", failure.message);
        take_refusal(sim, app, failure.code);
    } else if (app->step == APP_BEGIN) {
        take_begun(sim, app, &reply, object);
    } else if (app->step == APP_ENLIST) {
        take_enlisted(sim, app, object);
    } else {
        take_outcome(sim, app, &reply);
    }
    cJSON_Delete(object);
}

static void take_exec_reply(struct sim *sim, struct application *app, const struct exec_body *exec)
{
    struct app_branch *branch = &app->branches[app->branch];
    if (app->step != APP_WORK)
        return;
    if (exec->error == ERR_NONE) {
        branch->done = exec->n;
        checker_worked(sim, &exec->branch, branch->done, false);
        go_to(sim, app, APP_WORK, between(sim, 0, 3 * MS));
    } else if (exec->error == ERR_SQL_ERROR && choice(sim, sim->plan.careless)) {
        branch->done = exec->n; /* it goes on, as if nothing had been said */
        go_to(sim, app, APP_WORK, 0);
    } else if (exec->error != ERR_OUT_OF_SEQUENCE && exec->error != ERR_BUSY) {
        give_up(sim, app);
    }
}

void application_receive(struct sim *sim, uint32_t index, struct message *message)
{
    struct application *app = app_of(sim, index);
    if (app->up && message->to_life == app->life && message->serial == app->serial) {
        if (message->type == MESSAGE_EXEC_REPLY)
            take_exec_reply(sim, app, &message->exec);
        else
            take_reply(sim, app, message);
    }
    release_message(message);
}

/* Its own PREPARE TRANSACTION was answered. Like every driver it believes that no error means
 * yes, and commits even after a lost connection: the agent looks for itself. */
void application_answer(struct sim *sim, uint32_t at)
{
    const struct statement *command = &sim->commands[at];
    struct application *app = app_of(sim, command->app);
    const struct backend *backend = &sim->databases[command->rm].backends[command->backend];
    if (command->alive && backend->used && backend->serial == command->backend_serial)
        backend_end(sim, command->rm, command->backend);
    if (app->life != command->client_life || app->serial != command->serial)
        return;
    struct app_branch *branch = &app->branches[command->number];
    branch->worked = true;
    if (!command->alive || command->sqlstate[0] == '\0') {
        if (command->alive)
            checker_worked(sim, &command->branch, branch->statements, true);
        go_to(sim, app, APP_WORK, 0);
    } else {
        give_up(sim, app);
    }
}
