"""How finished results are found, in each of the three modes: nothing is missed, and history isn't paid."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from axiomd.boinc import schema
from axiomd.boinc.states import Outcome, ServerState, ValidateState, ending
from axiomd.daemon import write_counters
from axiomd.demo import scheduler, transitioner, validator
from axiomd.demo.config import Config
from axiomd.policies.credit import Ending
from axiomd.store import tables
from tests.world import World

MODES = ("assimilator", "mod_time", "in_flight")
all_modes = pytest.mark.parametrize("mode", MODES)
HOUR = 3600


async def prepare(world: World, mode: str) -> None:
    """Make axiomd's tables and the baseline, now, as `axiomd migrate` does (with --index where the mode needs it)."""
    database, _ = await world.migrate(world.settings(), baseline_at=None)
    if mode == "mod_time":
        async with database.session() as session:
            await schema.make_mod_time_index(session)


async def daemon_once(world: World, mode: str, **sections: Any) -> None:
    """One look by a daemon that was just started, and a second one to settle what the first began."""
    for _ in range(2):
        axiomd = await world.axiomd(
            baseline_at=None,
            intake={"mode": mode},
            topup={"enabled": False},
            repair={"enabled": False},
            abort={"enabled": False},
            **sections,
        )
        await axiomd.once()


def finish(world: World, result: int, *, valid: bool = True, **columns: Any) -> None:
    """A report comes in, a moment after the baseline, and the validator judges it, as their statements do."""
    values: dict[str, Any] = {
        "server_state": 5,
        "outcome": 1,
        "client_state": 5,
        "received_time": world.now + 60,
        "elapsed_time": 100.0,
        "validate_state": 1 if valid else 0,
    } | columns
    assignments = ", ".join(f"{name} = %s" for name in values)
    world.execute(f"UPDATE result SET {assignments} WHERE id = %s", *values.values(), result)
    if valid:
        world.execute(
            "UPDATE workunit SET assimilate_state = GREATEST(assimilate_state, 1), canonical_resultid = "
            "IF(canonical_resultid = 0, %s, canonical_resultid) WHERE id = %s",
            result,
            world.row("result", result)["workunitid"],
        )


def granted(world: World, result: int) -> float:
    return float(world.row("result", result)["granted_credit"])


def refusals(world: World) -> list[str]:
    return [row["reason"] for row in world.rows("SELECT reason FROM axiomd_result WHERE credit_mark = 2")]


@all_modes
async def test_a_result_made_and_finished_after_the_baseline_is_paid_once(world: World, mode: str) -> None:
    await prepare(world, mode)
    host = world.host()
    result = world.result(world.workunit(), host)
    await daemon_once(world, mode)
    assert granted(world, result) == 0
    finish(world, result)
    await daemon_once(world, mode)
    await daemon_once(world, mode)
    assert granted(world, result) == 2
    assert world.row("host", host)["total_credit"] == 2


@all_modes
async def test_what_was_under_way_at_the_baseline_is_paid_when_it_comes_in(world: World, mode: str) -> None:
    host = world.host()
    states = {"inactive": 1, "unsent": 2, "in progress": 4}
    results = {name: world.result(world.workunit(), host, server_state=state) for name, state in states.items()}
    await prepare(world, mode)
    for result in results.values():
        finish(world, result)
    await daemon_once(world, mode)
    assert {name: granted(world, result) for name, result in results.items()} == dict.fromkeys(states, 2)


@all_modes
async def test_what_was_received_before_the_baseline_is_history_even_if_it_is_judged_after(
    world: World, mode: str
) -> None:
    """When it came in decides, not when the validator got round to it; a backfill may pay it."""
    host = world.host()
    states = {"unjudged": 0, "inconclusive": 4}
    results = {name: world.result(world.workunit(), host) for name in states}
    for name, result in results.items():
        finish(world, result, valid=False, received_time=world.now - 600, validate_state=states[name])
    await prepare(world, mode)
    for result in results.values():
        finish(world, result, received_time=world.now - 600)
    await daemon_once(world, mode)
    assert {name: granted(world, result) for name, result in results.items()} == dict.fromkeys(states, 0)
    assert refusals(world) == (["before_baseline"] * 2 if mode == "assimilator" else [])


