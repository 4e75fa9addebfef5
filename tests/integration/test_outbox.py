"""The outbox: every entry gets one number, after its commit, whatever the order of commits is, at little cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axiomd.errors import Fenced
from axiomd.store import outbox, tables
from axiomd.store.database import Database
from axiomd.store.outbox import Numbering
from tests.world import World

OVERLAP_S = 120.0
ENTRY = (
    "INSERT INTO axiomd_journal (at, kind, cause, actor, changes, detail) "
    "VALUES (UNIX_TIMESTAMP() - %s, 'credit', 'result_completed', 'axiomd', 1, '{\"paid\": 1}')"
)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Writer:
    """A program that writes journal entries in transactions of its own."""

    def __init__(self, world: World) -> None:
        self.connection = world.server.connect(world.database_name)
        self.connection.autocommit(False)

    def write(self, ago_s: float = 0.0) -> int:
        """Insert an entry and don't commit it; its id."""
        with self.connection.cursor() as cursor:
            cursor.execute(ENTRY, (ago_s,))
            return int(cursor.lastrowid)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(world: World) -> Database:
    database, _ = await world.migrate(world.settings())
    return database


@pytest.fixture
async def numbering(database: Database, clock: Clock) -> Numbering:
    """One that has looked at the empty journal."""
    numbering = Numbering(database, OVERLAP_S, clock)
    assert await numbering.look() == 0
    return numbering


@pytest.fixture
def writers(world: World, database: Database) -> Iterator[list[Writer]]:
    writers = [Writer(world) for _ in range(3)]
    yield writers
    for writer in writers:
        writer.connection.close()


def numbered(world: World) -> list[tuple[int, int]]:
    """Pairs (number, journal id) that are published, in order."""
    rows = world.rows("SELECT number, journal_id FROM axiomd_outbox WHERE number > 0 ORDER BY number")
    return [(int(row["number"]), int(row["journal_id"])) for row in rows]


def state(world: World, name: str) -> float:
    return float(world.value("SELECT value FROM axiomd_state WHERE name = %s", name))


async def read(database: Database, after: int = 0, limit: int = 100) -> outbox.Page:
    async with database.session() as session:
        return await outbox.page(session, after, limit)


async def test_numbers_follow_the_commits_not_the_ids(
    world: World, numbering: Numbering, writers: list[Writer]
) -> None:
    slow, quick, _ = writers
    early, late = slow.write(), quick.write()
    quick.connection.commit()
    assert await numbering.look() == 1
    slow.connection.commit()
    assert await numbering.look() == 1
    assert await numbering.look() == 0
    assert early < late
    assert numbered(world) == [(1, late), (2, early)]


async def test_what_appears_late_is_found_until_no_transaction_can_be_so_old(
    world: World, numbering: Numbering, writers: list[Writer], clock: Clock
) -> None:
    slow, quick, failing = writers
    early = slow.write()
    failing.write()
    late = quick.write()
    failing.connection.rollback()
    quick.connection.commit()
    await numbering.look()
    clock.now += OVERLAP_S - 1
    await numbering.look()
    assert state(world, outbox.OUTBOX_FLOOR) == 0
    slow.connection.commit()
    await numbering.look()
    clock.now += 2
    assert await numbering.look() == 0
    assert numbered(world) == [(1, late), (2, early)]
    assert state(world, outbox.OUTBOX_FLOOR) == late


