/*
 * tm/inquiry.c - what the coordinator has to ask all agents before it can answer a person.
 */
#include "tm/inquiry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/indoubt.h"
#include "common/logger.h"
#include "common/must.h"
#include "tm/check.h"

/* The two questions: they are asked side by side. */
enum question { QUESTION_PREPARED, QUESTION_CHECK, QUESTIONS };

static const uint32_t wait_ms[QUESTIONS] = {
    [QUESTION_PREPARED] = 6000, [QUESTION_CHECK] = 20 * 1000, /* it tries logins, and hosts that may
                                                                 not answer */
};

struct asker {
    struct asker *next;
    uint64_t client;
    uint64_t caller;
};

struct round {
    struct asker *waiting; /* for the next round */
    struct asker *askers;  /* of this round; NULL: none is under way */
    uint32_t missing;      /* agents that have yet to answer */
    struct agent_word words[RMS_MAX];
};

struct inquiries {
    struct round rounds[QUESTIONS];
};

/* What one agent has said, or why not, on its way to the loop. */
struct asked {
    struct post post;
    struct server *server;
    enum question question;
    uint32_t rm;
    struct agent_word word;
};

struct inquiries *inquiries_create(void)
{
    return must_alloc(sizeof(struct inquiries), "the questions to the agents");
}

static void inquiry_forget_words(struct round *round)
{
    for (uint32_t i = 0; i < RMS_MAX; i++)
        cJSON_Delete(round->words[i].answer);
    memset(round->words, 0, sizeof round->words);
}

static void inquiry_free_askers(struct asker *asker)
{
    while (asker != NULL) {
        struct asker *next = asker->next;
        free(asker);
        asker = next;
    }
}

void inquiries_free(struct inquiries *inquiries)
{
    if (inquiries == NULL)
        return;
    for (enum question question = 0; question < QUESTIONS; question++) {
        struct round *round = &inquiries->rounds[question];
        inquiry_forget_words(round);
        inquiry_free_askers(round->waiting);
        inquiry_free_askers(round->askers);
    }
    free(inquiries);
}

/* ---- answers, as they come ---- */

static int64_t inquiry_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void inquiry_heard(void *arg, enum net_result result, const char *bytes, size_t length)
{
    struct asked *asked = arg;
    struct agent_word *word = &asked->word;
    struct failure failure = {0};
    word->heard_us = inquiry_clock_us();
    if (result == NET_OK)
        word->answer = wire_parse(bytes, length, &failure);
    else
        refuse(&failure, ERR_UNREACHABLE, "%s",
               result == NET_TIMEOUT ? "the agent does not answer" : "the agent is not reachable");
    if (word->answer != NULL && wire_read_failure(word->answer, &failure) != 0) {
        cJSON_Delete(word->answer);
        word->answer = NULL;
    }
    memcpy(word->error, failure.message, sizeof word->error);
    loop_post(asked->server->loop, &asked->post);
}

/* ---- rounds ---- */

/* Other people's SQL is for the daemon's own user and root. */
static void inquiry_hide_queries(cJSON *items)
{
    cJSON *item, *blocked;
    cJSON_ArrayForEach(item, items)
        cJSON_ArrayForEach(blocked, cJSON_GetObjectItemCaseSensitive(item, "blocks"))
            cJSON_DeleteItemFromObjectCaseSensitive(blocked, "query");
}

static cJSON *inquiry_in_doubt(const struct server *server, const struct asker *asker,
                               const struct agent_word *words)
{
    const struct registry *registry = coordinator_registry(server->coordinator);
    struct indoubt_sources sources = {
        .tm = server->settings->tm,
        .coordinator = server->coordinator,
        .silence = "",
        .start = "",
        .now_ms = server->now_ms,
        .agent_count = registry->count,
    };
    for (uint32_t i = 0; i < registry->count; i++)
        sources.agents[i] = (struct indoubt_agent){
            .rm = registry->rms[i].name,
            .url = registry->rms[i].url,
            .state = registry->rms[i].state,
            .answer = words[i].answer,
            .error = words[i].error,
        };
    cJSON *report = indoubt_report(&sources);
    if (asker->caller != 0 && asker->caller != geteuid()) {
        inquiry_hide_queries(cJSON_GetObjectItemCaseSensitive(report, "in_doubt"));
        inquiry_hide_queries(cJSON_GetObjectItemCaseSensitive(report, "foreign"));
    }
    return report;
}

