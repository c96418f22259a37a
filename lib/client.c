/*
 * lib/client.c - where the coordinator listens, and the connections that wait to be used again.
 *
 * A connection is used by one call at a time, from borrow to keep, so that what a thread asks never
 * meets what another one is answered. Only the list of idle ones is shared, and guarded.
 */
#include "lib/client.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { IDLE_MAX = 64 };

struct idle {
    struct idle *next;
    struct assent_sp *sp;
    char url[];
};

struct assent_client {
    pthread_mutex_t mutex; /* guards all below but the URLs */
    size_t preferred;
    uint32_t idle_count;
    struct idle *idle; /* the last one used first: the others grow old */
    size_t url_count;
    char *text; /* of all URLs, cut at the commas */
    const char *urls[];
};

static size_t count_urls(const char *list)
{
    size_t count = 1;
    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

static int cut_urls(struct assent_client *client)
{
    char *rest = NULL;
    for (char *url = strtok_r(client->text, ", ", &rest); url != NULL;
         url = strtok_r(NULL, ", ", &rest)) {
        if (!assent_sp_url_is_good(url))
            return ASSENT_EUSAGE;
        client->urls[client->url_count++] = url;
    }
    return client->url_count > 0 ? 0 : ASSENT_EUSAGE;
}

int assent_open(struct assent_client **out, const char *urls)
{
    const char *list = urls != NULL ? urls : getenv("ASSENT_URL");
    if (list == NULL)
        return ASSENT_EUSAGE;
    struct assent_client *client =
        calloc(1, sizeof *client + count_urls(list) * sizeof *client->urls);
    if (client == NULL)
        return ASSENT_ENOMEM;
    int rc = ASSENT_ENOMEM;
    client->text = strdup(list);
    if (client->text != NULL)
        rc = cut_urls(client);
    if (rc != 0) {
        free(client->text);
        free(client);
        return rc;
    }
    pthread_mutex_init(&client->mutex, NULL);
    *out = client;
    return 0;
}

void assent_close(struct assent_client *client)
{
    if (client == NULL)
        return;
    for (struct idle *idle = client->idle, *next; idle != NULL; idle = next) {
        next = idle->next;
        assent_sp_close(idle->sp);
        free(idle);
    }
    pthread_mutex_destroy(&client->mutex);
    free(client->text);
    free(client);
}

size_t assent_client_urls(const struct assent_client *client)
{
    return client->url_count;
}

const char *assent_client_url(struct assent_client *client, size_t failed)
{
    pthread_mutex_lock(&client->mutex);
    const char *url = client->urls[(client->preferred + failed) % client->url_count];
    pthread_mutex_unlock(&client->mutex);
    return url;
}

void assent_client_prefer(struct assent_client *client, const char *url)
{
    pthread_mutex_lock(&client->mutex);
    for (size_t i = 0; i < client->url_count; i++)
        if (client->urls[i] == url)
            client->preferred = i;
    pthread_mutex_unlock(&client->mutex);
}

struct assent_sp *assent_client_borrow(struct assent_client *client, const char *url)
{
    struct assent_sp *sp = NULL;
    pthread_mutex_lock(&client->mutex);
    for (struct idle **at = &client->idle; *at != NULL; at = &(*at)->next) {
        struct idle *idle = *at;
        if (strcmp(idle->url, url) != 0)
            continue;
        sp = idle->sp;
        *at = idle->next;
        client->idle_count--;
        free(idle);
        break;
    }
    pthread_mutex_unlock(&client->mutex);
    return sp;
}

void assent_client_keep(struct assent_client *client, const char *url, struct assent_sp *sp)
{
    struct idle *idle = malloc(sizeof *idle + strlen(url) + 1);
    pthread_mutex_lock(&client->mutex);
    bool keeps = idle != NULL && client->idle_count < IDLE_MAX;
    if (keeps) {
        strcpy(idle->url, url);
        idle->sp = sp;
        idle->next = client->idle;
        client->idle = idle;
        client->idle_count++;
    }
    pthread_mutex_unlock(&client->mutex);
    if (!keeps) {
        free(idle);
        assent_sp_close(sp);
    }
}
