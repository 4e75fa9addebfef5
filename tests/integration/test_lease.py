"""The lease on a real MariaDB: one daemon writes, another takes over, and what wakes up late writes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from axiomd.errors import AxiomdError, DatabaseUnavailable, Fenced
from axiomd.store import lease, tables
from axiomd.store.database import Database, Session
from axiomd.store.lease import Lease
from tests.world import World

LEASE_S = 10.0


class Clock:
    """The monotonic clock of a test."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Two:
    """Two daemons' sides of the lease, and the clock of both."""

    world: World
    first: Lease
    first_database: Database
    second: Lease
    second_database: Database
    clock: Clock

    @property
    def fence(self) -> int:
        return int(self.world.value("SELECT fence FROM axiomd_lease"))


@pytest.fixture
async def two(world: World, monkeypatch: pytest.MonkeyPatch) -> Two:
    settings = world.settings()
    first_database, _ = await world.migrate(settings)
    second_database = await world.database(settings)
    clock = Clock()
    monkeypatch.setattr(lease, "time", clock)
    return Two(
        world, Lease(first_database, LEASE_S), first_database, Lease(second_database, LEASE_S), second_database, clock
    )


async def write(database: Database, value: float) -> None:
    """Change something, as a handler does."""
    await database.transaction(lambda session: tables.set_state(session, "test", value))


def written(two: Two) -> float:
    rows = two.world.rows("SELECT value FROM axiomd_state WHERE name = 'test'")
    return float(rows[0]["value"]) if rows else 0.0


async def test_the_first_takes_it_and_the_second_is_told_who_has_it(two: Two) -> None:
    assert await two.first.take() is None
    holder = await two.second.take()
    assert holder is not None
    assert holder.holder == two.first.name
    assert (two.first_database.fence, two.second_database.fence) == (1, None)


async def test_what_is_given_back_is_taken_at_once(two: Two) -> None:
    await two.first.take()
    await two.first.give_back()
    assert await two.second.take() is None
    assert two.second_database.fence == 2


async def test_a_holder_whose_connections_are_gone_is_followed_at_once(two: Two) -> None:
    await two.first.take()
    await two.first_database.close()
    assert await two.second.take() is None


async def test_a_holder_that_renews_is_never_followed(two: Two) -> None:
    await two.first.take()
    for _ in range(20):
        two.clock.seconds += 0.5 * LEASE_S
        await two.first.renew()
        assert await two.second.take() is not None
    assert two.fence == 1


async def test_a_holder_that_hangs_is_followed_before_the_lease_is_over(two: Two) -> None:
    await two.first.take()
    asked_at = two.clock.seconds
    while await two.second.take() is not None:
        two.clock.seconds += two.second.look_every_s
    assert two.clock.seconds - asked_at <= 0.8 * LEASE_S
    assert not two.first.fresh


async def test_who_wakes_up_late_writes_nothing(two: Two) -> None:
    await two.first.take()
    await write(two.first_database, 1)
    two.world.execute("UPDATE axiomd_lease SET fence = fence + 1, holder = 'elsewhere:1'")
    with pytest.raises(Fenced, match="another daemon has taken the lease: nothing was written"):
        await write(two.first_database, 2)
    with pytest.raises(Fenced, match="taken by elsewhere:1"):
        await two.first.renew()
    assert written(two) == 1


async def test_locks_of_a_stopped_holder_do_not_block_its_successor(two: Two) -> None:
    """The first stands still in the middle of a transaction: its locks go when the second takes over."""
    host = two.world.host()
    await two.first.take()
    standing, go_on = asyncio.Event(), asyncio.Event()

    async def stand_still(session: Session) -> None:
        await session.execute("UPDATE host SET total_credit = 99 WHERE id = %(id)s", {"id": host})
        await session.fetch("SELECT fence FROM axiomd_lease WHERE id = 1 LOCK IN SHARE MODE")
        standing.set()
        await go_on.wait()

    paused = asyncio.create_task(two.first_database.transaction(stand_still))
    await standing.wait()
    assert await two.second.take() is not None
    two.clock.seconds += LEASE_S
    assert await two.second.take() is None
    # A statement of BOINC on that row needs no waiting any more.
    two.world.execute("SET SESSION innodb_lock_wait_timeout = 1")
    assert two.world.execute("UPDATE host SET total_credit = total_credit + 1 WHERE id = %s", host) == 1
    go_on.set()
    with pytest.raises(DatabaseUnavailable):
        await paused
    assert two.world.row("host", host)["total_credit"] == 1
    with pytest.raises(Fenced):
        await write(two.first_database, 2)


