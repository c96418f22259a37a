/*
 * tests/model/three-phase.pml - 3pc: whoever is left finishes what a dead coordinator began.
 *
 * The idea: that all are ready is not announced but put to a vote. PRECOMMIT is a proposal at
 * ballot 0, and its outcome is decided when a majority of acceptors has it on disk. Whoever
 * doubts that the coordinator lives leads a higher ballot: a majority first promises to hear no
 * lower one, and says what it has accepted; the leader proposes the highest of that, and only if
 * there is nothing, what it likes: abort. Two majorities share an acceptor, so what was decided
 * is found by everybody who asks later. (Lamport, The part-time parliament, TOCS 16(2), 1998.)
 *
 * Modelled: three acceptors. Each is beside a database with a branch; in TWO there are only two
 * databases, and the coordinator's log is the third acceptor. The coordinator may die at any step,
 * with its record on the disk or not, and a new start presumes abort where there is no record;
 * agents lead ballots 1 to BALLOTS. A message that was said stays in the air for ever. A leader
 * that dies simply takes no next step.
 *
 * Not modelled: how an agent comes to doubt (any time will do), xids (two-phase.pml), who may
 * speak (registration.pml), read-only votes, an acceptor whose database lost durable data.
 *
 * Variants
 *   TWO       two databases and the coordinator's log
 *   BALLOTS   the highest ballot, 1 unless said otherwise
 *   WITHDRAW  the coordinator takes its PRECOMMIT back as long as nobody has heard of it: a database
 *             that voted has lost data since (quarantine.pml)
 *   HORIZON   rows go once every branch has ended; who has none below the horizon says ENDED
 *   LIVE      the coordinator dies for ever, and of three databases perhaps one; messages in the air
 *             are all lost, or all there. Then every branch that is left must end.
 *   LIVE MANY two of three acceptors may die: it must block, and that is the price
 *   CAN_COMMIT, CAN_ABORT   claim that no agent ever decides this alone: must fail
 *
 * Mutants, and why each must fail
 *   M_SEND_EARLY      PRECOMMIT goes out before its record is on the disk: the next start finds none
 *                     and presumes abort
 *   M_NO_RECORD       there is no such record, and its absence is presumed upon
 *   M_ABORT_ALONE     the coordinator gives up by itself after PRECOMMIT: a deadline, a wish
 *   M_ZERO_AGAIN      a new start of it uses ballot 0 again
 *   M_NO_PROMISE      an acceptor still takes the old PRECOMMIT after it has promised not to
 *   M_VOLATILE        an acceptor forgets its row in a crash
 *   M_NO_MAJORITY     a leader is content with one acceptor: 3pc of the textbook
 *   M_FREE_COMMIT     a leader that finds nothing accepted, but is prepared itself, commits
 *   M_ANY_VALUE       a leader takes any accepted value, not that of the highest ballot
 *   M_REUSE           a leader forgets that it has used this ballot
 *   M_FORGET          a row goes once all is applied, and an old PRECOMMIT makes a new one
 *   M_SWEEP_LIVE      the horizon passes what has not ended, and ENDED is taken for an abort
 *   M_LOG_FORGETS     in TWO: the coordinator's log forgets what it has promised and accepted
 *   M_WITHDRAW_EARLY  (TWO) it says so before that is on the disk: its next start finds PRECOMMIT
 *   M_WITHDRAW_HEARD  it withdraws what somebody may have accepted
 *   M_NO_TERMINATION  nobody leads: two-phase commit, which blocks
 */
#ifndef BALLOTS
#define BALLOTS 1
#endif
#define ROUNDS (BALLOTS + 1)
#define LOG 2 /* in TWO: the acceptor that is the coordinator's log */

#ifdef TWO
#define DATABASES 2
#define IS_LOG(a) ((a) == LOG)
#else
#define DATABASES 3
#define IS_LOG(a) false
#endif

mtype = { working, prepared, committed, rolled_back };  /* a branch */
mtype = { voting, logging, precommitted, withdrawing, gave_up, dead }; /* the coordinator */

mtype branch[3] = working;
byte promised[3]; /* rows: the highest ballot promised or accepted */
byte accepted[3]; /* 0 nothing, else 1 + 2 * ballot + (1: commit): the larger has the higher ballot */
bool gone[3];     /* the row is forgotten */

