"""Tasks that hang, on a real MariaDB: what axiomd writes, and what BOINC's transitioner makes of it."""

from __future__ import annotations

import json
from typing import Any

from axiomd.demo import scheduler, transitioner, validator
from axiomd.demo.config import Config
from tests.world import World

HOUR = 3600
SETTINGS: dict[str, Any] = {"topup": {"enabled": False}, "repair": {"enabled": False}}


def task(world: World, host: int, hours: float, *, workunit: dict[str, Any] | None = None, **columns: Any) -> int:
    """A task sent so many hours ago, as BOINC's scheduler leaves it, with a day to its deadline."""
    sent = int(world.now - hours * HOUR)
    delay_bound = (workunit or {}).get("delay_bound", 24 * HOUR)
    deadline = max(sent + delay_bound, world.now + 1000)
    made = world.workunit(**{"transition_time": deadline} | (workunit or {}))
    return world.result(made, host, **{"sent_time": sent, "report_deadline": deadline} | columns)


def silent_host(world: World, hours: float = 10) -> int:
    return world.host(rpc_time=world.now - int(hours * HOUR))


def live_hosts(world: World, count: int = 5) -> list[int]:
    return [world.host() for _ in range(count)]


def workunit_of(world: World, result: int) -> dict[str, Any]:
    return world.row("workunit", world.row("result", result)["workunitid"])


def journal(world: World) -> list[dict[str, Any]]:
    return world.rows("SELECT kind, changes, detail FROM axiomd_journal ORDER BY id")


async def once(world: World, **sections: Any) -> None:
    await (await world.axiomd(**SETTINGS | sections)).once()


async def test_a_silent_hosts_task_is_ended_by_its_deadline_and_the_transitioner_replaces_it(world: World) -> None:
    live_hosts(world)
    result = task(world, silent_host(world), 13)
    await once(world)
    assert world.row("result", result)["server_state"] == 4  # axiomd itself ends nothing
    assert world.now - 100 < world.row("result", result)["report_deadline"] < world.now + 100
    assert abs(workunit_of(world, result)["transition_time"] - world.now) < 100
    assert workunit_of(world, result)["error_mask"] == 0

    transitioner.one_pass(world.connection, world.now + 200, Config())
    row = world.row("result", result)
    assert (row["server_state"], row["outcome"]) == (5, 4)
    assert world.value("SELECT COUNT(*) FROM result WHERE workunitid = %s AND server_state = 2", row["workunitid"]) == 1


async def test_what_was_done_is_in_the_journal_with_what_was_there_before(world: World) -> None:
    live_hosts(world)
    result = task(world, silent_host(world), 13)
    before = world.row("result", result)["report_deadline"]
    await once(world)
    (entry,) = journal(world)
    assert (entry["kind"], entry["changes"], json.loads(entry["detail"])) == ("abort", 1, {"host_silent": 1})
    (change,) = world.rows("SELECT subject, row_id, reason, before_change, after_change FROM axiomd_change")
    assert (change["subject"], change["row_id"], change["reason"]) == ("result", result, "abort:host_silent")
    assert json.loads(change["before_change"])["report_deadline"] == before
    assert json.loads(change["after_change"])["report_deadline"] == world.row("result", result)["report_deadline"]


async def test_what_does_not_hang_is_left_alone(world: World) -> None:
    live = live_hosts(world)
    silent = silent_host(world)
    healthy = [
        task(world, live[0], 13),
        task(world, silent, 11),
        task(world, live[1], 47),
        task(world, silent, 13, workunit={"error_mask": 16}),
        task(world, silent, 60, workunit={"canonical_resultid": 1, "delay_bound": 24 * HOUR}),
    ]
    before = [(world.row("result", id_), workunit_of(world, id_)) for id_ in healthy]
    await once(world)
    assert [(world.row("result", id_), workunit_of(world, id_)) for id_ in healthy] == before
    assert journal(world) == []


async def test_past_the_ceiling_the_workunit_is_cancelled_as_cancel_jobs_does(world: World) -> None:
    live = live_hosts(world)
    result = task(world, live[0], 49)
    workunit = world.row("result", result)["workunitid"]
    unsent = world.result(workunit, server_state=2, sent_time=0)
    await once(world)
    assert workunit_of(world, result)["error_mask"] == 16
    assert abs(workunit_of(world, result)["transition_time"] - world.now) < 100
    assert world.row("result", result)["server_state"] == 4
    assert (world.row("result", unsent)["server_state"], world.row("result", unsent)["outcome"]) == (5, 5)

    name = world.row("result", result)["name"]
    reply = scheduler.request(world.connection, live[0], world.now, Config(), other_results=[name])
    assert reply.result_aborts == [name]


async def test_a_job_that_axiomd_cancelled_and_that_comes_back_good_is_paid(world: World) -> None:
    live = live_hosts(world)
    result = task(world, live[0], 49)
    await once(world)
    name = world.row("result", result)["name"]
    scheduler.request(
        world.connection, live[0], world.now + 5, Config(), reports=[scheduler.Report(name, elapsed_time=100.0)]
    )
    transitioner.one_pass(world.connection, world.now + 100, Config())
    validator.one_pass(world.connection, world.now + 100)
    assert world.row("result", result)["validate_state"] == 1
    await once(world)
    assert world.row("result", result)["granted_credit"] == 2


