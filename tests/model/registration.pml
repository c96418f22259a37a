/*
 * tests/model/registration.pml - who may speak: an old log brought back must not undo a commit.
 *
 * The idea: a log that the disk has turned back cannot know what it has lost, but the databases
 * can. Each agent keeps the start that it has accepted and the highest log position that it was
 * ever told; a start that cannot reach that position is refused. And a start that has not heard
 * from every agent presumes nothing, since the one that knows better may be the silent one.
 *
 * Modelled: one transaction T, prepared in both databases, which start 0 may commit; a backup of
 * the log taken at any moment; then further starts, each from the log as the last one left it or
 * from the backup, the old daemon dead or (TWIN) still running on its own copy; other work that
 * writes records and moves the positions. Messages hang in the air for ever, as in two-phase.pml.
 *
 * The position offered to an agent is the end of the log as recovered at the first start since the
 * last one that this agent has accepted (the log holds an AGENT record for each acceptance). Not
 * the current end, and not simply the end recovered at this start: a start that was refused, or
 * that an agent never heard of, has written records of its own, and they would fill the gap that
 * the backup tore.
 *
 * What is proved is that the databases agree. A decision that no agent had been sent before the
 * old log came back is forgotten by everybody: nothing but the log could have told of it.
 * Not modelled: torn tails (position.pml), waived and retired agents, presume_abort = same-host.
 *
 * Variants
 *   TWIN     a copied log is started while the original runs
 *   HONEST   no backup and no copy: then no start is ever refused
 *   CAN_COMMIT, CAN_ABORT, CAN_FENCE   claim that this is never reached: must fail
 *
 * Mutants, and why each must fail
 *   M_ANY_AGENT      presumes abort at an agent as soon as that one has accepted the start: the
 *                    other may have committed
 *   M_CURRENT_END    offers the current end of the log: its own START record fills the gap
 *   M_THIS_START     offers the end recovered at this start: the records of the start before it,
 *                    which was refused, fill the gap
 *   M_NO_POSITION    compares incarnations only: the backup's next start has a higher one
 *   M_NO_INSTANCE    two starts of one incarnation, from the log and from its copy, count as one
 *   M_ANY_SENDER (TWIN)   an agent obeys starts older than the one it has accepted: they decide
 *                    against each other
 *   M_JUDGE_AGAIN (HONEST)  judges the position also when the accepted start reconnects: what it
 *                    has told the agent since is beyond what it recovered, and it is fenced
 */
#ifndef STARTS
#define STARTS 3
#endif
#ifndef END_MOST
#define END_MOST 7 /* log positions */
#endif
#define NOBODY STARTS /* also the place of the backup in the arrays below */
#define BACKUP STARTS

mtype = { prepared, committed, aborted };

/* A start and its copy of the log. Index BACKUP is the backup; `end` 0: none was taken. */
byte end[STARTS + 1];
byte commit_at[STARTS + 1];          /* T's COMMIT record in it, 0 none */
byte incarnation[STARTS + 1];
byte offer[2 * (STARTS + 1)];        /* to agent a: [2 * start + a] */
bool welcome[2 * (STARTS + 1)];      /* an AGENT record for a follows the last START */

byte newest = 0;                     /* starts begun so far, counted from 0 */
bool alive[STARTS], fenced[STARTS], gave_up;

/* In the air. */
bool say_commit[STARTS], say_rollback[STARTS];

/* What agent a keeps in its database. */
mtype branch[2] = prepared;
byte accepted[2];                    /* the start that it has accepted: incarnation and instance */
byte seen[2];

bool turned_back;                    /* the backup has been used */

#define CHECK                                                                                      \
    assert(!((branch[0] == committed && branch[1] == aborted) ||                                    \
             (branch[0] == aborted && branch[1] == committed)))

#ifdef M_CURRENT_END
#define OFFER(s, a) end[s]
#else
#define OFFER(s, a) offer[2 * (s) + (a)]
#endif

#ifdef M_NO_INSTANCE
#define SAME_START(s, a) (incarnation[accepted[a]] == incarnation[s])
#else
#define SAME_START(s, a) (accepted[a] == (s))
#endif

#ifdef M_NO_POSITION
#define BEHIND(s, a) false
#else
#define BEHIND(s, a) (OFFER(s, a) < seen[a])
#endif

/* What the agent says to start s. */
#ifdef M_JUDGE_AGAIN
#define REFUSES(s, a)                                                                               \
    (incarnation[s] < incarnation[accepted[a]] ||                                                   \
     (incarnation[s] == incarnation[accepted[a]] && !SAME_START(s, a)) || BEHIND(s, a))
#else
#define REFUSES(s, a)                                                                               \
    (incarnation[s] < incarnation[accepted[a]] ||                                                   \
     (!SAME_START(s, a) && (incarnation[s] == incarnation[accepted[a]] || BEHIND(s, a))))
#endif

#ifdef M_ANY_SENDER
#define OBEYS(s, a) true
#else
#define OBEYS(s, a) SAME_START(s, a)
#endif

