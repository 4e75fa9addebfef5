"""Undo on a real MariaDB: what is reversed, exactly once, what stays, and that it can be paid again."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import Any

import pytest
import typer

from axiomd.boinc import audit as conservation
from axiomd.boinc import undo as boinc_undo
from axiomd.cli.undo import confirm, point_in_time
from axiomd.demo import scheduler, transitioner
from axiomd.demo.config import Config
from axiomd.errors import AxiomdError
from axiomd.handlers.undo import Done, EntryPlan, Undo
from axiomd.policies.rac import updated_average
from axiomd.store.undo import Selection
from tests.integration.test_abort import live_hosts, silent_host, task, workunit_of
from tests.integration.test_commands import axiomd as command
from tests.integration.test_commands import write_settings
from tests.integration.test_repair import targeted, targets
from tests.world import INT_MAX, World

HOUR, DAY = 3600, 86_400
QUIET: dict[str, Any] = {"topup": {"enabled": False}}


async def once(world: World, **sections: Any) -> None:
    await (await world.axiomd(**QUIET | sections)).once()


async def undo(world: World, *entries: int, **narrowed: Any) -> tuple[list[EntryPlan], list[Done]]:
    """Plan and do, as the command does."""
    database, project = await world.migrate(world.settings())
    work = Undo(database, project, "ada")
    plans = await work.plan(Selection(entries, **narrowed))
    return plans, await work.act(plans)


def last_entry(world: World, kind: str = "credit") -> int:
    return int(world.value("SELECT MAX(id) FROM axiomd_journal WHERE kind = %s", kind))


def totals(world: World, table: str) -> dict[int, float]:
    return {row["id"]: row["total_credit"] for row in world.rows(f"SELECT id, total_credit FROM {table}")}


def granted(world: World, result: int) -> float:
    return float(world.row("result", result)["granted_credit"])


async def audited(world: World) -> None:
    """Nothing is wrong, by the audit and by plain sums."""
    database, _ = await world.migrate(world.settings())
    async with database.snapshot() as session:
        found = await conservation.audit(session, strict=True)
    assert found.problems == []
    in_force = (
        "SELECT COALESCE(SUM(l.credit), 0) FROM axiomd_ledger l WHERE l.generation % 2 = 0 AND NOT EXISTS "
        "(SELECT 1 FROM axiomd_ledger u WHERE u.result_id = l.result_id AND u.generation > l.generation)"
    )
    everything = world.value(in_force)
    assert world.value("SELECT COALESCE(SUM(credit), 0) FROM axiomd_ledger") == everything
    for kind, table in ((1, "host"), (2, "user")):
        assert sum(totals(world, table).values()) == everything
        assert world.value("SELECT SUM(granted) FROM axiomd_account WHERE kind = %s", kind) == everything


# Credit.


async def test_a_grant_is_taken_back_from_result_host_user_and_team(world: World) -> None:
    team = world.team()
    host = world.host(world.user(teamid=team))
    result = world.valid_result(host)
    await once(world)
    plans, done = await undo(world, last_entry(world))
    assert [(plan.credit, len(plan.undone), plan.reasons) for plan in plans] == [(2.0, 1, {})]
    assert [(part.changes, part.credit) for part in done] == [(1, -2.0)]
    assert granted(world, result) == 0
    assert [*totals(world, "host").values(), *totals(world, "user").values(), *totals(world, "team").values()] == [
        0.0
    ] * 3
    ledger = world.rows("SELECT generation, credit, host_id, team_id FROM axiomd_ledger ORDER BY generation")
    assert [tuple(row.values()) for row in ledger] == [(0, 2.0, host, team), (1, -2.0, host, team)]
    (entry,) = world.rows("SELECT * FROM axiomd_journal WHERE kind = 'undo'")
    assert (entry["actor"], entry["cause"], entry["changes"], entry["credit"]) == ("ada", "undo of 1", 1, -2.0)
    assert world.value("SELECT value FROM axiomd_state WHERE name = 'credited_count'") == 0
    assert world.value("SELECT value FROM axiomd_state WHERE name = 'completed_count'") == 1
    assert world.rows("SELECT credit_mark, reason FROM axiomd_result") == [{"credit_mark": 2, "reason": "undone"}]
    await audited(world)


async def test_the_daemon_does_not_pay_it_again_by_itself(world: World) -> None:
    result = world.valid_result(world.host())
    await once(world)
    await undo(world, last_entry(world))
    for mode in ("assimilator", "in_flight"):
        await once(world, intake={"mode": mode})
    assert granted(world, result) == 0
    assert world.value("SELECT COUNT(*) FROM axiomd_ledger") == 2


async def test_undone_twice_changes_nothing(world: World) -> None:
    host = world.host()
    for _ in range(3):
        world.valid_result(host)
    await once(world)
    await undo(world, last_entry(world))
    before = [world.rows(f"SELECT * FROM {table}") for table in ("result", "host", "user", "axiomd_journal")]
    plans, done = await undo(world, last_entry(world))
    assert [plan.reasons for plan in plans] == [{"undone already": 3}]
    assert done == []
    assert [world.rows(f"SELECT * FROM {table}") for table in ("result", "host", "user", "axiomd_journal")] == before


async def test_only_what_is_asked_for_is_undone(world: World) -> None:
    first, second = world.host(), world.host()
    name = {"name": "micro_scaling_laws-v1-b7-s1"}
    results = {
        "host": world.valid_result(first),
        "batch": world.valid_result(second, workunit=name),
        "experiment": world.valid_result(second, workunit={"name": "representation_alignment-v1-b6-s1"}),
        "rest": world.valid_result(second),
    }
    await once(world)
    world.execute("UPDATE axiomd_journal SET id = 8")
    for table in ("ledger", "posting"):
        world.execute(f"UPDATE axiomd_{table} SET journal_id = 8")
    for narrowed, undone in (
        ({"host_id": first}, "host"),
        ({"batch": 7}, "batch"),
        ({"experiment": "representation_alignment"}, "experiment"),
    ):
        plans, done = await undo(world, **narrowed)
        assert [unit.key for plan in plans for unit in plan.undone] == [results[undone]]
        assert [part.changes for part in done] == [1]
        await audited(world)
    plans, _ = await undo(world, since=world.now + 1000)
    assert plans == []
    assert {name for name, id_ in results.items() if granted(world, id_)} == {"rest"}
    assert totals(world, "host") == {first: 0.0, second: 2.0}


async def test_parts_of_an_entry_take_their_share_of_the_average(world: World) -> None:
    user = world.user(expavg_credit=100.0, expavg_time=world.now)
    hosts = [world.host(user) for _ in range(4)]
    for host in hosts:
        world.valid_result(host)
    await once(world)
    after = world.row("user", user)["expavg_credit"]
    added = world.value("SELECT average FROM axiomd_posting WHERE kind = 2")
    for number, host in enumerate(hosts, start=1):
        await undo(world, host_id=host)
        left = world.row("user", user)["expavg_credit"]
        assert after - left == pytest.approx(added * number / 4, rel=1e-9)
    await audited(world)


async def test_rac_after_an_undo_is_rac_without_the_grant(world: World) -> None:
    """With BOINC's own updates in between: each part of the average decays for itself."""
    start = world.now - 3 * DAY
    host, twin = (world.host(expavg_credit=50.0, expavg_time=start) for _ in range(2))
    world.valid_result(host)
    await once(world)
    paid_at = world.row("host", host)["expavg_time"]
    without = updated_average(50.0, start, 0.0, paid_at, start)
    world.execute("UPDATE host SET expavg_credit = %s, expavg_time = %s WHERE id = %s", without, paid_at, twin)
    assert world.row("host", host)["expavg_credit"] > without
    for day, work in ((1, 0.0), (4, 30.0), (4.5, 7.0), (11, 0.0)):
        for id_ in (host, twin):
            row = world.row("host", id_)
            at = paid_at + day * DAY
            average = updated_average(row["expavg_credit"], row["expavg_time"], work, at, at - HOUR)
            world.execute("UPDATE host SET expavg_credit = %s, expavg_time = %s WHERE id = %s", average, at, id_)
    await undo(world, last_entry(world))
    undone, never = world.row("host", host), world.row("host", twin)
    assert undone["expavg_credit"] == pytest.approx(never["expavg_credit"], rel=1e-9)
    assert undone["expavg_time"] == never["expavg_time"]


