-- sql/assent--2--3.sql - from version 2 of schema `assent` to version 3: three-phase commit.
--
-- `assent-agent -c FILE --install-schema --conninfo ADMIN` runs it behind the others; by hand it is
-- run the same way. Run again it changes nothing.

BEGIN;

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE assent_owner;

-- What an acceptor of a 3pc transaction has said, and under which xids its branches were voted for.
-- A row goes once its coordinator's horizon has passed it: by ranges of its key.
CREATE TABLE IF NOT EXISTS assent.acceptor (
    tm text NOT NULL,
    incarnation bigint NOT NULL,
    sequence bigint NOT NULL,
    agents text[] NOT NULL,      -- the acceptors; an agent's rank is its place here
    with_tm boolean NOT NULL,    -- and the coordinator's log
    branches text[] NOT NULL,    -- that have voted here,
    xids bigint[] NOT NULL,      -- each under this xid
    promised bigint NOT NULL,    -- ballots
    accepted bigint NOT NULL,
    value text CHECK (value IN ('committed', 'rolled-back')), -- accepted at that ballot
    outcome text CHECK (outcome IN ('committed', 'rolled-back')), -- once it is known
    PRIMARY KEY (tm, incarnation, sequence)
);

-- Those of which nobody has said yet how they end, for people who ask.
CREATE INDEX IF NOT EXISTS acceptor_open ON assent.acceptor (tm, incarnation, sequence)
    WHERE outcome IS NULL;

-- Where other agents are, as a coordinator has told: they have to find each other without it.
CREATE TABLE IF NOT EXISTS assent.peer (
    tm text NOT NULL,
    rm text NOT NULL,
    url text NOT NULL,
    PRIMARY KEY (tm, rm)
);

-- `identity` is the database (system identifier and timeline) that the coordinator has accepted
-- last, `first_identity` the one that it met first. After a change nothing that was begun up to
-- `votes_after` is voted on. Up to the horizon all is over but `horizon_live`. `peer_key` seals what
-- agents say to each other.
ALTER TABLE assent.tm
    ADD COLUMN IF NOT EXISTS first_identity text,
    ADD COLUMN IF NOT EXISTS identity text,
    ADD COLUMN IF NOT EXISTS votes_after_incarnation bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS votes_after_sequence bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS horizon_incarnation bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS horizon_sequence bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS horizon_live json NOT NULL DEFAULT '[]',
    ADD COLUMN IF NOT EXISTS peer_key text;

-- As before, and with the database that a newcomer meets.
CREATE OR REPLACE FUNCTION assent.register(tm text, log uuid, incarnation bigint, instance uuid,
                                           identity text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    newcomer boolean := NOT EXISTS (SELECT FROM assent.tm t WHERE t.name = $1);
BEGIN
    PERFORM assent.register($1, $2, $3, $4);
    IF newcomer THEN
        UPDATE assent.tm t SET first_identity = $5 WHERE t.name = $1;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION assent.register(text, uuid, bigint, uuid, text) FROM PUBLIC;

DO $$
DECLARE
    agent text := current_setting('assent.agent_role');
BEGIN
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA assent TO %I', agent);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON assent.acceptor TO %I', agent);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON assent.peer TO %I', agent);
    EXECUTE format('GRANT UPDATE (identity, votes_after_incarnation, votes_after_sequence,'
                   ' horizon_incarnation, horizon_sequence, horizon_live, peer_key)'
                   ' ON assent.tm TO %I', agent);
END
$$;

-- Markers go by the horizon too, in the order of their transactions' numbers.
CREATE INDEX IF NOT EXISTS marker_number ON assent.marker (
    split_part(gtrid, '.', 1),
    (CASE WHEN gtrid ~ '^[a-z][a-z0-9-]{0,30}\.[0-9]{1,18}\.[0-9]{1,18}$'
          THEN split_part(gtrid, '.', 2)::bigint END),
    (CASE WHEN gtrid ~ '^[a-z][a-z0-9-]{0,30}\.[0-9]{1,18}\.[0-9]{1,18}$'
          THEN split_part(gtrid, '.', 3)::bigint END));

INSERT INTO assent.version (version) VALUES (3) ON CONFLICT DO NOTHING;

COMMIT;
