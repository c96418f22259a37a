/*
 * common/point.c - kills at a named point, in builds made for that alone.
 */
#include "common/point.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char name[64]; /* "" nowhere */
    long passing;
    int pid;
} plan;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_long passings;

static void point_read_environment(void)
{
    const char *text = getenv("ASSENT_KILL_AT");
    plan.passing = 1;
    plan.pid = (int)getpid();
    if (text == NULL)
        return;
    const char *after = text + strcspn(text, ":@");
    snprintf(plan.name, sizeof plan.name, "%.*s", (int)(after - text), text);
    if (*after == ':')
        plan.passing = strtol(after + 1, NULL, 10);
    after = strchr(text, '@');
    if (after != NULL)
        plan.pid = atoi(after + 1);
}

/* Any thread passes here. */
void point_pass(const char *name)
{
    pthread_once(&once, point_read_environment);
    if (strcmp(name, plan.name) != 0 || atomic_fetch_add(&passings, 1) + 1 != plan.passing)
        return;
    kill(plan.pid, SIGKILL);
    /* A thread of our own may not go on until the signal has arrived. */
    while (plan.pid == (int)getpid())
        pause();
}