async def test_the_floor_stays_below_what_one_look_could_not_number(
    world: World, numbering: Numbering, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST", 4)
    for _ in range(10):
        world.execute(ENTRY, 0)
    assert await numbering.look() == 4
    clock.now += OVERLAP_S + 1
    assert [await numbering.look(), await numbering.look(), await numbering.look()] == [4, 2, 0]
    assert [number for number, _ in numbered(world)] == list(range(1, 11))
    assert state(world, outbox.OUTBOX_FLOOR) == 10


async def test_what_was_there_before_the_first_look_is_history_but_not_what_is_under_way(
    world: World, database: Database, writers: list[Writer], clock: Clock
) -> None:
    slow, quick, _ = writers
    world.execute(ENTRY, 3 * OVERLAP_S)
    under_way = slow.write()
    quick.write()
    quick.connection.commit()
    numbering = Numbering(database, OVERLAP_S, clock)
    assert await numbering.look() == 0
    slow.connection.commit()
    new = quick.write()
    quick.connection.commit()
    assert await numbering.look() == 2
    assert numbered(world) == [(1, under_way), (2, new)]
    assert [entry.id for entry in (await read(database)).entries] == [under_way, new]


async def test_a_look_costs_what_is_new(world: World, numbering: Numbering, clock: Clock) -> None:
    """Rows that the statement of each look reads: with a long history not more than without."""
    world.execute(
        "INSERT INTO axiomd_journal (at, kind, cause, actor, changes, detail) "
        "SELECT 1, 'credit', '', '', 1, '{}' FROM seq_1_to_5000"
    )
    while await numbering.look():
        pass
    clock.now += OVERLAP_S + 1
    await numbering.look()
    world.execute(ENTRY, 0)
    world.execute("FLUSH STATUS")
    found = world.rows(outbox.SQL["unnumbered"] % {"floor": state(world, outbox.OUTBOX_FLOOR), "limit": 500})
    read = sum(int(row["Value"]) for row in world.rows("SHOW SESSION STATUS LIKE 'Handler_read%'"))
    assert len(found) == 1
    assert read < 10


async def test_two_that_number_at_the_same_time_give_each_number_once(
    world: World, database: Database, numbering: Numbering, clock: Clock
) -> None:
    for _ in range(30):
        world.execute(ENTRY, 0)
    others = [numbering, *(Numbering(database, OVERLAP_S, clock) for _ in range(3))]
    await asyncio.gather(*(one.look() for one in others))
    assert numbered(world) == [(place, place) for place in range(1, 31)]


async def test_who_lost_the_lease_numbers_nothing(world: World, database: Database, numbering: Numbering) -> None:
    world.execute(ENTRY, 0)
    database.fence = 7
    with pytest.raises(Fenced):
        await numbering.look()
    assert numbered(world) == []


PAGES: dict[str, tuple[list[int], int, int, tuple[list[int], int, int]]] = {
    "all are there": ([], 0, 10, ([1, 2, 3, 4, 5], 5, 0)),
    "a page": ([], 1, 2, ([2, 3], 3, 0)),
    "nothing new": ([], 5, 10, ([], 5, 0)),
    "a hole": ([2, 3], 0, 10, ([1, 4, 5], 5, 2)),
    "a hole at the end": ([4, 5], 0, 10, ([1, 2, 3], 5, 2)),
    "a hole at the end of a page": ([3], 0, 2, ([1, 2], 2, 0)),
    "all are gone": ([1, 2, 3, 4, 5], 0, 10, ([], 5, 5)),
}


async def test_a_page_skips_what_was_pruned_and_says_so(world: World, database: Database, numbering: Numbering) -> None:
    for case, (pruned, after, limit, expected) in PAGES.items():
        world.execute("DELETE FROM axiomd_outbox")
        world.execute("DELETE FROM axiomd_journal")
        world.execute("UPDATE axiomd_state SET value = 0 WHERE name = %s", outbox.OUTBOX_LAST)
        for _ in range(5):
            world.execute(ENTRY, 0)
        await numbering.look()
        ids = dict(numbered(world))
        if pruned:
            async with database.session() as session:
                await outbox.forget(session, [ids[number] for number in pruned])
            world.execute("DELETE FROM axiomd_journal WHERE id IN %s", [ids[number] for number in pruned])
        page = await read(database, after, limit)
        assert ([entry.number for entry in page.entries], page.through, page.pruned) == expected, case


async def test_numbers_go_on_behind_pruned_ones(world: World, database: Database, numbering: Numbering) -> None:
    world.execute(ENTRY, 0)
    await numbering.look()
    async with database.session() as session:
        await outbox.forget(session, [1])
    world.execute("DELETE FROM axiomd_journal")
    world.execute(ENTRY, 0)
    await numbering.look()
    assert numbered(world) == [(2, 2)]


async def test_an_entry_comes_whole(world: World, database: Database, numbering: Numbering) -> None:
    world.execute(ENTRY, 0)
    world.execute("UPDATE axiomd_journal SET at = 5.25, credit = 2.5")
    world.execute(ENTRY, 0)
    world.execute("UPDATE axiomd_journal SET detail = 'no JSON' WHERE id = 2")
    await numbering.look()
    first, second = (await read(database)).entries
    assert first == outbox.Entry(1, 1, 5.25, "credit", "result_completed", "axiomd", 1, 2.5, {"paid": 1})
    assert second.detail == "no JSON"


async def test_how_far_it_came_is_kept(database: Database, numbering: Numbering) -> None:
    async with database.session() as session:
        assert await outbox.acknowledged(session) == 0
        await outbox.acknowledge(session, 17)
        assert await outbox.acknowledged(session) == 17
    await numbering.look()
    assert (numbering.acknowledged, numbering.last) == (17, 0)


# Steps of three writers and of the one that numbers, in any order.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "commit", "rollback"]), st.integers(0, 2)),
        st.tuples(st.just("look"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([10, 60, 119])),
    ),
    min_size=5,
    max_size=40,
)


@pytest.fixture
async def fresh(world: World) -> AsyncIterator[Any]:
    """Give what empties the tables between examples."""
    database, _ = await world.migrate(world.settings())
    writers = [Writer(world) for _ in range(3)]
    yield world, database, writers
    for writer in writers:
        writer.connection.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_every_committed_entry_gets_one_number_for_good(fresh: Any, steps: list[tuple[str, int]]) -> None:
    world, database, writers = fresh
    for writer in writers:
        writer.connection.rollback()
    world.execute("DELETE FROM axiomd_outbox")
    world.execute("DELETE FROM axiomd_journal")
    async with database.session() as session:
        for name in (outbox.OUTBOX_FLOOR, outbox.OUTBOX_LAST, outbox.MQTT_ACKNOWLEDGED):
            await tables.set_state(session, name, 0)
    clock = Clock()
    numbering = Numbering(database, OVERLAP_S, clock)
    opened_at: dict[int, float] = {}
    history: list[tuple[int, int]] = []

    def end(which: int, *, commit: bool) -> None:
        opened_at.pop(which, None)
        connection: pymysql.Connection[Any] = writers[which].connection
        connection.commit() if commit else connection.rollback()

    for what, which in steps:
        if what == "write":
            opened_at.setdefault(which, clock.now)
            writers[which].write()
        elif what == "wait":
            # No transaction lasts as long as the overlap.
            for old in [one for one, since in opened_at.items() if clock.now + which - since >= OVERLAP_S]:
                end(old, commit=bool(old % 2))
            clock.now += which
        elif what == "look":
            await numbering.look()
            now = numbered(world)
            assert now[: len(history)] == history
            history = now
        else:
            end(which, commit=what == "commit")
    for which in range(3):
        end(which, commit=True)
    await numbering.look()
    entries = {int(row["id"]) for row in world.rows("SELECT id FROM axiomd_journal")}
    given_out = numbered(world)
    assert [number for number, _ in given_out] == list(range(1, len(entries) + 1))
    assert {id_ for _, id_ in given_out} == entries
