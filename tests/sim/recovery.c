/*
 * tests/sim/recovery.c - the coordinator's log is lost, and a DBA runs `assentctl recover`.
 *
 * What follows from the agents' answers, whether anything may be done, what the new log says and
 * whether an agent adopts it is core/coordinator/lost.c and core/coordinator/registry.c, as in the
 * daemons. Played here is what cli/recovery.c and rm-agent/talk/recall.c, adopt.c do around it: a
 * question to one agent after the other, whose answers may be lost; a log that is written and
 * forced; and one order after the other to follow it. The command may be killed between any two of
 * these, and while it writes. Who runs it again finds what it has left.
 *
 * The DBA says the truth where he is asked, as far as he can see it: in the databases whose agents
 * answer, and from the applications.
 */
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "log/frame.h"
#include "tests/sim/sim.h"

enum {
    ASK_MS = 1500,
    PATIENCE = 3, /* as often he waits for an agent that is silent before he leaves it out */
    LOSSES_MAX = 2,
};

/* What an agent answers, in the text of a message: each once, and only the arrays that belong to
 * the question. */
struct dba_answer {
    enum dba_question question;
    bool refused;
    struct tm_row row;
    bool accepts;
    uint32_t count;
    struct dba_item {
        struct branch_id branch;
        uint64_t xid;
        uint32_t recall;
        bool of_branch;
    } items[];
};

/* ---- the agent ---- */

void recovery_noted(struct agent *agent, const struct result *result)
{
    enum recall recall = recall_of_result(result);
    if (recall == RECALL_NOTHING)
        return;
    agent->recalled[agent->recalled_next].branch = result->branch;
    agent->recalled[agent->recalled_next].recall = recall;
    agent->recalled[agent->recalled_next].xid = result->xid;
    agent->recalled_next = (agent->recalled_next + 1) % RECALLED_MAX;
    if (agent->recalled_count < RECALLED_MAX)
        agent->recalled_count++;
}

static void add(struct dba_answer *answer, const struct branch_id *branch, uint64_t xid,
                enum recall recall, bool of_branch)
{
    struct dba_item *item = &answer->items[answer->count];
    if (recall == RECALL_NOTHING && answer->question == DBA_RECALL)
        return;
    item->branch = *branch;
    item->xid = xid;
    item->recall = recall;
    item->of_branch = of_branch;
    answer->count++;
}

static void list(const struct database *database, struct dba_answer *answer)
{
    answer->row = database->row;
    for (uint32_t i = 0; i < PREPARED_MAX; i++)
        if (database->prepared[i].used)
            add(answer, &database->prepared[i].branch, database->prepared[i].xid, RECALL_NOTHING,
                true);
}

static bool may_have_lost_row(const struct agent *agent, const struct database *database,
                              const struct gtrid *gtrid)
{
    struct txn_number number = {gtrid->incarnation, gtrid->sequence};
    return agent->suspect || txn_not_after(&number, &database->votes_after);
}

static void recall(const struct agent *agent, const struct database *database,
                   struct dba_answer *answer)
{
    struct branch_id branch;
    enum branch_state state;
    for (uint32_t i = 0; i < agent->recalled_count; i++)
        add(answer, &agent->recalled[i].branch, agent->recalled[i].xid,
            (enum recall)agent->recalled[i].recall, true);
    for (uint32_t at = participant_next(agent->participant, 0, &branch, &state); at != UINT32_MAX;
         at = participant_next(agent->participant, at + 1, &branch, &state))
        add(answer, &branch, participant_xid(agent->participant, &branch), recall_of_state(state),
            true);
    for (uint32_t i = 0; i < PREPARED_MAX; i++)
        if (database->prepared[i].used &&
            database_row(database, &database->prepared[i].branch.gtrid) == NULL &&
            !may_have_lost_row(agent, database, &database->prepared[i].branch.gtrid))
            add(answer, &database->prepared[i].branch, 0, RECALL_NO_ROW, false);
    memset(&branch, 0, sizeof branch);
    for (uint32_t i = 0; i < TXNS; i++) {
        if (!database->rows[i].used)
            continue;
        answer->accepts = true;
        branch.gtrid = database->rows[i].gtrid;
        add(answer, &branch, 0, recall_of_row(database->rows[i].acceptor.outcome), false);
    }
}

