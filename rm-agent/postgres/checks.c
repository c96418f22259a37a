/*
 * rm-agent/postgres/checks.c - what a DBA is told about a server, as questions to the server
 * itself.
 *
 * Whatever is asked here can be asked by a role that may only log in. What needs more than that
 * (how far a standby is behind) is left to the DBA's own tools.
 */
#include "rm-agent/postgres/checks.h"

#include "rm-agent/postgres/membership.h"

const char check_server[] =
    "SELECT 'error', name || ' is off: what the database has promised may be gone after a crash',"
    " 'postgresql.conf: ' || name || ' = on, and reload'"
    " FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' "

    "UNION ALL SELECT 'warning', format('%s of the %s prepared transactions that"
    " max_prepared_transactions allows are in use: beyond, every branch is refused', used, slots),"
    " 'SELECT * FROM assent.in_doubt and assent.foreign_prepared: who left them?'"
    " FROM (SELECT count(*) AS used, current_setting('max_prepared_transactions')::int AS slots"
    " FROM pg_prepared_xacts) s WHERE slots > 0 AND used * 100 >= slots * 90 "

    "UNION ALL (SELECT 'warning', format('%s, under the gid of a branch of this agent, is prepared "
    "in"
    " database %s: there nobody commits it or rolls it back', p.gid, p.database),"
    " format('connect the application to database %I; and in database %I, as \"%s\":"
    " ROLLBACK PREPARED %L', current_database(), p.database, p.owner, p.gid)"
    " FROM pg_prepared_xacts p, assent.agent a WHERE p.database <> current_database()"
    " AND split_part(assent.gid_part(p.gid, 2), '/', 1) = a.rm ORDER BY p.prepared LIMIT 10) "

    /* Those that are merely under way are not worth a word. */
    "UNION ALL SELECT 'notice', format('%s transactions are prepared in other databases of this"
    " server for more than 5 seconds (%s): each takes one of its %s slots', count(*),"
    " string_agg(DISTINCT database, ', '), current_setting('max_prepared_transactions')),"
    " 'SELECT * FROM assent.in_doubt and assent.foreign_prepared: who left them?'"
    " FROM pg_prepared_xacts WHERE database <> current_database()"
    " AND prepared < now() - interval '5 s' HAVING count(*) > 0 "

    "UNION ALL SELECT 'error', 'synchronous_standby_names waits for a standby and none is"
    " connected: every PREPARE TRANSACTION and COMMIT PREPARED waits',"
    " 'start the standby, or postgresql.conf: synchronous_standby_names = '''', and reload'"
    " WHERE current_setting('synchronous_standby_names') <> ''"
    " AND NOT EXISTS (SELECT FROM pg_stat_replication) "

    "UNION ALL SELECT 'warning', 'standbys follow this server and none is waited for: decisions"
    " that a promoted one lacks are lost, and the database is then quarantined',"
    " 'postgresql.conf: synchronous_standby_names = ''*'' or the names of those that you would"
    " promote, and reload'"
    " WHERE current_setting('synchronous_standby_names') = ''"
    /* A subscriber of logical replication is in a database, and never promoted in this server's
     * place. */
    " AND EXISTS (SELECT FROM pg_stat_replication r JOIN pg_stat_activity a USING (pid)"
    " WHERE a.datid IS NULL) "

    "UNION ALL (SELECT CASE WHEN age >= most THEN 'error' ELSE 'warning' END,"
    " format('prepared transaction %s is %s transactions old: VACUUM cannot clean up behind it"
    " (autovacuum_freeze_max_age is %s)', gid, age, most),"
    " 'SELECT * FROM assent.in_doubt and assent.foreign_prepared: have it finished'"
    " FROM (SELECT gid, age(transaction)::bigint AS age, "
    "current_setting('autovacuum_freeze_max_age')::bigint"
    " AS most FROM pg_prepared_xacts) p WHERE age * 2 >= most ORDER BY age DESC LIMIT 1) "

    "UNION ALL SELECT 'warning', format('database %s holds transactions %s old, more than twice"
    " autovacuum_freeze_max_age: VACUUM does not keep up', datname, age(datfrozenxid)),"
    " 'VACUUM (FREEZE), and see what holds it back'"
    " FROM pg_database WHERE datname = current_database()"
    " AND age(datfrozenxid) > 2 * current_setting('autovacuum_freeze_max_age')::bigint "

    "UNION ALL SELECT 'notice', format('Assent is tested with PostgreSQL 15 and 17, this is"
    " %s',"
    " current_setting('server_version')), ''"
    " WHERE current_setting('server_version_num')::int / 10000 NOT IN (15, 17) "

    "UNION ALL SELECT 'warning', format('role \"%s\" is a superuser: the agent needs no such"
    " right', session_user), format('ALTER ROLE %I NOSUPERUSER', session_user)"
    " WHERE current_setting('is_superuser') = 'on'";

