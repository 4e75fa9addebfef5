"""Failing experiments are stopped where they fail; failing hosts pause; what failed is told by its cause."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from axiomd.cli.failures import words
from axiomd.daemon import Axiomd
from axiomd.events import Platform
from axiomd.interventions.intervention import Answer, Call, Ground, Outcome, Source
from axiomd.interventions.registry import Interventions
from axiomd.store import failures
from axiomd.store.failures import Stop
from axiomd.views import failures as view
from axiomd.views import hosts as hosts_view
from tests.world import World

OFF = {"enabled": False}
SETTINGS: dict[str, Any] = {
    "experiments": {"a": {"version": 1, "memory": 1, "target": 1000}, "b": {"version": 1, "memory": 1}},
    "credit": OFF,
    "repair": OFF,
    "topup": OFF,
    "harvest": OFF,
}
WINDOWS, LINUX = int(Platform.WINDOWS), int(Platform.LINUX)


def tally(world: World, host: int, failed: int, good: int = 0, **columns: Any) -> None:
    """How a host's results of an experiment ended in this hour."""
    row = {"hour": world.now // 3600, "experiment": "a", "version": 1, "gpu": 0, "platform": LINUX} | columns
    row |= {"host_id": host, "results": failed + good, "failures": failed, "limits": 0, "seconds": 1.0 * good}
    columns_ = ", ".join(row)
    world.execute(f"INSERT INTO axiomd_tally ({columns_}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())


def measured(world: World, host: int, outcome: int = 5, failure: int = 0, **columns: Any) -> int:
    """A harvested result."""
    row: dict[str, Any] = {
        "result_id": world.value("SELECT COALESCE(MAX(result_id), 1000) + 1 FROM axiomd_measurement")
    }
    row |= {"workunit_id": 1, "experiment": "a", "version": 1, "seed": 1, "user_id": 1, "platform": LINUX, "gpu": 0}
    row |= {"host_id": host, "received_at": world.now, "elapsed_s": 1, "outcome": outcome, "failure_id": failure}
    row |= columns
    names = ", ".join(row)
    world.execute(f"INSERT INTO axiomd_measurement ({names}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())
    return int(row["result_id"])


def failure(world: World, class_: str, detail: str = "", place: str = "", results: int = 1, **columns: Any) -> int:
    """A fingerprint."""
    number = world.value("SELECT COUNT(*) + 1 FROM axiomd_failure")
    row = {"id": number, "fingerprint": f"{number:016x}", "experiment": "a", "version": 1, "class": class_} | columns
    row |= {"place": place, "detail": detail, "results": results, "first_at": world.now - 100, "last_at": world.now}
    names = ", ".join(row)
    world.execute(f"INSERT INTO axiomd_failure ({names}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())
    return int(number)


def job(world: World, host: int = 0, experiment: str = "a", **columns: Any) -> int:
    """A job that waits for a host."""
    id_ = world.workunit(transitioner_flags=2, **columns)
    world.execute("UPDATE workunit SET name = %s WHERE id = %s", f"{experiment}-v1-b1-s{id_}", id_)
    if host:
        world.assignment(id_, host)
    return id_


def cancelled(world: World, *workunits: int) -> list[bool]:
    return [bool(world.row("workunit", id_)["error_mask"] & 16) for id_ in workunits]


def quota(world: World, host: int, jobs: int) -> None:
    world.insert("host_app_version", host_id=host, app_version_id=world.app_version_id, max_jobs_per_day=jobs)


def quotas(world: World) -> dict[int, int]:
    return {r["host_id"]: r["max_jobs_per_day"] for r in world.rows("SELECT * FROM host_app_version ORDER BY host_id")}


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"axiomd_{name}", labels)


async def call(axiomd: Axiomd, intervention: str, **parameters: Any) -> Answer:
    interventions = Interventions(Ground(axiomd.settings, axiomd.database, axiomd.project))
    wanted = Call(uuid4().hex, intervention, parameters, Source.CLI, "anna")
    return await interventions.call(wanted)


async def test_ten_failures_stop_an_experiment_at_the_next_look(world: World) -> None:
    first, second, other, banned = (world.host() for _ in range(4))
    axiomd = await world.axiomd(**SETTINGS, hosts={"exclude": [banned]})
    await axiomd.once()
    crash = failure(world, "KeyError", "top_sv_growth", "spectral_dynamics.py:88 measure")
    for host in (first, second):
        tally(world, host, 5)
        for _ in range(5):
            measured(world, host, failure=crash)
    for host, jobs in ((first, 495), (second, 0), (other, 400), (banned, 1)):
        quota(world, host, jobs)
    tally(world, banned, 3)
    tally(world, other, 0, 20, experiment="b")
    waiting, running, healthy = job(world, first), job(world, second), job(world, first, "b")
    world.result(running, second)
    assert [(p.action, p.subject) for p in await axiomd.plan()] == [("stop", "a v1 on CPUs")]

    await axiomd.once()
    assert world.rows("SELECT experiment, version, gpu, platform, reason FROM axiomd_stop") == [
        {
            "experiment": "a",
            "version": 1,
            "gpu": 0,
            "platform": -1,
            "reason": "10 of 10 results failed, most often KeyError: top_sv_growth (spectral_dynamics.py:88 measure)",
        }
    ]
    assert cancelled(world, waiting, running, healthy) == [True, False, False]
    assert quotas(world) == {first: 500, second: 0, other: 400, banned: 1}
    kinds = [row["kind"] for row in world.rows("SELECT kind FROM axiomd_journal ORDER BY id")]
    assert kinds == ["quota", "stop", "abort"]
    await axiomd.once()  # it shows the gauge, and stops nothing twice
    assert shown("experiment_stopped", experiment="a", processor="cpu") == 1
    assert shown("experiment_stopped", experiment="b", processor="cpu") == 0
    assert world.value("SELECT COUNT(*) FROM axiomd_journal") == 3

    assert (await call(axiomd, "continue_experiment", experiment="b")).outcome is Outcome.REFUSED
    assert (await call(axiomd, "continue_experiment", experiment="a")).outcome is Outcome.DONE
    async with axiomd.database.session() as session:
        assert await failures.stops(session) == frozenset()
    await axiomd.once()
    assert world.value("SELECT COUNT(*) FROM axiomd_stop WHERE platform >= -1") == 0, "what was before the lift counts"
    assert shown("experiment_stopped", experiment="a", processor="cpu") == 0
    world.execute("UPDATE axiomd_stop SET since = since - 10")
    for host in (first, second):
        for _ in range(5):
            measured(world, host, failure=crash, received_at=world.now + 3)
    world.execute("UPDATE axiomd_stop SET since = %s", world.now + 1)
    await axiomd.once()
    async with axiomd.database.session() as session:
        assert await failures.stops(session) == {Stop("a", 1, False, None)}


STDERR = """<core_client_version>8.0.2</core_client_version>
<message>process exited with code 1 (0x1, -255)</message>
<stderr_txt>
Traceback (most recent call last):
  File "/home/anna/boinc/slots/3/spectral_dynamics.py", line 88, in measure
    growth = found["top_sv_growth"]
KeyError: 'top_sv_growth'
</stderr_txt>"""


async def test_from_ten_reports_to_the_stop_is_one_round(world: World) -> None:
    """What BOINC has in its tables is harvested, tallied and acted upon."""
    hosts = [world.host() for _ in range(5)]
    for host in hosts * 2:
        workunit = world.workunit(assimilate_state=1, error_mask=2)
        world.execute("UPDATE workunit SET name = %s WHERE id = %s", f"a-v1-b1-s{workunit}", workunit)
        over = {"server_state": 5, "outcome": 3, "client_state": 3, "exit_status": 1, "validate_state": 2}
        world.result(workunit, host, **over, received_time=world.now - 5, elapsed_time=9.0, stderr_out=STDERR)
    axiomd = await world.axiomd(**SETTINGS | {"credit": {}, "harvest": {}})
    await axiomd.once()
    async with axiomd.database.session() as session:
        (row,) = await failures.stop_rows(session)
    assert row.stop == Stop("a", 1, False, None)
    assert row.reason.startswith("10 of 10 results failed, most often KeyError: ")
    assert "anna" not in row.reason
    (line,) = (await view.failures(axiomd.database)).failures
    assert (line.class_, line.results, line.hosts) == ("KeyError", 10, 5)


async def test_an_experiment_is_stopped_on_the_platform_that_it_fails_on(world: World) -> None:
    windows, linux = [[world.host(os_name=os) for _ in range(3)] for os in ("Microsoft Windows 11", "Linux Debian")]
    axiomd = await world.axiomd(**SETTINGS)
    await axiomd.once()
    for host in windows:
        tally(world, host, 10, platform=WINDOWS)
    for host in linux:
        tally(world, host, 0, 10)
    doomed, fine, anyone = job(world, windows[0]), job(world, linux[0]), job(world)
    await (await world.axiomd(**SETTINGS, failures=OFF)).once()
    assert world.value("SELECT COUNT(*) FROM axiomd_stop") == 0
    await axiomd.once()
    async with axiomd.database.session() as session:
        assert await failures.stops(session) == {Stop("a", 1, False, Platform.WINDOWS)}
    assert cancelled(world, doomed, fine, anyone) == [True, False, False]
    assert world.value("SELECT COUNT(*) FROM axiomd_breaker") == 0, "its hosts are not to blame"


async def test_the_breaker_of_a_host(world: World) -> None:
    """Closed, open, half open with a probe, open for longer, half open, closed; and what was before doesn't count."""
    hosts = [world.host() for _ in range(13)]
    broken = hosts[-1]
    axiomd = await world.axiomd(**SETTINGS)
    await axiomd.once()
    for host in hosts[:-1]:
        tally(world, host, 0, 5)
    tally(world, broken, 9)
    for class_, count in (("MemoryError", 7), ("SSLError", 2)):
        kind = failure(world, class_)
        for _ in range(count):
            measured(world, broken, failure=kind)
    await axiomd.once()
    (row,) = world.rows("SELECT * FROM axiomd_breaker")
    assert (row["host_id"], row["state"], row["trips"], row["probe"]) == (broken, 1, 1, "")
    assert row["reason"] == "memory (7 of 9), ssl (2)"
    assert row["until_at"] - row["since"] == axiomd.settings.failures.pause_s
    assert world.value("SELECT COUNT(*) FROM axiomd_stop") == 0, "no script is to blame"
    page = await hosts_view.page(axiomd.database, axiomd.project, axiomd.settings, after=0, limit=5, state="failing")
    assert [(h.id, h.failing, h.held_until, h.held_reason) for h in page.hosts] == [
        (broken, True, row["until_at"], "memory (7 of 9), ssl (2)")
    ]
    async with axiomd.database.session() as session:
        assert (await failures.breakers(session))[broken].open
        assert await failures.held_hosts(session, axiomd.settings.hosts) == {broken}
    await axiomd.once()
    assert shown("hosts", state="failing") == 1

    world.execute("UPDATE axiomd_breaker SET until_at = %s", world.now - 1)
    async with axiomd.database.session() as session:
        assert not (await failures.breakers(session))[broken].open
    probe = await _probe(world, axiomd, broken)
    await axiomd.once()
    assert world.value("SELECT state FROM axiomd_breaker") == 2, "the probe is under way"
    measured(world, broken, 2, result_id=probe)  # it ended half way
    await axiomd.once()
    (row,) = world.rows("SELECT * FROM axiomd_breaker")
    assert (row["state"], row["trips"], row["probe"]) == (1, 2, "")
    assert row["until_at"] - row["since"] == 2 * axiomd.settings.failures.pause_s

    world.execute("UPDATE axiomd_breaker SET until_at = %s", world.now - 1)
    probe = await _probe(world, axiomd, broken)
    measured(world, broken, 1, result_id=probe)
    await axiomd.once()
    assert world.value("SELECT state FROM axiomd_breaker") == 0
    await axiomd.once()
    assert world.value("SELECT state FROM axiomd_breaker") == 0, "what it did before counts again"
    causes = [row["cause"] for row in world.rows("SELECT cause FROM axiomd_journal WHERE kind = 'breaker' ORDER BY id")]
    assert causes == ["host_failing", "host_failing", "host_recovered"]


async def _probe(world: World, axiomd: Axiomd, host: int) -> int:
    """The result of a probe that was sent to the host."""
    workunit = job(world, host, create_time=world.now)
    async with axiomd.database.session() as session:
        await failures.set_probe(session, host, world.row("workunit", workunit)["name"])
    return world.result(workunit, host)


async def test_a_host_is_released_from_its_pause_and_a_storm_opens_no_breaker(world: World) -> None:
    hosts = [world.host() for _ in range(12)]
    axiomd = await world.axiomd(**SETTINGS)
    await axiomd.once()
    for host in hosts[4:]:
        tally(world, host, 0, 5)
    for host in hosts[:4]:
        tally(world, host, 30)
    await axiomd.once()
    assert world.value("SELECT COUNT(*) FROM axiomd_breaker") == 0, "a third of the fleet fails: it's the server"
    world.execute("DELETE FROM axiomd_tally WHERE host_id IN (%s, %s)", *hosts[2:4])
    await axiomd.once()
    assert [row["host_id"] for row in world.rows("SELECT host_id FROM axiomd_breaker ORDER BY 1")] == hosts[:2]
    quota(world, hosts[0], 3)
    assert (await call(axiomd, "release_host", host=hosts[0])).outcome is Outcome.DONE
    assert (quotas(world), (await call(axiomd, "release_host", host=hosts[5])).outcome) == (
        {hosts[0]: 500},
        Outcome.REFUSED,
    )
    await axiomd.once()
    async with axiomd.database.session() as session:
        assert set(await failures.breakers(session)) == {hosts[1]}


@pytest.mark.parametrize("experiment", ["", "a"])
async def test_failures_by_their_cause(world: World, experiment: str) -> None:
    axiomd = await world.axiomd(**SETTINGS)
    crash = failure(world, "KeyError", "top_sv_growth", results=132)
    other = failure(world, "TIME_LIMIT_EXCEEDED", results=3, experiment="b")
    for host, at in ((1, 50), (1, 40), (2, 30)):
        measured(world, host, failure=crash, received_at=world.now - at)
    measured(world, 3, failure=other, experiment="b")
    found = await view.failures(axiomd.database, experiment=experiment)
    lines = [(line.class_, line.experiment, line.results, line.hosts) for line in found.failures]
    assert lines == [("KeyError", "a", 132, 2), ("TIME_LIMIT_EXCEEDED", "b", 3, 1)][: 1 if experiment else 2]
    first, last = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (world.now - 100, world.now))
    assert words(found.failures[0]) == (
        f"KeyError top_sv_growth in a v1: 132 results, 2 hosts, first seen {first}, last {last}"
    )
    assert (found.fingerprints, found.results) == ((1, 132) if experiment else (2, 135))
    period = await view.failures(axiomd.database, experiment=experiment, since=world.now - 45, until=world.now, limit=1)
    assert [(line.results, line.hosts, line.first_at) for line in period.failures] == [(2, 2, world.now - 40)]
    assert (period.fingerprints, period.results) == (1, 2)
