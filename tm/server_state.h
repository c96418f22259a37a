/*
 * tm/server_state.h - what the daemon consists of: for its own files only.
 */
#ifndef ASSENT_TM_SERVER_STATE_H
#define ASSENT_TM_SERVER_STATE_H

#include "common/loop.h"
#include "common/net.h"
#include "core/turn.h"
#include "log/wal.h"
#include "tm/links.h"
#include "tm/settings.h"

struct server {
    const struct settings *settings;
    struct loop *loop;
    struct net_server *net;
    struct wal *wal;
    struct wal_info wal_info;
    struct links *links;
    struct coordinator *coordinator;
    struct turn *turn;
    uint64_t handed_over; /* records given to the log in this start */
    uint64_t started_ms;
    uint64_t now_ms; /* of this turn */
};

/* ---- admin.c: what the daemon says about itself ---- */

/* Answers show, list, agents and status. The caller deletes the object. */
cJSON *admin_answer(const struct server *server, const struct request *request);

#endif