@all_modes
async def test_a_time_out_of_before_the_baseline_is_paid_when_it_comes_in_late(world: World, mode: str) -> None:
    result = world.result(world.workunit(), world.host(), server_state=5, outcome=4)
    await prepare(world, mode)
    finish(world, result)
    await daemon_once(world, mode)
    assert granted(world, result) == 2


@all_modes
async def test_history_is_neither_paid_nor_touched(world: World, mode: str) -> None:
    host = world.host()
    old = [world.valid_result(host, received_time=world.now - 600) for _ in range(3)]
    assimilated = world.valid_result(host, received_time=world.now - 600)
    world.execute("UPDATE workunit SET assimilate_state = 2 ORDER BY id DESC LIMIT 1")
    await prepare(world, mode)
    before = [(world.row("result", id_), world.row("workunit", world.row("result", id_)["workunitid"])) for id_ in old]
    await daemon_once(world, mode)
    assert [granted(world, id_) for id_ in (*old, assimilated)] == [0] * 4
    assert [
        (world.row("result", id_), world.row("workunit", world.row("result", id_)["workunitid"])) for id_ in old
    ] == before
    assert world.row("host", host)["total_credit"] == 0
    assert world.value("SELECT COUNT(*) FROM axiomd_result") == 0


@all_modes
async def test_a_restart_misses_nothing(world: World, mode: str) -> None:
    """Results that are made, sent and finished while no daemon runs, after one had run and looked."""
    host = world.host()
    waiting = [world.result(world.workunit(), host) for _ in range(3)]
    await prepare(world, mode)
    await daemon_once(world, mode)
    made_meanwhile = [world.result(world.workunit(), host) for _ in range(3)]
    for result in (*waiting, *made_meanwhile):
        finish(world, result)
    await daemon_once(world, mode)
    assert [granted(world, id_) for id_ in (*waiting, *made_meanwhile)] == [2] * 6


async def test_beside_another_assimilator_its_workunits_are_left_to_it(world: World) -> None:
    await prepare(world, "in_flight")
    result = world.result(world.workunit(), world.host())
    finish(world, result)
    await daemon_once(world, "in_flight")
    assert granted(world, result) == 2
    assert world.row("workunit", world.row("result", result)["workunitid"])["assimilate_state"] == 1


@pytest.mark.parametrize("mode", ["mod_time", "in_flight"])
async def test_beside_another_assimilator_that_was_quicker_all_is_paid(world: World, mode: str) -> None:
    await prepare(world, mode)
    result = world.result(world.workunit(), world.host())
    finish(world, result)
    world.execute("UPDATE workunit SET assimilate_state = 2")
    await daemon_once(world, mode)
    assert granted(world, result) == 2


@all_modes
async def test_an_id_that_became_visible_late_is_still_found(world: World, mode: str) -> None:
    """A row that another transaction inserted before, and committed after, one with a higher id."""
    await prepare(world, mode)
    host = world.host()
    first, second = world.workunit(), world.workunit()
    late_id = 1_000_000
    later = world.result(second, host, id=late_id + 1)
    finish(world, later)
    await daemon_once(world, mode)
    late = world.result(first, host, id=late_id)
    finish(world, late)
    await daemon_once(world, mode)
    assert [granted(world, late), granted(world, later)] == [2, 2]


# The assimilator's own mode.


async def test_done_is_written_only_after_every_final_result_was_dealt_with(world: World) -> None:
    await prepare(world, "assimilator")
    workunit, host = world.workunit(), world.host()
    valid, failed = world.result(workunit, host), world.result(workunit, host)
    finish(world, failed, valid=False, outcome=3, exit_status=1, validate_state=2)
    finish(world, valid)
    await daemon_once(world, "assimilator", credit={"cap": 1, "flat": 0.75, "host_day_cap": 0.5})
    assert granted(world, valid) == 0.5
    assert refusals(world) == ["failed"]
    assert world.row("workunit", workunit)["assimilate_state"] == 2
    assert abs(world.row("workunit", workunit)["transition_time"] - world.now) < 100


