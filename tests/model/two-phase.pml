/*
 * tests/model/two-phase.pml - two-phase commit with presumed abort over two PostgreSQL databases.
 *
 * The idea: a transaction commits at one moment, when its COMMIT record is on the coordinator's
 * disk. Before that nothing may act on a commit; after it nothing may act on an abort.
 *
 * Modelled: starts (incarnations) of the coordinator one after the other, each of which may crash
 * at any step; a record that is handed to the log and may or may not reach the disk; databases
 * whose PREPARE lands late, after everybody has given up; agents that die with a command still
 * running in a backend. A message, once said, is in the air for ever: it is heard never, once or
 * often, at once or years later, in any order. So loss, repetition and the voices of dead starts
 * need no code. What follows from a stable fact is not stored but read off it: PREPARE may be
 * heard from the moment a transaction has begun, DONE from the moment its branch has committed; a
 * NO only lets the coordinator give up, which it may do at any time anyway.
 *
 * Not modelled: an old log brought back (registration.pml), a database that loses what it had
 * flushed (quarantine.pml), work through an agent's session (half-work.pml), read-only votes,
 * a DBA who ends branches by hand.
 *
 * Sizes: STARTS starts; the first TXNS of them begin one transaction each.
 *
 * Variants
 *   LIVE    the last start stays up and nothing crashes any more: in the end every branch is
 *           resolved and the log is empty
 *   AGAIN   the application runs its block again under a gid that is finished
 *   CAN_COMMIT, CAN_ABORT   claim that this outcome is never reached: must fail, or the model says
 *           nothing
 *
 * Mutants, and why each must fail
 *   M_SEND_EARLY    COMMIT goes out while its record is only handed over: the crash loses the
 *                   record, and the next start presumes abort
 *   M_TELL_EARLY    the same, to the client
 *   M_ABORT_HANDED  gives up (deadline, failed sync) after the record was handed over: it may be
 *                   on the disk all the same, and the next start commits
 *   M_NO_WAIT       a prepared branch that the scan finds is presumed aborted while its
 *                   transaction is still being decided
 *   M_END_EARLY     END at the first DONE: the other branch is then told abort
 *   M_FORGET        a client that asks about a forgotten transaction hears `rolled-back`
 *   M_STALE_VOTE    a vote for an earlier start's transaction counts for this one's, as it would if
 *                   the incarnation were not forced before the first gtrid is handed out
 *   M_UNILATERAL    an agent that has voted NO rolls back what then turns up prepared. Its command
 *                   may still run after the agent has started again, seen the gid and voted READY
 *   M_UNILATERAL with FENCE  passes: the new agent first ends its predecessor's backends
 *   M_BY_NAME (AGAIN)     finishes the gid whatever its xid: the block run again, never voted for,
 *                         is committed in one database
 *   M_LOOK_EARLY (AGAIN)  sends COMMIT PREPARED again while an old backend may still run it: the
 *                         second finds the name in use by another transaction
 *   M_NO_SCAN (LIVE)      ROLLBACK is said once and not again when the scan finds a branch: a
 *                         PREPARE that lands later stays for ever
 *   M_NO_RECOVERY (LIVE)  a start does not drive what older starts decided
 */
#ifndef STARTS
#define STARTS 2
#endif
#ifndef TXNS
#define TXNS 1
#endif

mtype = { working, landing, prepared, committed, aborted }; /* a branch; landing: a backend has it */
mtype = { voting, handed, decided, giving_up, idle };       /* the running start's own transaction */
mtype = { nothing, commit_record, ended, forgotten };       /* what the log holds of a transaction */

/* Durable: in the databases and in the coordinator's log. Branch b is database b % 2. */
mtype branch[2 * TXNS] = working;
mtype record[TXNS] = nothing;
byte start;

/* Volatile: lost with the coordinator. */
bool alive = true;
mtype phase = voting;

/* In the air. */
bool ready[2 * TXNS];
bool say_commit[TXNS], say_rollback[TXNS];
bool told_committed[TXNS], told_aborted[TXNS];

#ifdef LIVE
bool calm;
#define MAY_CRASH (!calm)
#else
#define MAY_CRASH true
#endif

#define IN_EITHER(t, state) (branch[2 * (t)] == (state) || branch[2 * (t) + 1] == (state))
#define IN_BOTH(t, state)   (branch[2 * (t)] == (state) && branch[2 * (t) + 1] == (state))

#define CHECK(t)                                                                                   \
    assert(!((IN_EITHER(t, committed) || told_committed[t]) &&                                      \
             (IN_EITHER(t, aborted) || told_aborted[t])))