async def test_what_an_undo_took_from_an_average_is_posted_as_of_its_time(world: World) -> None:
    host = world.host(expavg_credit=50.0, expavg_time=world.now)
    world.valid_result(host)
    await once(world)
    world.execute("UPDATE axiomd_journal SET at = at - %s", 7 * DAY)
    world.execute("UPDATE host SET expavg_time = expavg_time - %s", 7 * DAY)
    before = world.row("host", host)["expavg_credit"]
    await undo(world, last_entry(world))
    taken = before - world.row("host", host)["expavg_credit"]
    posted = world.value("SELECT -average FROM axiomd_posting WHERE kind = 1 AND credit < 0")
    assert taken > 0
    assert posted == pytest.approx(taken / 2, rel=1e-3)


async def test_no_average_falls_below_nothing(world: World) -> None:
    host = world.host()
    world.valid_result(host)
    await once(world)
    world.execute("UPDATE host SET expavg_credit = 0.01")
    await undo(world, last_entry(world))
    assert world.row("host", host)["expavg_credit"] == 0


async def test_whoever_was_paid_gives_it_back(world: World) -> None:
    """Also after the host changed hands, and its old owner the team."""
    team, other = world.team(), world.team()
    old, new = world.user(teamid=team), world.user(teamid=other)
    host = world.host(old)
    world.valid_result(host)
    await once(world)
    world.execute("UPDATE host SET userid = %s", new)
    world.execute("UPDATE user SET teamid = %s WHERE id = %s", other, old)
    await undo(world, last_entry(world))
    assert totals(world, "user") == {old: 0.0, new: 0.0}
    assert totals(world, "team") == {team: 0.0, other: 0.0}
    await audited(world)


