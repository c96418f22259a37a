"""What stands in `public`, or in a schema named as the agent's role, is never run by the agent.

Every name that the agent's SQL uses stands there as a function, an operator or a type of somebody
else's, and is found first wherever a name is not qualified. Each counts when it is run.
"""

import contextlib
import itertools
import re

import pytest

from harness import SOURCE, Client, wait_until
from played import new_site

# A call, its schema named or not: taken from the programs, so that none is forgotten.
CALL = re.compile(r"(?<!\w)([a-z_][a-z0-9_]+)\(")
NOT_FUNCTIONS = {  # of SQL's own syntax, or C
    "values", "coalesce", "exists", "greatest", "least", "nullif", "any", "in", "and", "select", "as",
    "cast", "case", "array", "when", "then", "exec", "conflict", "materialized", "extract"}
ARGUMENTS = ("text", "name", "integer", "bigint", "oid", "xid", "xid8", "boolean", "numeric", "text[]",
             "xid[]", "timestamp with time zone", "interval", "json", "regclass", "pg_lsn", '"char"')
OPERATORS = ("=", "<>", "<", ">", "<=", ">=", "+", "-", "*", "/", "||", "~", "!~", "->", "->>")
TYPES = ("text", "name", "oid", "xid", "xid8", "json", "regclass", "uuid", "timestamptz", "int4", "int8",
         "regprocedure", "numeric")


def words_called():
    """Every word before an opening bracket in a literal of the agent's sources."""
    words = {"pg_backend_pid", "set_config", "current_setting", "pg_current_xact_id"}
    for path in (SOURCE / "rm-agent").rglob("*.[ch]"):
        for literal in re.findall(r'"((?:[^"\\\n]|\\.)*)"', path.read_text()):
            words.update(CALL.findall(literal))
    return sorted(words - NOT_FUNCTIONS)


def functions(schema, signatures):
    """A function for each name and arguments, in plpgsql: what it is called for does not matter."""
    for name, arguments, returns in signatures:
        setof = "setof " if returns.startswith("SETOF ") else ""
        returns = returns.removeprefix("SETOF ")
        yield (f'create function {schema}."{name}"({arguments}) returns {setof}{returns}'
               " language plpgsql as $$ begin perform pg_catalog.nextval('hostile.count');"
               f" insert into hostile.loot values ('{schema}.{name}({arguments})', session_user);"
               " return" + (";" if setof or returns == "void" else " null;") + " end $$")


def signatures_of(site):
    """As PostgreSQL's own have them, what is polymorphic for texts and for xids; and some that it does
    not have. Arguments of pseudo-types cannot be declared."""
    found = site.sql(
        "select proname::text, oidvectortypes(proargtypes), pg_get_function_result(oid) from pg_proc"
        " where pronamespace = 'pg_catalog'::regnamespace and proname::text = any (%s)"
        " and prokind = 'f'", words_called())
    aggregates = {name for name, in site.sql("select proname::text from pg_proc where prokind = 'a'")}
    made = {}
    for (name, arguments, returns), element in itertools.product(found, ("text", "xid")):
        for word in ("anycompatiblearray", "anyarray"):
            arguments, returns = (text.replace(word, f"{element}[]") for text in (arguments, returns))
        for word in ("anycompatible", "anyelement", '"any"'):
            arguments, returns = (text.replace(word, element) for text in (arguments, returns))
        if not re.search("any|cstring|internal|record|TABLE", arguments + returns):
            made[name, arguments] = returns
    # A function in an aggregate's place would make the statement an error, before anything is run.
    for name, argument in itertools.product(set(words_called()) - aggregates, ARGUMENTS):
        made.setdefault((name, argument), "int4")
    return sorted((*key, returns) for key, returns in made.items())


