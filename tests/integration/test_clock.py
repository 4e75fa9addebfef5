"""Clocks that differ or jump: the database's clock counts, and nothing is lost or paid twice by a jump."""

from __future__ import annotations

import math
import time

import pytest

from axiomd.store import database
from tests.world import World


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give what `at` sets the database's clock with, for sessions that are opened after it."""
    return monkeypatch


def at(clock: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the database's clock stand at this time."""
    clock.setattr(database, "LOCK_WAIT_S", f"3, timestamp={seconds}")


@pytest.mark.parametrize("minutes", [-600, -7, 7, 600], ids=lambda minutes: f"{minutes} minutes")
async def test_a_database_whose_clock_differs_from_the_daemons(
    world: World, clock: pytest.MonkeyPatch, minutes: int
) -> None:
    there = time.time() + 60 * minutes
    at(clock, there)
    world.now = int(there)
    host = world.host()
    results = [world.valid_result(host) for _ in range(3)]
    stuck = world.result(world.workunit(), world.host(rpc_time=world.now - 50_000), sent_time=world.now - 60_000)
    fresh = world.result(world.workunit(), host, sent_time=world.now - 60)
    await (await world.axiomd()).once()
    assert [world.row("result", id_)["granted_credit"] for id_ in results] == [2] * 3
    assert world.row("result", stuck)["report_deadline"] < there
    assert world.row("result", fresh)["report_deadline"] > there
    assert abs(world.value("SELECT MAX(at) FROM axiomd_journal") - there) < 60


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0, -30 * 86_400.0], ids=["back", "forward", "a month back"])
async def test_a_clock_that_jumps_between_two_payments(world: World, clock: pytest.MonkeyPatch, jump_s: float) -> None:
    host = world.host()
    first = world.valid_result(host)
    at(clock, world.now)
    await (await world.axiomd()).once()
    second = world.valid_result(host)
    at(clock, world.now + jump_s)
    await (await world.axiomd()).once()
    row = world.row("host", host)
    assert [world.row("result", id_)["granted_credit"] for id_ in (first, second)] == [2, 2]
    assert row["total_credit"] == 4
    assert math.isfinite(row["expavg_credit"])
    assert row["expavg_credit"] >= 0
    assert world.value("SELECT COUNT(*) FROM axiomd_ledger") == 2


async def test_work_that_is_reported_in_the_databases_future_is_paid(world: World, clock: pytest.MonkeyPatch) -> None:
    """The scheduler runs on another machine, whose clock is ahead."""
    result = world.valid_result(world.host(), received_time=world.now + 900)
    at(clock, world.now)
    await (await world.axiomd()).once()
    assert world.row("result", result)["granted_credit"] == 2