#ifdef M_STALE_VOTE
#define VOTED(b) (ready[b] || ready[(b) % 2])
#else
#define VOTED(b) ready[b]
#endif
#define BOTH_VOTED(t) (VOTED(2 * (t)) && VOTED(2 * (t) + 1))

#ifdef M_END_EARLY
#define ALL_DONE(t) IN_EITHER(t, committed)
#else
#define ALL_DONE(t) IN_BOTH(t, committed)
#endif

#ifdef M_NO_RECOVERY
#define DRIVES(t) (alive && (t) == start)
#else
#define DRIVES(t) alive
#endif

/* An older start's transaction without a record, or one that this start gave up itself. */
#define KNOWN_ABORTED(t)                                                                            \
    (DRIVES(t) && (((t) < start && record[t] == nothing) || ((t) == start && phase == giving_up)))

/* The starts, one after the other: the log's lock lets only one run. */
active proctype Coordinator()
{
    do
    :: atomic { alive && phase == voting && BOTH_VOTED(start) -> phase = handed }
    :: atomic { alive && phase == voting -> phase = giving_up } /* a NO, the deadline, a wish */
    :: atomic { alive && phase == handed -> record[start] = commit_record; phase = decided }
#ifdef M_ABORT_HANDED
    :: atomic {
        alive && phase == handed ->
        if
        :: record[start] = commit_record
        :: skip
        fi;
        phase = giving_up
       }
#endif
    :: atomic {
        MAY_CRASH && alive ->
        if
        :: phase == handed -> record[start] = commit_record /* the write got through */
        :: true
        fi;
        alive = false;
        phase = idle
       }
    :: atomic {
        !alive && start + 1 < STARTS ->
        start++;
        alive = true;
        phase = (start < TXNS -> voting : idle)
       }
    od
}

/* What whichever start is running does about transaction t: the same for its own and for those
 * that it recovered. */
proctype Drive(byte t)
{
    do
    :: atomic { DRIVES(t) && record[t] == commit_record && !say_commit[t] -> say_commit[t] = true }
    :: atomic {
        alive && (record[t] == commit_record || record[t] == ended) && !told_committed[t] ->
        told_committed[t] = true;
        CHECK(t)
       }
    :: atomic { DRIVES(t) && record[t] == commit_record && ALL_DONE(t) -> record[t] = ended }
    :: atomic { alive && record[t] == ended -> record[t] = forgotten }
    :: atomic { KNOWN_ABORTED(t) && !say_rollback[t] -> say_rollback[t] = true }
    :: atomic {
        KNOWN_ABORTED(t) && !told_aborted[t] ->
        told_aborted[t] = true;
        CHECK(t)
       }
    /* What the scan still finds of an ended transaction was never voted for: END needs every DONE. */
    :: atomic {
        alive && (record[t] == ended || record[t] == forgotten) && !say_rollback[t] ->
        say_rollback[t] = true
       }
#ifdef M_SEND_EARLY
    :: atomic { alive && t == start && phase == handed && !say_commit[t] -> say_commit[t] = true }
#endif
#ifdef M_TELL_EARLY
    :: atomic {
        alive && t == start && phase == handed && !told_committed[t] ->
        told_committed[t] = true;
        CHECK(t)
       }
#endif
#ifdef M_NO_WAIT
    :: atomic {
        alive && t == start && phase == voting && IN_EITHER(t, prepared) && !say_rollback[t] ->
        say_rollback[t] = true
       }
#endif
#ifdef M_FORGET
    :: atomic {
        alive && record[t] == forgotten && !told_aborted[t] ->
        told_aborted[t] = true;
        CHECK(t)
       }
#endif
    od
}

#ifdef M_NO_SCAN
bool heard_rollback[2 * TXNS];
#define HEARS_ROLLBACK(b) (say_rollback[(b) / 2] && !heard_rollback[b])
#define HEARD_ROLLBACK(b) heard_rollback[b] = true
#else
#define HEARS_ROLLBACK(b) (say_rollback[(b) / 2] && (branch[b] == working || branch[b] == prepared))
#define HEARD_ROLLBACK(b) skip
#endif

#ifdef M_UNILATERAL
bool voted_no[2 * TXNS]; /* remembered by this agent, lost at its restart */
bool undoing[2 * TXNS];  /* its own ROLLBACK PREPARED is with a backend */
#define MAY_VOTE(b) (!voted_no[b])
#else
#define MAY_VOTE(b) true
#endif

