/*
 * rm-agent/votes/rows.h - what an acceptor's row in assent.acceptor says, and as which JSON it
 * travels.
 */
#ifndef ASSENT_RM_AGENT_VOTES_ROWS_H
#define ASSENT_RM_AGENT_VOTES_ROWS_H

#include <uthash.h>

#include "common/wire.h"
#include "core/ballot/acceptor.h"

struct vote {
    char branch[BRANCH_NAME_BYTES];
    uint64_t xid;
};

struct row {
    char name[GTRID_BYTES]; /* the gtrid's text */
    struct gtrid gtrid;
    struct roster roster;
    struct acceptor_row acceptor;
    uint32_t vote_count;
    struct vote votes[BRANCHES_MAX];
    bool changed; /* and not written yet */
    UT_hash_handle hh;
};

/* Rows as they are known to be in the database, also that there is none. */
struct known_rows {
    struct row *by_name;
};

struct row *known_find(const struct known_rows *rows, const struct gtrid *gtrid);
/* One of which nothing is known. */
struct row *known_add(struct known_rows *rows, const struct gtrid *gtrid);
void known_drop(struct known_rows *rows, struct row *row);
/* The oldest go, until so many are left. */
void known_keep(struct known_rows *rows, uint32_t most);

/* The xid that was voted for, 0 none. */
uint64_t row_xid(const struct row *row, const char *branch);
/* False if another was voted for before, or there are too many. */
bool row_vote(struct row *row, const char *branch, uint64_t xid);

/* {"incarnation":"3","sequence":"17","agents":[...],"with_tm":true,...}: columns by their names. */
cJSON *row_write(const struct row *row);
/* Reads what row_write() wrote or PostgreSQL did; false if it is none. row->gtrid is set. */
bool row_read(const char *text, struct row *row);

/* Does everything that a ballot says fit into the row's columns? */
bool ballot_fits(const struct ballot *ballot);

#endif
