"""New work for idle cores: create_work is called for what was intended, each job once, whatever breaks off between."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from axiomd.daemon import Axiomd
from axiomd.demo import scheduler
from axiomd.demo.config import Config
from axiomd.handlers.topup import MOST_TRIES, TopupHandler
from axiomd.store import tables
from axiomd.store.tables import JobState
from experiments.kit.naming import parse_workunit_name
from tests.world import APP, INT_MAX, World

INPUT_TEMPLATE = """<workunit>
<rsc_fpops_est>1e9</rsc_fpops_est>
<rsc_fpops_bound>1e12</rsc_fpops_bound>
<rsc_memory_bound>1e8</rsc_memory_bound>
<rsc_disk_bound>1e8</rsc_disk_bound>
<delay_bound>86400</delay_bound>
<max_error_results>3</max_error_results>
<max_total_results>5</max_total_results>
<max_success_results>3</max_success_results>
</workunit>
"""
CREATE_WORK = """#!/bin/sh
echo called >> '{folder}/calls'
MYSQL_UNIX_PORT='{socket}' exec '{python}' -m axiomd.demo.create_work "$@"
"""
FAILING = "#!/bin/sh\necho called >> '{folder}/calls'\necho 'no such thing' >&2\nexit 1\n"
HALF = """#!/bin/sh
echo called >> '{folder}/calls'
head -n 2 | MYSQL_UNIX_PORT='{socket}' '{python}' -m axiomd.demo.create_work "$@"
exit 1
"""
EXPERIMENT = {"a": {"version": 1, "memory": 1_000_000, "target": 1000}}
SETTINGS: dict[str, Any] = {
    "experiments": EXPERIMENT,
    "repair": {"enabled": False},
    "abort": {"enabled": False},
    "credit": {"enabled": False},
}


def install(world: World, program: str = CREATE_WORK) -> None:
    """Put create_work and its templates into the project's folder."""
    for folder in ("bin", "templates"):
        (world.folder / folder).mkdir(exist_ok=True)
    (world.folder / "templates" / f"{APP}_in").write_text(INPUT_TEMPLATE)
    (world.folder / "templates" / f"{APP}_out").write_text("<output_template/>\n")
    path = world.folder / "bin" / "create_work"
    path.write_text(program.format(folder=world.folder, socket=world.server.socket, python=sys.executable))
    path.chmod(0o755)


def calls(world: World) -> int:
    path = world.folder / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


async def once(world: World, **sections: Any) -> None:
    await (await world.axiomd(**SETTINGS | sections)).once()


def names(world: World) -> list[str]:
    return [row["name"] for row in world.rows("SELECT name FROM workunit ORDER BY id")]


def jobs(world: World) -> dict[str, int]:
    return {row["workunit_name"]: row["state"] for row in world.rows("SELECT workunit_name, state FROM axiomd_job")}


def topup_of(axiomd: Axiomd) -> TopupHandler:
    (handler,) = [handler for handler in axiomd.handlers if isinstance(handler, TopupHandler)]
    return handler


async def test_idle_cores_get_targeted_jobs_that_the_host_can_fetch(world: World) -> None:
    install(world)
    host = world.host(p_ncpus=3)
    await once(world)
    assert len(names(world)) == 3
    assert world.rows("SELECT DISTINCT target_id, target_type, multi FROM assignment") == [
        {"target_id": host, "target_type": 1, "multi": 0}
    ]
    (kind,) = world.rows("SELECT DISTINCT appid, transitioner_flags, transition_time FROM workunit")
    assert kind == {"appid": world.app_id, "transitioner_flags": 2, "transition_time": INT_MAX}
    assert jobs(world) == dict.fromkeys(names(world), JobState.MADE)
    reply = scheduler.request(world.connection, host, world.now + 10, Config(), instances=10)
    assert sorted(result.wu_name for result in reply.results) == sorted(names(world))


async def test_the_names_say_experiment_version_and_a_seed_of_its_own(world: World) -> None:
    install(world)
    world.host(p_ncpus=3)
    await once(world)
    world.host(p_ncpus=2)
    await once(world)
    parsed = [parse_workunit_name(name) for name in names(world)]
    assert {(name.experiment, name.version) for name in parsed if name} == {("a", 1)}
    assert sorted(name.seed for name in parsed if name) == [1, 2, 3, 4, 5]


async def test_hosts_with_work_enough_get_no_more(world: World) -> None:
    install(world)
    world.host(p_ncpus=3)
    await once(world)
    before = names(world)
    await once(world)
    assert names(world) == before
    assert calls(world) == 1