mtype tm = voting;
bool record; /* PRECOMMIT is on its disk */
bool withdrawn; /* and so is its end */
bool heard;     /* somebody may know that the coordinator is for it */

/* In the air. */
bool ready[3];
bool asked[ROUNDS];          /* a leader asks for promises */
byte promise[ROUNDS * 3];    /* 0 none, else 1 + what is accepted */
byte proposal[ROUNDS];       /* 0 none, 1 abort, 2 commit */
bool ack[ROUNDS * 3];
bool say_commit, say_abort;
bool told_committed, told_aborted;

#ifdef LIVE
bool calm, lost[3];
#define ALIVE(a) (!lost[a])
#define STORM    (!calm)
#else
#define ALIVE(a) true
#define STORM    true
#endif

#define SOME(what) (branch[0] == what || branch[1] == what || branch[2] == what)
#define CHECK                                                                                      \
    assert(!(SOME(committed) && SOME(rolled_back)) && !(told_committed && told_aborted) &&         \
           !(told_committed && SOME(rolled_back)) && !(told_aborted && SOME(committed)))

#define OVER(i) (branch[i] == committed || branch[i] == rolled_back)
#ifdef TWO
#define ALL_READY (ready[0] && ready[1])
#define ALL_OVER  (OVER(0) && OVER(1))
#else
#define ALL_READY (ready[0] && ready[1] && ready[2])
#define ALL_OVER  (OVER(0) && OVER(1) && OVER(2))
#endif

#define BOTH(b, x, y) (ack[(b) * 3 + (x)] && ack[(b) * 3 + (y)])
#define DECIDED(b)    (BOTH(b, 0, 1) || BOTH(b, 0, 2) || BOTH(b, 1, 2))

/* Somebody without a row, below the horizon, says that it is over. */
#ifdef HORIZON
#define ENDED (gone[0] || gone[1] || gone[2])
#else
#define ENDED false
#endif

proctype Branch(byte i)
{
    do
    :: atomic { STORM && ALIVE(i) && branch[i] == working && promised[i] == 0 && !gone[i] ->
                branch[i] = prepared }
    :: atomic { ALIVE(i) && branch[i] == working -> branch[i] = rolled_back; CHECK }
    :: atomic { ALIVE(i) && branch[i] == prepared && !ready[i] -> ready[i] = true }
    :: atomic { ALIVE(i) && say_commit && branch[i] != committed ->
                assert(branch[i] == prepared); branch[i] = committed; CHECK }
    :: atomic { ALIVE(i) && (say_abort || ENDED) && !OVER(i) -> branch[i] = rolled_back; CHECK }
    od
}

/* The coordinator's record is its own acceptance at ballot 0, if it is an acceptor. */
#ifdef TWO
#define RECORD record = true; accepted[LOG] = 2; ack[LOG] = true
#else
#define RECORD record = true
#endif
#ifdef M_SEND_EARLY
#define MAY_PRECOMMIT (tm == logging || tm == precommitted)
#else
#define MAY_PRECOMMIT (tm == precommitted)
#endif

/* Without WITHDRAW nobody asks, and the states are half as many. */
#ifdef WITHDRAW
#define HEARD heard = true
#else
#define HEARD skip
#endif
#ifdef M_WITHDRAW_HEARD
#define MAY_WITHDRAW true
#else
#define MAY_WITHDRAW !heard
#endif
#ifdef M_WITHDRAW_EARLY
#define SAY_EARLY say_abort = true
#else
#define SAY_EARLY skip
#endif