async def test_a_merged_hosts_credit_is_taken_from_its_successor(world: World) -> None:
    user = world.user()
    old, middle, last = (world.host(user) for _ in range(3))
    world.valid_result(old)
    world.valid_result(last)
    await once(world)
    average = world.row("host", old)["expavg_credit"] + world.row("host", last)["expavg_credit"]
    for merged, into in ((old, middle), (middle, last)):
        world.execute("UPDATE host SET userid = 0, rpc_seqno = %s, total_credit = 0 WHERE id = %s", into, merged)
    world.execute("UPDATE host SET total_credit = 4, expavg_credit = %s WHERE id = %s", average, last)
    await undo(world, host_id=old)
    assert totals(world, "host") == {old: 0.0, middle: 0.0, last: 2.0}
    assert world.row("host", last)["expavg_credit"] == pytest.approx(average / 2, rel=1e-6)


async def test_what_was_deleted_has_no_total_and_is_said(world: World) -> None:
    team = world.team()
    host = world.host(world.user(teamid=team))
    result = world.valid_result(host)
    await once(world)
    for table in ("host", "user", "team"):
        world.execute(f"DELETE FROM {table}")
    _, done = await undo(world, last_entry(world))
    assert done[0].deleted == {"host": 1, "user": 1, "team": 1}
    assert granted(world, result) == 0
    assert world.rows("SELECT SUM(granted) AS granted FROM axiomd_account") == [{"granted": 0.0}]
    await audited(world)


async def test_a_purged_results_credit_can_be_taken_back(world: World) -> None:
    host = world.host()
    result = world.valid_result(host)
    await once(world)
    world.execute("DELETE FROM result WHERE id = %s", result)
    _, done = await undo(world, last_entry(world))
    assert (done[0].changes, totals(world, "host")) == (1, {host: 0.0})
    await audited(world)


