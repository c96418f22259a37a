/*
 * tm/audit.h - the audit trail follows the log: each decision of a person has a line in both.
 *
 * The log is what is durable. A line is written once its record is, and what a crash has kept from
 * the trail is added at the next start, so that nothing here ever waits for a disk.
 */
#ifndef ASSENT_TM_AUDIT_H
#define ASSENT_TM_AUDIT_H

#include <stddef.h>

#include "common/error.h"
#include "core/message/record.h"

struct audit;

/* Opens the trail in the data_dir, and cuts off a line that a crash has torn. tm must outlive it.
 */
int audit_open(struct audit **out, const char *data_dir, const char *tm, struct error *error);
void audit_close(struct audit *audit);

/* A record that the log had at this start; nothing happens if the trail has it. */
void audit_recovered(struct audit *audit, const struct record *record);
/* A turn's records go to the log: they are the next `count` of this start. */
void audit_handed(struct audit *audit, const uint8_t *records, size_t length);
/* So many of them are on the disk, the newest with this lsn. */
void audit_durable(struct audit *audit, uint64_t records, uint64_t lsn);

/* Would a line be written for a record of this type? */
bool audit_is_for(uint8_t type);

#endif
