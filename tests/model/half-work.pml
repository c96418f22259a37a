/*
 * tests/model/half-work.pml - a branch's session belongs to one start of its agent.
 *
 * The idea: a session's work is volatile. When it is lost, everything that could let the
 * application go on unawares (a statement, a new ticket, PREPARE) must fail, or the second half of
 * the work is committed without the first.
 *
 * Modelled: an application that enlists, runs two statements through the agent and asks to
 * commit; an agent that starts again, and a session that is lost alone, at any step. An answer may
 * be lost: the application then rolls back, unless it numbers its statements.
 *
 * Not modelled: work on the application's own connection; the ticket's MAC and deadline.
 *
 * Variants
 *   NUMBERED      statements are numbered, and sent again when their answer was lost
 *   CAN_PREPARE   claims that the branch is never prepared: must fail
 *
 * Mutants, and why each must fail
 *   M_SILENT_SESSION   a statement that finds no session opens one, whatever the branch has had
 *   M_ANY_INCARNATION  the agent takes tickets of older starts: it does not know what they had run
 *   M_FRESH_TICKET     enlist, asked again, makes out a ticket for the agent's new start
 *   M_REPEAT           sends statements again without a number: one runs twice
 */
#define AGENT_STARTS 3

byte agent = 1;       /* its incarnation, durable */
byte ticket = 1;      /* the incarnation that the branch's ticket is bound to, and its PREPARE */

/* The agent's memory of the branch: lost when it starts again. */
bool session;         /* a session is open */
bool used;            /* one has been */
byte last;            /* number of the last statement it has run */

byte first, second;   /* how often each statement's work is in the open transaction */

byte asked = 1;       /* the statement that the application is at; 3: it asks to commit, 4: to roll back */
bool prepared;

#ifdef M_SILENT_SESSION
#define MAY_OPEN true
#else
#define MAY_OPEN (!used)
#endif
#ifdef M_ANY_INCARNATION
#define VALID true
#else
#define VALID (ticket == agent)
#endif
#ifdef NUMBERED
#define RUNS_NOW (asked == last + 1)
#else
#define RUNS_NOW true
#endif
#if defined(NUMBERED) || defined(M_REPEAT)
#define SENDS_AGAIN true
#else
#define SENDS_AGAIN false
#endif

inline lose_session()
{
    session = false;
    first = 0;
    second = 0
}

active proctype Application()
{
    do
    :: atomic {
        asked <= 2 && VALID && (session || MAY_OPEN) ->
        if
        :: RUNS_NOW ->
            session = true;
            used = true;
            last = asked;
            if
            :: asked == 1 && first < 2 -> first++
            :: asked == 2 && second < 2 -> second++
            :: else
            fi
        :: else /* the last one again: the stored reply; any other: out_of_sequence */
        fi;
        if
        :: last == asked -> asked++
        :: last == asked && SENDS_AGAIN /* the answer was lost */
        :: last != asked || !SENDS_AGAIN -> asked = 4 /* it rolls back */
        fi
       }
#ifdef M_FRESH_TICKET
    :: atomic { asked <= 2 && ticket != agent -> ticket = agent }
#endif
    :: atomic {
        asked == 3 && !prepared && VALID && session -> /* PREPARE */
        prepared = true;
        assert(first == 1 && second == 1)
       }
    od
}

active proctype Agent()
{
    do
    :: atomic { !prepared && session -> lose_session() }
    :: atomic {
        !prepared && agent < AGENT_STARTS ->
        agent++;
        lose_session();
        used = false;
        last = 0
       }
    od
}

#ifdef CAN_PREPARE
active proctype Witness()
{
    atomic { prepared -> assert(false) }
}
#endif
