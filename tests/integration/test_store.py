"""axiomd's own tables and the one way to a transaction, on a real MariaDB."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from axiomd.errors import AxiomdError, Conflict, DatabaseUnavailable, ProjectError, SchemaError
from axiomd.store import schema, tables
from axiomd.store.database import Contention, Database, LoginRefused, Session
from axiomd.store.tables import Change, Entry
from tests.world import World

# The schema.


async def migrate(world: World) -> tuple[Database, list[str]]:
    database = await world.database(world.settings())
    async with database.session() as session:
        return database, await schema.migrate(session, world.now)


async def check(database: Database) -> None:
    async with database.session() as session:
        await schema.check(session)


async def test_migrating_twice_does_nothing_the_second_time(world: World) -> None:
    database, ran = await migrate(world)
    assert ran == [f"{version:04d}_{name}" for version, (name, _) in schema.migrations().items()]
    assert (await migrate(world))[1] == []
    await check(database)


async def test_before_the_first_migration_the_next_step_is_named(world: World) -> None:
    with pytest.raises(SchemaError, match=r"not in this database yet\. Run `axiomd migrate`"):
        await check(await world.database(world.settings()))


async def test_tables_of_a_newer_axiomd_are_refused_and_left_alone(world: World) -> None:
    database, _ = await migrate(world)
    world.execute("INSERT INTO axiomd_schema VALUES (999, 1, 0)")
    with pytest.raises(SchemaError, match="version 999, made by a newer axiomd"):
        await check(database)
    with pytest.raises(SchemaError, match="newer"):
        await migrate(world)


async def test_a_migration_that_broke_off_is_refused_then_run_again_from_its_start(world: World) -> None:
    database, ran = await migrate(world)
    world.execute("INSERT INTO axiomd_state VALUES ('baseline_at', 5)")
    world.execute("DROP TABLE axiomd_ledger")
    world.execute("UPDATE axiomd_schema SET complete = 0 ORDER BY version LIMIT 1")
    with pytest.raises(SchemaError, match="incomplete"):
        await check(database)
    assert (await migrate(world))[1] == ran[:1]
    await check(database)
    assert world.value("SELECT COUNT(*) FROM axiomd_ledger") == 0
    assert world.value("SELECT value FROM axiomd_state") == 5


async def test_migrations_are_numbered_without_a_gap(world: World) -> None:
    assert list(schema.migrations()) == list(range(1, len(schema.migrations()) + 1))
    database, _ = await migrate(world)
    rows = await database.fetch("SELECT version, complete FROM axiomd_schema ORDER BY version")
    assert rows == [(version, 1) for version in schema.migrations()]


# Transactions.


@pytest.fixture
async def database(world: World) -> Database:
    """The project's database with a table of numbers 1 to 3, all worth 0."""
    world.execute("CREATE TABLE numbers (id INT PRIMARY KEY, value INT NOT NULL DEFAULT 0) ENGINE=InnoDB")
    world.execute("INSERT INTO numbers (id) VALUES (1), (2), (3)")
    return await world.database(world.settings())


def numbers(world: World) -> list[int]:
    return [row["value"] for row in world.rows("SELECT value FROM numbers ORDER BY id")]


async def add(session: Session, id_: int) -> None:
    await session.execute("UPDATE numbers SET value = value + 1 WHERE id = %(id)s", {"id": id_})


@asynccontextmanager
async def lock_held(world: World, id_: int) -> AsyncIterator[None]:
    """Another program that holds the lock on a row."""
    other = world.server.connect(world.database_name)
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT * FROM numbers WHERE id = %s FOR UPDATE", (id_,))
            yield
            cursor.execute("ROLLBACK")
    finally:
        other.close()


async def test_a_transaction_gives_what_its_work_gives_and_is_committed(world: World, database: Database) -> None:
    async def work(session: Session) -> str:
        await add(session, 1)
        await add(session, 2)
        return "done"

    assert await database.transaction(work) == "done"
    assert numbers(world) == [1, 1, 0]


async def test_nothing_is_seen_of_it_before_its_end(world: World, database: Database) -> None:
    async def work(session: Session) -> None:
        await add(session, 1)
        assert numbers(world) == [0, 0, 0]

    await database.transaction(work)
    assert numbers(world) == [1, 0, 0]