proctype Coordinator()
{
    do
#ifdef M_NO_RECORD
    :: atomic { STORM && tm == voting && ALL_READY -> tm = precommitted }
#else
    :: atomic { STORM && tm == voting && ALL_READY -> tm = logging }
    :: atomic { STORM && tm == logging -> tm = precommitted; RECORD }
#endif
    :: atomic { STORM && MAY_PRECOMMIT && proposal[0] == 0 -> proposal[0] = 2; HEARD }
#ifdef WITHDRAW
    :: atomic { STORM && tm == precommitted && MAY_WITHDRAW -> tm = withdrawing; SAY_EARLY }
    :: atomic { STORM && tm == withdrawing -> withdrawn = true; tm = gave_up; say_abort = true }
#endif
    /* A no, a deadline, a wish; and an agent's ballot, before all are ready. */
    :: atomic { STORM && tm == voting -> tm = gave_up; say_abort = true }
    :: atomic { STORM && tm == gave_up && !told_aborted -> told_aborted = true; CHECK }
    :: atomic { STORM && tm == precommitted && DECIDED(0) && proposal[0] == 2 && !told_committed ->
                told_committed = true; say_commit = true; CHECK }
#ifdef M_ABORT_ALONE
    :: atomic { STORM && tm == precommitted && !told_aborted ->
                tm = gave_up; say_abort = true; told_aborted = true; CHECK }
#endif
    :: atomic { STORM && tm != dead ->
                if
                :: tm == logging -> RECORD
                :: tm == withdrawing -> withdrawn = true
                :: true
                fi;
                tm = dead }
    /* A new start: it leads a ballot like anybody else, or finds no record. */
    :: atomic { STORM && tm == dead && (!record || withdrawn) && !told_aborted ->
                say_abort = true; told_aborted = true; CHECK }
#ifdef M_ZERO_AGAIN
    :: atomic { tm == dead && record && proposal[0] == 2 -> proposal[0] = 1 }
#endif
    od
}

/* Acceptor a hears ballot b. The coordinator's log takes part only once PRECOMMIT is in it, which
 * is its acceptance at ballot 0; without it the coordinator says abort by itself, above. */
#define ROW(a) (!gone[a] && (!IS_LOG(a) || (record && !withdrawn && tm != withdrawing)))
#define SPEAKS(a) if :: IS_LOG(a) -> HEARD :: else fi
#ifdef M_NO_PROMISE
#define NOT_ABOVE(a, b) (promised[a] <= (b) || (b) == 0)
#else
#define NOT_ABOVE(a, b) (promised[a] <= (b))
#endif
#ifdef M_SWEEP_LIVE
#define MAY_FORGET (DECIDED(0) || DECIDED(1))
#else
#define MAY_FORGET ALL_OVER
#endif

proctype Acceptor(byte a; byte b)
{
    do
    :: atomic { b > 0 && ALIVE(a) && ROW(a) && asked[b] && promised[a] < b ->
                promised[a] = b; promise[b * 3 + a] = 1 + accepted[a]; SPEAKS(a) }
    :: atomic { ALIVE(a) && ROW(a) && proposal[b] != 0 && NOT_ABOVE(a, b) && !ack[b * 3 + a] ->
                promised[a] = b; accepted[a] = 2 * b + proposal[b]; ack[b * 3 + a] = true;
                SPEAKS(a) }
#ifdef M_VOLATILE
    :: atomic { b == 0 && (promised[a] != 0 || accepted[a] != 0) -> promised[a] = 0; accepted[a] = 0 }
#endif
#ifdef M_LOG_FORGETS
    :: atomic { b == 0 && IS_LOG(a) && tm == dead && (promised[a] != 0 || accepted[a] != 0) ->
                promised[a] = 0; accepted[a] = 0 }
#endif
#if defined(HORIZON) || defined(M_FORGET)
    :: atomic { b == 0 && !gone[a] && promised[a] != 0 && MAY_FORGET ->
                gone[a] = true; promised[a] = 0; accepted[a] = 0 }
#endif
#ifdef M_FORGET
    :: atomic { b == 0 && gone[a] && proposal[0] != 0 && !ack[a] ->
                gone[a] = false; accepted[a] = proposal[0]; ack[a] = true }
#endif
    od
}

/* Anybody who has heard enough, and a client that asks there. */
proctype Learner(byte b)
{
    do
    :: atomic { DECIDED(b) && proposal[b] == 2 && !say_commit -> say_commit = true; CHECK }
    :: atomic { DECIDED(b) && proposal[b] == 1 && !say_abort -> say_abort = true; CHECK }
    :: atomic { STORM && DECIDED(b) && proposal[b] == 2 && !told_committed ->
                told_committed = true; CHECK }
    :: atomic { STORM && DECIDED(b) && proposal[b] == 1 && !told_aborted ->
                told_aborted = true; CHECK }
    od
}

#ifdef M_FREE_COMMIT
#define FREE (branch[0] == prepared -> 2 : 1)
#else
#define FREE 1
#endif
/* Two promises, each 1 + what is accepted there. */
#ifdef M_ANY_VALUE
#define BEST(p, q) (((p) < (q) && (p) > 1) || (q) == 1 -> (p) : (q))
#else
#define BEST(p, q) ((p) > (q) -> (p) : (q))
#endif
#define CHOICE(p, q) ((p) == 1 && (q) == 1 -> FREE : 1 + (BEST(p, q) & 1))

