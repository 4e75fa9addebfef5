"""The guard rails on a real MariaDB: what a window holds, what stops past it, and how it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from axiomd.store import guard, tables
from axiomd.store.database import Database, Session
from axiomd.store.guard import Kind, Rail
from axiomd.store.tables import Entry, IntendedJob, JobState
from tests.command import axiomd
from tests.world import World


async def written(world: World, *entries: Entry) -> Database:
    database, _ = await world.migrate(world.settings())

    async def work(session: Session) -> None:
        for entry in entries:
            await tables.write_journal(session, entry)

    await database.transaction(work)
    return database


@pytest.mark.parametrize(
    ("kind", "window_s", "used", "room_at"),
    [
        (Kind.ABORT, 150.0, 6, 350.0),
        (Kind.ABORT, 1000.0, 7, 1100.0),
        (Kind.REPAIR, 1000.0, 8, 1300.0),
        (Kind.CREDIT, 1000.0, 12.5, 1300.0),
        (Kind.TOPUP, 1000.0, 0, 0.0),
    ],
)
async def test_what_a_cap_counts_is_what_the_window_holds(
    world: World, kind: Kind, window_s: float, used: float, room_at: float
) -> None:
    database = await written(
        world,
        Entry(100.0, "abort", "test", 1),
        Entry(200.0, "abort", "test", 2),
        Entry(300.0, "abort", "test", 4),
        Entry(300.0, "repair", "test", 8),
        Entry(300.0, "credit", "test", 3, credit=12.5),
    )
    async with database.session() as session:
        found = await guard.use(session, Rail(kind, 100, window_s), 300.0)
    assert (found.used, found.room_at) == (used, room_at)


async def test_jobs_that_were_given_up_leave_room(world: World) -> None:
    database, _ = await world.migrate(world.settings())

    async def work(session: Session) -> None:
        journal_id = await tables.write_journal(session, Entry(100.0, "topup", "test", 3))
        jobs = [IntendedJob(f"job{number}", journal_id, "axiom", "e", number, 0) for number in range(3)]
        await tables.write_intent(session, jobs)
        await tables.set_job_state(session, ["job0"], JobState.GIVEN_UP)

    await database.transaction(work)
    async with database.session() as session:
        assert (await guard.use(session, Rail(Kind.TOPUP, 10, 1000), 300.0)).left == 8


async def test_past_its_cap_a_kind_stops_and_the_others_go_on(world: World) -> None:
    host, silent = world.host(), world.host(rpc_time=world.now - 50_000)
    results = [world.valid_result(host) for _ in range(5)]
    stuck = [world.result(world.workunit(), silent, sent_time=world.now - 60_000) for _ in range(2)]
    axiomd = await world.axiomd(credit={"cap": 6})
    await axiomd.once()
    await axiomd.once()
    assert sum(world.row("result", id_)["granted_credit"] for id_ in results) == 6
    assert all(world.row("result", id_)["report_deadline"] < world.now + 60 for id_ in stuck)
    assert REGISTRY.get_sample_value("axiomd_stopped", {"kind": "credit"}) == 1
    assert REGISTRY.get_sample_value("axiomd_stopped", {"kind": "abort"}) == 0


async def command(world: World, *words: str) -> str:
    """Run a command of axiomd on the world's project; what it printed."""
    config = Path(world.folder) / "axiomd.toml"
    config.write_text(
        f'[project]\ndir = "{world.folder}"\napps = ["axiom"]\n[database]\nunix_socket = "{world.server.socket}"\n'
        "[credit]\ncap = 6\n"
    )
    done = await asyncio.to_thread(axiomd, *words, "--config", str(config))
    assert done.returncode == 0
    return done.stdout


async def test_it_goes_on_when_the_window_has_moved_on(world: World) -> None:
    host = world.host()
    results = [world.valid_result(host) for _ in range(5)]
    axiomd = await world.axiomd(credit={"cap": 6})
    await axiomd.once()
    world.execute("UPDATE axiomd_journal SET at = at - 21601")
    world.execute("UPDATE axiomd_result SET look_at = 0")
    await axiomd.once()
    assert sum(world.row("result", id_)["granted_credit"] for id_ in results) == 10


async def test_resume_opens_the_window_anew_and_status_says_what_is_stopped(world: World) -> None:
    host = world.host()
    results = [world.valid_result(host) for _ in range(5)]
    axiomd = await world.axiomd(credit={"cap": 6})
    await axiomd.once()
    assert "its cap is used up; there is room again from" in " ".join(
        (await command(world, "status", "--json")).split()
    )
    await command(world, "resume", "credit")
    assert '"stopped": {}' in await command(world, "status", "--json")
    await axiomd.once()
    assert sum(world.row("result", id_)["granted_credit"] for id_ in results) == 10
    assert world.rows("SELECT kind, cause FROM axiomd_journal WHERE kind = 'intervene'") == [
        {"kind": "intervene", "cause": "resume"}
    ]


@pytest.mark.parametrize("kind", ["credit", "abort", "repair"])
async def test_what_a_person_paused_waits_for_that_person(world: World, kind: str) -> None:
    host, silent = world.host(), world.host(rpc_time=world.now - 50_000)
    paid = world.valid_result(host)
    stuck = world.result(world.workunit(), silent, sent_time=world.now - 60_000)
    orphan = world.workunit(transitioner_flags=2)
    axiomd = await world.axiomd()

    def done() -> set[str]:
        return {
            name
            for name, happened in {
                "credit": world.row("result", paid)["granted_credit"] > 0,
                "abort": world.row("result", stuck)["report_deadline"] < world.now + 60,
                "repair": world.row("workunit", orphan)["transitioner_flags"] == 0,
            }.items()
            if happened
        }

    await command(world, "pause", kind)
    await axiomd.once()
    assert done() == {"credit", "abort", "repair"} - {kind}
    await command(world, "resume", kind)
    await axiomd.once()
    assert done() == {"credit", "abort", "repair"}