async def test_on_another_node_of_a_cluster_no_connection_means_nothing(two: Two) -> None:
    """Named locks and connections are local to a node: there only the counter tells."""
    two.world.execute("UPDATE axiomd_lease SET fence = 7, token = 'abc', holder = 'far', server = 'another node'")
    assert await two.second.take() is not None
    two.clock.seconds += LEASE_S
    assert await two.second.take() is None
    assert two.second_database.fence == 8


async def test_a_daemon_of_another_database_user_is_followed_by_the_counter_alone(two: Two) -> None:
    """Its connections can't be seen: that there seem to be none says nothing."""
    await two.first.take()
    two.world.execute("UPDATE axiomd_lease SET server = REPLACE(server, ' as root', ' as axiomd')")
    await two.first_database.close()
    assert await two.second.take() is not None
    two.clock.seconds += LEASE_S
    assert await two.second.take() is None


async def test_no_clock_but_its_own_tells_a_standby_how_long_it_waits(two: Two) -> None:
    """The holder took the lease an hour in the future, or the past, by the database's clock: it jumped since."""
    await two.first.take()
    for jump in (3600, -7200):
        two.world.execute("UPDATE axiomd_lease SET since = since + %s", jump)
        assert await two.second.take() is not None


async def test_two_that_take_at_the_same_time_are_not_both_served(two: Two) -> None:
    answers = await asyncio.gather(two.first.take(), two.second.take())
    assert sum(answer is None for answer in answers) == 1
    assert two.fence == 1


async def test_a_daemon_whose_taking_was_not_answered_has_it_all_the_same(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke after the commit: the lease names this very process, which must not wait for itself."""
    transaction = Database.transaction

    async def unanswered(self: Database, *arguments: Any, **options: Any) -> None:
        await transaction(self, *arguments, **options)
        raise DatabaseUnavailable("the answer got lost")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", unanswered)
        with pytest.raises(DatabaseUnavailable):
            await two.first.take()
    assert (two.fence, two.first_database.fence) == (1, None)
    assert await two.first.take() is None
    await write(two.first_database, 3)
    assert (two.fence, written(two)) == (1, 3)


async def test_a_daemon_that_could_not_renew_and_was_not_followed_goes_on(two: Two) -> None:
    await two.first.take()
    two.clock.seconds += 3 * LEASE_S
    assert not two.first.fresh
    assert await two.first.take() is None
    assert two.first.fresh
    await write(two.first_database, 3)
    assert two.fence == 1


async def test_the_commands_of_a_person_need_no_lease(two: Two) -> None:
    await two.first.take()
    await write(two.second_database, 5)
    assert written(two) == 5


async def test_a_transaction_that_stands_still_is_ended_by_the_server(two: Two) -> None:
    async with two.first_database.session() as session:
        rows = await session.fetch("SHOW VARIABLES LIKE 'idle%%transaction_timeout'")
    assert {str(name): int(value) for name, value in rows}["idle_write_transaction_timeout"] == 5


async def test_a_connection_is_known_by_a_lock_that_names_it(two: Two) -> None:
    async with two.first_database.session() as session:
        rows = await session.fetch(
            "SELECT CONNECTION_ID(), IS_USED_LOCK(CONCAT(%(p)s, CONNECTION_ID()))",
            {"p": f"axiomd:{two.first_database.token}:"},
        )
    assert rows[0][0] == rows[0][1]


async def test_without_the_right_to_end_a_connection_the_lease_is_taken_all_the_same(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two.first.take()
    await two.second.take()
    two.clock.seconds += LEASE_S
    monkeypatch.setitem(lease.SQL, "kill", "KILL 4294967295")

    assert await two.second.take() is None
    with pytest.raises(AxiomdError):
        await write(two.first_database, 1)