async def test_jobs_in_progress_count_and_silent_or_excluded_hosts_get_none(world: World) -> None:
    install(world)
    busy = world.host(p_ncpus=2)
    world.result(world.workunit(), busy)
    world.host(p_ncpus=8, rpc_time=world.now - 200_000)
    excluded = world.host(p_ncpus=8)
    await once(world, hosts={"exclude": [excluded]})
    assert world.rows("SELECT target_id, COUNT(*) AS jobs FROM assignment GROUP BY 1") == [
        {"target_id": busy, "jobs": 1}
    ]


async def test_boincs_daily_quota_is_kept(world: World) -> None:
    install(world)
    host = world.host(p_ncpus=8)
    world.insert(
        "host_app_version", host_id=host, app_version_id=world.app_version_id, max_jobs_per_day=1, n_jobs_today=6
    )
    await once(world)
    assert len(names(world)) == 2


async def test_boincs_limit_of_jobs_in_progress_is_kept(world: World) -> None:
    install(world)
    world.write_config("<max_wus_in_progress>1</max_wus_in_progress>")
    world.host(p_ncpus=3)
    await once(world, topup={"jobs_per_core": 2.0, "max_jobs_per_core": 2.0})
    assert len(names(world)) == 3


async def test_a_target_is_not_overshot_by_what_is_under_way(world: World) -> None:
    install(world)
    world.host(p_ncpus=8)
    small = {"experiments": {"a": EXPERIMENT["a"] | {"target": 5}}}
    await once(world, **small)
    world.host(p_ncpus=8)
    await once(world, **small)
    assert len(names(world)) == 5


async def test_untargeted_jobs_are_for_any_host_and_wait_for_whoever_asks(world: World) -> None:
    install(world)
    world.host(p_ncpus=3)
    anybody = {"topup": {"targeted": False}}
    await once(world, **anybody)
    await once(world, **anybody)
    assert len(names(world)) == 3
    assert world.value("SELECT COUNT(*) FROM assignment") == 0
    assert world.rows("SELECT DISTINCT transitioner_flags FROM workunit") == [{"transitioner_flags": 0}]


async def test_past_the_cap_no_job_is_made(world: World) -> None:
    install(world)
    world.host(p_ncpus=8)
    await once(world, topup={"cap": 3})
    await once(world, topup={"cap": 3})
    assert len(names(world)) == 3
    world.execute("UPDATE axiomd_journal SET at = at - 100000")
    await once(world, topup={"cap": 3})
    assert len(names(world)) == 6


async def test_many_jobs_are_made_batch_by_batch(world: World) -> None:
    install(world)
    world.host(p_ncpus=7)
    await once(world, topup={"batch": 3})
    assert calls(world) == 3
    assert len(set(names(world))) == 7
    assert [row["changes"] for row in world.rows("SELECT changes FROM axiomd_journal ORDER BY id")] == [3, 3, 1]


# Broken off between the intent and the end.


async def test_killed_between_the_intent_and_the_call_the_intended_jobs_are_made_once(world: World) -> None:
    install(world)
    host = world.host(p_ncpus=2)
    dying = await world.axiomd(**SETTINGS)
    handler = topup_of(dying)
    intend = [(host, "a"), (host, "a")]
    await dying.database.transaction(lambda session: handler._intend(session, jobs=intend, now=world.now))
    intended = jobs(world)
    assert set(intended.values()) == {JobState.INTENDED}
    assert names(world) == []

    await once(world)
    assert sorted(names(world)) == sorted(intended)
    await once(world)
    assert sorted(names(world)) == sorted(intended)
    assert set(jobs(world).values()) == {JobState.MADE}


async def test_killed_between_the_call_and_the_look_nothing_is_made_twice(world: World) -> None:
    install(world)
    world.host(p_ncpus=3)
    await once(world)
    made = names(world)
    world.execute("UPDATE axiomd_job SET state = 0")
    await once(world)
    assert names(world) == made
    assert calls(world) == 1
    assert set(jobs(world).values()) == {JobState.MADE}


async def test_what_create_work_left_out_is_made_at_the_next_look_and_the_rest_not_again(world: World) -> None:
    install(world, HALF)
    world.host(p_ncpus=3)
    await once(world)
    intended = jobs(world)
    assert sorted(intended.values()) == [JobState.INTENDED, JobState.MADE, JobState.MADE]
    assert len(names(world)) == 2
    install(world)
    await once(world)
    assert sorted(names(world)) == sorted(intended)