def operators(schema):
    for name, argument in itertools.product(OPERATORS, ARGUMENTS):
        result = {"+": "int8", "-": "int8", "*": "int8", "/": "int4", "||": "pg_catalog.text",
                  "->": "json", "->>": "pg_catalog.text"}.get(name, "bool")
        function = "operator_" + "_".join(str(ord(letter)) for letter in name)
        yield (f"create function {schema}.{function}({argument}, {argument}) returns {result} language plpgsql as"
               " $$ begin perform pg_catalog.nextval('hostile.count'); insert into hostile.loot values"
               f" ('{schema}: {argument} {name} {argument}', session_user); return null; end $$")
        yield (f"create operator {schema}.{name} (leftarg = {argument}, rightarg = {argument},"
               f" function = {schema}.{function})")


def types(schema):
    for name in TYPES:
        yield (f"create domain {schema}.{name} as pg_catalog.{name} check"
               f" (hostile.counted('{schema}: type {name}'))")
    yield f"create type {schema}.made as (n pg_catalog.int4)"
    yield (f"create function {schema}.to_text({schema}.made) returns pg_catalog.text language sql as"
           " 'select null::pg_catalog.text'")
    yield (f"create cast ({schema}.made as pg_catalog.text) with function {schema}.to_text({schema}.made)"
           " as implicit")


PREPARE_COUNT = """
create schema hostile; grant usage on schema hostile to public;
create sequence hostile.count; grant all on sequence hostile.count to public;
create table hostile.loot (what pg_catalog.text, whom pg_catalog.text);
grant all on hostile.loot to public;
create function hostile.counted(what pg_catalog.text) returns bool language plpgsql as $$ begin
    perform pg_catalog.nextval('hostile.count');
    insert into hostile.loot values (what, session_user); return true; end $$;

"""


@pytest.fixture(params=["the path that everybody has", "a path that ends with pg_catalog"])
def site(request, run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.sql("create table public.work (n int)")
        site.sql("grant all on public.work to shop")
        site.sql(PREPARE_COUNT)
        site.sql('create schema shop; grant usage on schema shop to public')
        signatures = signatures_of(site)
        with contextlib.closing(site.connect(user="postgres")) as connection:
            for schema in ("public", "shop"):
                connection.cursor().execute(";".join(itertools.chain(
                    functions(schema, signatures), operators(schema), types(schema))))
        for role in ("assent", "shop") if "ends" in request.param else ():
            site.sql(f"alter role {role} in database {site.name}"
                     " set search_path = public, shop, pg_catalog")
        yield site


def hits(site):
    return site.sql("select distinct what, whom from hostile.loot order by 1"), \
        site.sql("select is_called from hostile.count") == [(True,)]


def would_be_found(site):
    """By whoever does not qualify names."""
    with contextlib.closing(site.connect()) as connection:
        connection.cursor().execute("select cardinality(array['a'::pg_catalog.text])")
    found, called = hits(site)
    site.sql("truncate hostile.loot; alter sequence hostile.count restart")
    assert called and found, "not even by us"
    return True


def test_nothing_of_it_is_run(site):
    assert would_be_found(site) and len(words_called()) > 40
    site.install_schema()  # as a superuser
    site.start()
    player = site.play()
    assert player.register()["ok"]
    worked, own, one, reading, left = (player.branch() for _ in range(5))
    worked.run("insert into public.work values (1)")
    end = worked.commit(worked.ready())
    assert end and end["is"] == "done", (hits(site), site.agent.log_text()[-300:])
    own.prepare_own("insert into public.work values (2)")
    assert own.commit(own.ready())["is"] == "done"
    one.run("insert into public.work values (3)")
    assert one.commit_one_phase()["is"] == "done" and one.settle()["is"] == "done"
    reading.run("table public.work", access="r")
    assert reading.prepare()["is"] == "read-only"
    left.prepare_own("insert into public.work values (4)")
    assert player.scan() == [("found", left.gid)]
    with contextlib.closing(Client(site.socket, 30)) as client:
        assert [each["gid"] for each in client.call("prepared")["prepared"]] == [left.gid]
        findings = client.call("check")["findings"]
        assert [each["what"] for each in findings if "fsync" not in each["what"]] == []
    left.ready()
    site.restart()
    assert player.register()["ok"]
    site.terminate("assent")
    wait_until(site.up)
    assert wait_until(left.rollback)["is"] == "done"
    assert hits(site) == ([], False)
