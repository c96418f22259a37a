-- sql/assent--3--4.sql - from version 3 of schema `assent` to version 4.
--
-- `assent-agent -c FILE --install-schema --conninfo ADMIN` runs it behind the others; by hand it is
-- run the same way. Run again it changes nothing.

BEGIN;

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE assent_owner;

INSERT INTO assent.version (version) VALUES (4) ON CONFLICT DO NOTHING;

COMMIT;