async def test_a_second_run_does_nothing_more(world: World) -> None:
    live = live_hosts(world)
    silent, overdue = task(world, silent_host(world), 13), task(world, live[0], 49)
    await once(world)
    after_one = [(world.row("result", id_), workunit_of(world, id_)) for id_ in (silent, overdue)]
    entries = journal(world)
    assert sum(entry["changes"] for entry in entries) == 2
    await once(world)
    assert [(world.row("result", id_), workunit_of(world, id_)) for id_ in (silent, overdue)] == after_one
    assert journal(world) == entries


async def test_a_now_that_the_validator_overwrote_is_written_again(world: World) -> None:
    live_hosts(world)
    result = task(world, silent_host(world), 13)
    await once(world)
    world.execute("UPDATE workunit SET transition_time = 2147483647")
    world.execute("UPDATE result SET report_deadline = %s", world.now - 1000)
    await once(world)
    assert abs(workunit_of(world, result)["transition_time"] - world.now) < 100


async def test_while_the_whole_fleet_is_silent_nothing_is_ended(world: World) -> None:
    """At the first look already, before axiomd knows who was live."""
    hosts = [silent_host(world) for _ in range(5)]
    results = [task(world, hosts[0], 13), task(world, hosts[1], 49)]
    before = [(world.row("result", id_), workunit_of(world, id_)) for id_ in results]
    await once(world)
    assert [(world.row("result", id_), workunit_of(world, id_)) for id_ in results] == before
    assert journal(world) == []


async def test_when_most_live_hosts_fall_silent_together_aborts_wait_until_each_had_its_time_anew(
    world: World,
) -> None:
    """Clients come back over hours: a silence that the outage itself made is nobody's fault."""
    hosts = live_hosts(world, 6)
    gone = silent_host(world)
    result = task(world, gone, 13)
    await once(world, abort={"enabled": False})  # the hosts are noted as live
    world.execute("UPDATE host SET rpc_time = %s WHERE id <= %s", world.now - 3 * HOUR, hosts[3])
    await once(world)
    assert journal(world) == []
    world.execute("UPDATE host SET rpc_time = %s WHERE id <= %s", world.now, hosts[3])
    await once(world)
    assert journal(world) == []
    world.execute("UPDATE axiomd_state SET value = value - %s WHERE name = 'fleet_silent_at'", 7 * HOUR)
    await once(world)
    assert [entry["kind"] for entry in journal(world)] == ["abort"]
    assert world.row("result", result)["report_deadline"] < world.now + 100


async def test_a_job_given_ten_days_is_given_longer(world: World) -> None:
    live_hosts(world)
    silent = silent_host(world, 70)
    generous = {"delay_bound": 240 * HOUR}
    patient = task(world, silent, 100, workunit=generous)
    stuck = task(world, silent, 130, workunit=generous)
    before = world.row("result", patient)
    await once(world)
    assert world.row("result", patient) == before
    assert world.row("result", stuck)["report_deadline"] < world.now + 100


async def test_a_task_on_a_host_that_was_deleted_is_ended(world: World) -> None:
    live_hosts(world)
    result = task(world, 999, 13)
    await once(world)
    assert world.row("result", result)["report_deadline"] < world.now + 100


async def test_past_the_cap_aborts_wait_and_go_on_when_there_is_room(world: World) -> None:
    live_hosts(world)
    silent = silent_host(world)
    results = [task(world, silent, 13) for _ in range(5)]

    def ended() -> int:
        deadlines = [world.row("result", id_)["report_deadline"] for id_ in results]
        return sum(deadline < world.now + 100 for deadline in deadlines)

    await once(world, abort={"cap": 3})
    assert ended() == 3
    await once(world, abort={"cap": 3})
    assert ended() == 3
    world.execute("UPDATE axiomd_journal SET at = at - 100000")
    await once(world, abort={"cap": 3})
    assert ended() == 5


async def test_a_dry_run_says_and_changes_nothing(world: World) -> None:
    live_hosts(world)
    result = task(world, silent_host(world), 13)
    before = (world.row("result", result), workunit_of(world, result))
    axiomd = await world.axiomd(**SETTINGS)
    (planned,) = [change for change in await axiomd.plan() if change.action == "abort"]
    assert f"result {result}" in planned.subject
    await once(world, daemon={"dry_run": True})
    assert (world.row("result", result), workunit_of(world, result)) == before
    assert journal(world) == []


async def test_a_dead_hosts_targeted_job_is_ended_then_moved_to_another_host(world: World) -> None:
    """The two halves together: the abort ends the instance, the repair retargets the spent job."""
    live = live_hosts(world)
    silent = silent_host(world)
    result = task(world, silent, 13, workunit={"transitioner_flags": 2})
    workunit = world.row("result", result)["workunitid"]
    world.assignment(workunit, silent)
    await once(world, repair={"enabled": True})
    transitioner.one_pass(world.connection, world.now + 200, Config())
    assert world.row("result", result)["outcome"] == 4
    world.age("workunit", workunit)
    await once(world, repair={"enabled": True})
    (assignment,) = world.rows("SELECT target_id FROM assignment WHERE workunitid = %s", workunit)
    assert assignment["target_id"] in live
    reply = scheduler.request(world.connection, assignment["target_id"], world.now + 300, Config(), instances=1)
    assert [sent.wu_name for sent in reply.results] == [world.row("workunit", workunit)["name"]]