const char check_sizes[] =
    "SELECT CASE WHEN slots = 0 THEN 'error' ELSE 'warning' END,"
    " CASE WHEN slots = 0 THEN 'max_prepared_transactions is 0: every branch is refused'"
    " ELSE format('max_prepared_transactions is %s, and max_sessions lets %s branches be prepared"
    " at once', slots, $1::int) END,"
    " format('postgresql.conf, on every standby first: max_prepared_transactions = %s; restart',"
    " $1::int)"
    " FROM (SELECT current_setting('max_prepared_transactions')::int AS slots) s"
    " WHERE slots < $1::int "

    "UNION ALL SELECT 'warning', format('max_connections leaves room for %s connections, and this"
    " agent opens up to %s', room, need),"
    " format('postgresql.conf: max_connections = %s; restart; or smaller max_sessions and"
    " pool_size', need + reserved)"
    " FROM (SELECT current_setting('max_connections')::int - reserved AS room, reserved,"
    " $1::int + $2::int + 1 AS need FROM"
    " (SELECT current_setting('superuser_reserved_connections')::int"
    " + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved) r) c"
    " WHERE room < need "

    "UNION ALL SELECT 'warning', format('database %s admits %s connections, and this agent opens"
    " up to %s', datname, datconnlimit, $1::int + $2::int + 1),"
    " format('ALTER DATABASE %I CONNECTION LIMIT -1', datname)"
    " FROM pg_database WHERE datname = current_database()"
    " AND datconnlimit BETWEEN 0 AND $1::int + $2::int "

    "UNION ALL SELECT 'warning', format('role \"%s\" may have %s connections, and the agent opens"
    " up to %s', rolname, rolconnlimit, $2::int + 1),"
    " format('ALTER ROLE %I CONNECTION LIMIT -1', rolname)"
    " FROM pg_roles WHERE rolname = session_user AND rolconnlimit BETWEEN 0 AND $2::int";

const char check_schema[] =
    "SELECT 'error', format('schema assent is of version %s, the agent needs %s', version,"
    " $1::int), '" INSTALL_SCHEMA "'"
    " FROM (SELECT max(version) AS version FROM assent.version) v WHERE version"
    " NOT BETWEEN $1::int AND $1::int + 1 "

    "UNION ALL SELECT 'error', format('role \"%s\" may not %s %s', session_user, priv, what),"
    " '" INSTALL_SCHEMA "'"
    " FROM (VALUES ('UPDATE', 'assent.agent'), ('INSERT', 'assent.session'),"
    " ('DELETE', 'assent.session'), ('DELETE', 'assent.marker'), ('INSERT', 'assent.acceptor'),"
    " ('UPDATE', 'assent.acceptor'), ('DELETE', 'assent.acceptor'), ('INSERT', 'assent.peer'),"
    " ('UPDATE', 'assent.peer')) AS t (priv, what)"
    " WHERE NOT has_table_privilege(what, priv) "

    "UNION ALL SELECT 'error', format('role \"%s\" may not use assent.%s', session_user, relname),"
    " '" INSTALL_SCHEMA "'"
    " FROM pg_class WHERE relnamespace = 'assent'::regnamespace AND"
    " CASE relkind WHEN 'r' THEN NOT has_table_privilege(oid, 'SELECT')"
    " WHEN 'S' THEN NOT has_sequence_privilege(oid, 'SELECT')"
    " OR NOT has_sequence_privilege(oid, 'UPDATE') END "

    "UNION ALL SELECT 'error', format('role \"%s\" may not call %s', session_user,"
    " oid::regprocedure), '" INSTALL_SCHEMA "'"
    " FROM pg_proc WHERE pronamespace = 'assent'::regnamespace"
    " AND proname IN ('mark', 'register', 'last') AND NOT has_function_privilege(oid, 'EXECUTE')";

