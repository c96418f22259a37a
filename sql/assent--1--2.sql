-- sql/assent--1--2.sql - from version 1 of schema `assent` to version 2: views for DBAs.
--
-- `assent-agent -c FILE --install-schema --conninfo ADMIN` runs it behind assent.sql; by hand it is
-- run the same way. Run again it changes nothing.
--
--     SELECT * FROM assent.in_doubt;             what of ours is prepared, and whom it blocks
--     SELECT * FROM assent.blocked_by_prepared;  which session waits for which transaction
--     SELECT * FROM assent.foreign_prepared;     what others have prepared: never ours to touch
--
-- They look at the whole cluster. Superusers and members of pg_monitor may read them.

BEGIN;

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE assent_owner;

-- Part 1 of our gids is the gtrid, 2 is `<rm>` or `<rm>/<branch>`; NULL for a gid that is not ours.
-- Any bytes can be escaped, zeros too; what they must be is said by the patterns.
CREATE OR REPLACE FUNCTION assent.gid_part(gid text, part integer) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE
        WHEN $1 !~ '^1095978580_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
            THEN NULL
        WHEN encode(decode(split_part($1, '_', 2), 'base64'), 'escape')
                 !~ '^[a-z][a-z0-9-]{0,30}\.[0-9]{1,20}\.[0-9]{1,20}$'
          OR encode(decode(split_part($1, '_', 3), 'base64'), 'escape')
                 !~ '^[a-z][a-z0-9-]{0,30}(/[a-z0-9-]{1,24})?$'
            THEN NULL
        ELSE encode(decode(split_part($1, '_', $2 + 1), 'base64'), 'escape')
    END
$$;

-- No process stands behind a prepared transaction, so pg_blocking_pids() answers 0. The way from a
-- waiter to it is the lock that both name.
CREATE OR REPLACE VIEW assent.blocked_by_prepared AS
    SELECT w.pid AS waiter, a.usename AS waiter_role, a.query AS waiter_query,
           now() - w.waitstart AS waited, w.locktype, w.mode, w.relation::regclass AS relation,
           p.gid, assent.gid_part(p.gid, 1) AS gtrid, assent.gid_part(p.gid, 2) AS branch,
           p.transaction, p.database
    FROM pg_prepared_xacts p
    JOIN pg_locks x ON x.locktype = 'transactionid' AND x.transactionid = p.transaction
                   AND x.granted AND x.pid IS NULL
    JOIN pg_locks h ON h.virtualtransaction = x.virtualtransaction AND h.pid IS NULL AND h.granted
    JOIN pg_locks w ON NOT w.granted AND w.locktype = h.locktype
                   AND (w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid,
                        w.classid, w.objid, w.objsubid)
                       IS NOT DISTINCT FROM
                       (h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid,
                        h.classid, h.objid, h.objsubid)
    LEFT JOIN pg_stat_activity a ON a.pid = w.pid
    WHERE 0 = ANY (pg_blocking_pids(w.pid));

CREATE OR REPLACE VIEW assent.in_doubt AS
    SELECT assent.gid_part(p.gid, 1) AS gtrid,
           split_part(assent.gid_part(p.gid, 2), '/', 1) AS rm,
           nullif(split_part(assent.gid_part(p.gid, 2), '/', 2), '') AS branch,
           split_part(assent.gid_part(p.gid, 1), '.', 1) AS tm,
           now() - p.prepared AS age, age(p.transaction) AS xid_age, p.owner, p.database,
           (SELECT count(*) FROM pg_locks h WHERE h.pid IS NULL AND h.virtualtransaction =
               (SELECT x.virtualtransaction FROM pg_locks x WHERE x.locktype = 'transactionid'
                AND x.transactionid = p.transaction AND x.granted AND x.pid IS NULL)) AS locks,
           ARRAY(SELECT DISTINCT b.waiter FROM assent.blocked_by_prepared b
                 WHERE b.transaction = p.transaction) AS waiting,
           p.transaction, p.gid
    FROM pg_prepared_xacts p
    WHERE assent.gid_part(p.gid, 1) IS NOT NULL
    ORDER BY p.prepared;

CREATE OR REPLACE VIEW assent.foreign_prepared AS
    SELECT CASE
               WHEN p.gid ~ '^131077_[^_]*_[^_]*$' THEN 'pgjdbc'
               WHEN p.gid ~ '^-?[0-9]+_[A-Za-z0-9+/=]*_[A-Za-z0-9+/=]*$' THEN 'XA (psycopg, pgjdbc)'
               WHEN p.gid ~ '^citus_' THEN 'Citus'
               WHEN p.gid ~ '^1279875137\.[0-9a-f]+\.[0-9a-f]+$' THEN 'LIXA'
               WHEN p.gid ~ '^[A-Za-z0-9]{16,}-[0-9]{2,}$' THEN 'dtm'
               ELSE 'unknown'
           END AS manager,
           p.gid, now() - p.prepared AS age, age(p.transaction) AS xid_age, p.owner, p.database,
           p.transaction
    FROM pg_prepared_xacts p
    WHERE assent.gid_part(p.gid, 1) IS NULL
    ORDER BY p.prepared;

GRANT USAGE ON SCHEMA assent TO pg_monitor;
GRANT EXECUTE ON FUNCTION assent.gid_part(text, integer) TO pg_monitor;
GRANT SELECT ON assent.in_doubt, assent.blocked_by_prepared, assent.foreign_prepared TO pg_monitor;

INSERT INTO assent.version (version) VALUES (2) ON CONFLICT DO NOTHING;

COMMIT;