/* Is it carrying out what its coordinator has decided? */
static bool is_under_way(const struct sim *sim, const struct agent *agent)
{
    for (uint32_t i = 0; i < COMMANDS_MAX; i++) {
        const struct statement *command = &sim->commands[i];
        if (command->used && command->rm == agent->rm && command->client_life == agent->life &&
            (command->type == COMMAND_COMMIT_PREPARED ||
             command->type == COMMAND_ROLLBACK_PREPARED))
            return true;
    }
    return false;
}

static void adopt(struct sim *sim, struct agent *agent, const struct message *message,
                  struct dba_answer *answer)
{
    struct failure failure;
    struct adoption adoption;
    cJSON *object = wire_parse(message->text, message->length, &failure);
    if (object == NULL || wire_read_adoption(object, &adoption, &failure) != 0) {
        violation(sim, "an agent cannot read an adoption: %s", failure.message);
        answer->refused = true;
    } else {
        enum adopted adopted = registry_adopt(&sim->databases[agent->rm].row, &adoption);
        answer->refused = adopted == ADOPT_OTHER || adopted == ADOPT_LATER ||
                          (adopted == ADOPT_NOW && is_under_way(sim, agent));
        note(sim, rm_word(agent->rm), "agent: %s a log of incarnation %llu",
             answer->refused        ? "refuses to adopt"
             : adopted == ADOPT_NOW ? "adopts"
                                    : "has adopted",
             (unsigned long long)adoption.incarnation);
        if (adopted == ADOPT_NOW && !answer->refused) {
            database_adopt(sim, agent->rm, &adoption);
            participant_unplace(agent->participant, tm_name);
            agent->registered = false;
            agent->outbox_count = 0;
            agent->tm_life = 0;
        }
    }
    cJSON_Delete(object);
}

void recovery_asked(struct sim *sim, struct agent *agent, const struct message *message)
{
    enum { ITEMS = RECALLED_MAX + PREPARED_MAX * 2 + TXNS };
    const struct database *database = &sim->databases[agent->rm];
    size_t bytes = sizeof(struct dba_answer) + ITEMS * sizeof(struct dba_item);
    struct dba_answer *answer = calloc(1, bytes);
    if (answer == NULL)
        abort();
    answer->question = message->question;
    if (message->question == DBA_LIST)
        list(database, answer);
    else if (message->question == DBA_RECALL)
        recall(agent, database, answer);
    else
        adopt(sim, agent, message, answer);
    struct message reply = {.type = MESSAGE_TO_DBA,
                            .from = agent_node(agent->rm),
                            .from_life = agent->life,
                            .to = message->from,
                            .serial = message->serial};
    send_text(sim, &reply, (char *)answer,
              sizeof *answer + answer->count * sizeof answer->items[0]);
}

/* ---- the log is lost ---- */

bool recovery_needed(const struct sim *sim)
{
    const struct recovery *recovery = &sim->recovery;
    for (uint32_t rm = 0; recovery->losses > 0 && rm < sim->plan.rms; rm++)
        if (memcmp(&sim->databases[rm].row.log, &sim->hosts[0].disk.log,
                   sizeof sim->hosts[0].disk.log) != 0)
            return true;
    return false;
}

static void come(struct sim *sim, uint64_t after_us)
{
    struct happening what = {.type = HAPPENS_DBA, .life = ++sim->recovery.life};
    sim->recovery.step = RECOVERY_NONE;
    schedule(sim, after_us, what);
}

/* Where they do not, agents that may have voted in three phases are never left out, and there is
 * no command for the rest: see doc/operations.md. */
static bool all_follow_one_log(const struct sim *sim)
{
    for (uint32_t rm = 1; rm < sim->plan.rms; rm++)
        if (memcmp(&sim->databases[rm].row.log, &sim->databases[0].row.log,
                   sizeof sim->databases[0].row.log) != 0)
            return false;
    return true;
}

/* An empty one is in its place. */
static void clear_disk(struct sim *sim)
{
    struct disk *disk = &sim->hosts[0].disk;
    memset(disk, 0, sizeof *disk);
    draw_uuid(sim, &disk->log);
    sim->recovery.written = false;
    sim->recovery.nobodys = true;
}

