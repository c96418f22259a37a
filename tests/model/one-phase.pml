/*
 * tests/model/one-phase.pml - one branch only: its database decides, and the log says so first.
 *
 * The idea: COMMIT in the branch's own session is the decision, and nobody can look it up by name
 * afterwards. So the coordinator forces DELEGATED before it asks, and the session writes a marker
 * row in the very transaction that it commits. From then on the marker alone says what happened,
 * and only when no backend is left that could still write it.
 *
 * Where the marker cannot be written (a role without the right, a transaction that is read-only)
 * the session prepares instead, and the agent says READY: then the coordinator decides, by a COMMIT
 * record behind DELEGATED, or hears first that there is no marker and aborts.
 *
 * Modelled: one branch worked through an agent; a coordinator and a database that may crash at any
 * step; COMMIT-ONE-PHASE and all answers heard never, once or often, at any time; an agent that
 * loses the connection while COMMIT is under way; the horizon that sweeps markers away; an xid that
 * was never flushed and is given to somebody else's transaction after the database's crash.
 *
 * Not modelled: how it is found that only one branch was enlisted; several branches (two-phase.pml).
 *
 * Variants
 *   LIVE   when the crashes stop, the client learns the outcome
 *   CAN_COMMIT, CAN_ABORT   claim that this outcome is never told after a coordinator's crash:
 *          must fail
 *
 * Mutants, and why each must fail
 *   M_NO_RECORD      no DELEGATED record: the next start finds nothing and presumes abort
 *   M_SEND_EARLY     the record is handed over but not forced when the order goes out: the same
 *   M_PRESUME        presumes abort although DELEGATED is there
 *   M_ABORT_ALONE    gives up (deadline, a client's wish) after DELEGATED
 *   M_LOOK_EARLY     looks for the marker while the old backend may still commit
 *   M_SWEEP          the horizon sweeps the marker of a DELEGATED that has no OUTCOME yet
 *   M_BY_XID         judges by the transaction's xid: it answers for somebody else
 *   M_EMPTY_SESSION  an order for a session that is gone opens a new one: the marker commits, the
 *                    work is lost
 *   M_READY_IS_DONE  a branch that was prepared instead counts as committed
 *   M_READY_UNLOGGED it is told to commit before the COMMIT record is on the disk
 *   M_ABSENT_LATE    that there is no marker still aborts behind the COMMIT record
 */
mtype = { working, committing, prepared, committed, lost }; /* committing: a backend has it */
/* The log; commit_pending, commit: the COMMIT record, behind DELEGATED. */
mtype = { none, pending, delegated, commit_pending, commit, outcome_committed, outcome_aborted };

mtype branch = working;
bool marker;             /* durable with the branch */
bool work = true;        /* the application's changes are in the transaction */
bool xid_of_other;       /* the xid was given out again, and that transaction committed */

mtype log = none;
bool alive = true, gave_up, restarted;

bool order, found, absent; /* in the air: COMMIT-ONE-PHASE, and the agent's two answers */
bool ready;                /* its third: prepared instead */
bool told_committed, told_aborted;

#ifdef LIVE
bool calm;
#define MAY_CRASH (!calm)
#else
#define MAY_CRASH true
#endif

#define CHECK                                                                                      \
    assert(!(told_committed && (told_aborted || branch == lost || !work)) &&                        \
           !(told_aborted && branch == committed))

#ifdef M_NO_RECORD
#define MAY_ORDER (alive && !gave_up && !restarted)
#elif defined(M_SEND_EARLY)
#define MAY_ORDER (alive && (log == pending || log == delegated))
#else
#define MAY_ORDER (alive && log == delegated)
#endif

