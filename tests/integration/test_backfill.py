"""Backfill on a real MariaDB: the past is paid once, by the present rules, capped; and what was undone, again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from axiomd.handlers.backfill import Backfill, BackfillPlan, Paid, Wish
from tests.integration.test_commands import axiomd as command
from tests.integration.test_commands import write_settings
from tests.integration.test_undo import QUIET, audited, granted, last_entry, once, totals, undo
from tests.world import World

DAY = 86_400


async def backfill(world: World, wish: Wish | None = None, **sections: Any) -> tuple[BackfillPlan, list[Paid]]:
    """Plan and pay, as the command does."""
    settings = world.settings(**sections)
    database, project = await world.migrate(settings, baseline_at=None)
    work = Backfill(database, project, settings, "ada")
    plan = await work.plan(wish or Wish())
    return plan, await work.act(wish or Wish(), plan)


async def baseline(world: World) -> None:
    """Write the baseline now: all that is there is history."""
    await world.axiomd(baseline_at=None)


async def test_the_past_is_paid_once_and_its_workunits_find_their_end(world: World) -> None:
    host = world.host()
    results = [world.valid_result(host) for _ in range(3)]
    await baseline(world)
    await (await world.axiomd(**QUIET, baseline_at=None)).once()
    assert totals(world, "host") == {host: 0.0}
    plan, paid = await backfill(world)
    assert (plan.paid, plan.credit, plan.by_host, plan.complete) == (3, 6.0, {host: 6.0}, True)
    assert [(one.results, one.credit) for one in paid] == [(3, 6.0)]
    assert [granted(world, result) for result in results] == [2.0] * 3
    (entry,) = world.rows("SELECT kind, cause, actor, changes, credit FROM axiomd_journal")
    assert list(entry.values()) == ["backfill", "before the baseline", "ada", 3, 6.0]
    assert world.value("SELECT value FROM axiomd_state WHERE name = 'credited_count'") == 3
    assert world.value("SELECT value FROM axiomd_state WHERE name = 'completed_count'") == 0
    assert world.value("SELECT SUM(canonical) FROM axiomd_experiment") == 3
    assert world.value("SELECT COUNT(*) FROM axiomd_history") == 0
    assert (await backfill(world))[0].results == []
    await (await world.axiomd(**QUIET, baseline_at=None)).once()
    assert world.value("SELECT SUM(assimilate_state) FROM workunit") == 6
    await audited(world)
    assert totals(world, "host") == {host: 6.0}


@pytest.mark.parametrize(
    ("columns", "refusals", "paid"),
    [
        pytest.param({}, {}, 1, id="valid"),
        pytest.param({"granted_credit": 5.0}, {}, 0, id="paid by another program"),
        pytest.param({"validate_state": 2}, {"invalid": 1}, 0, id="invalid"),
        pytest.param({"validate_state": 0}, {}, 0, id="not judged yet"),
        pytest.param({"outcome": 4}, {}, 0, id="may still come in"),
        pytest.param({"outcome": 3, "exit_status": 197}, {"failed": 1}, 0, id="failed"),
        pytest.param({"hostid": 999}, {"no_host": 1}, 0, id="the host is gone"),
        pytest.param({"appid": 999}, {}, 0, id="of another app"),
    ],
)
async def test_the_present_rules_decide(
    world: World, columns: dict[str, Any], refusals: dict[str, int], paid: int
) -> None:
    world.valid_result(world.host(), **columns)
    await baseline(world)
    plan, _ = await backfill(world)
    assert (plan.paid, dict(plan.refusals)) == (paid, refusals)
    again, _ = await backfill(world)
    assert (again.paid, again.refusals) == (0, {})


async def test_what_the_daemon_refused_for_its_age_is_paid(world: World) -> None:
    result = world.valid_result(world.host())
    await baseline(world)
    world.execute("DELETE FROM axiomd_history")
    await (await world.axiomd(**QUIET, baseline_at=None)).once()
    # The helper takes the notes of history away: the daemon has looked at the result and refused it.
    assert world.rows("SELECT reason FROM axiomd_result") == [{"reason": "before_baseline"}]
    plan, _ = await backfill(world)
    assert (plan.paid, granted(world, result)) == (1, 2.0)
    assert world.rows("SELECT credit_mark, reason FROM axiomd_result") == [{"credit_mark": 1, "reason": ""}]
    await audited(world)


async def test_what_came_in_since_the_baseline_is_the_daemons(world: World) -> None:
    await baseline(world)
    new = world.valid_result(world.host(), received_time=world.now + 1000)
    plan, _ = await backfill(world)
    assert (plan.results, granted(world, new)) == ([], 0.0)


async def test_the_cap_ends_a_run_and_the_next_goes_on(world: World) -> None:
    for number in range(5):
        world.valid_result(world.host(), received_time=world.now - 1000 + number)
    await baseline(world)
    plan, _ = await backfill(world, credit={"backfill_cap": 5.0})
    assert (plan.paid, plan.credit, plan.complete) == (2, 4.0, False)
    assert world.value("SELECT COUNT(*) FROM axiomd_history") == 3
    plan, _ = await backfill(world, Wish(cap=2.0))
    assert plan.paid == 1
    plan, _ = await backfill(world, Wish(limit=1))
    assert (plan.paid, plan.complete) == (1, False)
    plan, _ = await backfill(world, credit={"host_day_cap": 1.0, "flat": 1.0})
    assert (plan.paid, plan.complete) == (1, True)
    await audited(world)


async def test_the_cap_holds_when_there_is_more_to_pay_than_was_planned(world: World) -> None:
    for _ in range(4):
        world.valid_result(world.host())
    await baseline(world)
    settings = world.settings(credit={"batch": 1})
    database, project = await world.migrate(settings, baseline_at=None)
    work = Backfill(database, project, settings, "ada")
    plan = await work.plan(Wish())
    plan.cap = 5.0
    paid = await work.act(Wish(), plan)
    assert sum(one.credit for one in paid) == 4


async def test_a_hosts_cap_of_the_day_is_left_alone(world: World) -> None:
    host = world.host()
    for _ in range(3):
        world.valid_result(host)
    await baseline(world)
    await backfill(world, credit={"host_day_cap": 3.0})
    assert totals(world, "host") == {host: 6.0}
    assert world.value("SELECT granted_today FROM axiomd_account WHERE kind = 1") == 0


@pytest.mark.parametrize(
    ("wish", "paid"),
    [
        pytest.param({"since": 0.5}, [2], id="since"),
        pytest.param({"until": 0.5}, [0, 1], id="until"),
        pytest.param({"since": 1.5, "until": 0.5}, [1], id="between"),
    ],
)
async def test_a_time_narrows_it(world: World, wish: dict[str, float], paid: list[int]) -> None:
    host = world.host()
    results = [world.valid_result(host, received_time=world.now - 60 - (2 - day) * DAY) for day in range(3)]
    await baseline(world)
    times: dict[str, Any] = {name: world.now - days * DAY for name, days in wish.items()}
    await backfill(world, Wish(**times))
    assert [place for place, id_ in enumerate(results) if granted(world, id_)] == paid


async def test_what_was_undone_is_paid_again_once(world: World) -> None:
    team = world.team()
    host = world.host(world.user(teamid=team), expavg_credit=10.0, expavg_time=world.now - DAY)
    results = [world.valid_result(host) for _ in range(3)]
    await once(world)
    first = last_entry(world)
    await undo(world, first)
    again = Wish(undone=True, entries=(last_entry(world, "undo"),))
    for number in range(2):
        plan, paid = await backfill(world, again)
        assert (plan.paid, sum(one.credit for one in paid)) == ((3, 6.0) if number == 0 else (0, 0))
    assert [granted(world, id_) for id_ in results] == [2.0] * 3
    assert world.value("SELECT value FROM axiomd_state WHERE name = 'credited_count'") == 3
    assert world.value("SELECT value FROM axiomd_state WHERE name = 'completed_count'") == 3
    assert world.value("SELECT SUM(canonical) FROM axiomd_experiment") == 3
    ledger = world.rows("SELECT generation, credit FROM axiomd_ledger WHERE result_id = %s", results[0])
    assert [tuple(row.values()) for row in ledger] == [(0, 2.0), (1, -2.0), (2, 2.0)]
    await audited(world)
    # And taken back again, and paid again by the entry that was undone first.
    await undo(world, last_entry(world, "backfill"))
    assert totals(world, "host") == {host: 0.0}
    await audited(world)
    plan, _ = await backfill(world, Wish(undone=True, entries=(first,)))
    assert plan.paid == 3
    await audited(world)


async def test_undone_is_by_time_too_and_by_the_present_rules(world: World) -> None:
    result = world.valid_result(world.host())
    await once(world)
    await undo(world, last_entry(world))
    assert (await backfill(world, Wish(undone=True, since=world.now + 1000)))[0].paid == 0
    assert (await backfill(world, Wish(undone=True, until=world.now - 1000)))[0].paid == 0
    plan, _ = await backfill(world, Wish(undone=True), credit={"flat": 7.0})
    assert (plan.credit, granted(world, result)) == (7.0, 7.0)
    await audited(world)


async def test_what_cannot_be_paid_again_stays_undone(world: World) -> None:
    result = world.valid_result(world.host())
    await once(world)
    await undo(world, last_entry(world))
    world.execute("UPDATE result SET validate_state = 2")
    plan, _ = await backfill(world, Wish(undone=True))
    assert (plan.paid, dict(plan.refusals)) == (0, {"invalid": 1})
    assert world.rows("SELECT reason FROM axiomd_result") == [{"reason": "undone"}]
    world.execute("UPDATE result SET validate_state = 1")
    assert (await backfill(world, Wish(undone=True)))[0].paid == 1
    assert granted(world, result) == 2


async def test_two_backfills_at_once_pay_once(world: World) -> None:
    host = world.host()
    for _ in range(40):
        world.valid_result(host)
    await baseline(world)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(backfill(world))
    assert totals(world, "host") == {host: 80.0}
    await audited(world)


async def test_a_backfill_is_undone_like_any_payment(world: World) -> None:
    host = world.host()
    world.valid_result(host)
    await baseline(world)
    await backfill(world)
    await undo(world, last_entry(world, "backfill"))
    assert totals(world, "host") == {host: 0.0}
    assert (await backfill(world))[0].paid == 0
    await audited(world)


async def test_the_command_shows_asks_and_pays(world: World) -> None:
    result = world.valid_result(world.host())
    world.valid_result(world.host(), validate_state=2)
    await baseline(world)
    config = write_settings(world)
    assert (await command("backfill", "--config", config))[0] == 2
    plan = json.loads((await command("backfill", "--json", "--config", config))[1])
    assert (plan["plan"]["credit"], plan["plan"]["refusals"], plan["done"]) == (2.0, {"invalid": 1}, [])
    assert granted(world, result) == 0
    status, said = await command("backfill", "--yes", "--config", config)
    assert (status, granted(world, result)) == (0, 2.0)
    assert "to pay: 1 results, 2 credit, to 1 hosts" in said
    assert "not paid: 1: invalid" in said
    assert "entry 1: 1 results paid, 2 credit" in said
    assert "nothing to pay" in (await command("backfill", "--dry-run", "--config", config))[1]