const char check_role[] =
    "SELECT 'error', format('role \"%s\" does not exist', $1::text),"
    " format('CREATE ROLE %I LOGIN', $1::text)"
    " WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text) "

    "UNION ALL SELECT 'error', format('role \"%s\" may not finish what \"%s\" prepares',"
    " session_user, rolname), format('GRANT \"%s\" TO \"%s\"%s', rolname, session_user,"
    " " GRANT_OPTIONS ") FROM pg_roles WHERE rolname = $1::text AND"
    " NOT (pg_has_role(oid, 'USAGE') AND pg_has_role(oid, " SETS_ROLE ")) "

    "UNION ALL SELECT 'error', format('role \"%s\" may not call assent.mark(text, text), which a"
    " transaction with one branch needs', rolname), '" INSTALL_SCHEMA "'"
    " FROM pg_roles r JOIN pg_proc p ON p.oid = to_regprocedure('assent.mark(text, text)')"
    " WHERE rolname = $1::text AND NOT (has_function_privilege(r.oid, p.oid, 'EXECUTE')"
    " AND has_schema_privilege(r.oid, 'assent', 'USAGE')) "

    "UNION ALL SELECT 'warning', format('role \"%s\" is a superuser, and applications run SQL as"
    " it', rolname), format('ALTER ROLE %I NOSUPERUSER, or another role in the section', rolname)"
    " FROM pg_roles WHERE rolname = $1::text AND rolsuper";

const char check_host[] =
    "SELECT 'error', format('%s is another database cluster', $4::text),"
    " 'host in the conninfo of [agent]'"
    " FROM pg_control_system() WHERE system_identifier <> $2::bigint "

    "UNION ALL SELECT 'error', format('%s accepts writes too, beside the server that the agent"
    " uses', $4::text), 'stop the one that was not to be promoted, before applications find it'"
    " FROM pg_control_system() WHERE system_identifier = $2::bigint AND NOT pg_is_in_recovery()"
    " AND pg_postmaster_start_time()::text <> $1::text "

    "UNION ALL SELECT 'error', format('standby %s has room for %s prepared transactions, its"
    " primary for %s: it stops following, and does not start again', $4::text, slots, $3::int),"
    " format('postgresql.conf of the standby: max_prepared_transactions = %s; restart it',"
    " $3::int)"
    " FROM (SELECT current_setting('max_prepared_transactions')::int AS slots) s"
    " WHERE pg_is_in_recovery() AND slots < $3::int "

    "UNION ALL SELECT 'warning', format('standby %s has paused its replay: decisions reach it and"
    " are not applied', $4::text), 'SELECT pg_wal_replay_resume() on the standby'"
    " WHERE CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END";

const char check_login[] =
    "SELECT 'error', format('[exec %s] reaches another database than [agent]', $3::text),"
    " format('conninfo in [exec %s]', $3::text)"
    " FROM pg_control_system() WHERE system_identifier <> $1::bigint"
    " OR current_database() <> $2::text";
