-- sql/assent--3--4.sql - from version 3 of schema `assent` to version 4.
--
-- `assent-agent -c FILE --install-schema --conninfo ADMIN` runs it behind the others; by hand it is
-- run the same way. Run again it changes nothing.

BEGIN;

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE assent_owner;

-- ---- whom a coordinator has met ----

-- What an agent knows, and a coordinator may not have heard yet. `met` is drawn when the row is made.
-- As long as `identity` is NULL it is told at every registration: the coordinator has not shown yet
-- that it knows of this very row. An agent that sees its database lose data makes the identity '',
-- which no database has: to this coordinator it is suspect, over restarts, until it is accepted.
ALTER TABLE assent.tm ADD COLUMN IF NOT EXISTS met bigint;

-- Whether the agent keeps what it knows of this database in a file outside of it.
ALTER TABLE assent.agent ADD COLUMN IF NOT EXISTS state_file boolean NOT NULL DEFAULT false;

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

-- ---- markers that prove who wrote them ----

-- A marker decides what became of a commit in one phase, so nobody but the branch's own session may
-- write it, and only for its own transaction. The agent draws a secret for each session, enters it
-- here before BEGIN, where no application's role can read, and says it to assent.mark() as a
-- parameter, right before COMMIT. `secrets`: an agent that does so has served this database.
ALTER TABLE assent.session ADD COLUMN IF NOT EXISTS secret text;
ALTER TABLE assent.agent ADD COLUMN IF NOT EXISTS secrets boolean NOT NULL DEFAULT false;
ALTER TABLE assent.marker
    ADD COLUMN IF NOT EXISTS xid xid8,  -- NULL: written under version 3, which asked for no proof
    ADD COLUMN IF NOT EXISTS role text;

CREATE OR REPLACE FUNCTION assent.mark(gid text, secret text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    AS $$
BEGIN
    INSERT INTO assent.marker (gtrid, xid, role)
        SELECT assent.gid_part(s.gid, 1), pg_current_xact_id(), session_user FROM assent.session s
        WHERE s.gid = $1 AND s.secret = $2 AND s.pid = pg_backend_pid();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this is not the session of that branch'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;

-- For an agent of version 3 that goes on running until it is started anew as one of version 4, and
-- from then on for nobody: only in the session that it has entered for that very transaction.
CREATE OR REPLACE FUNCTION assent.mark(gtrid text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO assent.marker (gtrid)
        SELECT $1 FROM assent.session s
        WHERE s.pid = pg_backend_pid() AND s.secret IS NULL AND assent.gid_part(s.gid, 1) = $1
        AND NOT EXISTS (SELECT FROM assent.agent a WHERE a.secrets) LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this is not the session of that branch'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION assent.mark(text, text) FROM PUBLIC;

DO $$
DECLARE
    app text;
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION assent.mark(text, text) TO %I',
                   current_setting('assent.agent_role'));
    FOREACH app IN ARRAY string_to_array(current_setting('assent.exec_roles', true), ',') LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION assent.mark(text, text) TO %I', app);
    END LOOP;
END
$$;

-- ---- memberships, from PostgreSQL 16 on ----

-- There a membership has options of its own: SET, to become the owner of what is to be finished, and
-- INHERIT, to see and end that role's sessions. An older grant, or one that says otherwise, may lack
-- either. Membership is the administrator's to give, not assent_owner's.
RESET ROLE;

DO $$
DECLARE
    agent text := current_setting('assent.agent_role');
    app text;
BEGIN
    IF current_setting('server_version_num')::integer < 160000 THEN
        RETURN;
    END IF;
    FOREACH app IN ARRAY string_to_array(current_setting('assent.exec_roles', true), ',') LOOP
        IF app <> agent AND NOT (pg_has_role(agent, app, 'SET') AND pg_has_role(agent, app, 'USAGE')) THEN
            EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE, SET TRUE', app, agent);
        END IF;
    END LOOP;
END
$$;

SET LOCAL ROLE assent_owner;

-- ---- the version ----

-- Whatever these files have made is nobody's to call but those to whom it was granted by name.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA assent FROM PUBLIC;

INSERT INTO assent.version (version) VALUES (4) ON CONFLICT DO NOTHING;

COMMIT;
