/*
 * rm-agent/talk/adopt.c - a person says that a coordinator's log is lost, and which one to follow
 * now.
 *
 *     {"op":"adopt","tm":"bank","from":"<log>","log":"<log>","incarnation":"17","instance":"<id>"}
 *
 * An agent turns away every log but the one that it follows, so that an old or an empty one can
 * harm nobody. When the true one is gone for good it has to be told so. It is told which log it is
 * thought to follow, and changes nothing if that is not so: of two people who recover at once, one
 * is refused.
 */
#include "rm-agent/talk/adopt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/logger.h"
#include "common/must.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/pool.h"
#include "rm-agent/postgres/positions.h"
#include "rm-agent/talk/asker.h"
#include "rm-agent/talk/book.h"
#include "rm-agent/talk/tms.h"

struct adopting {
    struct agent *agent;
    struct asker *asker;
    struct adoption adoption;
};

static void end(struct adopting *adopting)
{
    book_release(adopting->agent, adopting->adoption.tm);
    free(adopting);
}

static void refuse_adoption(struct adopting *adopting, enum error_code code, const char *message)
{
    struct failure failure = {0};
    refuse(&failure, code, "%s", message);
    asker_failure(adopting->asker, &failure);
    end(adopting);
}

static void adopt_reply(struct adopting *adopting, bool adopted)
{
    cJSON *object = wire_ok();
    cJSON_AddBoolToObject(object, "adopted", adopted);
    asker_object(adopting->asker, object);
    end(adopting);
}

static void adopt_stored(void *arg, const struct pg_reply *reply)
{
    struct adopting *adopting = arg;
    if (reply->sqlstate[0] != '\0') {
        refuse_adoption(adopting, ERR_RM_UNAVAILABLE, reply->message);
        return;
    }
    log_warning("coordinator %s: its log is given up, by a person; another one is followed from "
                "incarnation %" PRIu64 " on",
                adopting->adoption.tm, adopting->adoption.incarnation);
    adopt_reply(adopting, true);
}

static void store(struct adopting *adopting)
{
    const struct adoption *adoption = &adopting->adoption;
    char log[UUID_TEXT_BYTES], instance[UUID_TEXT_BYTES], incarnation[NUMBER_BYTES];
    char positions[SEQUENCE_BYTES];
    uuid_write(&adoption->log, log);
    uuid_write(&adoption->instance, instance);
    snprintf(incarnation, sizeof incarnation, "%" PRIu64, adoption->incarnation);
    positions_sequence(adoption->tm, positions);
    tms_turn_away(adopting->agent, adoption->tm);
    participant_unplace(adopting->agent->participant, adoption->tm);
    control_ask(adopting->agent, adopt_stored, adopting,
                "SELECT assent.register($1, $2::uuid, $3::bigint, $4::uuid),"
                " setval($5::regclass, 0)",
                5, adoption->tm, log, incarnation, instance, positions);
}

static void adopt_judge(void *arg, const struct pg_reply *reply)
{
    struct adopting *adopting = arg;
    if (reply->sqlstate[0] != '\0') {
        refuse_adoption(adopting, ERR_RM_UNAVAILABLE, reply->message);
        return;
    }
    const struct tm_row row = book_row(reply);
    switch (registry_adopt(&row, &adopting->adoption)) {
    case ADOPT_NOW:
        if (pool_under_way(adopting->agent))
            refuse_adoption(adopting, ERR_BUSY,
                            "what the lost log has decided is being carried out; try again");
        else
            store(adopting);
        break;
    case ADOPT_NEEDLESS:
        adopt_reply(adopting, false);
        break;
    case ADOPT_OTHER:
        refuse_adoption(adopting, ERR_RM_REFUSED,
                        "the agent follows another log than the one that is said to be lost");
        break;
    case ADOPT_LATER:
        refuse_adoption(adopting, ERR_RM_REFUSED,
                        "the agent has accepted as late a start of the lost log as the new log's: "
                        "their transactions could bear the same names");
        break;
    }
}

void adopt_answer(struct agent *agent, struct asker *asker, const cJSON *object)
{
    struct failure failure = {0};
    struct adoption adoption;
    if (wire_read_adoption(object, &adoption, &failure) != 0) {
        asker_failure(asker, &failure);
        return;
    }
    if (!book_hold(agent, adoption.tm)) {
        refuse(&failure, ERR_BUSY, "a registration of %s is under way", adoption.tm);
        asker_failure(asker, &failure);
        return;
    }
    struct adopting *adopting = must_alloc(sizeof *adopting, "an adoption");
    *adopting = (struct adopting){.agent = agent, .asker = asker, .adoption = adoption};
    control_ask(agent, adopt_judge, adopting, BOOK_ROW_SQL, 1, adopting->adoption.tm);
}