async def test_an_error_undoes_it_and_is_not_tried_again(world: World, database: Database) -> None:
    tries = 0

    async def work(session: Session) -> None:
        nonlocal tries
        tries += 1
        await add(session, 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transaction(work)
    assert (tries, numbers(world)) == (1, [0, 0, 0])


async def test_a_conflict_undoes_it_and_is_tried_again_from_the_start(world: World, database: Database) -> None:
    tries = 0

    async def work(session: Session) -> None:
        nonlocal tries
        tries += 1
        await add(session, 1)
        if tries < 3:
            raise Conflict("changed meanwhile")

    await database.transaction(work)
    assert (tries, numbers(world)) == (3, [1, 0, 0])


async def test_a_conflict_that_stays_is_raised_in_the_end(world: World, database: Database) -> None:
    async def work(session: Session) -> None:
        await add(session, 1)
        raise Conflict("changed again")

    with pytest.raises(Conflict, match="changed again"):
        await database.transaction(work)
    assert numbers(world) == [0, 0, 0]


async def test_the_victim_of_a_deadlock_is_tried_again_and_the_other_goes_through(
    world: World, database: Database
) -> None:
    """Both lock crosswise. The other has changed more rows, so the database undoes ours."""
    tries = 0
    other = world.server.connect(world.database_name)
    crossing: asyncio.Future[None] | None = None

    def cross() -> None:
        with other.cursor() as cursor:
            cursor.execute("UPDATE numbers SET value = value + 10 WHERE id = 1")
            cursor.execute("COMMIT")

    async def work(session: Session) -> None:
        nonlocal tries, crossing
        tries += 1
        await add(session, 1)
        if crossing is None:
            with other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.executemany("INSERT INTO numbers (id) VALUES (%s)", [(id_,) for id_ in range(100, 300)])
                cursor.execute("UPDATE numbers SET value = value + 10 WHERE id = 2")
            crossing = asyncio.get_running_loop().run_in_executor(None, cross)
        await add(session, 2)

    await database.transaction(work)
    assert crossing is not None
    await crossing
    other.close()
    assert tries > 1
    assert numbers(world)[:3] == [11, 11, 0]


async def test_a_lock_that_never_comes_free_ends_in_contention_with_nothing_written(
    world: World, database: Database
) -> None:
    tries = 0

    async def work(session: Session) -> None:
        nonlocal tries
        tries += 1
        await session.execute("SET SESSION innodb_lock_wait_timeout = 0")
        await add(session, 1)
        await add(session, 2)

    async with lock_held(world, 2):
        with pytest.raises(Contention):
            await database.transaction(work)
    assert tries > 1
    assert numbers(world) == [0, 0, 0]


async def test_our_wait_for_a_lock_is_shorter_than_boincs(database: Database) -> None:
    assert await database.fetch("SELECT @@innodb_lock_wait_timeout <= 5") == [(1,)]


async def test_cancelled_in_the_middle_nothing_is_written_and_no_lock_stays(world: World, database: Database) -> None:
    locked = asyncio.Event()

    async def work(session: Session) -> None:
        await add(session, 1)
        locked.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(database.transaction(work))
    await locked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.execute("SET SESSION innodb_lock_wait_timeout = 10")
    world.execute("UPDATE numbers SET value = value + 5 WHERE id = 1")
    assert numbers(world) == [5, 0, 0]


async def test_a_transaction_sees_what_others_commit_meanwhile(world: World, database: Database) -> None:
    """READ COMMITTED: a decision is taken on what is so, and no gap is locked."""

    async def work(session: Session) -> list[int]:
        seen = []
        for _ in range(2):
            seen.append(int((await session.fetch("SELECT value FROM numbers WHERE id = 1"))[0][0]))
            world.execute("UPDATE numbers SET value = 7 WHERE id = 1")
        await session.fetch("SELECT * FROM numbers WHERE id BETWEEN 1 AND 50 FOR UPDATE")
        world.execute("INSERT INTO numbers (id) VALUES (20)")
        return seen

    assert await database.transaction(work) == [0, 7]


async def test_a_snapshot_sees_one_moment_and_locks_nothing(world: World, database: Database) -> None:
    seen = []
    async with database.snapshot() as session:
        for _ in range(2):
            seen.append(await session.fetch("SELECT value FROM numbers ORDER BY id"))
            world.execute("UPDATE numbers SET value = value + 1")
    assert seen[0] == seen[1]
    assert numbers(world) == [2, 2, 2]
    assert await database.fetch("SELECT DISTINCT value FROM numbers") == [(2,)]


async def test_after_the_connections_were_killed_the_next_transaction_works(world: World, database: Database) -> None:
    async def work(session: Session) -> None:
        await add(session, 1)
        own = (await session.fetch("SELECT CONNECTION_ID()"))[0][0]
        if numbers(world) == [0, 0, 0] and not killed:
            killed.append(own)
            world.execute(f"KILL {own}")
        await add(session, 2)

    killed: list[int] = []
    with pytest.raises(DatabaseUnavailable):
        await database.transaction(work)
    assert numbers(world) == [0, 0, 0]
    await database.transaction(work)
    assert numbers(world) == [1, 1, 0]


# The clock and the login.


async def test_the_databases_clock_is_the_clock(world: World, database: Database) -> None:
    """Whatever time zone the server is in."""
    world.execute("SET GLOBAL time_zone = '+05:00'")
    try:
        fresh = await world.database(world.settings())
        assert abs(await fresh.now() - time.time()) < 60
    finally:
        world.execute("SET GLOBAL time_zone = 'SYSTEM'")


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        pytest.param({"password": "wrong"}, LoginRefused, "refuses user 'root'", id="wrong password"),
        pytest.param({"user": "nobody_here"}, LoginRefused, "refuses user 'nobody_here'", id="no such user"),
        pytest.param({"name": "nowhere"}, LoginRefused, "nowhere", id="no such database"),
        pytest.param({"unix_socket": "/nowhere/sock"}, DatabaseUnavailable, "can't be reached", id="no server"),
        pytest.param(
            {"unix_socket": "", "host": "127.0.0.1", "port": 1},
            DatabaseUnavailable,
            "127.0.0.1:1",
            id="no server by TCP",
        ),
    ],
)
async def test_a_login_that_fails_says_why(
    world: World, database: Database, what: dict[str, str | int], error: type[AxiomdError], message: str
) -> None:
    other = Database(replace(database.login, **what))  # type: ignore[arg-type]
    with pytest.raises(error, match=message) as caught:
        await other.open()
    assert type(caught.value) is error
    assert "wrong" not in str(caught.value)
    await other.close()


