-- sql/assent--3--4.sql - from version 3 of schema `assent` to version 4.
--
-- `assent-agent -c FILE --install-schema --conninfo ADMIN` runs it behind the others; by hand it is
-- run the same way. Run again it changes nothing.

BEGIN;

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE assent_owner;

-- What an agent knows, and a coordinator may not have heard yet. `met` is drawn when the row is made.
-- As long as `identity` is NULL it is told at every registration: the coordinator has not shown yet
-- that it knows of this very row. An agent that sees its database lose data makes the identity '',
-- which no database has: to this coordinator it is suspect, over restarts, until it is accepted.
ALTER TABLE assent.tm ADD COLUMN IF NOT EXISTS met bigint;

-- Stores a registration; of a newcomer also the database that it meets, and what was drawn for it.
CREATE OR REPLACE FUNCTION assent.enroll(tm text, log uuid, incarnation bigint, instance uuid,
                                         identity text, met bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    newcomer boolean := NOT EXISTS (SELECT FROM assent.tm t WHERE t.name = $1);
BEGIN
    PERFORM assent.register($1, $2, $3, $4);
    IF newcomer THEN
        UPDATE assent.tm t SET first_identity = $5, met = $6 WHERE t.name = $1;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION assent.enroll(text, uuid, bigint, uuid, text, bigint) FROM PUBLIC;

DO $$
DECLARE
    agent text := current_setting('assent.agent_role');
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION assent.enroll(text, uuid, bigint, uuid, text, bigint)'
                   ' TO %I', agent);
    EXECUTE format('GRANT UPDATE (first_identity) ON assent.tm TO %I', agent);
END
$$;

INSERT INTO assent.version (version) VALUES (4) ON CONFLICT DO NOTHING;

COMMIT;