static void inquiry_ask_agents(struct server *server, enum question question);

static void inquiry_end_round(struct server *server, enum question question)
{
    struct round *round = &server->inquiries->rounds[question];
    for (const struct asker *asker = round->askers; asker != NULL; asker = asker->next)
        server_answer(asker->client, question == QUESTION_CHECK
                                         ? check_report(server, round->words)
                                         : inquiry_in_doubt(server, asker, round->words));
    inquiry_free_askers(round->askers);
    round->askers = NULL;
    inquiry_forget_words(round);
    if (round->waiting != NULL)
        inquiry_ask_agents(server, question);
}

/* NULL: it has said all. */
static cJSON *inquiry_question(const struct server *server, enum question question, uint32_t rm)
{
    if (question == QUESTION_PREPARED)
        return indoubt_question(
            server->coordinator, coordinator_registry(server->coordinator)->rms[rm].name,
            server->now_ms, server->inquiries->rounds[question].words[rm].answer);
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "op", "check");
    return object;
}

static void inquiry_ask_agent(struct server *server, enum question question, uint32_t rm)
{
    struct round *round = &server->inquiries->rounds[question];
    cJSON *object = inquiry_question(server, question, rm);
    size_t length;
    if (object == NULL)
        return;
    struct asked *asked = must_alloc(sizeof *asked, "a question to an agent");
    *asked =
        (struct asked){.post.kind = POST_ASKED, .server = server, .question = question, .rm = rm};
    char *text = wire_print(object, &length);
    if (links_ask(server->links, rm, text, length, wait_ms[question], inquiry_heard, asked)) {
        round->missing++;
    } else {
        snprintf(round->words[rm].error, sizeof round->words[rm].error,
                 "the agent cannot be asked at the moment");
        free(asked);
    }
    free(text);
}

/* A round begins: nobody is being asked this. */
static void inquiry_ask_agents(struct server *server, enum question question)
{
    struct round *round = &server->inquiries->rounds[question];
    round->askers = round->waiting;
    round->waiting = NULL;
    /* One more than there are agents, so that the round does not end while it begins. */
    round->missing = 1;
    for (uint32_t i = 0; i < coordinator_registry(server->coordinator)->count; i++)
        inquiry_ask_agent(server, question, i);
    if (--round->missing == 0)
        inquiry_end_round(server, question);
}

void inquiry_ask(struct server *server, const struct request *request)
{
    enum question question = request->op == OP_CHECK ? QUESTION_CHECK : QUESTION_PREPARED;
    struct round *round = &server->inquiries->rounds[question];
    struct asker *asker = must_alloc(sizeof *asker, "a client that waits for the agents");
    *asker = (struct asker){round->waiting, request->client, request->caller};
    round->waiting = asker;
    if (round->askers == NULL)
        inquiry_ask_agents(server, question);
}

void inquiry_take(struct server *server, struct post *post)
{
    struct asked *asked = (struct asked *)post;
    if (server == NULL) {
        cJSON_Delete(asked->word.answer);
        free(asked);
        return;
    }
    enum question question = asked->question;
    struct round *round = &server->inquiries->rounds[question];
    struct agent_word *word = &round->words[asked->rm];
    uint32_t rm = asked->rm;
    if (question == QUESTION_PREPARED && asked->word.answer != NULL) {
        /* A long answer comes in pages. What has come counts, whatever becomes of the rest. */
        word->answer = indoubt_hear(word->answer, asked->word.answer);
        word->heard_us = asked->word.heard_us;
        inquiry_ask_agent(server, question, rm);
    } else if (word->answer == NULL) {
        *word = asked->word;
    }
    free(asked);
    if (--round->missing == 0)
        inquiry_end_round(server, question);
}
