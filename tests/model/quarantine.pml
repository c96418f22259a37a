/*
 * tests/model/quarantine.pml - a database that lost durable data is noticed before it is believed.
 *
 * The idea: a database restored from a backup, or failed over to a replica that lagged, has kept a
 * shorter piece of its own history. Each TM's beat is a number in that history. The agent reports
 * beats that are on the disk, the coordinator keeps the highest in its log before anything that
 * rests on it; a database that comes back with a lower one has lost something, and nothing that it
 * does not say counts as evidence. What is lost above the beat the xid gives away: it was taken
 * before the beat, so where the beat has survived nobody else can have been given the xid, and the
 * lost branch reads aborted, which is an alarm, never committed.
 *
 * Modelled: the database as its write-ahead log: numbered positions, of which an ordinary crash
 * keeps all that was flushed and a loss keeps any beginning at all; one branch of a transaction
 * that has no other; an xid above the kept beginning given out again to a transaction that commits;
 * a coordinator that crashes between its records.
 *
 * Not modelled: system identifier and timeline, which are compared besides; the DBA's release; a
 * vote that the other branches wait for (two-phase.pml).
 *
 * Variants
 *   OWN     the branch was prepared on the application's own connection, unseen by the agent
 *   CAN_COMMIT, CAN_QUARANTINE, CAN_ALARM   claim that this is never reached: must fail
 *
 * Mutants, and why each must fail
 *   M_NO_BEAT         nobody compares: the branch is gone, its xid is somebody else's and committed
 *   M_BEAT_LATER      BEAT goes to the log after the COMMIT that rests on it: a crash between them
 *                     leaves a decision with nothing to compare
 *   M_RAISE_FIRST     the agent raises its beat before it has registered: the gap is filled
 *   M_UNFLUSHED_BEAT  tells a beat that is not on the disk: an ordinary crash quarantines
 *   M_XID_AFTER       takes the xid after the beat: the beat survives, the xid does not
 *   M_QUARANTINED_VOTE  decides on the vote of a database that is in quarantine by then
 *   M_OLD_BEAT (OWN)  votes READY for a listed gid without raising the beat first
 */
#define END_MOST 6
#define BEATS 3

/* The database's history. Positions; 0: not in it. */
byte end, flushed;
byte beat_at[BEATS + 1];
byte prepared_at, committed_at;
byte beat;                  /* the highest in it */
bool opened, session;       /* the branch has been worked on; its session, or its client, is there */
byte xid_after;             /* how far the history went when the xid was taken */
byte batch_beat;            /* the beat that was raised for this branch, 0 none yet */
bool xid_free, xid_of_other;

bool lost;                  /* durable data has been lost */
byte crashes;

/* The coordinator. */
byte remembered;            /* the highest beat it knows of */
byte logged;                /* the highest in its log */
bool voted, commit_logged;
bool connected, quarantined, alarmed, done;

#ifdef M_NO_BEAT
#define LOWER false
#else
#define LOWER (beat < remembered)
#endif
#ifdef M_QUARANTINED_VOTE
#define MAY_DECIDE true
#else
#define MAY_DECIDE !quarantined
#endif
#ifdef M_RAISE_FIRST
#define MAY_RAISE !quarantined
#else
#define MAY_RAISE connected
#endif

/* The order of xid, beat and PREPARE. Through the agent: xid, beat, PREPARE. On the application's
 * own connection: xid, PREPARE, and a beat once the gid has been seen. */
#ifdef M_XID_AFTER
#define BEAT_BEFORE_XID batch_beat = beat
#else
#define BEAT_BEFORE_XID batch_beat = 0
#endif
#ifdef M_OLD_BEAT
#define BEAT_BEFORE_LOOK batch_beat = beat
#else
#define BEAT_BEFORE_LOOK batch_beat = 0
#endif
#ifdef OWN
#define BATCH_IS_OPEN (prepared_at > 0)
#else
#define BATCH_IS_OPEN (prepared_at == 0)
#endif

inline tell(number)
{
    if
    :: number > remembered -> remembered = number
    :: else
    fi
}

