/*
 * log/keeper.h - the thread that does the log's slow work, so that the writer never waits for
 * 16 MiB of zeros or for a snapshot: it keeps the next segment ready, writes checkpoints, and
 * uses again the segments that they have made superfluous.
 */
#ifndef ASSENT_LOG_KEEPER_H
#define ASSENT_LOG_KEEPER_H

#include "log/checkpoint.h"

struct keeper;

/* next: the header of the first segment to be made; dir must outlive the keeper. */
int keeper_start(struct keeper **out, const struct log_dir *dir, const struct file_header *next,
                 struct error *error);
/* The next segment under its final name, durably, and its descriptor, which is the caller's.
 * Waits until it is made; ends the process if it cannot be. */
int keeper_next_segment(struct keeper *keeper);
/* Write this checkpoint, soon; takes the snapshot over. Its place in the log is durable. */
void keeper_checkpoint(struct keeper *keeper, struct snapshot *snapshot);
/* Is a checkpoint waiting or being written? */
bool keeper_checkpointing(struct keeper *keeper);
/* The number of the newest snapshot whose archives are durable, and referred to. */
uint64_t keeper_archived(struct keeper *keeper);
/* How much room the disk had a few seconds ago, in bytes; zeros: not looked at yet. Never waits. */
struct keeper_disk {
    uint64_t free;
    uint64_t files; /* for which it has room; UINT64_MAX: it does not say */
    uint64_t least; /* less than this is too little: two segments and a checkpoint, or 5 % of it */
};
void keeper_look(struct keeper *keeper, struct keeper_disk *out);
/* Finish what is under way and free. keeper may be NULL. */
void keeper_stop(struct keeper *keeper);

#endif