async def test_a_grant_that_another_program_changed_stays(world: World) -> None:
    host = world.host()
    changed, same = world.valid_result(host), world.valid_result(host)
    await once(world)
    world.execute("UPDATE result SET granted_credit = 9 WHERE id = %s", changed)
    plans, done = await undo(world, last_entry(world))
    assert plans[0].reasons == {"granted_credit was changed by another program since": 1}
    assert (done[0].changes, granted(world, changed), granted(world, same)) == (1, 9.0, 0.0)


async def test_a_result_that_changes_while_its_credit_is_taken_back_is_read_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the reading and the writing of one transaction another program grants more."""
    host = world.host()
    world.valid_result(host)
    await once(world)
    database, project = await world.migrate(world.settings())
    work = Undo(database, project, "ada")
    plans = await work.plan(Selection((last_entry(world),)))
    take_back = boinc_undo.take_back

    async def take_back_late(*what: Any) -> boinc_undo.TakenBack:
        world.execute("UPDATE result SET granted_credit = 9")
        return await take_back(*what)

    monkeypatch.setattr(boinc_undo, "take_back", take_back_late)
    (done,) = await work.act(plans)
    assert (done.changes, done.journal_id, dict(done.stays)) == (
        0,
        0,
        {"granted_credit was changed by another program since": 1},
    )
    assert totals(world, "host") == {host: 2.0}


async def test_the_hosts_cap_of_the_day_has_room_again(world: World) -> None:
    host = world.host()
    for _ in range(2):
        world.valid_result(host)
    await once(world, credit={"host_day_cap": 4})
    await undo(world, last_entry(world))
    assert world.value("SELECT granted_today FROM axiomd_account WHERE kind = 1") == 0
    late = world.valid_result(host)
    await once(world, credit={"host_day_cap": 4})
    assert granted(world, late) == 2
    world.execute("UPDATE axiomd_journal SET at = at - %s", DAY)
    await undo(world, last_entry(world))
    assert world.value("SELECT granted_today FROM axiomd_account WHERE kind = 1") == 2


async def test_credit_by_app_is_taken_back_too(world: World) -> None:
    world.write_config("<credit_by_app>1</credit_by_app>")
    user = world.user(teamid=world.team())
    first, second = world.host(user), world.host(user)
    for host in (first, first, second):
        world.valid_result(host)
    await once(world)
    await undo(world, host_id=first)
    for table in ("credit_user", "credit_team"):
        (row,) = world.rows(f"SELECT njobs, total, expavg FROM {table}")
        assert (row["njobs"], row["total"]) == (1, 2.0)
        assert row["expavg"] == pytest.approx(math.log(2) / 7 * 2, rel=1e-6)


async def test_an_undo_beside_a_daemon_that_pays_loses_nothing(world: World) -> None:
    """Two connections on the same hosts and users: all that is in force in the end is what the ledger says."""
    hosts = [world.host() for _ in range(3)]
    for number in range(90):
        world.valid_result(hosts[number % 3])
    await once(world, credit={"batch": 10})
    for number in range(90):
        world.valid_result(hosts[number % 3])
    axiomd = await world.axiomd(**QUIET, credit={"batch": 10})
    database, project = await world.migrate(world.settings())
    work = Undo(database, project, "ada")
    plans = await work.plan(Selection(since=1.0))
    async with asyncio.TaskGroup() as group:
        group.create_task(axiomd.once())
        done = group.create_task(work.act(plans))
    assert sum(part.changes for part in done.result()) == 90
    assert sorted(totals(world, "host").values()) == [60.0] * 3
    assert world.value("SELECT SUM(granted_credit) FROM result") == 180
    await audited(world)


@pytest.mark.parametrize("table", ["host", "user", "team"])
async def test_two_undos_at_once_take_back_once(world: World, table: str) -> None:
    host = world.host(world.user(teamid=world.team()))
    for _ in range(40):
        world.valid_result(host)
    await once(world)
    entry = last_entry(world)
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(undo(world, entry)) for _ in range(2)]
    assert sum(part.changes for one in both for part in one.result()[1]) == 40
    assert list(totals(world, table).values()) == [0.0]
    await audited(world)


# Aborts.


async def test_a_task_gets_its_deadline_back_and_is_not_ended_again(world: World) -> None:
    live_hosts(world)
    result = task(world, silent_host(world), 13)
    before = world.row("result", result)["report_deadline"]
    await once(world)
    assert world.row("result", result)["report_deadline"] < before
    _, done = await undo(world, last_entry(world, "abort"))
    assert done[0].changes == 1
    await once(world)
    await once(world, abort={"ceiling_s": 3600.0, "ceiling_delay_bounds": 0.0})
    assert world.row("result", result)["report_deadline"] == before
    assert world.value("SELECT COUNT(*) FROM axiomd_journal WHERE kind = 'abort'") == 1
    transitioner.one_pass(world.connection, world.now + 100, Config())
    assert world.row("result", result)["server_state"] == 4
    assert workunit_of(world, result)["transition_time"] == before
    plans, done = await undo(world, last_entry(world, "abort"))
    assert (plans[0].reasons, done) == ({"undone already": 1}, [])


async def test_a_task_that_is_over_stays_ended(world: World) -> None:
    live_hosts(world)
    result = task(world, silent_host(world), 13)
    await once(world)
    transitioner.one_pass(world.connection, world.now + 100, Config())
    plans, _ = await undo(world, last_entry(world, "abort"))
    assert plans[0].reasons == {"the task is over": 1}
    assert world.row("result", result)["outcome"] == 4


async def test_a_cancelled_workunit_lives_again_with_its_unsent_results(world: World) -> None:
    live = live_hosts(world)
    result = task(world, live[0], 49, workunit={"target_nresults": 2})
    workunit = workunit_of(world, result)["id"]
    unsent = world.result(workunit, server_state=2, sent_time=0)
    await once(world)
    assert workunit_of(world, result)["error_mask"] == 16
    await undo(world, last_entry(world, "abort"))
    assert workunit_of(world, result)["error_mask"] == 0
    assert (world.row("result", unsent)["server_state"], world.row("result", unsent)["outcome"]) == (2, 0)
    assert world.value("SELECT COUNT(*) FROM axiomd_ended") == 0
    transitioner.one_pass(world.connection, world.now + 100, Config())
    assert world.value("SELECT COUNT(*) FROM result WHERE workunitid = %s", workunit) == 2
    assert workunit_of(world, result)["assimilate_state"] == 0
    await once(world)
    assert workunit_of(world, result)["error_mask"] == 0


async def test_a_workunit_that_the_transitioner_has_ended_stays_cancelled(world: World) -> None:
    result = task(world, live_hosts(world)[0], 49)
    await once(world)
    transitioner.one_pass(world.connection, world.now + 100, Config())
    plans, done = await undo(world, last_entry(world, "abort"))
    assert (plans[0].reasons, done) == ({"the transitioner has ended the workunit": 1}, [])
    assert workunit_of(world, result)["error_mask"] == 16


# Repairs.


async def test_a_retargeted_job_goes_back_to_its_target_and_is_left_there(world: World) -> None:
    live, dead = world.host(), world.host(rpc_time=world.now - 8 * DAY)
    workunit = targeted(world, dead)
    before = world.rows("SELECT target_id, target_type, multi, resultid, create_time FROM assignment")
    await once(world)
    assert targets(world, workunit) == [live]
    assert await undo(world, host_id=world.host()) == ([], [])
    await undo(world, host_id=live)
    assert world.rows("SELECT target_id, target_type, multi, resultid, create_time FROM assignment") == before
    assert world.row("workunit", workunit)["transitioner_flags"] == 2
    transitioner.one_pass(world.connection, world.now + 100, Config())
    world.age("workunit", workunit)
    await once(world)
    assert targets(world, workunit) == [dead]
    plans, _ = await undo(world, last_entry(world, "repair"))
    assert plans[0].reasons == {"undone already": 1}


async def test_a_freed_job_is_targeted_again_until_an_instance_is_made(world: World) -> None:
    dead = world.host(rpc_time=world.now - 8 * DAY)
    early, late = targeted(world, dead), targeted(world, dead)
    await once(world)
    world.execute("UPDATE workunit SET transition_time = %s WHERE id = %s", INT_MAX, early)
    transitioner.one_pass(world.connection, world.now + 100, Config())
    plans, _ = await undo(world, last_entry(world, "repair"))
    assert plans[0].reasons == {"an instance was made from it since": 1}
    assert (targets(world, early), targets(world, late)) == ([dead], [])
    assert world.row("workunit", early)["transitioner_flags"] == 2
    assert world.row("workunit", late)["transitioner_flags"] == 0


async def test_a_retargeted_job_that_was_sent_stays(world: World) -> None:
    live, dead = world.host(), world.host(rpc_time=world.now - 8 * DAY)
    workunit = targeted(world, dead)
    await once(world)
    transitioner.one_pass(world.connection, world.now + 50, Config())
    assert scheduler.request(world.connection, live, world.now + 60, Config(), instances=1).results
    plans, _ = await undo(world, last_entry(world, "repair"))
    assert plans[0].reasons == {"an instance was made from it since": 1}
    assert targets(world, workunit) == [live]


async def test_a_report_that_was_brought_back_is_lost_again_and_stays_so(world: World) -> None:
    workunit = world.workunit()
    columns = {"server_state": 5, "outcome": 4, "client_state": 5, "received_time": world.now - HOUR}
    result = world.result(workunit, world.host(), **columns)
    await once(world)
    assert world.row("result", result)["outcome"] == 1
    await undo(world, last_entry(world, "repair"))
    assert (world.row("result", result)["outcome"], world.row("result", result)["validate_state"]) == (4, 0)
    await once(world)
    assert world.row("result", result)["outcome"] == 4


async def test_a_report_that_is_being_validated_stays(world: World) -> None:
    workunit = world.workunit()
    columns = {"server_state": 5, "outcome": 4, "client_state": 5, "received_time": world.now - HOUR}
    world.result(workunit, world.host(), **columns)
    await once(world)
    transitioner.one_pass(world.connection, world.now + 100, Config())
    plans, _ = await undo(world, last_entry(world, "repair"))
    assert plans[0].reasons == {"the workunit has moved on since": 1}


# Jobs.


async def test_jobs_that_no_host_has_got_are_taken_back(world: World) -> None:
    host = world.host()
    await world.migrate(world.settings())
    world.execute("INSERT INTO axiomd_journal VALUES (7, %s, 'topup', 'cores_idle', 'axiomd', 4, 0, '{}')", world.now)
    names = {what: f"micro_scaling_laws-v1-b7-s{seed}" for seed, what in enumerate(("waits", "unsent", "sent", "none"))}
    for seed, name in enumerate(names.values()):
        row = (name, 7, "axiom", "micro_scaling_laws", seed, host, 0 if name == names["none"] else 1, 0)
        world.execute("INSERT INTO axiomd_job VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", *row)
    waits = targeted(world, host, name=names["waits"])
    unsent = world.workunit(name=names["unsent"])
    result = world.result(unsent, server_state=2, sent_time=0)
    sent = world.workunit(name=names["sent"])
    world.result(sent, host)
    plans, done = await undo(world, batch=7)
    assert [plan.reasons for plan in plans] == [{"a host has got it already": 1}]
    assert done[0].changes == 3
    assert [world.row("workunit", id_)["error_mask"] for id_ in (waits, unsent, sent)] == [16, 16, 0]
    assert (world.row("result", result)["server_state"], world.row("result", result)["outcome"]) == (5, 5)
    assert targets(world, waits) == []
    states = world.rows("SELECT workunit_name, state FROM axiomd_job")
    assert {row["workunit_name"]: row["state"] for row in states} == {
        names["waits"]: 2,
        names["unsent"]: 2,
        names["sent"]: 1,
        names["none"]: 2,
    }
    assert not scheduler.request(world.connection, host, world.now + 5, Config(), instances=1).results
    plans, done = await undo(world, 7)
    assert (plans[0].reasons, done) == ({"undone already": 3, "a host has got it already": 1}, [])


# The command.


async def test_the_command_shows_asks_and_does(world: World) -> None:
    result = world.valid_result(world.host())
    await once(world)
    config = write_settings(world)
    status, said = await command("undo", "1", "--config", config)
    assert (status, granted(world, result)) == (2, 2.0)
    assert f"result {result}: 2 credit taken back" in said
    plan = json.loads((await command("undo", "1", "--json", "--config", config))[1])
    assert (plan["plan"][0]["to_undo"], plan["plan"][0]["credit_back"], plan["done"]) == (1, 2.0, [])
    assert granted(world, result) == 2
    status, said = await command("undo", "--since", "1h", "--yes", "--config", config)
    assert (status, granted(world, result)) == (0, 0.0)
    assert "entry 2: 1 of entry 1 undone, 2 credit" in said
    status, said = await command("undo", "1", "--yes", "--config", config)
    assert status == 0
    assert "nothing to undo" in said
    assert world.value("SELECT COUNT(*) FROM axiomd_journal") == 2


async def test_what_cannot_be_undone_is_exit_status_1(world: World) -> None:
    world.valid_result(world.host())
    await once(world)
    world.execute("UPDATE result SET granted_credit = 9")
    status, said = await command("undo", "1", "--yes", "--config", write_settings(world))
    assert status == 1
    assert "granted_credit was changed by another program since" in said


async def test_what_cannot_be_planned_is_said(world: World) -> None:
    world.valid_result(world.host())
    await once(world)
    await undo(world, 1)
    world.execute("INSERT INTO axiomd_journal VALUES (9, 1, 'pause', 'credit', 'ada', 0, 0, '{}')")
    for entry, complaint in (
        (5, "journal entry 5: there is none"),
        (2, "is itself an undo. What it took back is paid again by `axiomd backfill --undone --entry 2`"),
        (9, "is of kind 'pause', which has nothing to undo"),
    ):
        with pytest.raises(AxiomdError, match=re.escape(complaint)):
            await undo(world, entry)


async def test_an_entry_that_is_pruned_meanwhile_is_left(world: World) -> None:
    world.valid_result(world.host())
    await once(world)
    database, project = await world.migrate(world.settings())
    work = Undo(database, project, "ada")
    plans = await work.plan(Selection((1,)))
    world.execute("DELETE FROM axiomd_journal")
    with pytest.raises(AxiomdError, match="pruned meanwhile"):
        await work.act(plans)
    assert world.value("SELECT COUNT(*) FROM axiomd_ledger") == 1


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 0.0),
        ("90m", 1_772_460_000.0 - 5400),
        ("1d", 1_772_460_000.0 - DAY),
        ("1772323200", 1_772_323_200.0),
        ("2026-03-01", 1_772_323_200.0),
        ("2026-03-01T02:00+02:00", 1_772_323_200.0),
        ("soon", None),
        ("2026-13-01", None),
    ],
)
def test_a_time_is_read(text: str, at: float | None) -> None:
    if at is None:
        with pytest.raises(AxiomdError, match="is no time"):
            point_in_time(text, 1_772_460_000.0)
    else:
        assert point_in_time(text, 1_772_460_000.0) == at


def test_nothing_is_done_before_a_person_says_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question: question == "Undo 3?")
    confirm("Undo 3?")
    with pytest.raises(typer.Exit) as refused:
        confirm("Undo 4?")
    assert refused.value.exit_code == 1