#ifdef M_NO_TERMINATION
#define MAY_LEAD(b) false
#elif defined(LIVE)
#define MAY_LEAD(b) ((calm && b == BALLOTS) || (!calm && b < BALLOTS))
#else
#define MAY_LEAD(b) true
#endif
#ifdef LIVE
#define WAITS(i) (!lost[i] && branch[i] == prepared)
#define SOMEBODY_WAITS (WAITS(0) || WAITS(1) || (DATABASES == 3 && WAITS(2)))
#else
#define SOMEBODY_WAITS true
#endif
#define FROM(b, a) promise[(b) * 3 + (a)]

proctype Leader(byte b)
{
    do
    :: atomic { MAY_LEAD(b) && SOMEBODY_WAITS && !asked[b] -> asked[b] = true }
    :: atomic { MAY_LEAD(b) && proposal[b] == 0 && FROM(b, 0) != 0 && FROM(b, 1) != 0 ->
                proposal[b] = CHOICE(FROM(b, 0), FROM(b, 1)) }
    :: atomic { MAY_LEAD(b) && proposal[b] == 0 && FROM(b, 0) != 0 && FROM(b, 2) != 0 ->
                proposal[b] = CHOICE(FROM(b, 0), FROM(b, 2)) }
    :: atomic { MAY_LEAD(b) && proposal[b] == 0 && FROM(b, 1) != 0 && FROM(b, 2) != 0 ->
                proposal[b] = CHOICE(FROM(b, 1), FROM(b, 2)) }
#ifdef M_NO_MAJORITY
    :: atomic { proposal[b] == 0 && FROM(b, 0) != 0 ->
                proposal[b] = CHOICE(FROM(b, 0), FROM(b, 0));
                if
                :: proposal[b] == 1 -> say_abort = true
                :: else -> say_commit = true
                fi }
#endif
#ifdef M_REUSE
    :: atomic { proposal[b] != 0 -> proposal[b] = 0 }
#endif
    od
}

#ifdef LIVE
proctype Fate()
{
    byte i;
    atomic {
        if
        :: true
        :: DATABASES == 3 -> lost[0] = true
        :: DATABASES == 3 -> lost[1] = true
        :: DATABASES == 3 -> lost[2] = true
#ifdef MANY
        :: DATABASES == 3 -> lost[0] = true; lost[1] = true
        :: DATABASES == 2 -> lost[0] = true
#endif
        fi;
        if
        :: IS_LOG(LOG) -> lost[LOG] = true
        :: else
        fi;
        calm = true;
        tm = dead;
        if
        :: true
        :: say_commit = false; say_abort = false;
           i = 0; do :: i < ROUNDS -> asked[i] = false; proposal[i] = 0; i++ :: else -> break od;
           i = 0; do :: i < ROUNDS * 3 -> promise[i] = 0; ack[i] = false; i++ :: else -> break od
        fi;
        i = 0
    }
    timeout -> assert((lost[0] || OVER(0)) && (lost[1] || OVER(1)) &&
                      (DATABASES == 2 || lost[2] || OVER(2)))
}
#endif

#if defined(CAN_COMMIT) || defined(CAN_ABORT)
#ifdef CAN_COMMIT
#define END_REACHED (branch[0] == committed && branch[1] == committed)
#else
#define END_REACHED (branch[0] == rolled_back && branch[1] == rolled_back)
#endif
active proctype Witness()
{
    atomic { tm == dead && !told_committed && !told_aborted && ready[0] && ready[1] &&
             DECIDED(1) && END_REACHED -> assert(false) }
}
#endif

init {
    byte a, b;
    atomic {
        a = 0; do :: a < DATABASES -> run Branch(a); a++ :: else -> break od;
        a = 0;
        do
        :: a < 3 -> b = 0; do :: b < ROUNDS -> run Acceptor(a, b); b++ :: else -> break od; a++
        :: else -> break
        od;
        b = 0; do :: b < ROUNDS -> run Learner(b); b++ :: else -> break od;
        b = 1; do :: b < ROUNDS -> run Leader(b); b++ :: else -> break od;
        run Coordinator();
#ifdef LIVE
        run Fate();
#endif
        a = 0; b = 0
    }
}
