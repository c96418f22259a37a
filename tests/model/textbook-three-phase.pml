/*
 * tests/model/textbook-three-phase.pml - why 3pc is not the three-phase commit of the textbooks.
 *
 * The textbook adds a round: once all have voted yes everybody is told PRECOMMIT, and only when all
 * have acknowledged it, COMMIT. So no one is still uncertain while another has committed, and those
 * who are left can finish without the coordinator. (Skeen, Nonblocking commit protocols, SIGMOD
 * 1981.) True, as long as silence means death: with a network that may part, or a process that is
 * only slow, the two sides finish differently.
 *
 * Modelled: a coordinator that may die, three participants, messages that are lost or late.
 *
 * Variants
 *   as it is            everybody decides by his own timeout: uncertain, abort; precommitted, commit
 *   TERMINATION         instead, when the coordinator is silent those who can hear each other ask
 *                       each other: one is precommitted, all commit; none is, all abort. The network
 *                       may have parted into two sides.
 *   TERMINATION WHOLE   the network is never parted: what the textbook assumes; this one holds
 */

mtype = { working, uncertain, precommitted, committed, aborted };    /* a participant */
mtype = { idle, voting, counting, said_commit, said_abort, dead };   /* the coordinator */

mtype at[3] = working;
mtype tm = idle;

bool prepare, precommit, commit, abort; /* in the air, for everybody */
bool yes[3], ack[3];
bool side[3]; /* of the parted network */

#define SOME(what) (at[0] == what || at[1] == what || at[2] == what)
#define CHECK                                                                                      \
    assert(!((SOME(committed) || tm == said_commit) && (SOME(aborted) || tm == said_abort)))

proctype Participant(byte i)
{
    do
    :: atomic { prepare && at[i] == working -> at[i] = uncertain; yes[i] = true }
    :: atomic { at[i] == working -> at[i] = aborted; CHECK }
    :: atomic { precommit && at[i] == uncertain -> at[i] = precommitted; ack[i] = true }
    :: atomic { commit && at[i] == precommitted -> at[i] = committed; CHECK }
    :: atomic { abort && at[i] == uncertain -> at[i] = aborted; CHECK }
#ifndef TERMINATION
    :: atomic { at[i] == uncertain -> at[i] = aborted; CHECK }      /* its patience is over */
    :: atomic { at[i] == precommitted -> at[i] = committed; CHECK } /* its patience is over */
#endif
    od
}

proctype Coordinator()
{
    do
    :: atomic { tm == idle -> tm = voting; prepare = true }
    :: atomic { tm == voting && yes[0] && yes[1] && yes[2] -> tm = counting; precommit = true }
    :: atomic { tm == voting -> tm = said_abort; abort = true; CHECK }
    :: atomic { tm == counting && ack[0] && ack[1] && ack[2] ->
                tm = said_commit; commit = true; CHECK }
#ifndef TERMINATION
    :: atomic { tm == counting -> tm = said_commit; commit = true; CHECK } /* patience */
#endif
    :: atomic { tm == idle || tm == voting || tm == counting -> tm = dead }
    od
}

#ifdef TERMINATION
#define HERE(i)    (side[i] == mine)
#define READY(i)   (HERE(i) && (at[i] == precommitted || at[i] == committed))
#define FINISH(i, how)                                                                             \
    if                                                                                             \
    :: HERE(i) && at[i] != committed && at[i] != aborted -> at[i] = how                            \
    :: else                                                                                        \
    fi

/* One of those who hear each other asks the others, and finishes for all of them. */
proctype Side(bool mine)
{
    atomic {
        tm == dead ->
        if
        :: READY(0) || READY(1) || READY(2) ->
           FINISH(0, committed); FINISH(1, committed); FINISH(2, committed)
        :: else -> FINISH(0, aborted); FINISH(1, aborted); FINISH(2, aborted)
        fi;
        CHECK
    }
}
#endif

init {
    atomic {
        run Coordinator(); run Participant(0); run Participant(1); run Participant(2);
#ifdef TERMINATION
#ifndef WHOLE
        if :: side[0] = true :: true fi;
        if :: side[1] = true :: true fi;
        if :: side[2] = true :: true fi;
#endif
        run Side(false); run Side(true)
#endif
    }
}