void fault_lost_log(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        if (!sim->databases[rm].row.exists ||
            sim->databases[rm].identity != sim->databases[rm].timeline)
            return; /* a TM has yet to accept it: it is no acceptor, and could never be one */
    if (recovery->losses == LOSSES_MAX || recovery->step != RECOVERY_NONE ||
        (sim->plan.three_phase > 0 && !all_follow_one_log(sim)))
        return;
    tm_crash(sim, 0, true);
    note(sim, "tm", "its log is lost");
    recovery->losses++;
    clear_disk(sim);
    checker_log_lost(sim);
    memset(recovery->without, 0, sizeof recovery->without);
    memset(recovery->silent, 0, sizeof recovery->silent);
    come(sim, between(sim, sim->plan.delay_most_us, sim->plan.delay_most_us + 4 * SECOND));
}

/* ---- the command ---- */

/* It may be killed here; somebody runs it again. */
static bool is_killed(struct sim *sim)
{
    if (!chance(sim, sim->plan.recovery_killed))
        return false;
    note(sim, "dba", "the command is killed");
    come(sim, between(sim, 100 * MS, 5 * SECOND));
    return true;
}

static void fails(struct sim *sim, const char *why)
{
    note(sim, "dba", "the command fails: %s", why);
    come(sim, between(sim, 500 * MS, 3 * SECOND));
}

static void ask(struct sim *sim, enum dba_question question, char *text, size_t length)
{
    struct recovery *recovery = &sim->recovery;
    struct message message = {.type = MESSAGE_OF_DBA,
                              .from = host_node(0),
                              .to = agent_node(recovery->rm),
                              .question = question,
                              .serial = ++sim->next_serial};
    struct happening timeout = {.type = HAPPENS_DBA_TIMEOUT, .life = message.serial};
    recovery->serial = message.serial;
    schedule(sim, ASK_MS * MS, timeout);
    send_text(sim, &message, text, length);
}

static void begin_plan(struct sim *sim)
{
    struct lost *lost = &sim->recovery.lost;
    memset(lost, 0, sizeof *lost);
    memcpy(lost->tm, tm_name, sizeof lost->tm);
    lost->agent_count = sim->plan.rms;
    lost->room = TXNS;
    lost->txns = sim->recovery.txns;
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++) {
        strcpy(lost->agents[rm].rm, rm_word(rm));
        lost->agents[rm].without = sim->recovery.without[rm];
    }
    memset(sim->recovery.listed_count, 0, sizeof sim->recovery.listed_count);
}

static void conclude(struct sim *sim);

/* From this agent on, the next that is to be asked. */
static void ask_next(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    if (is_killed(sim))
        return;
    for (; recovery->rm < sim->plan.rms; recovery->rm++) {
        const struct lost_agent *agent = &recovery->lost.agents[recovery->rm];
        if (recovery->step == RECOVERY_LISTS ? agent->without : !agent->answered)
            continue;
        ask(sim, recovery->step == RECOVERY_LISTS ? DBA_LIST : DBA_RECALL, NULL, 0);
        return;
    }
    if (recovery->step == RECOVERY_RECALLS) {
        conclude(sim);
        return;
    }
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        for (uint32_t i = 0; i < recovery->listed_count[rm]; i++)
            lost_take_prepared(&recovery->lost, rm, &recovery->listed[rm][i].branch,
                               recovery->listed[rm][i].xid, NULL);
    recovery->step = RECOVERY_RECALLS;
    recovery->rm = 0;
    ask_next(sim);
}

static void take_list(struct sim *sim, const struct dba_answer *answer)
{
    struct recovery *recovery = &sim->recovery;
    lost_take_agent(&recovery->lost, recovery->rm, &answer->row);
    recovery->silent[recovery->rm] = 0;
    recovery->listed_count[recovery->rm] = answer->count;
    for (uint32_t i = 0; i < answer->count; i++) {
        recovery->listed[recovery->rm][i].branch = answer->items[i].branch;
        recovery->listed[recovery->rm][i].xid = answer->items[i].xid;
    }
}

/* False: what has voted is not on the list, and has to be looked for. */
static bool take_recalls(struct sim *sim, const struct dba_answer *answer)
{
    struct recovery *recovery = &sim->recovery;
    recovery->lost.agents[recovery->rm].accepts = answer->accepts;
    recovery->unlisted_count = 0;
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct dba_item *item = &answer->items[i];
        struct lost_txn *txn = lost_find(&recovery->lost, &item->branch.gtrid);
        if (txn == NULL)
            continue;
        if (item->of_branch)
            lost_recall_xid(txn, recovery->rm, &item->branch, (enum recall)item->recall, item->xid);
        if (item->recall == RECALL_VOTED && item->of_branch &&
            !lost_is_listed(txn, recovery->rm, &item->branch))
            recovery->unlisted[recovery->unlisted_count++] = item->branch;
        else
            lost_recall(txn, recovery->rm, (enum recall)item->recall);
    }
    return recovery->unlisted_count == 0;
}