async def test_a_result_deferred_by_the_cap_holds_its_workunit_and_is_paid_when_there_is_room(world: World) -> None:
    await prepare(world, "assimilator")
    results = []
    for _ in range(3):
        results.append(world.result(world.workunit(), world.host()))
        finish(world, results[-1])

    def done() -> list[bool]:
        states = [world.row("workunit", world.row("result", id_)["workunitid"])["assimilate_state"] for id_ in results]
        return [state == 2 for state in states]

    await daemon_once(world, "assimilator", credit={"cap": 5})
    assert [granted(world, id_) for id_ in results] == [2, 2, 0]
    assert done() == [True, True, False]
    assert world.rows("SELECT result_id, reason FROM axiomd_result WHERE credit_mark = 0") == [
        {"result_id": results[2], "reason": "cap"}
    ]
    world.execute("UPDATE axiomd_journal SET at = at - 100000")
    await daemon_once(world, "assimilator", credit={"cap": 5})
    assert [granted(world, id_) for id_ in results] == [2, 2, 0]  # not before its time
    world.execute("UPDATE axiomd_result SET look_at = look_at - 100")
    await daemon_once(world, "assimilator", credit={"cap": 5})
    assert [granted(world, id_) for id_ in results] == [2, 2, 2]
    assert done() == [True, True, True]


@pytest.mark.parametrize("mode", ["mod_time", "in_flight"])
async def test_a_result_deferred_by_a_hosts_cap_of_the_day_is_paid_the_next_day(world: World, mode: str) -> None:
    await prepare(world, mode)
    host = world.host()
    results = []
    for _ in range(2):
        results.append(world.result(world.workunit(), host))
        finish(world, results[-1])
    await daemon_once(world, mode, credit={"host_day_cap": 3})
    assert [granted(world, id_) for id_ in results] == [2, 0]
    world.execute("UPDATE axiomd_result SET look_at = look_at - 86400")
    await daemon_once(world, mode, credit={"host_day_cap": 3})
    assert [granted(world, id_) for id_ in results] == [2, 0]  # the day isn't over
    world.execute("UPDATE axiomd_account SET day = day - 1")
    world.execute("UPDATE axiomd_result SET look_at = look_at - 86400")
    await daemon_once(world, mode, credit={"host_day_cap": 3})
    assert [granted(world, id_) for id_ in results] == [2, 2]


@pytest.mark.parametrize("state", [{"server_state": 4}, {"server_state": 5, "outcome": 4}], ids=["out", "timed out"])
async def test_a_late_report_after_done_is_paid(world: World, state: dict[str, int]) -> None:
    """By BOINC's own way: the report is accepted, the validator calls it valid beside the canonical one."""
    await prepare(world, "assimilator")
    workunit = world.workunit()
    quick, slow = world.host(), world.host()
    canonical = world.result(workunit, quick)
    late = world.result(workunit, slow, **state)
    finish(world, canonical)
    await daemon_once(world, "assimilator")
    assert world.row("workunit", workunit)["assimilate_state"] == 2
    assert granted(world, canonical) == 2

    report = scheduler.Report(world.row("result", late)["name"], elapsed_time=50.0)
    scheduler.request(world.connection, slow, world.now + 100, Config(), reports=[report])
    transitioner.one_pass(world.connection, world.now + 200, Config())
    validator.one_pass(world.connection, world.now + 200)
    assert world.row("result", late)["validate_state"] == 1
    await daemon_once(world, "assimilator")
    assert granted(world, late) == 2
    assert world.value("SELECT canonical FROM axiomd_experiment") == 1  # one independent result, not two


async def test_a_late_success_on_an_errored_workunit_is_paid(world: World) -> None:
    """It sets DONE back to READY."""
    await prepare(world, "assimilator")
    workunit, host = world.workunit(error_mask=8, assimilate_state=1), world.host()
    late = world.result(workunit, host, server_state=5, outcome=4, received_time=0)
    await daemon_once(world, "assimilator")
    assert world.row("workunit", workunit)["assimilate_state"] == 2
    world.execute("UPDATE workunit SET error_mask = 0, assimilate_state = 1")
    finish(world, late)
    await daemon_once(world, "assimilator")
    assert granted(world, late) == 2
    assert world.row("workunit", workunit)["assimilate_state"] == 2