/* One branch: its database and the agent beside it. */
proctype Branch(byte b)
{
    byte t = b / 2;
    do
    :: atomic { t <= start && branch[b] == working -> branch[b] = landing } /* PREPARE is heard */
    :: atomic { branch[b] == working -> branch[b] = aborted; CHECK(t) }     /* refused, or lost */
    :: atomic { branch[b] == landing -> branch[b] = prepared }
    :: atomic { branch[b] == landing -> branch[b] = aborted; CHECK(t) }
    :: atomic { branch[b] == prepared && !ready[b] && MAY_VOTE(b) -> ready[b] = true }
    :: atomic {
        HEARS_ROLLBACK(b) ->
        HEARD_ROLLBACK(b);
        if
        :: branch[b] == working || branch[b] == prepared -> branch[b] = aborted; CHECK(t)
        :: else
        fi
       }
#ifndef AGAIN
    /* A COMMIT that finds its branch aborted is damage, whatever becomes of the other branch. */
    :: atomic {
        say_commit[t] && branch[b] != committed ->
        assert(branch[b] == prepared);
        branch[b] = committed;
        CHECK(t)
       }
#endif
#ifdef M_UNILATERAL
    :: atomic { (branch[b] == landing || branch[b] == aborted) && !voted_no[b] -> voted_no[b] = true }
    :: atomic { voted_no[b] && branch[b] == prepared && !undoing[b] -> undoing[b] = true }
    :: atomic { undoing[b] && branch[b] == prepared -> branch[b] = aborted; CHECK(t) }
    :: atomic {
        voted_no[b] -> /* the agent starts again */
        voted_no[b] = false
#ifdef FENCE
        ; undoing[b] = false
#endif
       }
#endif
    od
}

#ifdef AGAIN
/* The same gid, prepared again by an application that runs its block a second time. PostgreSQL
 * finishes by name, so the agent looks at the xid first, and has one command under way at most. */
mtype again[2 * TXNS] = working;
byte finishing[2 * TXNS]; /* backends with COMMIT PREPARED 'gid' in hand */

#ifdef M_BY_NAME
#define MAY_FINISH(b) (branch[b] == prepared || again[b] == prepared)
#else
#define MAY_FINISH(b) (branch[b] == prepared)
#endif
#ifdef M_LOOK_EARLY
#define HANDS_MOST 2
#else
#define HANDS_MOST 1
#endif

proctype Again(byte b)
{
    byte t = b / 2;
    do
    :: atomic {
        (branch[b] == committed || branch[b] == aborted) && again[b] == working ->
        again[b] = prepared
       }
    :: atomic {
        say_commit[t] && finishing[b] < HANDS_MOST && MAY_FINISH(b) -> finishing[b]++
       }
    :: atomic { MAY_CRASH && finishing[b] > 0 -> finishing[b]-- } /* lost, its backend ended */
    :: atomic {
        finishing[b] > 0 ->
        finishing[b]--;
        if
        :: branch[b] == prepared -> branch[b] = committed; CHECK(t)
        :: else ->
            assert(branch[b] == committed); /* else: damage */
            assert(again[b] != prepared)    /* else: one database is changed twice */
        fi
       }
    /* The agent looks before it undoes: a gid with another xid than the decision's. */
    :: atomic {
        again[b] == prepared && finishing[b] == 0 && (say_commit[t] || say_rollback[t]) ->
        again[b] = aborted
       }
    od
}
#endif

#ifdef LIVE
active proctype Settled()
{
    byte i;
    atomic { alive && start == STARTS - 1 -> calm = true }
    timeout -> /* nobody has anything left to do */
    for (i : 0 .. 2 * TXNS - 1) {
        assert(branch[i] == committed || branch[i] == aborted);
#ifdef AGAIN
        assert(again[i] == aborted)
#endif
    }
    for (i : 0 .. TXNS - 1) {
        assert(record[i] == nothing || record[i] == forgotten)
    }
}
#endif

#ifdef CAN_COMMIT
active proctype Witness()
{
    atomic { IN_BOTH(0, committed) && told_committed[0] && record[0] == forgotten -> assert(false) }
}
#endif
#ifdef CAN_ABORT
active proctype Witness()
{
    atomic { start > 0 && ready[0] && ready[1] && IN_BOTH(0, aborted) -> assert(false) }
}
#endif

init
{
    byte i;
    atomic {
        for (i : 0 .. TXNS - 1) {
            run Drive(i)
        }
        for (i : 0 .. 2 * TXNS - 1) {
            run Branch(i);
#ifdef AGAIN
            run Again(i)
#endif
        }
    }
}
