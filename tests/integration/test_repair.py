"""Workunits that can't move, on a real MariaDB: after the repair BOINC's own programs bring the job to its end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from axiomd.demo import scheduler, transitioner, validator
from axiomd.demo.config import Config
from tests.world import INT_MAX, World

HOUR, DAY = 3600, 86_400
SETTINGS: dict[str, Any] = {"topup": {"enabled": False}, "abort": {"enabled": False}}
FREE: dict[str, Any] = {"repair": {"method": "free"}}


async def once(world: World, **sections: Any) -> None:
    await (await world.axiomd(**SETTINGS | sections)).once()


def targeted(world: World, host: int = 0, **columns: Any) -> int:
    """A targeted job, as create_work leaves it; host 0: without its assignment."""
    workunit = world.workunit(**{"transitioner_flags": 2} | columns)
    if host:
        world.assignment(workunit, host)
    return workunit


def spent(world: World, host: int, **columns: Any) -> int:
    """A targeted job whose instance on its host timed out, as the transitioner leaves it."""
    workunit = targeted(world, host, **{"transition_time": world.now + 10 * DAY} | columns)
    world.result(workunit, host, server_state=5, outcome=4, report_deadline=world.now - HOUR)
    world.age("workunit", workunit)
    return workunit


def targets(world: World, workunit: int) -> list[int]:
    return [row["target_id"] for row in world.rows("SELECT target_id FROM assignment WHERE workunitid = %s", workunit)]


def repairs(world: World) -> list[str]:
    return [row["reason"] for row in world.rows("SELECT reason FROM axiomd_change ORDER BY journal_id, row_id")]


def finish(world: World, host: int, workunit: int, later: int = 10) -> dict[str, Any]:
    """Let a host fetch and report, and the transitioner and the validator work; the workunit's row then.

    Fails unless the host is given a result of this workunit.
    """
    now = world.now + later
    transitioner.one_pass(world.connection, now, Config())
    reply = scheduler.request(world.connection, host, now + 10, Config(), instances=10)
    name = world.row("workunit", workunit)["name"]
    (sent,) = [result for result in reply.results if result.wu_name == name]
    report = scheduler.Report(sent.name, elapsed_time=5.0)
    scheduler.request(world.connection, host, now + 20, Config(), reports=[report])
    transitioner.one_pass(world.connection, now + 30, Config())
    validator.one_pass(world.connection, now + 40)
    return world.row("workunit", workunit)


def fetches_nothing(world: World, host: int) -> bool:
    """That the job really can't move: even after a pass of the transitioner the host is given nothing."""
    transitioner.one_pass(world.connection, world.now + 5, Config())
    return not scheduler.request(world.connection, host, world.now + 5, Config(), instances=10).results


# The stuck cases: first that nothing moves by itself, then that the job ends with a canonical result.


async def test_an_orphaned_job_is_freed_for_any_host(world: World) -> None:
    host = world.host()
    workunit = targeted(world)
    assert fetches_nothing(world, host)
    await once(world)
    assert repairs(world) == ["repair:orphaned"]
    assert world.row("workunit", workunit)["transitioner_flags"] == 0
    assert finish(world, host, workunit)["canonical_resultid"] > 0


async def test_a_dead_hosts_job_goes_to_a_live_one(world: World) -> None:
    live = world.host()
    dead = world.host(rpc_time=world.now - 8 * DAY)
    workunit = targeted(world, dead)
    assert fetches_nothing(world, live)
    await once(world)
    assert repairs(world) == ["repair:dead_target"]
    assert targets(world, workunit) == [live]
    assert world.row("workunit", workunit)["transitioner_flags"] == 2
    assert finish(world, live, workunit)["canonical_resultid"] > 0


async def test_an_excluded_hosts_job_goes_to_another(world: World) -> None:
    excluded, live = world.host(), world.host()
    workunit = targeted(world, excluded)
    await once(world, hosts={"exclude": [excluded]})
    assert targets(world, workunit) == [live]
    assert finish(world, live, workunit)["canonical_resultid"] > 0


async def test_a_merged_hosts_job_goes_to_its_successor(world: World) -> None:
    world.host(p_ncpus=64)
    successor = world.host(p_ncpus=1)
    merged = world.host(userid=0, rpc_seqno=successor)
    workunit = targeted(world, merged)
    await once(world)
    assert targets(world, workunit) == [successor]
    assert finish(world, successor, workunit)["canonical_resultid"] > 0


async def test_without_a_live_host_a_dead_hosts_job_is_freed_with_its_assignment(world: World) -> None:
    dead = world.host(rpc_time=world.now - 8 * DAY)
    workunit = targeted(world, dead)
    await once(world)
    assert targets(world, workunit) == []
    assert world.row("workunit", workunit)["transitioner_flags"] == 0
    newcomer = world.host()
    assert finish(world, newcomer, workunit)["canonical_resultid"] > 0