async def test_a_job_that_create_work_stops_at_again_and_again_is_given_up_and_the_others_wait(world: World) -> None:
    install(world, FAILING)
    world.host(p_ncpus=2)
    for _ in range(MOST_TRIES):
        await once(world)
    bad, behind_it = sorted(jobs(world))
    assert list(jobs(world).values()) == [JobState.INTENDED] * 2
    await once(world)
    assert (jobs(world)[bad], jobs(world)[behind_it]) == (JobState.GIVEN_UP, JobState.INTENDED)
    assert names(world) == []
    install(world)
    for _ in range(2):
        await once(world)
    assert behind_it in names(world)
    assert bad not in names(world)
    assert len(names(world)) == 2


async def test_jobs_of_an_experiment_that_was_taken_out_of_the_settings_are_given_up(world: World) -> None:
    install(world, FAILING)
    world.host(p_ncpus=2)
    await once(world)
    assert list(jobs(world).values()) == [JobState.INTENDED] * 2
    install(world)
    world.execute("UPDATE axiomd_job SET experiment = 'forgotten'")
    before = list(jobs(world))
    await once(world)
    assert [jobs(world)[name] for name in before] == [JobState.GIVEN_UP] * 2


async def test_a_program_that_is_missing_for_a_while_is_not_held_against_the_jobs(world: World) -> None:
    """It was never called: the same jobs are made once it is back."""
    install(world)
    world.host(p_ncpus=2)
    program = world.folder / "bin" / "create_work"
    away = program.rename(program.with_name("away"))
    for _ in range(2):
        await once(world)
    assert names(world) == []
    away.rename(program)
    intended = jobs(world)
    for _ in range(2):
        await once(world)
    assert len(names(world)) == 2
    assert set(intended) <= set(names(world))
    assert JobState.GIVEN_UP not in jobs(world).values()


async def test_a_create_work_that_fails_for_a_while_does_not_use_up_the_cap(world: World) -> None:
    install(world, FAILING)
    world.host(p_ncpus=2)
    for _ in range(12):
        await once(world, topup={"cap": 6})
    install(world)
    for _ in range(3):
        await once(world, topup={"cap": 6})
    assert len(names(world)) == 2


async def test_a_missing_template_makes_no_assignment_for_nobody(world: World) -> None:
    """create_work would exit 0 with an assignment for workunit 0."""
    install(world)
    (world.folder / "templates" / f"{APP}_out").unlink()
    world.host()
    await once(world)
    assert world.value("SELECT COUNT(*) FROM assignment") == 0
    assert names(world) == []


async def test_a_create_work_that_hangs_is_killed(world: World) -> None:
    install(world, "#!/bin/sh\necho $$ > '{folder}/pid'\nexec cat /dev/zero > /dev/null\n")
    world.host(p_ncpus=2)
    await once(world, topup={"timeout_s": 0.3})
    pid = int((world.folder / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)  # signal 0 asks only whether the process is there
    assert set(jobs(world).values()) == {JobState.INTENDED}


async def test_an_experiment_taken_out_of_the_settings_is_not_made_any_more(world: World) -> None:
    install(world, FAILING)
    world.host(p_ncpus=2)
    await once(world)
    install(world)
    other = {"b": {"version": 2, "memory": 1_000_000}}
    for _ in range(5):
        await once(world, experiments=other)
    assert {name.split("-")[0] for name in names(world)} == {"b"}


async def test_a_plan_says_which_jobs_and_makes_none(world: World) -> None:
    install(world)
    host = world.host(p_ncpus=3)
    axiomd = await world.axiomd(**SETTINGS)
    assert [(change.action, change.subject, change.detail) for change in await axiomd.plan()][-1:] == [
        ("deploy", f"host {host}", "3 x a")
    ]
    await once(world, daemon={"dry_run": True})
    assert names(world) == []
    assert jobs(world) == {}


async def test_dozens_of_experiments_are_deployed_at_once(world: World) -> None:
    """AXIOM has that many, with names as long; the journal's detail counts each."""
    install(world)
    for _ in range(40):
        world.host(p_ncpus=2)
    many = {f"a_rather_long_name_of_an_experiment_{number}": EXPERIMENT["a"] for number in range(60)}
    await once(world, experiments=many)
    assert len(names(world)) == 80
    assert {name.split("-")[0] for name in names(world)} == set(many)


async def test_seeds_are_given_out_once_to_two_daemons_at_once(world: World) -> None:
    install(world)
    database, _ = await world.migrate(world.settings(**SETTINGS))
    first = await database.transaction(lambda session: tables.take_seeds(session, "a", 1, 5))
    second = await database.transaction(lambda session: tables.take_seeds(session, "a", 1, 5))
    other = await database.transaction(lambda session: tables.take_seeds(session, "a", 2, 5))
    assert (first, second, other) == (range(1, 6), range(6, 11), range(1, 6))