/* answer NULL: there was none. What is there now, and was not listed, may move. */
static void take_look(struct sim *sim, const struct dba_answer *answer)
{
    struct recovery *recovery = &sim->recovery;
    for (uint32_t i = 0; i < recovery->unlisted_count; i++) {
        const struct branch_id *branch = &recovery->unlisted[i];
        bool there = answer == NULL;
        for (uint32_t j = 0; answer != NULL && j < answer->count; j++)
            there |= branch_equal(&answer->items[j].branch, branch);
        lost_recall(lost_find(&recovery->lost, &branch->gtrid), recovery->rm,
                    there ? RECALL_VOTING : RECALL_VOTED);
    }
}

/* ---- what the DBA says ---- */

/* Of a transaction, as far as he can find out; *blind: not at every database. */
static bool looks_committed(struct sim *sim, const struct fate *fate, bool *blind)
{
    bool committed = fate->told_committed;
    *blind = false;
    for (uint32_t i = 0; i < fate->branch_count; i++) {
        const struct fate_branch *branch = &fate->branches[i];
        bool seen = sim->recovery.lost.agents[rm_number(branch->id.rm)].answered;
        *blind |= !seen && branch->commits > 0;
        committed |= seen && branch->commits > 0;
    }
    return committed;
}

static void say_all(struct sim *sim)
{
    struct lost *lost = &sim->recovery.lost;
    for (uint32_t i = 0; i < lost->count; i++) {
        bool blind;
        struct lost_txn *txn = &lost->txns[i];
        struct fate *fate = checker_fate(sim, &txn->gtrid);
        if (txn->outcome != OUTCOME_NONE)
            continue;
        bool committed = looks_committed(sim, fate, &blind);
        if (!lost_say(txn, committed ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK))
            continue;
        note(sim, "dba", "says that %s is %s", gtrid_word(&txn->gtrid),
             committed ? "committed" : "rolled back");
    }
}

/* ---- the new log ---- */

static void write_log(struct sim *sim)
{
    static struct record record;
    static uint8_t bytes[RECORD_APPEND_MAX];
    struct recovery *recovery = &sim->recovery;
    struct host *host = &sim->hosts[0];
    uint32_t position = 0;
    recovery->start.incarnation = lost_incarnation(&recovery->lost);
    draw_uuid(sim, &recovery->start.instance);
    clear_disk(sim);
    recovery->written = true;
    disk_open(sim, &host->disk, &host->writer, NULL, NULL);
    disk_begin(&host->writer, recovery->start.incarnation);
    while (lost_record(&recovery->lost, &recovery->start, &position, &record)) {
        strcpy(record.who, "dba");
        strcpy(record.why, "its disk is gone");
        disk_hand_over(&host->writer, bytes, record_append(&record, bytes), 1);
    }
    disk_write(&host->writer);
    checker_recovered(sim, &recovery->lost);
    note(sim, "dba", "writes a new log, incarnation %llu, %u transactions",
         (unsigned long long)recovery->start.incarnation, recovery->lost.count);
    recovery->step = RECOVERY_WRITES;
    struct happening written = {.type = HAPPENS_DBA_TIMEOUT, .life = ++sim->next_serial};
    recovery->serial = written.life;
    schedule(sim, between(sim, 100, 50 * MS), written);
}

static void send_adoption(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    struct adoption adoption = {.from = recovery->lost.agents[recovery->rm].log,
                                .log = sim->hosts[0].disk.log,
                                .incarnation = recovery->start.incarnation,
                                .instance = recovery->start.instance};
    memcpy(adoption.tm, tm_name, sizeof adoption.tm);
    cJSON *object = wire_write_adoption(&adoption);
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    ask(sim, DBA_ADOPT, text, strlen(text));
}