#ifdef M_ANY_AGENT
#define MAY_PRESUME(s) (welcome[2 * (s)] || welcome[2 * (s) + 1])
#else
#define MAY_PRESUME(s) (welcome[2 * (s)] && welcome[2 * (s) + 1])
#endif

#ifdef TWIN
#define FREE_TO_START true
#else
#define FREE_TO_START (!alive[newest])
#endif

#define RUNS(s) (alive[s] && !fenced[s])

inline copy_log(from, to)
{
    end[to] = end[from];
    commit_at[to] = commit_at[from];
    incarnation[to] = incarnation[from];
    offer[2 * to] = offer[2 * from];
    offer[2 * to + 1] = offer[2 * from + 1];
    welcome[2 * to] = welcome[2 * from];
    welcome[2 * to + 1] = welcome[2 * from + 1]
}

/* What was accepted before this start has proved the log up to its recovered end. */
inline recover(s, a)
{
#ifndef M_THIS_START
    if
    :: welcome[2 * s + a] -> offer[2 * s + a] = end[s]
    :: else
    fi;
#else
    offer[2 * s + a] = end[s];
#endif
    welcome[2 * s + a] = false
}

/* The disk, and whoever meddles with it. */
proctype House()
{
    byte from;
    do
    :: atomic { alive[newest] && end[BACKUP] == 0 -> copy_log(newest, BACKUP) }
    :: atomic {
        FREE_TO_START && newest + 1 < STARTS ->
        if
        :: !alive[newest] -> from = newest
#ifndef HONEST
        :: end[BACKUP] > 0 -> from = BACKUP; turned_back = true
#endif
        fi;
        newest++;
        copy_log(from, newest);
        recover(newest, 0);
        recover(newest, 1);
        incarnation[newest]++;
        end[newest]++; /* START, forced before anything else */
        alive[newest] = true
       }
    od
}

/* One start of the coordinator. */
proctype Start(byte s)
{
    do
    :: atomic { alive[s] -> alive[s] = false }
    /* T is start 0's to decide; the others find its record or presume. */
    :: atomic {
        RUNS(s) && s == 0 && commit_at[0] == 0 && !gave_up && end[0] < END_MOST ->
        end[0]++;
        commit_at[0] = end[0]
       }
    :: atomic { RUNS(s) && s == 0 && commit_at[0] == 0 && !gave_up -> gave_up = true }
    :: atomic { RUNS(s) && s == 0 && gave_up && !say_rollback[0] -> say_rollback[0] = true }
    :: atomic { RUNS(s) && commit_at[s] != 0 && !say_commit[s] -> say_commit[s] = true }
    :: atomic {
        RUNS(s) && s > 0 && commit_at[s] == 0 && MAY_PRESUME(s) && !say_rollback[s] ->
        say_rollback[s] = true
       }
    od
}

/* Start s and agent a. */
proctype Between(byte s; byte a)
{
    do
    /* Registration: a new start, or the connection was lost. */
    :: atomic {
        RUNS(s) && REFUSES(s, a) ->
        assert(turned_back);
        fenced[s] = true
       }
    :: atomic {
        RUNS(s) && !REFUSES(s, a) && !welcome[2 * s + a] && end[s] < END_MOST ->
        accepted[a] = s;
        end[s]++; /* AGENT, in the log before any decision about a branch there */
        welcome[2 * s + a] = true
       }
    /* Another transaction commits at this agent: its record, and then its position. */
    :: atomic {
        RUNS(s) && welcome[2 * s + a] && OBEYS(s, a) && end[s] < END_MOST ->
        end[s]++;
        seen[a] = end[s]
       }
    /* T. COMMIT carries its own record's position. */
    :: atomic {
        say_commit[s] && OBEYS(s, a) && branch[a] != committed ->
        if
        :: commit_at[s] > seen[a] -> seen[a] = commit_at[s]
        :: else
        fi;
        branch[a] = committed;
        CHECK
       }
    :: atomic {
        say_rollback[s] && OBEYS(s, a) && branch[a] == prepared ->
        branch[a] = aborted;
        CHECK
       }
    od
}

#ifdef CAN_COMMIT
active proctype Witness()
{
    atomic {
        say_commit[STARTS - 1] && branch[0] == committed && branch[1] == committed &&
        accepted[0] == STARTS - 1 && turned_back -> assert(false)
    }
}
#endif
#ifdef CAN_ABORT
active proctype Witness()
{
    atomic { branch[0] == aborted && branch[1] == aborted && turned_back && !gave_up -> assert(false) }
}
#endif
#ifdef CAN_FENCE
active proctype Witness()
{
    atomic { fenced[STARTS - 1] && branch[0] == committed -> assert(false) }
}
#endif

/* Start 0 has created the log and both agents have accepted it; position 1 stands for the records
 * that say so. */
init
{
    byte i;
    atomic {
        alive[0] = true;
        incarnation[0] = 1;
        end[0] = 1;
        welcome[0] = true;
        welcome[1] = true;
        run House();
        for (i : 0 .. STARTS - 1) {
            run Start(i);
            run Between(i, 0);
            run Between(i, 1)
        }
    }
}
