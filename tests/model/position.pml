/*
 * tests/model/position.pml - which log position may an order carry?
 *
 * The idea: an agent remembers the highest position it was told and refuses a start that cannot
 * reach it. So nothing may be told that an ordinary crash can take back, or a torn tail would
 * fence the coordinator for ever.
 *
 * Modelled: one honest coordinator (no backup is ever used) and one agent. The log has a newest
 * record handed over and a newest on disk; a crash leaves it to end anywhere between. Each start
 * writes START and, once the agent has accepted it, AGENT; it offers the end as recovered at the
 * first start since the last AGENT record that survived. Every position told must be covered by
 * every later offer.
 *
 * Not modelled: an old log (registration.pml); several agents (each has its own offer).
 *
 * Variant
 *   CAN_RAISE   claims that the agent never sees a position from the third start: must fail
 *
 * Mutants, and why each must fail
 *   M_NEWEST        tells the newest position handed over: the crash tears it off
 *   M_BEFORE_AGENT  tells a position that is on disk, but beyond its own start's recovered end
 *                   while this start's AGENT record is not: the record is torn off, the offer stays
 *                   at the recovered end, below what was told
 */
#define END_MOST 8

byte recovered, durable, end; /* of this start's log */
byte agent_at;                /* this start's AGENT record, 0 while the agent has not accepted it */
byte offer;                   /* what this start offers */
byte seen;                    /* the agent's */
byte starts = 1;

#ifdef M_NEWEST
#define MAY_TELL(position) true
#elif defined(M_BEFORE_AGENT)
#define MAY_TELL(position) ((position) <= durable)
#else
#define MAY_TELL(position) ((position) <= durable && ((position) <= offer || agent_at <= durable))
#endif

active proctype Coordinator()
{
    byte position;
    do
    :: atomic { end < END_MOST -> end++ }     /* a record is handed over */
    :: atomic { durable < end -> durable++ }  /* the disk has caught up so far */
    :: atomic {
        agent_at == 0 && end < END_MOST ->    /* the agent accepts this start */
        assert(offer >= seen);
        end++;
        agent_at = end
       }
    :: atomic {
        agent_at != 0 && seen < end ->        /* an order */
        select(position : seen + 1 .. end);
        if
        :: MAY_TELL(position) -> seen = position
        :: else
        fi;
        position = 0
       }
    :: atomic {
        starts < 3 && end < END_MOST ->       /* a crash, and the next start */
        select(recovered : durable .. end);
        if
        :: agent_at != 0 && agent_at <= recovered -> offer = recovered
        :: else                               /* nothing more was proved: the older offer stands */
        fi;
        end = recovered + 1;                  /* START, forced */
        durable = end;
        agent_at = 0;
        starts++
       }
    od
}

#ifdef CAN_RAISE
active proctype Witness()
{
    atomic { starts == 3 && seen > recovered + 1 -> assert(false) }
}
#endif