async def test_a_missing_privilege_is_named(world: World, database: Database) -> None:
    user = f"reader_of_{world.database_name}"
    world.execute(f"CREATE USER {user}@localhost")
    world.execute(f"GRANT SELECT ON {world.database_name}.* TO {user}@localhost")
    reader = Database(replace(database.login, user=user))
    try:
        with pytest.raises(ProjectError, match=rf"user '{user}' lacks a privilege: UPDATE command denied"):
            await reader.transaction(lambda session: add(session, 1))
        assert await reader.fetch("SELECT value FROM numbers WHERE id = 1") == [(0,)]
    finally:
        await reader.close()
        world.execute(f"DROP USER {user}@localhost")


async def test_a_missing_column_is_named(database: Database) -> None:
    with pytest.raises(ProjectError, match=r"no_such_column.*axiomd doctor"):
        await database.fetch("SELECT no_such_column FROM numbers")


# The journal.


async def test_a_journal_entry_keeps_its_changes(world: World) -> None:
    database, _ = await world.migrate(world.settings())
    change = Change("workunit", 7, "repair:orphaned", {"transitioner_flags": 2}, {"note": 'it\'s "100 %" {x}'})

    async def work(session: Session) -> int:
        return await tables.write_journal(session, Entry(5.0, "repair", "test", 1, detail={"orphaned": 1}), [change])

    journal_id = await database.transaction(work)
    (row,) = world.rows("SELECT * FROM axiomd_change")
    assert (row["journal_id"], row["subject"], row["row_id"]) == (journal_id, "workunit", 7)
    assert row["after_change"] == '{"note": "it\'s \\"100 %\\" {x}"}'


async def test_a_journal_entry_holds_counts_of_hundreds_of_kinds(world: World) -> None:
    """Top-up counts by experiment, and a project may have any number of them."""
    database, _ = await world.migrate(world.settings())
    counts = {f"a_rather_long_name_of_an_experiment_{number}": number for number in range(300)}
    entry = Entry(5.0, "topup", "cores_idle", 300, detail=counts)
    await database.transaction(lambda session: tables.write_journal(session, entry))
    assert world.value("SELECT JSON_VALID(detail) FROM axiomd_journal") == 1
