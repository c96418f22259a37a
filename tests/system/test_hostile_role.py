"""A role with every right that an application may have, and no good will: it may change nothing of
what the agent keeps in schema `assent`, and learn nothing that helps to. What there is to try is
read from the catalogs, so that whatever is added is tried too."""

import contextlib
import itertools

import psycopg2
import pytest

from harness import wait_until
from played import new_site

NO_RIGHT = "42501"


@pytest.fixture
def site(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.sql("drop schema assent cascade")
        site.install_schema()  # once: a second time might take away what the first has left
        site.sql("create table work (n int); create table child (id int references account"
                 " deferrable initially deferred); grant all on work, child to shop")
        site.start()
        yield site


@pytest.fixture
def player(site):
    player = site.play()
    assert player.register()["ok"]
    return player


def outcome(site, sql, *parameters, user="shop", before=()):
    """The SQLSTATE with which a statement of the role is refused; None where it is carried out."""
    with contextlib.closing(site.connect(autocommit=False, user=user)) as connection:
        try:
            cursor = connection.cursor()
            for statement in before:
                cursor.execute(statement)
            cursor.execute(sql, parameters)
            connection.commit()
        except psycopg2.Error as error:
            return error.pgcode
    return None


def relations(site, *kinds):
    return site.sql("select format('assent.%%I', relname) from pg_class"
                    " where relnamespace = 'assent'::regnamespace and relkind::text = any (%s)"
                    " order by 1", list(kinds))


def contents(site):
    """All that is stored in the schema, but for the agent's own comings and goings."""
    rows = {name: site.sql(f"select t::text from {name} t order by 1")
            for name, in relations(site, "r", "p") if name != "assent.session"}
    values = {name: site.sql(f"select last_value, is_called from {name}")
              for name, in relations(site, "S")}
    return rows, values, site.sql("select gid, secret from assent.session where gid is not null"
                                  " order by gid")


@pytest.fixture
def victim(site, player):
    """A branch at work; what one could know of it, and what nobody may."""
    branch = player.branch()
    branch.run("insert into work values (1)")
    site.sql("insert into assent.peer values ('bank', 'ledger', 'ipc:///nowhere')")
    return branch


# ---- everything in the schema ----

def arguments(types, victim, secret):
    """What to call a function with, for its types: all that a hostile role may come by, and less."""
    texts = [victim.gtrid, victim.gid, "bank", "beat", "position", secret[::-1], "", None]
    values = {"text": texts, "uuid": ["00000000-0000-4000-8000-000000000000"],
              "bigint": [1, 2**62], "integer": [1, 2], "boolean": [True], "json": ["[]"],
              "text[]": [[victim.gid]], "bigint[]": [[1]], "name": ["shop"], "regclass": ["assent.tm"]}
    return itertools.islice(itertools.product(*(values.get(kind, [None]) for kind in types)), 80)


def test_no_function_does_anything_for_it(site, victim):
    functions = site.sql(
        "select p.oid::regprocedure::text, array(select format_type(t, null) from unnest(p.proargtypes) t)"
        " from pg_proc p where pronamespace = 'assent'::regnamespace order by 1")
    assert {"assent.mark(text,text)", "assent.mark(text)", "assent.last(text,text)"} <= {
        name for name, _ in functions}
    [(secret,)] = site.sql("select secret from assent.session where gid = %s", victim.gid)
    before = contents(site)
    for name, types in functions:
        call = "select {}({})".format(name.partition("(")[0],
                                      ", ".join(f"%s::{kind}" for kind in types))
        for values in arguments(types, victim, secret):
            assert outcome(site, call, *values) == NO_RIGHT, (call, values)
    assert contents(site) == before


@pytest.mark.parametrize("kinds, statements", [
    ("rpvmf", ["select * from {}", "select count(*) from {}", "table {} limit 0",
               "insert into {} default values", "delete from {}", "truncate {}",
               "lock table {} in access share mode", "copy {} to stdout",
               "create trigger t before insert on {} execute function suppress_redundant_updates_trigger()",
               "create rule r as on insert to {} do nothing", "create index on {} ((1))",
               "create unlogged table fk (a int references {})",
               "comment on table {} is ''", "analyze {}", "alter table {} disable row level security",
               "alter table {} owner to shop", "drop table {}", "drop view {}",
               "create policy p on {}", "create table heir () inherits ({})"]),
    ("S", ["select nextval('{}')", "select setval('{}', 99)", "select last_value from {}",
           "select pg_sequence_last_value('{}')", "alter sequence {} restart", "drop sequence {}",
           "alter sequence {} owner to shop"]),
])
def test_no_table_and_no_sequence_can_be_used(site, victim, kinds, statements):
    names = [name for name, in relations(site, *kinds)]
    assert names
    before = contents(site)
    site.sql("grant create on schema public to shop")
    for name, statement in itertools.product(names, statements):
        sql = statement.format(name)
        # ANALYZE of what is not one's own is skipped with a warning.
        assert outcome(site, sql) in (
            (None,) if sql.startswith("analyze") else (NO_RIGHT, "42809", "42P17", "42704", "55000")), sql
    assert contents(site) == before


@pytest.mark.parametrize("sql", [
    "create table assent.mine (n int)", "create sequence assent.mine",
    "create function assent.mark(text, unknown) returns int return 1",
    "create function assent.gid_part(gid text) returns text return 1",
    "create operator assent.= (leftarg = text, rightarg = text, function = texteq)",
    "create type assent.xid8 as enum ()", "create view assent.mine as select 1",
    "alter schema assent owner to shop", "alter schema assent rename to mine", "drop schema assent",
    "alter function assent.mark(text, text) security invoker",
    "alter function assent.mark(text, text) set search_path = public",
    "create or replace function assent.mark(gid text, secret text) returns void language sql as ''",
    "drop function assent.mark(text, text)", "set role assent_owner", "set role assent",
    "set session authorization assent_owner", "grant assent_owner to shop", "grant assent to shop",
    "alter role assent_owner login", "reassign owned by assent_owner to shop",
    "drop owned by assent_owner",
])
def test_it_can_put_nothing_into_the_schema_and_become_nobody(site, sql):
    assert outcome(site, sql) is not None


def test_it_hands_on_none_of_its_rights(site):
    for what in ("usage on schema assent", "execute on function assent.mark(text, text)"):
        outcome(site, f"grant {what} to public")  # succeeds with a warning, and does nothing
    assert site.sql("select has_schema_privilege('pg_monitor', 'assent', 'create'),"
                    " (select count(*) from pg_proc p, aclexplode(p.proacl) a where a.grantee = 0"
                    "  and p.pronamespace = 'assent'::regnamespace)") == [(False, 0)]


def test_the_catalogs_tell_it_nothing_either(site, victim):
    site.sql("analyze assent.session; analyze assent.peer; analyze assent.tm")
    for sql in ("select 1 from pg_stats where schemaname = 'assent'",
                "select 1 from pg_sequences where schemaname = 'assent' and last_value is not null",
                "select 1 from pg_stat_activity where query like '%%assent.%%' and usename <> 'shop'"):
        with contextlib.closing(site.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(sql)
            assert cursor.fetchall() == [], sql


# ---- markers ----

def test_a_marker_is_written_in_its_branchs_own_session_alone(site, player, victim):
    attacker = player.branch()
    [(secret,)] = site.sql("select secret from assent.session where gid = %s", victim.gid)
    for gtrid in (victim.gtrid, f"bank.1.{player.sequence + 1}"):
        reply = attacker.exec("select count(*) from (select assent.mark($1) offset 0) x", gtrid)
        assert reply["error"]["sqlstate"] == NO_RIGHT, reply
        assert attacker.rollback() and (attacker := player.branch())
    for branch in (victim, attacker):
        for words in ((branch.gid, ""), (branch.gid, "0" * 32), (branch.gid, None)):
            assert outcome(site, "select assent.mark(%s, %s)", *words) == NO_RIGHT
    # Not even with the secret, from elsewhere: another session of the same role.
    assert outcome(site, "select assent.mark(%s, %s)", victim.gid, secret) == NO_RIGHT
    other = player.branch()
    reply = other.exec("select assent.mark($1, $2)", victim.gid, secret)
    assert reply["error"]["sqlstate"] == NO_RIGHT
    assert site.sql("select count(*) from assent.marker") == [(0,)]
    assert victim.commit_one_phase()["is"] == "done" and victim.settle()["is"] == "done"
    assert site.sql("select gtrid, xid is not null, role from assent.marker") == [
        (victim.gtrid, True, "shop")]
    assert site.sql("select count(*) from work") == [(1,)]


def test_a_session_that_serves_another_branch_cannot_mark_the_one_before(site, player):
    """The backend is the same; the secret is not said where the application could read it."""
    first = player.branch()
    first.run("insert into child values (-1)")  # its COMMIT fails
    [(secret,)] = site.sql("select secret from assent.session where gid = %s", first.gid)
    [[pid]] = first.run("select pg_backend_pid()")
    assert first.commit_one_phase()["is"] == "no"
    second = player.branch()
    assert second.run("select pg_backend_pid()") == [[pid]]
    for query in ("select query from pg_stat_activity where pid = pg_backend_pid()",
                  "select string_agg(statement, '') from pg_prepared_statements",
                  "select string_agg(name || setting, '') from pg_settings"):
        assert secret not in str(second.run(query))
    assert second.exec("select assent.mark($1)", first.gtrid)["error"]["sqlstate"] == NO_RIGHT
    assert first.settle()["is"] == "no"


def test_a_marker_that_was_forged_under_the_old_schema_counts_for_nothing(site, player):
    site.sql("insert into assent.marker (gtrid) select 'bank.1.' || n from generate_series(1, 9) n")
    branch = player.branch()
    branch.run("insert into work values (1)")
    assert branch.commit_one_phase()["is"] == "done"
    assert site.sql("select count(*) from work") == [(1,)]
    failing = player.branch()
    failing.run("insert into child values (-1)")
    assert failing.commit_one_phase()["is"] == "no"
    assert failing.settle()["is"] == "no"


def test_an_agent_of_version_3_goes_on_until_it_is_started_anew(site, player):
    """The schema comes first. Its marker is settled after the upgrade."""
    old, other = player.branch(), player.branch()
    for branch in (old, other):
        branch.run("insert into work values (1)")
    site.sql("update assent.session set secret = null; update assent.agent set secrets = false")
    assert other.exec("select assent.mark($1)", old.gtrid)["error"]["sqlstate"] == NO_RIGHT
    old.run("select assent.mark($1)", old.gtrid)
    assert old.commit(old.ready())["is"] == "done"
    site.restart()
    assert player.register()["ok"]
    assert old.settle()["is"] == "done" and other.settle()["is"] == "no"
    new = player.branch()
    new.run("insert into work values (1)")
    site.sql("update assent.session set secret = null")
    assert new.exec("select assent.mark($1)", new.gtrid)["error"]["sqlstate"] == NO_RIGHT


def test_installing_again_is_safe_at_every_moment(site, player, victim):
    """The first file has the function of version 1: it must not come back, for a moment even."""
    source = site.sql("select prosrc from pg_proc where oid = 'assent.mark(text)'::regprocedure")
    site.sql("create function note() returns event_trigger language plpgsql security definer as $$ begin"
             " insert into public.noted select object_identity from pg_event_trigger_ddl_commands()"
             " where object_identity like 'assent.mark%%'; end $$;"
             " create table noted (what text)")
    site.sql("create event trigger note on ddl_command_end when tag in ('CREATE FUNCTION')"
             " execute function note()")
    try:
        site.install_schema()
    finally:
        site.sql("drop event trigger note")
    assert site.sql("select prosrc from pg_proc where oid = 'assent.mark(text)'::regprocedure") == source
    assert site.sql("select count(*) from noted where what not like '%%,%%'") == [(1,)]
    assert victim.commit_one_phase()["is"] == "done"
    wait_until(site.up)