async def test_a_spent_targets_job_goes_to_a_host_that_has_not_tried_it(world: World) -> None:
    failed, live = world.host(), world.host()
    workunit = spent(world, failed)
    assert fetches_nothing(world, failed)
    await once(world)
    assert repairs(world) == ["repair:spent_target"]
    assert targets(world, workunit) == [live]
    assert finish(world, live, workunit)["canonical_resultid"] > 0


async def test_a_spent_targets_job_of_a_fleet_of_one_is_freed(world: World) -> None:
    failed = world.host()
    workunit = spent(world, failed)
    await once(world)
    assert targets(world, workunit) == []
    newcomer = world.host()
    assert finish(world, newcomer, workunit)["canonical_resultid"] > 0


async def test_an_unsendable_result_is_withdrawn_and_the_job_retargeted(world: World) -> None:
    live = world.host()
    dead = world.host(rpc_time=world.now - 8 * DAY)
    workunit = targeted(world, dead)
    unsent = world.result(workunit, server_state=2, sent_time=0, report_deadline=0)
    world.age("workunit", workunit)
    assert fetches_nothing(world, live)
    await once(world)
    assert repairs(world) == ["repair:unsendable"]
    assert (world.row("result", unsent)["server_state"], world.row("result", unsent)["outcome"]) == (5, 5)
    assert targets(world, workunit) == [live]
    assert finish(world, live, workunit)["canonical_resultid"] > 0


async def test_an_unsendable_result_that_is_the_last_one_allowed_is_sent_itself(world: World) -> None:
    """create_work's default: max_total_results = 1. One result more and the transitioner gives the workunit up."""
    live = world.host(d_free=1e12)
    workunit = targeted(world, max_total_results=1, max_error_results=1, max_success_results=1)
    unsent = world.result(workunit, server_state=2, sent_time=0, report_deadline=0)
    world.age("workunit", workunit)
    await once(world)
    done = finish(world, live, workunit)
    assert (done["error_mask"], done["canonical_resultid"]) == (0, unsent)


async def test_freed_an_unsendable_result_is_sent_to_whoever_asks(world: World) -> None:
    live = world.host(d_free=1e12)
    workunit = targeted(world, world.host(rpc_time=world.now - 8 * DAY))
    unsent = world.result(workunit, server_state=2, sent_time=0, report_deadline=0)
    world.age("workunit", workunit)
    await once(world, **FREE)
    assert finish(world, live, workunit)["canonical_resultid"] == unsent


async def test_an_orphaned_broadcast_is_freed(world: World) -> None:
    host = world.host()
    workunit = world.workunit(transitioner_flags=1, transition_time=0)
    assert fetches_nothing(world, host)
    await once(world)
    assert repairs(world) == ["repair:orphaned_broadcast"]
    assert finish(world, host, workunit)["canonical_resultid"] > 0


async def test_a_success_that_nobody_will_judge_is_woken(world: World) -> None:
    """A validator overwrote the time at which the transitioner was to look, and need_validate with it."""
    workunit = world.workunit(transition_time=world.now + 10 * DAY)
    world.result(workunit, world.host(), server_state=5, outcome=1, received_time=world.now - 5000)
    await once(world)
    assert repairs(world) == ["repair:stalled"]
    assert abs(world.row("workunit", workunit)["transition_time"] - world.now) < 60


async def test_a_late_success_of_a_finished_workunit_that_nobody_will_judge_is_woken_and_paid(world: World) -> None:
    """Its report was brought back at the moment in which the validator finished the workunit."""
    first, host = world.host(), world.host()
    paid = world.valid_result(first)
    workunit = world.row("result", paid)["workunitid"]
    late = world.result(workunit, host, server_state=4)
    await once(world)
    await once(world)
    assert world.row("workunit", workunit)["assimilate_state"] == 2
    columns = "server_state = 5, outcome = 1, validate_state = 0, received_time = %s"
    world.execute(f"UPDATE result SET {columns} WHERE id = %s", world.now, late)
    world.execute("UPDATE workunit SET transition_time = %s, need_validate = 0 WHERE id = %s", INT_MAX, workunit)
    world.age("workunit", workunit)
    await once(world)
    assert repairs(world) == ["repair:stalled"]
    transitioner.one_pass(world.connection, world.now + 120, Config())
    validator.one_pass(world.connection, world.now + 120)
    assert world.row("result", late)["validate_state"] == 1
    await once(world)
    assert world.row("result", late)["granted_credit"] == 2


async def test_a_stalled_job_is_woken(world: World) -> None:
    host = world.host()
    workunit = world.workunit(transition_time=world.now + 10 * DAY)
    assert fetches_nothing(world, host)
    await once(world)
    assert repairs(world) == ["repair:stalled"]
    assert finish(world, host, workunit)["canonical_resultid"] > 0