async def test_a_queue_longer_than_a_page_is_worked_off(world: World) -> None:
    await prepare(world, "assimilator")
    host = world.host()
    results = [world.result(world.workunit(), host) for _ in range(25)]
    for result in results:
        finish(world, result)
    axiomd = await world.axiomd(baseline_at=None, intake={"page": 10}, credit={"batch": 7}, topup={"enabled": False})
    await axiomd.once()
    assert [granted(world, id_) for id_ in results] == [2] * 25


async def test_a_plan_names_what_would_be_paid_and_pays_nothing(world: World) -> None:
    await prepare(world, "assimilator")
    result = world.result(world.workunit(), world.host())
    finish(world, result)
    axiomd = await world.axiomd(baseline_at=None)
    assert ("credit", f"result {result}", "2 credit") in [
        (change.action, change.subject, change.detail) for change in await axiomd.plan()
    ]
    await daemon_once(world, "assimilator", daemon={"dry_run": True})
    assert granted(world, result) == 0
    assert world.value("SELECT COUNT(*) FROM axiomd_result") == 0


async def test_two_daemons_at_once_pay_each_result_once_and_keep_the_cap(world: World) -> None:
    """In small batches, two workers each, so that they meet as often as can be."""
    await prepare(world, "assimilator")
    host = world.host()
    results = [world.result(world.workunit(), host) for _ in range(40)]
    for result in results:
        finish(world, result)
    settings: dict[str, Any] = {"credit": {"batch": 3, "cap": 61}, "topup": {"enabled": False}}
    daemons = [await world.axiomd(baseline_at=None, **settings) for _ in range(2)]
    await asyncio.gather(*(axiomd.once() for axiomd in daemons))
    assert sum(granted(world, id_) for id_ in results) == 60
    assert world.row("host", host)["total_credit"] == 60
    assert world.value("SELECT SUM(credit) FROM axiomd_ledger") == 60
    assert world.value("SELECT value FROM axiomd_state WHERE name = 'credited_count'") == 30


async def test_the_counters_for_the_web_site_go_on_from_history(world: World) -> None:
    host = world.host()
    for credit in (2.0, 2.0, 0.0):
        world.valid_result(host, received_time=world.now - 600, granted_credit=credit)
    await prepare(world, "assimilator")
    result = world.result(world.workunit(), host)
    refused = world.result(world.workunit(), host)
    finish(world, result)
    finish(world, refused, valid=False, outcome=3, exit_status=1, validate_state=2)
    world.execute("UPDATE workunit SET assimilate_state = 1 ORDER BY id DESC LIMIT 1")
    await daemon_once(world, "assimilator")
    database = await world.database(world.settings())
    async with database.session() as session:
        state = await tables.get_state(session)
    path = world.folder / "counters.json"
    path.write_text("what stood there before")
    write_counters(path, state)
    assert json.loads(path.read_text()) == {"credited_count": 3, "total_results_count": 5}
    assert [file.name for file in world.folder.iterdir() if "counters" in file.name] == ["counters.json"]


# What the SQL calls final is what boinc.states calls final.


@all_modes
async def test_each_statement_agrees_with_the_table_of_endings(world: World, mode: str) -> None:
    """Every combination of states, each in a workunit of its own: looked at if final, and not else."""
    await prepare(world, mode)
    host = world.host()
    final: dict[int, bool] = {}
    for state, outcome, validate_state in itertools.product(ServerState, Outcome, ValidateState):
        id_ = world.result(
            world.workunit(assimilate_state=1),
            host,
            server_state=int(state),
            outcome=int(outcome),
            validate_state=int(validate_state),
            received_time=world.now + 60,
        )
        final[id_] = ending(state, outcome, validate_state, 0) is not Ending.NOT_FINAL
    await daemon_once(world, mode)
    closed = {row["result_id"] for row in world.rows("SELECT result_id FROM axiomd_result WHERE credit_mark <> 0")}
    assert closed == {id_ for id_, is_final in final.items() if is_final}