/* The command is through; the coordinator is started, and whoever is left adopts later. */
static void end(struct sim *sim)
{
    struct happening start = {.type = HAPPENS_TM_START, .who = 0};
    sim->hosts[0].held = false;
    schedule(sim, between(sim, 1 * MS, 200 * MS), start);
    note(sim, "dba", "starts the coordinator");
    come(sim, between(sim, 2 * SECOND, 6 * SECOND));
}

static void adopt_next(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    if (is_killed(sim))
        return;
    recovery->step = RECOVERY_ADOPTS;
    while (recovery->rm < sim->plan.rms && !recovery->lost.agents[recovery->rm].knows)
        recovery->rm++;
    if (recovery->one_adopts || recovery->rm == sim->plan.rms)
        end(sim);
    else
        send_adoption(sim);
}

static void is_written(struct sim *sim)
{
    struct host *host = &sim->hosts[0];
    if (chance(sim, sim->plan.recovery_killed)) {
        note(sim, "dba", "the command is killed while it writes");
        disk_crash(sim, &host->disk, &host->writer, true);
        come(sim, between(sim, 100 * MS, 5 * SECOND));
        return;
    }
    disk_synced(&host->disk, &host->writer);
    sim->recovery.nobodys = false;
    sim->recovery.rm = 0;
    adopt_next(sim);
}

/* ---- what is concluded ---- */

static void leave_out_or_wait(struct sim *sim, uint32_t rm)
{
    struct recovery *recovery = &sim->recovery;
    if (++recovery->silent[rm] >= PATIENCE && choice(sim, 5000)) {
        note(sim, "dba", "will leave %s out", rm_word(rm));
        recovery->without[rm] = true;
    }
    fails(sim, "an agent is silent");
}

/* Of a log that was being recovered, and is lost too: those who do not follow it are left out. */
static void leave_others_out(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    uint32_t newest = 0;
    for (uint32_t rm = 1; rm < sim->plan.rms; rm++)
        if (sim->databases[rm].row.incarnation > sim->databases[newest].row.incarnation)
            newest = rm;
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        recovery->without[rm] = memcmp(&sim->databases[rm].row.log, &sim->databases[newest].row.log,
                                       sizeof sim->databases[rm].row.log) != 0;
    fails(sim, "the agents follow different logs");
}

static void conclude_lost(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    uint32_t rm = 0;
    say_all(sim);
    switch (lost_check(&recovery->lost, &rm)) {
    case LOST_FREE:
        write_log(sim);
        break;
    case LOST_SILENT:
        leave_out_or_wait(sim, rm);
        break;
    case LOST_DIFFERENT_LOGS:
        leave_others_out(sim);
        break;
    case LOST_ACCEPTOR_MISSING:
        memset(recovery->without, 0, sizeof recovery->without);
        fails(sim, "an acceptor is missing");
        break;
    case LOST_BEING_DECIDED:
        fails(sim, "its acceptors decide a transaction");
        break;
    case LOST_MOVES:
        fails(sim, "not all may be listed");
        break;
    case LOST_UNKNOWN:
        memset(recovery->without, 0, sizeof recovery->without);
        fails(sim, "all were left out");
        break;
    case LOST_UNSAID:
        violation(sim, "a DBA has said how all ended, and is asked again");
        break;
    }
}

/* What is prepared there, and open in the new log, he ends as it ended elsewhere; false: that is
 * not known yet. */
static bool end_by_hand(struct sim *sim, const struct dry_log *log, const struct lost_txn *txn,
                        const struct lost_branch *branch)
{
    struct branch_id id = {.gtrid = txn->gtrid};
    struct txn_knowledge known;
    struct fate *fate = checker_fate(sim, &txn->gtrid);
    strcpy(id.rm, rm_word(branch->rm));
    memcpy(id.branch, branch->name, sizeof id.branch);
    coordinator_know(log->coordinator, &id, 0, &known);
    if (!lost_is_open(&known, branch))
        return true;
    if (txn->verdict == LOST_ACCEPTORS || txn->verdict == LOST_WAIT)
        return false;
    bool blind;
    bool commit = txn->outcome != OUTCOME_NONE    ? txn->outcome == OUTCOME_COMMITTED
                  : fate->audited != OUTCOME_NONE ? fate->audited == OUTCOME_COMMITTED
                                                  : looks_committed(sim, fate, &blind);
    database_ended_by_word(sim, branch->rm, &id, commit && !lost_is_another(branch));
    return true;
}