@pytest.mark.parametrize("method", ["retarget", "free"])
async def test_the_current_time_is_written_never_a_constant(world: World, method: str) -> None:
    """The transitioner takes a workunit up whose time has come; a 0 would be overwritten by what it read before."""
    orphan, stalled = targeted(world), world.workunit(transition_time=world.now + 10 * DAY)
    await once(world, repair={"method": method})
    for workunit in (orphan, stalled):
        assert abs(world.row("workunit", workunit)["transition_time"] - world.now) < 100


# The healthy ones.


async def test_healthy_jobs_are_left_alone(world: World) -> None:
    live = world.host()
    in_progress = targeted(world, live, transition_time=world.now + DAY)
    world.result(in_progress, live)
    waits_for_validator = targeted(world, live, need_validate=1, transition_time=world.now + DAY)
    world.result(waits_for_validator, live, server_state=5, outcome=1, received_time=world.now - 10)
    broadcast = world.workunit(transitioner_flags=1)
    world.assignment(broadcast, 0, target_type=0, multi=1)
    fed = world.workunit(transition_time=world.now + 10 * DAY)
    world.result(fed, server_state=2, sent_time=0)
    young = targeted(world)
    healthy = [
        targeted(world, live),
        targeted(world, world.host(rpc_time=world.now - 6 * DAY)),
        in_progress,
        waits_for_validator,
        broadcast,
        fed,
        young,
        targeted(world, transition_time=world.now - DAY),
        targeted(world, error_mask=16),
        spent(world, live, max_total_results=1),
    ]
    for id_ in healthy:
        world.age("workunit", id_)
    world.age("workunit", young, 60)
    before = ([world.row("workunit", id_) for id_ in healthy], world.rows("SELECT * FROM assignment"))
    await once(world)
    await once(world, **FREE)
    assert ([world.row("workunit", id_) for id_ in healthy], world.rows("SELECT * FROM assignment")) == before
    assert world.value("SELECT COUNT(*) FROM axiomd_journal") == 0


async def test_a_healthy_targeted_job_beside_a_stuck_one_keeps_its_target(world: World) -> None:
    """What the log of 2026-03-02 did, flags=0 for all 9,979, lost every target. This frees the one that is stuck."""
    live = world.host()
    healthy, orphan = targeted(world, live), targeted(world)
    await once(world)
    assert targets(world, healthy) == [live]
    assert world.row("workunit", healthy)["transitioner_flags"] == 2
    assert world.row("workunit", orphan)["transitioner_flags"] == 0


async def test_while_the_whole_fleet_is_silent_no_target_counts_as_dead(world: World) -> None:
    """After an outage longer than dead_after_s every host looks dead, and all jobs would lose their targets."""
    hosts = [world.host(rpc_time=world.now - 8 * DAY) for _ in range(5)]
    jobs = [targeted(world, host) for host in hosts]
    before = [world.row("workunit", id_) for id_ in jobs]
    await once(world)
    assert [world.row("workunit", id_) for id_ in jobs] == before
    assert [targets(world, job) for job in jobs] == [[host] for host in hosts]


async def test_another_apps_workunits_are_never_touched(world: World) -> None:
    other = targeted(world, appid=world.insert("app", name="other", create_time=world.now))
    before = world.row("workunit", other)
    await once(world)
    assert world.row("workunit", other) == before


# Again, caps, journal.


async def test_a_second_run_does_nothing_more(world: World) -> None:
    live = world.host()
    dead = world.host(rpc_time=world.now - 8 * DAY)
    for workunit in (targeted(world), targeted(world, dead), spent(world, dead)):
        assert workunit
    await once(world)
    before = (world.rows("SELECT * FROM workunit"), world.rows("SELECT * FROM assignment"))
    assert len(repairs(world)) == 3
    await once(world)
    assert (world.rows("SELECT * FROM workunit"), world.rows("SELECT * FROM assignment")) == before
    assert len(repairs(world)) == 3
    assert {row["target_id"] for row in before[1]} == {live}


async def test_jobs_are_spread_over_idle_cores_and_the_memory_that_they_need(world: World) -> None:
    small = world.host(p_ncpus=8, m_nbytes=1e9)
    large = world.host(p_ncpus=2, m_nbytes=64e9)
    dead = world.host(rpc_time=world.now - 8 * DAY)
    jobs = [targeted(world, dead, rsc_memory_bound=8e9) for _ in range(3)]
    await once(world)
    assert sorted(targets(world, job) for job in jobs) == [[], [large], [large]]
    assert world.value("SELECT COUNT(*) FROM assignment WHERE target_id = %s", small) == 0


