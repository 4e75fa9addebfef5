"""What the metrics say of a fleet, of BOINC's daemons and of the experiments, on a real MariaDB."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, Gauge
from structlog.testing import capture_logs

from axiomd import metrics
from axiomd.boinc import fleet
from axiomd.boinc.daemons import local_host
from axiomd.bus import Bus
from axiomd.errors import ProjectError
from axiomd.events import CoresCounted, CoresIdle, DaemonDown, Event, StuckCase, StuckReason
from axiomd.science.catalogue import read_catalogue
from axiomd.sql import render
from axiomd.store import tables
from axiomd.store.tables import Ending
from axiomd.watchers.completed_results import Backlog
from axiomd.watchers.daemons import Daemons
from axiomd.watchers.experiments import Experiments
from axiomd.watchers.failing_hosts import FailingHosts
from axiomd.watchers.hosts import Hosts
from axiomd.watchers.idle_cores import IdleCores
from axiomd.watchers.stuck_tasks import StuckTasks
from axiomd.watchers.stuck_workunits import StuckWorkunits
from axiomd.watchers.watcher import Freshness, Watcher, poll_once, watch
from tests.world import World

HOUR = 3600
INT_MAX = 2_147_483_647
CATALOGUE = read_catalogue(None)


def shown(name: str, **labels: str) -> float | None:
    """What Prometheus would read now; None if there is no such series."""
    return REGISTRY.get_sample_value(f"axiomd_{name}", labels)


def series(name: str, label: str) -> dict[str, float]:
    """Values of a metric with one label, by that label."""
    return {
        sample.labels[label]: sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == f"axiomd_{name}"
    }


async def look(watcher: Watcher, world: World) -> list[Event]:
    """Poll once; what was seen."""
    return [event async for events in watcher.poll(float(world.now)) for event in events]


async def looked(world: World, kind: Callable[..., Watcher], **sections: Any) -> list[Event]:
    """Poll once with these settings; what was seen."""
    settings = world.settings(**sections)
    return await look(kind(*await world.migrate(settings), settings), world)


def exclude(world: World, host: int) -> None:
    world.execute("INSERT INTO axiomd_excluded VALUES (%s, 1, 'a test', 'cli')", host)


async def test_hosts_are_failing_while_their_breaker_is_not_closed_and_excluded_by_whom_ever(world: World) -> None:
    mine, theirs = world.host(), world.host()
    settings = world.settings(hosts={"exclude": [mine, 999]})
    database, _ = await world.migrate(settings)
    exclude(world, theirs)
    for host, state in ((7, 0), (8, 1), (9, 2)):
        world.execute("INSERT INTO axiomd_breaker VALUES (%s, %s, 1, 2, 1, 'memory', 'no-v1-b1-s1')", host, state)
    await look(FailingHosts(database, settings), world)
    assert shown("hosts", state="failing") == 2
    await look(Hosts(database, settings), world)
    assert shown("hosts", state="excluded") == 3


async def test_busy_and_idle_cores_are_all_cores_but_those_of_excluded_hosts(world: World) -> None:
    busy, idle, crowded, mine, theirs = (world.host(p_ncpus=cores) for cores in (4, 8, 2, 16, 32))
    for host, jobs in ((busy, 3), (crowded, 5), (mine, 1)):
        for _ in range(jobs):
            world.result(world.workunit(), host)
    settings = world.settings(hosts={"exclude": [mine]})
    database, project = await world.migrate(settings)
    exclude(world, theirs)
    counted, event = await look(IdleCores(database, project, settings), world)
    assert counted == CoresCounted(3, 14, 9)
    assert event == CoresIdle(14, 9, ((busy, 1), (idle, 8)))
    assert (shown("cores"), shown("cores_idle"), shown("cores_busy")) == (14, 9, 5)

    doubled = world.settings(hosts={"exclude": [mine]}, topup={"jobs_per_core": 2})
    _, event = await look(IdleCores(database, project, doubled), world)
    assert event == CoresIdle(14, 21, ((busy, 5), (idle, 16)))
    assert (shown("cores"), shown("cores_idle"), shown("cores_busy")) == (14, 9, 5)


async def test_jobs_under_way_by_experiment_and_all_others_together(world: World) -> None:
    host = world.host()
    names = ["edge_of_chaos-v1-b1-s1", "edge_of_chaos-v2-b1-s2", "lottery_ticket-v1-b1-s1", "by hand", "by hand 2"]
    for name in names:
        world.result(world.workunit(name=name), host)
    await looked(world, IdleCores, experiments={"edge_of_chaos": {}, "spectral_dynamics": {}})
    jobs = series("experiment_jobs", "experiment")
    assert jobs["edge_of_chaos"] == 2
    assert jobs["spectral_dynamics"] == 0
    assert jobs["other"] == 3
    assert "lottery_ticket" not in jobs
    assert "by hand" not in jobs


async def test_workunits_that_wait_are_counted_by_boincs_indexes_alone(world: World) -> None:
    for columns in ({"need_validate": 1}, {"need_validate": 1}, {"assimilate_state": 1}, {"assimilate_state": 2}, {}):
        world.workunit(**columns)
    world.workunit(appid=999, need_validate=1)
    await looked(world, Backlog)
    assert series("workunits", "state") == {"needs_validation": 2, "needs_assimilation": 1}
    for statement, index in (("workunits_to_validate", "wu_val"), ("workunits_to_assimilate", "wu_assim")):
        (step,) = world.rows("EXPLAIN " + render(fleet.SQL[statement], {"app_ids": [world.app_id]}))
        assert (step["key"], "Using index" in step["Extra"]) == (index, True)
        assert step["type"] in {"ref", "range"}


def stuck_work(world: World) -> None:
    """An orphaned workunit, two stalled ones, and one that waits for a host that died."""
    world.workunit(transitioner_flags=2)
    world.workunit()
    world.workunit()
    dead = world.host(rpc_time=world.now - 30 * 24 * HOUR)
    world.assignment(world.workunit(transitioner_flags=2), dead)


async def test_stuck_workunits_by_case_and_what_is_not_stuck_any_more_is_zero(world: World) -> None:
    stuck_work(world)
    events = await looked(world, StuckWorkunits)
    found = series("workunits_stuck", "case")
    assert found == dict.fromkeys(StuckCase, 0) | {"orphaned": 1, "stalled": 2, "dead_target": 1}
    assert len(events) == 4
    world.execute("DELETE FROM workunit")
    await looked(world, StuckWorkunits)
    assert series("workunits_stuck", "case") == dict.fromkeys(StuckCase, 0)


async def test_a_job_for_a_host_that_a_person_excluded_is_stuck(world: World) -> None:
    host = world.host()
    world.assignment(world.workunit(transitioner_flags=2), host)
    assert await looked(world, StuckWorkunits) == []
    exclude(world, host)
    assert [event.case for event in await looked(world, StuckWorkunits)] == [StuckCase.DEAD_TARGET]  # type: ignore[attr-defined]
    assert shown("workunits_stuck", case="dead_target") == 1


async def test_stuck_tasks_by_reason(world: World) -> None:
    silent, live = world.host(rpc_time=world.now - 10 * HOUR), world.host()
    for host, hours in ((silent, 13), (silent, 14), (live, 49), (live, 13)):
        world.result(world.workunit(), host, sent_time=world.now - hours * HOUR, report_deadline=world.now + HOUR)
    await looked(world, StuckTasks)
    assert series("tasks_stuck", "reason") == {"host_silent": 2, "ceiling": 1}
    world.execute("UPDATE result SET server_state = 5")
    await looked(world, StuckTasks)
    assert series("tasks_stuck", "reason") == dict.fromkeys(StuckReason, 0)


async def test_a_look_that_breaks_off_half_way_leaves_no_half_a_number(world: World) -> None:
    stuck_work(world)
    settings = world.settings()
    database, project = await world.migrate(settings)
    watcher = StuckWorkunits(database, project, settings)
    await look(watcher, world)
    before = series("workunits_stuck", "case")
    stuck_work(world)
    pages = watcher.poll(float(world.now))
    await anext(pages)  # the page with the stuck ones was seen
    world.execute("RENAME TABLE axiomd_result TO gone")
    with pytest.raises(ProjectError):
        await anext(pages)
    assert series("workunits_stuck", "case") == before


async def test_the_eyes_see_also_where_no_handler_repairs(world: World) -> None:
    """Events that nobody subscribed to are counted and dropped, and nothing is changed."""
    stuck_work(world)
    settings = world.settings(repair={"enabled": False})
    database, project = await world.migrate(settings)
    before = world.rows("SELECT * FROM workunit")
    assert await poll_once(StuckWorkunits(database, project, settings), database, Bus()) == 4
    assert shown("workunits_stuck", case="stalled") == 2
    assert world.rows("SELECT * FROM workunit") == before


@pytest.mark.parametrize("harvests", [True, False])
async def test_results_dealt_with_by_experiment_and_how_they_ended(world: World, *, harvests: bool) -> None:
    host = world.host()
    # Of versions that the catalogue doesn't have: no output files are missed.
    chaos, lottery = {"name": "edge_of_chaos-v901-b1-s1"}, {"name": "lottery_ticket-v901-b1-s1"}
    failed = {"outcome": 3, "exit_status": 1, "validate_state": 0}
    world.valid_result(host, workunit=chaos)
    for number, columns in enumerate((failed, failed, {"validate_state": 2}, {"outcome": 3, "exit_status": 202})):
        world.valid_result(host, workunit={"name": f"edge_of_chaos-v902-b1-s{number}"}, **columns)
    world.valid_result(host, workunit={"name": "edge_of_chaos-v901-b2-s9", "error_mask": 16}, outcome=5)
    world.valid_result(host, workunit=lottery)
    world.valid_result(host, workunit={"name": "made by hand"}, **failed)
    before = series_by_outcome()
    axiomd = await world.axiomd(
        experiments={"edge_of_chaos": {}}, topup={"enabled": False}, harvest={"enabled": harvests}
    )
    await axiomd.once()
    await axiomd.once()
    assert series_by_outcome() - before == Counter(
        {
            ("edge_of_chaos", "valid"): 1,
            ("edge_of_chaos", "failed"): 3,
            ("other", "valid"): 1,
        }
        # The harvest leaves alone what isn't named as an experiment's.
        | ({} if harvests else {("other", "failed"): 1})
    )


def series_by_outcome() -> Counter[tuple[str, str]]:
    """Results dealt with so far, by experiment and outcome."""
    return Counter(
        {
            (sample.labels["experiment"], sample.labels["outcome"]): int(sample.value)
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == "axiomd_experiment_results_total"
        }
    )


# BOINC's daemons.

HOLD = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"


def list_daemons(world: World, *commands: str) -> Path:
    """Write them into config.xml, as a project that was started; the folder of their locks."""
    listed = "".join(f"<daemon><cmd>{command}</cmd></daemon>" for command in commands)
    path = world.folder / "config.xml"
    world.write_config()
    path.write_text(path.read_text().replace("</boinc>", f"<daemons>{listed}</daemons></boinc>"))
    state = world.folder / f"run_state_{local_host()}.xml"
    state.write_text("<boinc><tasks/><enabled>1</enabled></boinc>")
    locks = world.folder / f"pid_{local_host()}"
    locks.mkdir(exist_ok=True)
    return locks


async def test_a_daemon_that_holds_no_lock_is_down_unless_the_project_was_stopped(world: World) -> None:
    locks = list_daemons(world, "feeder -d 3", "transitioner --mod 2 0", "assimilator.py")
    settings = world.settings()
    database, _ = await world.migrate(settings)
    watcher = Daemons(database, settings)
    feeder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, locks / "feeder.lock", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert feeder.stdout is not None
    assert await feeder.stdout.readline() == b"\n"
    down = await look(watcher, world)
    assert series("boinc_daemon_up", "daemon") == {"feeder": 1, "transitioner": 0, "assimilator.py": 0}
    assert down == [DaemonDown("transitioner", 0), DaemonDown("assimilator.py", 0)]
    await feeder.communicate(b"\n")
    assert DaemonDown("feeder", 0) in await look(watcher, world)

    (world.folder / "stop_daemons").touch()
    assert await look(watcher, world) == []  # somebody meant it
    assert series("boinc_daemon_up", "daemon") == {"feeder": 0, "transitioner": 0, "assimilator.py": 0}
    world.workunit(transition_time=world.now - HOUR)
    assert await look(watcher, world) == [DaemonDown("transitioner", HOUR)]
    assert shown("transitioner_lag_seconds") == HOUR

    (world.folder / "stop_daemons").unlink()
    assert await look(watcher, world) == [
        DaemonDown("feeder", 0),
        DaemonDown("transitioner", HOUR),  # one word for both troubles of it
        DaemonDown("assimilator.py", 0),
    ]


async def test_a_daemon_taken_out_of_the_list_leaves_no_series(world: World) -> None:
    locks = list_daemons(world, "feeder", "validator")
    settings = world.settings()
    database, _ = await world.migrate(settings)
    watcher = Daemons(database, settings)
    await look(watcher, world)
    list_daemons(world, "feeder", "db_purge")
    (locks / "db_purge.lock").symlink_to(locks / "db_purge.lock")
    with capture_logs() as logs:
        for _ in range(2):
            assert await look(watcher, world) == [
                DaemonDown("feeder", 0)
            ]  # of what can't be read no event says anything
    assert [log["trouble"] for log in logs] == [f"{locks / 'db_purge.lock'}: Too many levels of symbolic links"]
    assert series("boinc_daemon_up", "daemon") == {"feeder": 0}
    (world.folder / "config.xml").write_text("<boinc>")
    with pytest.raises(ProjectError, match=r"config\.xml: not valid XML"):
        await look(watcher, world)


# The experiments.


async def experiments(world: World, names: Sequence[str], **daemon: Any) -> Experiments:
    off = {"enabled": False}
    settings = world.settings(experiments={name: {"target": 50} for name in names}, daemon=daemon, harvest=off)
    database, _ = await world.migrate(settings)
    return Experiments(database, settings, CATALOGUE)


async def test_how_far_the_experiments_of_the_settings_are(world: World) -> None:
    watcher = await experiments(world, ["edge_of_chaos", "lottery_ticket"])
    database = await world.database(world.settings())
    version = CATALOGUE["edge_of_chaos"].version
    async with database.session() as session:
        await tables.add_canonical(
            session, {("edge_of_chaos", version): 7, ("edge_of_chaos", version + 1): 3, ("spectral_dynamics", 1): 9}
        )
        await tables.put_ending(session, Ending("edge_of_chaos", version, aborted=False), actor="cli", now=1.0)
        await tables.put_ending(session, Ending("lottery_ticket", 999, aborted=True), actor="cli", now=1.0)
    assert await look(watcher, world) == []
    assert shown("experiment_seeds", experiment="edge_of_chaos") == 7
    assert shown("experiment_target_seeds", experiment="edge_of_chaos") == 50
    assert shown("experiment_seeds", experiment="lottery_ticket") == 0
    assert shown("experiment_seeds", experiment="spectral_dynamics") is None  # not of the settings
    assert shown("experiment_ended", experiment="edge_of_chaos") == 1
    assert shown("experiment_ended", experiment="lottery_ticket") == 0  # another version of it has ended


async def test_one_round_of_the_daemon_shows_every_gauge_of_the_fleet_and_the_experiments(world: World) -> None:
    list_daemons(world, "feeder")
    world.result(world.workunit(), world.host())
    gauges = [metric for metric in vars(metrics).values() if isinstance(metric, Gauge)]
    labelled = {next(iter(metric.describe())).name: metric for metric in gauges if metric._labelnames}
    for gauge in labelled.values():
        gauge.clear()
    off = {"enabled": False}
    axiomd = await world.axiomd(experiments={"edge_of_chaos": {}}, topup=off, abort=off, repair=off)
    await axiomd.once()
    empty = {name for name, gauge in labelled.items() if not next(iter(gauge.collect())).samples}
    # One is set where watchers look again and again, the other where the process begins.
    assert empty == {"axiomd_poll_interval_seconds", "axiomd_build_info"}
    assert shown("hosts", state="failing") == 0


async def test_how_often_a_watcher_looks_is_shown_from_the_start(world: World) -> None:
    settings = world.settings(hosts={"interval_s": 12.5})
    database, _ = await world.migrate(settings)
    stop = asyncio.Event()
    stop.set()
    await watch(Hosts(database, settings), database, Bus(), Freshness(), stop)
    assert shown("poll_interval_seconds", watcher="hosts") == 12.5
