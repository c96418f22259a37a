/*
 * rm-agent/event.c - what any part tells the agent: an event of a branch, what went wrong, the end.
 *
 * Here, so that a part need not know who carries out what follows: agent.c is given it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "rm-agent/agent.h"
#include "rm-agent/talk/book.h"

void agent_note(struct agent *agent, const char *message)
{
    text_copy(agent->health.last_error, sizeof agent->health.last_error, message, strlen(message));
}

void agent_event(struct agent *agent, struct participant_event event)
{
    /* An action may lead to the next event before the others are carried out: each has its own
     * list. */
    struct participant_actions actions;
    event.now_ms = loop_now_ms();
    participant_step(agent->participant, &event, &actions);
    if (actions.forgot)
        book_close(agent, &actions.forgotten.gtrid);
    for (uint32_t i = 0; i < actions.count; i++)
        agent->carry_out(agent, &actions.list[i]);
}

void agent_tell(struct agent *agent, const struct branch_id *branch,
                enum participant_event_type type, const char *sqlstate, const char *message)
{
    agent_event(agent,
                (struct participant_event){
                    .type = type, .branch = *branch, .sqlstate = sqlstate, .message = message});
}

static void agent_end_with(struct agent *agent, int exit_status, const char *format, va_list args)
{
    char message[1024];
    vsnprintf(message, sizeof message, format, args);
    log_error("%s", message);
    agent->over = true;
    agent->exit_status = exit_status;
}

void agent_stop(struct agent *agent, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    agent_end_with(agent, EXIT_FAILURE, format, args);
    va_end(args);
}

void agent_start_over(struct agent *agent, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    agent_end_with(agent, EXIT_START_OVER, format, args);
    va_end(args);
}