async def test_past_the_cap_repairs_wait(world: World) -> None:
    jobs = [targeted(world) for _ in range(5)]

    def freed() -> int:
        return sum(world.row("workunit", id_)["transitioner_flags"] == 0 for id_ in jobs)

    await once(world, repair={"cap": 3})
    await once(world, repair={"cap": 3})
    assert freed() == 3
    world.execute("UPDATE axiomd_journal SET at = at - 100000")
    await once(world, repair={"cap": 3})
    assert freed() == 5


async def test_the_journal_says_which_case_it_was_and_what_was_there(world: World) -> None:
    live = world.host()
    dead = world.host(rpc_time=world.now - 8 * DAY)
    targeted(world)
    moved = targeted(world, dead)
    await once(world)
    (entry,) = world.rows("SELECT kind, cause, changes, detail FROM axiomd_journal")
    assert (entry["kind"], entry["cause"], entry["changes"]) == ("repair", "wu_flags_stuck", 2)
    assert json.loads(entry["detail"]) == {"orphaned": 1, "dead_target": 1}
    (change,) = world.rows("SELECT * FROM axiomd_change WHERE row_id = %s", moved)
    assert json.loads(change["before_change"]) == {
        "transitioner_flags": 2,
        "transition_time": INT_MAX,
        "targets": [dead],
        "assignments": [[0, dead, 1, 0, 0]],
        "results": 0,
    }
    assert json.loads(change["after_change"]) == {"remedy": "retarget", "host": live}


async def test_a_plan_says_the_same_and_changes_nothing(world: World) -> None:
    live = world.host()
    workunit = targeted(world, world.host(rpc_time=world.now - 8 * DAY))
    planned = await (await world.axiomd(**SETTINGS)).plan()
    assert [(change.subject, change.detail) for change in planned if change.action == "repair"] == [
        (f"workunit {workunit}", f"dead_target: retarget to host {live}")
    ]
    assert targets(world, workunit) != [live]


# Lost reports.


def lost_report(world: World, host: int, **columns: Any) -> int:
    """A report that came in 20 minutes ago and was overwritten by the transitioner's time-out."""
    workunit = world.workunit(transition_time=world.now + 10 * DAY)
    defaults: dict[str, Any] = {"server_state": 5, "outcome": 4, "received_time": world.now - 1200, "client_state": 5}
    return world.result(workunit, host, **defaults | columns)


async def test_a_lost_success_is_brought_back_validated_and_paid(world: World) -> None:
    result = lost_report(world, world.host())
    await once(world)
    assert repairs(world)[0] == "repair:lost_report"
    transitioner.one_pass(world.connection, world.now + 100, Config())
    validator.one_pass(world.connection, world.now + 100)
    assert world.row("result", result)["validate_state"] == 1
    await once(world)
    assert world.row("result", result)["granted_credit"] == 2


async def test_lost_errors_are_brought_back_and_the_jobs_made_again(world: World) -> None:
    host = world.host()
    results = [
        lost_report(world, host, exit_status=1, client_state=3),
        lost_report(world, host, exit_status=195, client_state=5),
        lost_report(world, host, exit_status=0, client_state=3),
    ]
    await once(world)
    rows = [world.row("result", result) for result in results]
    assert [(row["outcome"], row["validate_state"]) for row in rows] == [(3, 2)] * 3
    transitioner.one_pass(world.connection, world.now + 100, Config())
    for row in rows:
        states = world.rows("SELECT server_state FROM result WHERE workunitid = %s ORDER BY id", row["workunitid"])
        assert [state["server_state"] for state in states] == [5, 2]


async def test_a_time_out_and_a_report_that_just_came_in_are_no_lost_reports(world: World) -> None:
    host = world.host()
    results = [
        lost_report(world, host, received_time=0),
        lost_report(world, host, received_time=world.now - 60),
        lost_report(world, host, outcome=1),
        lost_report(world, host, server_state=4, outcome=0),
    ]
    before = [world.row("result", id_) for id_ in results]
    await once(world)
    assert [world.row("result", id_) for id_ in results] == before
    assert "repair:lost_report" not in repairs(world)


async def test_a_report_lost_after_its_workunit_was_done_is_brought_back_too(world: World) -> None:
    """The late one of two instances, while the mark that axiomd keeps for it is open."""
    first, late = world.host(), world.host()
    canonical = world.valid_result(first)
    workunit = world.row("result", canonical)["workunitid"]
    other = world.result(workunit, late)
    await once(world)
    await once(world)
    assert world.row("workunit", workunit)["assimilate_state"] == 2
    world.execute(
        "UPDATE result SET server_state = 5, outcome = 4, client_state = 5, received_time = %s WHERE id = %s",
        world.now - 1200,
        other,
    )
    await once(world)
    assert world.row("result", other)["outcome"] == 1
