/*
 * rm-agent/state_file.c - what an agent knows of its database, kept outside of it.
 *
 * The file is written aside and renamed, by a thread of its own that touches nothing but the text
 * it was given. That there is one is in the database too (assent.agent.state_file): where it is
 * gone, nothing says that the database is whole.
 */
#include "rm-agent/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/logger.h"
#include "common/must.h"
#include "common/wire_fields.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/talk/book.h"

enum { FILE_MOST = 256 * 1024, COORDINATORS_MAX = 256, PATH_BYTES = STATE_FILE_BYTES };

struct remembered {
    bool exists;
    uint64_t system_identifier, incarnation, wal;
    uint32_t count;
    struct remembered_tm {
        char name[TM_NAME_BYTES];
        uint64_t beat;
    } tms[COORDINATORS_MAX];
};

struct state_file {
    const char *path;
    struct remembered read; /* at the start */
    char *last;             /* text that was handed over last */
    bool told;              /* the database knows that there is a file */
    bool complained;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    /* Under the mutex. */
    char *next; /* to be written, or NULL */
    bool over;
    bool written; /* at least once */
    int failed;   /* errno of the last attempt, 0 none */
};

/* ---- reading ---- */

static int read_tms(const cJSON *object, struct remembered *out, struct failure *failure)
{
    const cJSON *item;
    if (field_list(object, "beats", true, COORDINATORS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next) {
        struct remembered_tm *tm = &out->tms[out->count++];
        if (field_text(item, "tm", true, tm->name, sizeof tm->name, failure) != 0 ||
            field_u64(item, "beat", true, &tm->beat, failure) != 0)
            return -1;
    }
    return 0;
}

static int parse(const cJSON *object, const char *rm, struct remembered *out,
                 struct failure *failure)
{
    char whose[RM_NAME_BYTES];
    if (object == NULL)
        return refuse(failure, ERR_INVALID_REQUEST, "it is no JSON");
    if (field_rm(object, "rm", true, whose, failure) != 0 ||
        field_u64(object, "system_identifier", true, &out->system_identifier, failure) != 0 ||
        field_u64(object, "incarnation", true, &out->incarnation, failure) != 0 ||
        field_u64(object, "wal", true, &out->wal, failure) != 0 ||
        read_tms(object, out, failure) != 0)
        return -1;
    if (strcmp(whose, rm) != 0)
        return refuse(failure, ERR_INVALID_REQUEST, "it is of resource manager %s", whose);
    return 0;
}

static int read_whole(const char *path, char *out, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail_errno(error, "open %s", path);
    ssize_t length, all = 0;
    while (all < FILE_MOST && (length = read(fd, out + all, (size_t)(FILE_MOST - all))) > 0)
        all += length;
    close(fd);
    out[all] = '\0';
    return (int)all;
}

static int read_file(struct state_file *file, const char *rm, struct error *error)
{
    struct failure failure = {0};
    char *text = must_alloc(FILE_MOST + 1, "the state file");
    int length = read_whole(file->path, text, error);
    if (length <= 0) {
        free(text);
        return length;
    }
    cJSON *object = cJSON_Parse(text);
    int rc = parse(object, rm, &file->read, &failure);
    cJSON_Delete(object);
    free(text);
    file->read.exists = rc == 0;
    if (rc == 0)
        return 0;
    fail(error, "state_file %s cannot be used: %s", file->path, failure.message);
    return fail_hint(error, "another agent's? If it is broken, remove it: the coordinators have to "
                            "accept the database anew");
}

/* ---- writing ---- */

static int sync_folder(const char *path)
{
    char folder[PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", path);
    int fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

/* errno, 0 if it is on the disk. */
static int write_file(const char *path, const char *text)
{
    char aside[PATH_BYTES + 8];
    size_t length = strlen(text);
    snprintf(aside, sizeof aside, "%s.tmp", path);
    errno = 0;
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    bool written = write(fd, text, length) == (ssize_t)length && fsync(fd) == 0;
    int failed = written ? 0 : errno == 0 ? ENOSPC : errno;
    close(fd);
    if (failed == 0 && (rename(aside, path) != 0 || sync_folder(path) != 0))
        failed = errno;
    return failed;
}

static void *writer(void *arg)
{
    struct state_file *file = arg;
    pthread_mutex_lock(&file->mutex);
    for (;;) {
        while (file->next == NULL && !file->over)
            pthread_cond_wait(&file->wanted, &file->mutex);
        char *text = file->next;
        if (text == NULL)
            break;
        file->next = NULL;
        pthread_mutex_unlock(&file->mutex);
        int failed = write_file(file->path, text);
        free(text);
        pthread_mutex_lock(&file->mutex);
        file->failed = failed;
        file->written |= failed == 0;
    }
    pthread_mutex_unlock(&file->mutex);
    return NULL;
}

/* What was on the disk when the file was read is so still, unless this start has found otherwise.
 */
static uint64_t known_beat(const struct state_file *file, const struct tm_link *tm)
{
    for (uint32_t i = 0; i < file->read.count; i++)
        if (strcmp(file->read.tms[i].name, tm->name) == 0 &&
            file->read.tms[i].beat > tm->flushed_beat)
            return file->read.tms[i].beat;
    return tm->flushed_beat;
}

static char *compose(const struct agent *agent, uint64_t wal)
{
    struct json json;
    size_t length;
    json_begin(&json);
    json_put_text(&json, "rm", agent->options->rm);
    json_put_u64(&json, "system_identifier", agent->identity.system_identifier);
    json_put_u64(&json, "incarnation", agent->incarnation);
    json_put_u64(&json, "wal", wal);
    json_open_list(&json, "beats");
    uint32_t count = 0;
    for (const struct tm_link *tm = book_next(agent, NULL); tm != NULL && count < COORDINATORS_MAX;
         tm = book_next(agent, tm)) {
        if (!tm->stored)
            continue;
        json_open_element(&json);
        json_put_text(&json, "tm", tm->name);
        json_put_u64(&json, "beat", known_beat(agent->state_file, tm));
        json_close_object(&json);
        count++;
    }
    json_close_list(&json);
    return json_end(&json, &length);
}

/* ---- what others see ---- */

int state_file_open(struct agent *agent, struct error *error)
{
    const char *path = agent->options->state_file;
    if (path[0] == '\0')
        return 0;
    struct state_file *file = must_alloc(sizeof *file, "the state file");
    file->path = path;
    if (read_file(file, agent->options->rm, error) != 0)
        return -1;
    pthread_mutex_init(&file->mutex, NULL);
    pthread_cond_init(&file->wanted, NULL);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&file->thread, NULL, writer, file);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errno != 0)
        return fail_errno(error, "start the thread that writes %s", path);
    agent->state_file = file;
    return 0;
}

static uint64_t found_beat(const struct pg_reply *tms, const char *name)
{
    for (int row = 0; row < pg_rows(tms); row++)
        if (strcmp(pg_value(tms, row, 0), name) == 0)
            return strtoull(pg_value(tms, row, 1), NULL, 10);
    return 0;
}

void state_file_believe(struct agent *agent, const struct pg_reply *tms)
{
    struct remembered *read = &agent->state_file->read;
    for (uint32_t i = 0; i < read->count; i++) {
        uint64_t found = found_beat(tms, read->tms[i].name);
        if (found < read->tms[i].beat)
            read->tms[i].beat = found;
    }
}

uint64_t state_file_incarnation(const struct agent *agent)
{
    return agent->state_file == NULL ? 0 : agent->state_file->read.incarnation;
}

bool state_file_tells_of_loss(struct agent *agent, const struct pg_reply *tms, bool kept, char *why,
                              size_t room)
{
    struct state_file *file = agent->state_file;
    if (file == NULL)
        return false;
    const struct remembered *read = &file->read;
    if (!read->exists) {
        snprintf(why, room, "state file %s is gone", file->path);
        return kept;
    }
    for (uint32_t i = 0; i < read->count; i++) {
        uint64_t beat = found_beat(tms, read->tms[i].name);
        if (beat >= read->tms[i].beat)
            continue;
        snprintf(why, room, "beat %" PRIu64 " of %s is older than what it had confirmed, %" PRIu64,
                 beat, read->tms[i].name, read->tms[i].beat);
        return true;
    }
    if (agent->incarnation <= read->incarnation) {
        snprintf(why, room, "the agent's incarnation would be %" PRIu64 ", and was %" PRIu64,
                 agent->incarnation, read->incarnation);
        return true;
    }
    if (agent->identity.system_identifier == read->system_identifier &&
        agent->identity.wal < read->wal) {
        snprintf(why, room, "its WAL ends at byte %" PRIu64 ", and had reached %" PRIu64,
                 agent->identity.wal, read->wal);
        return true;
    }
    return false;
}

static void told(void *arg, const struct pg_reply *reply)
{
    struct agent *agent = arg;
    agent->state_file->told = reply->sqlstate[0] == '\0';
}

/* A file that cannot be written notices less: no reason to end what it is for. */
static void say_how_it_went(struct agent *agent, int failed, bool written)
{
    struct state_file *file = agent->state_file;
    if (failed != 0 && !file->complained)
        log_warning("state_file %s cannot be written: %s; a database that is set back may go "
                    "unnoticed",
                    file->path, strerror(failed));
    file->complained = failed != 0;
    if (written && !file->told) {
        file->told = true;
        control_ask(agent, told, agent,
                    "UPDATE assent.agent SET state_file = true WHERE NOT state_file", 0);
    }
}

static void hand_over(struct state_file *file, char *text)
{
    free(file->next);
    file->next = text;
    pthread_cond_signal(&file->wanted);
}

void state_file_tick(struct agent *agent, uint64_t wal)
{
    struct state_file *file = agent->state_file;
    if (file == NULL)
        return;
    char *text = compose(agent, wal);
    pthread_mutex_lock(&file->mutex);
    int failed = file->failed;
    bool written = file->written;
    bool same = file->last != NULL && failed == 0 && strcmp(file->last, text) == 0;
    if (!same)
        hand_over(file, strdup(text));
    pthread_mutex_unlock(&file->mutex);
    free(file->last);
    file->last = text;
    say_how_it_went(agent, failed, written);
}

void state_file_close(struct agent *agent)
{
    struct state_file *file = agent->state_file;
    if (file == NULL)
        return;
    pthread_mutex_lock(&file->mutex);
    file->over = true;
    pthread_cond_signal(&file->wanted);
    pthread_mutex_unlock(&file->mutex);
    pthread_join(file->thread, NULL);
}