active proctype Coordinator()
{
    do
    :: atomic { alive && log == none && !gave_up && !restarted -> log = pending } /* handed over */
    :: atomic { alive && log == pending -> log = delegated }                      /* on the disk */
    :: atomic { alive && log == none && !gave_up -> gave_up = true } /* a wish, or a new start */
    :: atomic { MAY_ORDER && !order -> order = true }
    :: atomic { alive && log == delegated && found -> log = outcome_committed }
    :: atomic { alive && log == delegated && absent -> log = outcome_aborted }
#ifdef M_READY_IS_DONE
    :: atomic { alive && log == delegated && ready -> log = outcome_committed }
#else
    :: atomic { alive && log == delegated && ready -> log = commit_pending }
#endif
    :: atomic { alive && log == commit_pending -> log = commit }
#ifdef M_ABSENT_LATE
    :: atomic { alive && log == commit && absent -> log = outcome_aborted }
#endif
    :: atomic { alive && log == commit && branch == committed -> log = outcome_committed } /* END */
    :: atomic { alive && log == commit && !told_committed -> told_committed = true; CHECK }
    :: atomic { alive && log == outcome_committed && !told_committed -> told_committed = true; CHECK }
    :: atomic { alive && log == outcome_aborted && !told_aborted -> told_aborted = true; CHECK }
    :: atomic { alive && gave_up && !told_aborted -> told_aborted = true; CHECK }
#ifdef M_PRESUME
    :: atomic { alive && restarted && log == delegated -> gave_up = true }
#endif
#ifdef M_ABORT_ALONE
    :: atomic { alive && log == delegated -> gave_up = true }
#endif
    :: atomic {
        MAY_CRASH && alive ->
        alive = false;
        if
        :: log == pending -> log = none
        :: log == pending -> log = delegated
        :: log == commit_pending -> log = delegated
        :: log == commit_pending -> log = commit
        :: else
        fi
       }
    :: atomic { !alive -> alive = true; restarted = true }
    od
}

/* The old session's backend is gone, whatever it did last. */
#ifdef M_LOOK_EARLY
#define BACKEND_GONE (branch != working)
#else
#define BACKEND_GONE (branch == committed || branch == lost || branch == prepared)
#endif

/* COMMIT PREPARED is for the coordinator to order; so is ROLLBACK PREPARED, of what it has aborted or
 * finds left over of what has ended. */
#ifdef M_READY_UNLOGGED
#define MAY_FINISH (log == commit_pending || log == commit)
#else
#define MAY_FINISH (log == commit)
#endif
#define MAY_UNDO (gave_up || log == outcome_aborted || log == outcome_committed)

/* When the horizon may take the marker. */
#ifdef M_SWEEP
#define SETTLED true
#else
#define SETTLED (log == outcome_committed || log == outcome_aborted)
#endif

active proctype Agent()
{
    do
    :: atomic { order && branch == working -> branch = committing }
    /* A session ends: refused, its deadline, the coordinator's ROLLBACK, a crash. */
    :: atomic { branch == working -> branch = lost; CHECK }
    :: atomic { branch == committing -> branch = committed; marker = true; CHECK }
    :: atomic { branch == committing -> branch = lost; CHECK } /* refused, or its backend ended */
    /* The marker cannot be written. An agent that has started anew since does not know. */
    :: atomic { branch == committing -> branch = prepared }
    :: atomic { branch == prepared && !ready -> ready = true }
    :: atomic { alive && MAY_FINISH && branch == prepared -> branch = committed; CHECK }
    :: atomic { alive && MAY_UNDO && branch == prepared -> branch = lost; CHECK }
    /* SETTLE, and an order that finds no session: nothing is done, the marker is looked for. */
#ifdef M_BY_XID
    :: atomic { branch == committed && !found -> found = true }
    :: atomic {
        branch == lost && !found && !absent ->
        if
        :: xid_of_other -> found = true
        :: else -> absent = true
        fi
       }
#else
    :: atomic { marker && !found -> found = true }
    :: atomic { BACKEND_GONE && !marker && !absent -> absent = true }
#endif
    :: atomic { marker && SETTLED -> marker = false }
#ifdef M_EMPTY_SESSION
    :: atomic { order && branch == lost && work -> work = false; branch = committing }
#endif
    /* The database has come back from a crash, and the xid is free again. */
    :: atomic { branch == lost && !xid_of_other -> xid_of_other = true }
    od
}

#ifdef LIVE
active proctype Settled()
{
    atomic { alive && restarted -> calm = true }
    timeout -> assert((told_committed || told_aborted) && branch != prepared)
}
#endif
#ifdef CAN_COMMIT
active proctype Witness()
{
    atomic { restarted && told_committed && !marker -> assert(false) }
}
#endif
#ifdef CAN_ABORT
active proctype Witness()
{
    atomic { restarted && told_aborted && log == outcome_aborted -> assert(false) }
}
#endif
