/*
 * tests/transcript/run.c - short scenarios, readable aloud, told to the real machines.
 *
 * A transcript is lines. One that begins with "->" is what the machine is expected to do; every
 * other line is what happens to it; "#" begins a remark. A file that says "coordinator RM..."
 * first is told to a coordinator, one that says "agent RM" to a participant:
 *
 *     coordinator accounts ledger          agent accounts
 *     app: commit                          tm: commit 701
 *     -> to accounts: prepare              -> look for it, xid 701
 *     accounts: ready 701                  postgres: seen 701
 *     disk: durable                        -> COMMIT PREPARED 701
 *
 * `run --tell FILE` prints the transcript with what the machine really does: a way to write one,
 * to be read before it is believed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/coordinator/turn.h"
#include "core/participant/participant.h"

enum { WORDS_MAX = 8, LOG_BYTES = 64 * 1024 };

static bool telling;
static char actual[16 * 1024]; /* what the machine has done since the last line */
static uint64_t now_ms;

static void did(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void did(const char *format, ...)
{
    size_t length = strlen(actual);
    va_list args;
    va_start(args, format);
    vsnprintf(actual + length, sizeof actual - length, format, args);
    va_end(args);
    strncat(actual, "\n", sizeof actual - strlen(actual) - 1);
}

static uint64_t number(const char *word)
{
    return word == NULL ? 0 : strtoull(word, NULL, 10);
}

static bool is(const char *word, const char *text)
{
    return word != NULL && strcmp(word, text) == 0;
}

static const char *outcome_name(enum outcome outcome)
{
    static const char *const words[] = {
        [OUTCOME_NONE] = "nothing",        [OUTCOME_IN_PROGRESS] = "in-progress",
        [OUTCOME_COMMITTED] = "committed", [OUTCOME_ROLLED_BACK] = "rolled-back",
        [OUTCOME_MIXED] = "mixed",         [OUTCOME_FORGOTTEN] = "forgotten",
    };
    return words[outcome];
}

static const char *result_name(enum result_type type)
{
    static const char *const words[RESULTS] = {
        [RESULT_NONE] = "none",           [RESULT_READY] = "ready",
        [RESULT_READ_ONLY] = "read-only", [RESULT_NO] = "no",
        [RESULT_DONE] = "done",           [RESULT_HEURISTIC] = "heuristic",
        [RESULT_UNKNOWN] = "unknown",     [RESULT_LOST] = "lost",
        [RESULT_OPENED] = "opened",       [RESULT_FOUND] = "found",
        [RESULT_SESSION] = "session",     [RESULT_SCANNED] = "scanned",
        [RESULT_BALLOT] = "ballot",
    };
    return words[type];
}

static enum result_type result_named(const char *word)
{
    for (unsigned type = 1; type < RESULTS; type++)
        if (is(word, result_name((enum result_type)type)))
            return (enum result_type)type;
    return RESULT_NONE;
}

/* ---- the coordinator ---- */

static const struct coordinator_limits limits = {
    .transactions_max = 8,
    .branches_max = 32,
    .waiters_max = 8,
    .ended_max = 8,
    .outcome_chunks_max = 2,
    .keys_max = 4,
};

static struct coordinator *tm;
static void *tm_room;
static struct turn turn;
static struct gtrid begun; /* the transaction that the story is about */
static uint32_t rm_count;
static char rms[4][RM_NAME_BYTES];
static uint32_t index_of[4];
static uint8_t handed[LOG_BYTES]; /* the log, and how much of it is durable */
static size_t handed_length, durable_length;
static uint64_t handed_records, durable_records, started_with_lsn;

static void tell_record(const struct record *record)
{
    if (record->type == RECORD_BEAT || record->type == RECORD_AGENT)
        did("-> log %s %s", record_name((uint8_t)record->type), record->rm);
    else if (record->type == RECORD_PROMISE)
        did("-> log PROMISE %llu", (unsigned long long)record->ballot);
    else if (record->type == RECORD_ACCEPT)
        did("-> log ACCEPT %llu %s", (unsigned long long)record->ballot,
            outcome_name(record->outcome));
    else if (record->outcome != OUTCOME_NONE)
        did("-> log %s %s", record_name((uint8_t)record->type), outcome_name(record->outcome));
    else
        did("-> log %s", record_name((uint8_t)record->type));
}

static bool has_number(enum ballot_type type)
{
    return type != BALLOT_JOIN && type != BALLOT_TELL && type != BALLOT_DECIDED;
}

static void tell_ballot(const char *rm, const struct ballot *ballot)
{
    char number[24] = "";
    if (has_number(ballot->type))
        snprintf(number, sizeof number, " %llu", (unsigned long long)ballot->number);
    if (ballot->value == OUTCOME_NONE)
        did("-> to %s: %s%s", rm, ballot_words[ballot->type], number);
    else
        did("-> to %s: %s%s %s", rm, ballot_words[ballot->type], number,
            outcome_name(ballot->value));
}

static void tell_order(const struct addressed_order *addressed)
{
    static const char *const words[ORDERS] = {
        "none",   "prepare", "commit", "rollback", "commit-one-phase",
        "settle", "recover", "ballot", "forget",
    };
    const struct order *order = &addressed->order;
    const char *rm = coordinator_registry(tm)->rms[addressed->rm].name;
    if (order->type == ORDER_BALLOT)
        tell_ballot(rm, &order->ballot);
    else if (order->xid != 0)
        did("-> to %s: %s %llu", rm, words[order->type], (unsigned long long)order->xid);
    else
        did("-> to %s: %s", rm, words[order->type]);
}

static void tell_reply(const struct reply *reply)
{
    char gtrid[GTRID_BYTES] = "";
    if (reply->error != ERR_NONE)
        did("-> reply error %d", (int)reply->error);
    else if (reply->op == OP_BEGIN) {
        begun = reply->gtrid;
        gtrid_format(&begun, gtrid);
        did("-> reply %s", gtrid);
    } else if (reply->op == OP_ENLIST)
        did("-> reply enlisted %s", reply->branches[0].rm);
    else if (reply->pending_count > 0)
        did("-> reply %s, %u pending", outcome_name(reply->outcome), reply->pending_count);
    else
        did("-> reply %s%s", outcome_name(reply->outcome), reply->applied ? ", applied" : "");
}

static void tell_turn(void)
{
    for (size_t at = 0; at < turn.record_length;) {
        struct record record;
        struct record_header header;
        memcpy(&header, turn.records + at, sizeof header);
        if (record_decode(header.type, header.version, turn.records + at + sizeof header,
                          header.length, &record) == RECORD_OK)
            tell_record(&record);
        at += sizeof header + ((header.length + 7) & ~(size_t)7);
    }
    memcpy(handed + handed_length, turn.records, turn.record_length);
    handed_length += turn.record_length;
    handed_records += turn.record_count;
    for (uint32_t i = 0; i < turn.order_count; i++)
        tell_order(&turn.orders[i]);
    for (uint32_t i = 0; i < turn.reply_count; i++)
        tell_reply(&turn.replies[i]);
}

/* One turn with this event, or with what is due alone. */
static void take_turn(struct event *event)
{
    turn_begin(&turn, tm);
    if (event != NULL) {
        event->now_ms = now_ms;
        turn_step(&turn, event);
    }
    turn_due(&turn, now_ms);
    tell_turn();
}

static void disk_is_durable(void)
{
    durable_length = handed_length;
    durable_records = handed_records;
    coordinator_durable(tm, handed_records, started_with_lsn + handed_records);
    take_turn(NULL);
}

static void replay_log(void)
{
    uint64_t lsn = 0;
    for (size_t at = 0; at < durable_length;) {
        struct record record;
        struct record_header header;
        const char *why;
        memcpy(&header, handed + at, sizeof header);
        record_decode(header.type, header.version, handed + at + sizeof header, header.length,
                      &record);
        record.lsn = ++lsn;
        if (!coordinator_replay(tm, &record, &why))
            did("-> refuse the log: %s", why);
        at += sizeof header + ((header.length + 7) & ~(size_t)7);
    }
    started_with_lsn = lsn;
}

static void start_tm(void)
{
    struct coordinator_settings settings = {
        .tm = "bank",
        .transaction_timeout_ms = 30000,
        .resend_least_ms = 500,
        .resend_most_ms = 4000,
        .scan_ms = 1000000,
        .retention_ms = 1000000000,
        .key_retention_ms = 1000000000,
    };
    free(tm_room);
    tm_room = calloc(1, coordinator_bytes(&limits));
    tm = coordinator_init(tm_room, &limits, &settings);
    handed_length = durable_length;
    replay_log();
    handed_records = durable_records = 0;
    for (uint32_t i = 0; i < rm_count; i++)
        index_of[i] = coordinator_configure(tm, rms[i], rms[i]);
    struct event event = {.type = EV_START, .recovered_lsn = started_with_lsn};
    event.instance.bytes[0] = (uint8_t)(coordinator_incarnation(tm) + 1);
    take_turn(&event);
    disk_is_durable();
}

static void register_agent(uint32_t rm)
{
    struct answer answer = {.agent_incarnation = 1, .system_identifier = 7000 + rm, .timeline = 1};
    struct event event = {.type = EV_ANSWER, .rm = index_of[rm], .answer = &answer};
    memcpy(answer.rm, rms[rm], sizeof answer.rm);
    take_turn(&event);
}

static void begin_story_of_coordinator(char **words)
{
    durable_length = 0;
    rm_count = 0;
    for (uint32_t i = 1; words[i] != NULL && i <= 4; i++)
        snprintf(rms[rm_count++], sizeof rms[0], "%s", words[i]);
    start_tm();
    for (uint32_t i = 0; i < rm_count; i++)
        register_agent(i);
    disk_is_durable();
    actual[0] = '\0'; /* how it came up is another story */
}

static bool app_says(char **words)
{
    static const struct {
        const char *word;
        enum op op;
    } ops[] = {{"begin", OP_BEGIN},
               {"enlist", OP_ENLIST},
               {"commit", OP_COMMIT},
               {"rollback", OP_ROLLBACK},
               {"outcome", OP_OUTCOME}};
    struct request request = {.client = 1, .wait_ms = 10000};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (is(words[1], ops[i].word))
            request.op = ops[i].op;
    request.has_gtrid = request.op != OP_BEGIN;
    request.gtrid = begun;
    if (request.op == OP_ENLIST && words[2] != NULL)
        snprintf(request.rm, sizeof request.rm, "%s", words[2]);
    if (is(words[2], "3pc"))
        request.protocol = PROTOCOL_3PC;
    if (is(words[2], "decided"))
        request.wait = WAIT_DECIDED;
    struct event event = {.type = EV_REQUEST, .request = &request};
    take_turn(&event);
    return request.op != OP_NONE;
}

/* resolve rollback, resolve commit force */
static bool dba_says(char **words)
{
    struct request request = {.op = OP_RESOLVE, .client = 1, .has_gtrid = true, .gtrid = begun};
    request.wanted = is(words[2], "commit") ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK;
    request.force = is(words[3], "force");
    struct event event = {.type = EV_REQUEST, .request = &request};
    take_turn(&event);
    return is(words[1], "resolve");
}

/* accepted 0, promised 511 committed 0, outbid 768, decided committed, ask-promise 768, ... */
static bool read_ballot(char **words, struct ballot *out)
{
    uint32_t at = 2;
    memset(out, 0, sizeof *out);
    for (unsigned type = BALLOT_JOIN; type < BALLOTS; type++)
        if (is(words[1], ballot_words[type]))
            out->type = (enum ballot_type)type;
    if (out->type == BALLOT_NONE)
        return false;
    out->gtrid = begun;
    if (has_number(out->type))
        out->number = out->promised = number(words[at++]);
    if (is(words[at], "committed"))
        out->value = OUTCOME_COMMITTED;
    else if (is(words[at], "rolled-back"))
        out->value = OUTCOME_ROLLED_BACK;
    if (out->value != OUTCOME_NONE)
        out->accepted = number(words[at + 1]);
    return true;
}

static bool agent_says(uint32_t rm, char **words)
{
    if (is(words[1], "registers")) {
        register_agent(rm);
        return true;
    }
    if (is(words[1], "is-lost")) {
        struct event event = {.type = EV_LOST, .rm = index_of[rm]};
        take_turn(&event);
        return true;
    }
    struct result result = {.type = result_named(words[1]), .agent_incarnation = 1};
    result.branch.gtrid = begun;
    memcpy(result.branch.rm, rms[rm], sizeof result.branch.rm);
    if (result.type == RESULT_READY || result.type == RESULT_FOUND)
        result.xid = number(words[2]);
    else if (is(words[2], "committed"))
        result.actual = OUTCOME_COMMITTED;
    else if (is(words[2], "rolled-back"))
        result.actual = OUTCOME_ROLLED_BACK;
    else if (words[2] != NULL)
        snprintf(result.sqlstate, sizeof result.sqlstate, "%.5s", words[2]);
    if (result.type == RESULT_NONE && read_ballot(words, &result.ballot))
        result.type = RESULT_BALLOT;
    struct event event = {.type = EV_RESULT, .rm = index_of[rm], .result = &result};
    take_turn(&event);
    return result.type != RESULT_NONE;
}

static bool happens_to_coordinator(char **words)
{
    if (is(words[0], "app:"))
        return app_says(words);
    if (is(words[0], "dba:"))
        return dba_says(words);
    if (is(words[0], "disk:") && is(words[1], "durable")) {
        disk_is_durable();
        return true;
    }
    if (is(words[0], "time:")) {
        now_ms += number(words[1]);
        take_turn(NULL);
        return true;
    }
    if (is(words[0], "crash:")) {
        start_tm();
        return true;
    }
    for (uint32_t rm = 0; rm < rm_count; rm++)
        if (strncmp(words[0], rms[rm], strlen(rms[rm])) == 0)
            return agent_says(rm, words);
    return false;
}

/* ---- the participant ---- */

static struct participant *agent;
static void *agent_room;
static struct branch_id branch;

static void begin_story_of_agent(char **words)
{
    memset(&branch, 0, sizeof branch);
    branch.gtrid = (struct gtrid){.incarnation = 1, .sequence = 1, .tm = "bank"};
    if (words[1] != NULL)
        snprintf(branch.rm, sizeof branch.rm, "%s", words[1]);
    free(agent_room);
    agent_room = calloc(1, participant_bytes(8));
    agent = participant_init(agent_room, 8, 1);
}

static void tell_action(const struct participant_action *action)
{
    unsigned long long xid = action->xid;
    const struct result *result = &action->result;
    switch (action->type) {
    case PA_PREPARE:
        did("-> PREPARE TRANSACTION in its session");
        break;
    case PA_COMMIT_SESSION:
        did("-> mark it, and COMMIT its session");
        break;
    case PA_INTERRUPT:
        did(action->at_once ? "-> wait for its session no longer, sent or not"
                            : "-> wait for its session's statement no longer");
        break;
    case PA_END_SESSION:
        did("-> ROLLBACK its session");
        break;
    case PA_LOOK:
        if (xid != 0)
            did("-> look for it, xid %llu", xid);
        else
            did("-> look for it");
        break;
    case PA_LOOK_MARKER:
        did("-> look for its marker");
        break;
    case PA_COMMIT:
        did("-> COMMIT PREPARED %llu", xid);
        break;
    case PA_ROLLBACK:
        did("-> ROLLBACK PREPARED %llu", xid);
        break;
    case PA_TELL:
        if (result->type == RESULT_READY)
            did("-> tell %s %llu", result_name(result->type), (unsigned long long)result->xid);
        else if (result->actual != OUTCOME_NONE)
            did("-> tell %s %s", result_name(result->type), outcome_name(result->actual));
        else
            did("-> tell %s", result_name(result->type));
        break;
    case PA_NONE:
        break;
    }
}

static enum xid_status status_named(const char *word)
{
    if (is(word, "committed"))
        return XID_COMMITTED;
    if (is(word, "aborted"))
        return XID_ABORTED;
    return is(word, "future") ? XID_FUTURE : XID_UNKNOWN;
}

static bool happens_to_agent(char **words)
{
    struct participant_actions actions;
    struct participant_event event = {.now_ms = now_ms, .branch = branch, .actable = true};
    struct order order = {.branch = branch, .agent_incarnation = 1, .timeout_ms = 30000};
    for (unsigned type = PE_OPENED; type < PE_TYPES; type++)
        if (is(words[1], participant_event_word((enum participant_event_type)type)))
            event.type = (enum participant_event_type)type;
    if (event.type == PE_HOLE)
        return false;
    order.xid = number(words[2]);
    event.order = &order;
    event.timeout_ms = 30000;
    event.xid = number(words[2]);
    event.status = status_named(words[2]);
    event.sqlstate = event.type == PE_REFUSAL ? words[2] : NULL;
    participant_step(agent, &event, &actions);
    for (uint32_t i = 0; i < actions.count; i++)
        tell_action(&actions.list[i]);
    return true;
}

/* ---- a file ---- */

static void split(char *line, char *words[WORDS_MAX])
{
    char *rest = NULL;
    memset(words, 0, WORDS_MAX * sizeof *words);
    uint32_t count = 0;
    for (char *word = strtok_r(line, " \n", &rest); word != NULL && count < WORDS_MAX - 1;
         word = strtok_r(NULL, " \n", &rest))
        words[count++] = word;
}

static bool happens(char *line, bool *of_agent)
{
    char *words[WORDS_MAX];
    split(line, words);
    if (is(words[0], "coordinator")) {
        *of_agent = false;
        begin_story_of_coordinator(words);
        return true;
    }
    if (is(words[0], "agent")) {
        *of_agent = true;
        begin_story_of_agent(words);
        return true;
    }
    return *of_agent ? happens_to_agent(words) : happens_to_coordinator(words);
}

/* Take the first line of what was done; NULL if nothing is left. */
static const char *next_done(void)
{
    static char line[512];
    char *end = strchr(actual, '\n');
    if (end == NULL)
        return NULL;
    *end = '\0';
    text_copy(line, sizeof line, actual, strlen(actual));
    memmove(actual, end + 1, strlen(end + 1) + 1);
    return line;
}

static int complain(const char *path, int at, const char *expected, const char *got)
{
    printf("%s:%d: expected \"%s\", and it does \"%s\"\n", path, at,
           expected == NULL ? "nothing more" : expected, got == NULL ? "nothing more" : got);
    return 1;
}

/* Before something else happens, nothing may be left that was done and not expected. */
static int check_silence(const char *path, int at)
{
    const char *done;
    int failed = 0;
    while ((done = next_done()) != NULL) {
        if (telling)
            printf("%s\n", done);
        else
            failed |= complain(path, at, NULL, done);
    }
    return failed;
}

static int check_line(const char *path, int at, char *line, bool *of_agent)
{
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "->", 2) == 0) {
        const char *done = telling ? line : next_done();
        return done != NULL && strcmp(done, line) == 0 ? 0 : complain(path, at, line, done);
    }
    int failed = check_silence(path, at);
    if (telling)
        printf("%s\n", line);
    if (line[0] == '\0' || line[0] == '#')
        return failed;
    if (!happens(line, of_agent)) {
        printf("%s:%d: nothing like that can happen\n", path, at);
        return 1;
    }
    return failed;
}

static int run_file(const char *path)
{
    char line[512];
    bool of_agent = false;
    int failed = 0, at = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        printf("%s: cannot be opened\n", path);
        return 1;
    }
    now_ms = 1000;
    actual[0] = '\0';
    while (!failed && fgets(line, sizeof line, file) != NULL)
        failed = check_line(path, ++at, line, &of_agent);
    if (!failed)
        failed = check_silence(path, at + 1);
    fclose(file);
    return failed;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0, first = 1;
    telling = argc > 1 && is(argv[1], "--tell");
    if (telling)
        first = 2;
    for (int i = first; i < argc; i++) {
        if (run_file(argv[i]) == 0)
            passed++;
        else
            failed++;
    }
    if (!telling)
        printf("%d passed, %d failed\n", passed, failed);
    free(tm_room);
    free(agent_room);
    return failed > 0 || first >= argc;
}