static void conclude_adoption(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    struct dry_log log;
    recovery->rm = recovery->adopter;
    if (!recovery->lost.agents[recovery->rm].answered) {
        end(sim);
        return;
    }
    tm_dry_start(sim, &log);
    recovery->start = log.newest;
    for (uint32_t i = 0; i < recovery->lost.count; i++)
        for (uint32_t b = 0; b < recovery->lost.txns[i].branch_count; b++) {
            const struct lost_txn *txn = &recovery->lost.txns[i];
            if (txn->branches[b].rm != recovery->rm)
                continue;
            if (is_killed(sim))
                return;
            if (!sim->databases[recovery->rm].up ||
                !end_by_hand(sim, &log, txn, &txn->branches[b])) {
                end(sim);
                return;
            }
        }
    recovery->step = RECOVERY_ADOPTS;
    send_adoption(sim);
}

static void conclude(struct sim *sim)
{
    lost_judge_all(&sim->recovery.lost);
    if (sim->recovery.one_adopts)
        conclude_adoption(sim);
    else
        conclude_lost(sim);
}

/* ---- what happens ---- */

/* He stops the coordinator, and runs what the command has told him to when it ended last. */
void recovery_comes(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    struct host *host = &sim->hosts[0];
    if (!recovery_needed(sim)) {
        host->held = false;
        tm_start(sim, 0);
        return;
    }
    host->held = true;
    tm_crash(sim, 0, false);
    /* A log that an agent follows is kept. One that the command was killed behind he may keep. */
    recovery->adopter = RMS;
    bool followed = false;
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++) {
        bool follows =
            memcmp(&sim->databases[rm].row.log, &host->disk.log, sizeof host->disk.log) == 0;
        followed |= follows;
        if (!follows && recovery->adopter == RMS)
            recovery->adopter = rm;
    }
    bool whole = tm_log_is_opened(sim);
    recovery->one_adopts = followed || (recovery->written && whole && choice(sim, 4000));
    note(sim, "dba", "runs assentctl recover %s",
         recovery->one_adopts ? rm_word(recovery->adopter) : "--lost-log");
    if (recovery->one_adopts)
        memset(recovery->without, 0, sizeof recovery->without);
    if (!recovery->one_adopts && recovery->written)
        clear_disk(sim); /* moved aside */
    begin_plan(sim);
    recovery->step = RECOVERY_LISTS;
    recovery->rm = 0;
    ask_next(sim);
}

void recovery_timeout(struct sim *sim)
{
    struct recovery *recovery = &sim->recovery;
    switch (recovery->step) {
    case RECOVERY_NONE:
        break;
    case RECOVERY_LISTS:
        recovery->rm++;
        ask_next(sim);
        break;
    case RECOVERY_RECALLS:
        fails(sim, "an agent does not say what it recalls");
        break;
    case RECOVERY_LOOKS:
        take_look(sim, NULL);
        recovery->step = RECOVERY_RECALLS;
        recovery->rm++;
        ask_next(sim);
        break;
    case RECOVERY_WRITES:
        is_written(sim);
        break;
    case RECOVERY_ADOPTS:
        recovery->rm++;
        adopt_next(sim);
        break;
    }
}

static void take_answer(struct sim *sim, const struct dba_answer *answer)
{
    struct recovery *recovery = &sim->recovery;
    recovery->serial = 0;
    switch (recovery->step) {
    case RECOVERY_LISTS:
        take_list(sim, answer);
        break;
    case RECOVERY_RECALLS:
        if (!take_recalls(sim, answer)) {
            recovery->step = RECOVERY_LOOKS;
            ask(sim, DBA_LIST, NULL, 0);
            return;
        }
        break;
    case RECOVERY_LOOKS:
        take_look(sim, answer);
        recovery->step = RECOVERY_RECALLS;
        break;
    case RECOVERY_ADOPTS:
        if (answer->refused)
            note(sim, "dba", "%s does not follow the new log", rm_word(recovery->rm));
        recovery->rm++;
        adopt_next(sim);
        return;
    case RECOVERY_NONE:
    case RECOVERY_WRITES:
        return;
    }
    recovery->rm++;
    ask_next(sim);
}

void recovery_receive(struct sim *sim, struct message *message)
{
    if (message->serial == sim->recovery.serial && sim->recovery.serial != 0)
        take_answer(sim, (const struct dba_answer *)(const void *)message->text);
    release_message(message);
}
