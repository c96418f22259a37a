-- sql/assent.sql - what an agent keeps in its database: schema `assent`, version 1. The files
-- assent--1--2.sql and so on, run behind it in this order, bring it to the present version.
--
-- `assent-agent -c FILE --install-schema --conninfo ADMIN` runs this once; it may be run again.
-- By hand, as a superuser in the agent's database:
--     SET assent.agent_role = 'assent';      -- the role in the agent's conninfo
--     SET assent.exec_roles = 'app,report';  -- those of its [exec ROLE] sections, or ''
--     \i assent.sql
--     \i assent--1--2.sql
--     \i assent--2--3.sql
--     \i assent--3--4.sql
--
-- The agent's role needs LOGIN and INHERIT and nothing else of its own: no superuser, no
-- CREATEROLE. It must be a member of every role whose branches it finishes: COMMIT PREPARED is for
-- the owner alone, and the same membership lets it see and end the sessions that it opened as that
-- role. This script grants it the roles of the [exec ROLE] sections; for applications that prepare
-- on their own connections grant theirs by hand: GRANT shop TO assent.
--
-- Everything belongs to assent_owner, which nobody logs in as. What an application's role may do
-- here is to call assent.mark(), and nothing else.

BEGIN;

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;

-- An older program must not put its own functions over a newer schema's.
DO $$
DECLARE
    installed integer;
BEGIN
    IF to_regclass('assent.version') IS NOT NULL THEN
        EXECUTE 'SELECT max(version) FROM assent.version' INTO installed;
        IF installed > 4 THEN
            RAISE EXCEPTION 'schema assent is of version %, which is newer than version 4', installed;
        END IF;
    END IF;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'assent_owner') THEN
        CREATE ROLE assent_owner NOLOGIN;
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS assent AUTHORIZATION assent_owner;

SET LOCAL ROLE assent_owner;

CREATE TABLE IF NOT EXISTS assent.version (
    version integer PRIMARY KEY,
    installed timestamptz NOT NULL DEFAULT now()
);
INSERT INTO assent.version (version) VALUES (1) ON CONFLICT DO NOTHING;

-- One row. The incarnation grows by one at each start of the agent, so that a predecessor that
-- only hung finds out that it is one.
CREATE TABLE IF NOT EXISTS assent.agent (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    rm text,
    incarnation bigint NOT NULL DEFAULT 0
);
INSERT INTO assent.agent DEFAULT VALUES ON CONFLICT DO NOTHING;

-- A row a coordinator. What changes with every batch is not here but in two sequences for each,
-- "beat_<name>" and "position_<name>": an UPDATEd row slows a hundredfold while a prepared
-- transaction keeps its dead versions from being vacuumed.
CREATE TABLE IF NOT EXISTS assent.tm (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,30}$'),
    log uuid NOT NULL,
    incarnation bigint NOT NULL,
    instance uuid NOT NULL,
    registered timestamptz NOT NULL DEFAULT now()
);

-- Every connection of the agent (gid NULL), and every branch that was worked through it. Its next
-- start ends these backends first. A crash of the server empties the table, and ends them too.
CREATE UNLOGGED TABLE IF NOT EXISTS assent.session (
    pid integer NOT NULL,
    backend_start timestamptz NOT NULL,
    gid text UNIQUE
);

-- One-phase commits: the row commits with the work itself, and so proves it.
CREATE TABLE IF NOT EXISTS assent.marker (
    gtrid text PRIMARY KEY,
    marked timestamptz NOT NULL DEFAULT now()
);

-- Never put over a later version's, which is stricter.
DO $$
BEGIN
    IF to_regprocedure('assent.mark(text)') IS NULL THEN
        CREATE FUNCTION assent.mark(gtrid text) RETURNS void
            LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
            AS 'INSERT INTO assent.marker (gtrid) VALUES ($1)';
    END IF;
END
$$;

-- Stores a registration that the agent has judged good, and makes the sequences of a newcomer.
CREATE OR REPLACE FUNCTION assent.register(tm text, log uuid, incarnation bigint, instance uuid)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kind text;
BEGIN
    INSERT INTO assent.tm AS t (name, log, incarnation, instance) VALUES ($1, $2, $3, $4)
        ON CONFLICT (name) DO UPDATE
        SET log = excluded.log, incarnation = excluded.incarnation,
            instance = excluded.instance, registered = now()
        WHERE (t.log, t.incarnation, t.instance)
              IS DISTINCT FROM (excluded.log, excluded.incarnation, excluded.instance);
    FOREACH kind IN ARRAY ARRAY['beat_', 'position_'] LOOP
        IF to_regclass(format('assent.%I', kind || $1)) IS NULL THEN
            EXECUTE format('CREATE SEQUENCE assent.%I MINVALUE 0 START 0', kind || $1);
            EXECUTE format('GRANT SELECT, UPDATE ON SEQUENCE assent.%I TO %I', kind || $1,
                           session_user);
        END IF;
    END LOOP;
END
$$;

-- The last value of a coordinator's sequence, 0 if it has none yet.
CREATE OR REPLACE FUNCTION assent.last(kind text, tm text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(pg_sequence_last_value(to_regclass(format('assent.%I', $1 || '_' || $2))), 0)
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA assent FROM PUBLIC;

DO $$
DECLARE
    agent text := current_setting('assent.agent_role');
    app text;
    name text;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA assent TO %I', agent);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA assent TO %I', agent);
    EXECUTE format('GRANT UPDATE ON assent.agent TO %I', agent);
    EXECUTE format('GRANT INSERT, DELETE ON assent.session TO %I', agent);
    EXECUTE format('GRANT DELETE ON assent.marker TO %I', agent);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA assent TO %I', agent);
    FOR name IN SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'assent'::regnamespace AND c.relkind = 'S' LOOP
        EXECUTE format('GRANT SELECT, UPDATE ON SEQUENCE assent.%I TO %I', name, agent);
    END LOOP;
    FOREACH app IN ARRAY string_to_array(current_setting('assent.exec_roles', true), ',') LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA assent TO %I', app);
        EXECUTE format('GRANT EXECUTE ON FUNCTION assent.mark(text) TO %I', app);
    END LOOP;
END
$$;

RESET ROLE;

-- Membership is the administrator's to give, not assent_owner's.
DO $$
DECLARE
    app text;
BEGIN
    FOREACH app IN ARRAY string_to_array(current_setting('assent.exec_roles', true), ',') LOOP
        IF app <> current_setting('assent.agent_role') AND
           NOT pg_has_role(current_setting('assent.agent_role'), app, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO %I', app, current_setting('assent.agent_role'));
        END IF;
    END LOOP;
END
$$;

COMMIT;