/* Everything behind position `kept` is gone, and every session with it. */
inline keep(kept)
{
    end = kept;
    if :: flushed > end -> flushed = end :: else fi;
    if :: prepared_at > end -> prepared_at = 0 :: else fi;
    if :: committed_at > end -> committed_at = 0 :: else fi;
    do
    :: beat > 0 && beat_at[beat] > end -> beat_at[beat] = 0; beat--
    :: else -> break
    od;
    if :: opened && xid_after >= end -> xid_free = true :: else fi;
    session = false;
    connected = false;
    flushed = end
}

proctype Database()
{
    byte kept;
    do
    /* The branch takes its xid, and later a batch its beat. */
    :: atomic {
        connected && !opened ->
        opened = true;
        session = true;
        xid_after = end;
        BEAT_BEFORE_XID
       }
    :: atomic {
        MAY_RAISE && beat < BEATS && end < END_MOST ->
        end++;
        beat++;
        beat_at[beat] = end;
        if
        :: session && BATCH_IS_OPEN -> batch_beat = beat
        :: else
        fi
       }
#ifdef OWN
    :: atomic {
        session && prepared_at == 0 && end < END_MOST -> /* by the application; flushed or not yet */
        end++;
        prepared_at = end;
        BEAT_BEFORE_LOOK
       }
#else
    :: atomic {
        session && connected && prepared_at == 0 && batch_beat > 0 && end < END_MOST ->
        end++;
        prepared_at = end;
        flushed = end
       }
#endif
    :: atomic { flushed < end -> flushed = end }
    :: atomic { xid_free && !xid_of_other -> xid_of_other = true }
    :: atomic { crashes < 2 -> crashes++; select(kept : flushed .. end); keep(kept); kept = 0 }
    :: atomic { !lost -> lost = true; select(kept : 0 .. end); keep(kept); kept = 0 }
    od
}

/* Agent and coordinator, over the network. */
proctype Between()
{
    byte i;
    do
    :: atomic {
        !connected && !quarantined ->
        if
        :: LOWER -> quarantined = true; assert(lost)
        :: else -> connected = true
        fi
       }
    /* Any answer may carry a beat. */
#ifdef M_UNFLUSHED_BEAT
    :: atomic { connected && beat > remembered -> tell(beat) }
#else
    :: atomic {
        connected && beat > remembered && beat_at[beat] <= flushed -> tell(beat)
       }
#endif
    /* READY: the vote carries the branch's own beat. */
    :: atomic {
        connected && session && prepared_at > 0 && batch_beat > 0 && !voted &&
        flushed >= beat_at[batch_beat] ->
        voted = true;
        tell(batch_beat)
       }
    :: atomic { connected && commit_logged && !done && !alarmed ->
        if
        :: prepared_at > 0 && committed_at == 0 && end < END_MOST ->
            end++;
            committed_at = end;
            flushed = end
        :: prepared_at > 0 && committed_at == 0 && end == END_MOST
        :: committed_at > 0 -> done = true
        :: prepared_at == 0 && committed_at == 0 && xid_of_other ->
            done = true /* pg_xact_status() says committed */
        :: prepared_at == 0 && committed_at == 0 && !xid_of_other -> alarmed = true
        fi;
        assert(!done || committed_at > 0)
       }
    od
}

proctype Coordinator()
{
    do
#ifdef M_BEAT_LATER
    :: atomic { voted && !commit_logged -> commit_logged = true }
    :: atomic { commit_logged && logged < remembered -> logged = remembered }
#else
    :: atomic { voted && logged < remembered -> logged = remembered }
    :: atomic {
        voted && !commit_logged && logged == remembered && MAY_DECIDE ->
        commit_logged = true;
        assert(!quarantined || prepared_at > 0) /* what is known to be lost is not committed */
       }
#endif
    :: atomic { /* a crash, and the next start */
        connected || remembered > logged ->
        connected = false;
        voted = false;
        remembered = logged
       }
    od
}

#ifdef CAN_COMMIT
active proctype Witness()
{
    atomic { done && committed_at > 0 && crashes == 2 -> assert(false) }
}
#endif
#ifdef CAN_QUARANTINE
active proctype Witness()
{
    atomic { quarantined && commit_logged && prepared_at == 0 -> assert(false) }
}
#endif
#ifdef CAN_ALARM
active proctype Witness()
{
    atomic { alarmed -> assert(false) }
}
#endif

init
{
    atomic {
        run Database();
        run Between();
        run Coordinator()
    }
}
