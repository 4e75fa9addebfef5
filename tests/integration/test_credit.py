"""Credit on a real MariaDB: who is paid, once, and what is written where."""

from __future__ import annotations

import pytest

from tests.world import World


def granted(world: World, result_id: int) -> float:
    return float(world.row("result", result_id)["granted_credit"])


async def test_a_valid_result_is_paid_to_result_host_user_and_team(world: World) -> None:
    team = world.team()
    host = world.host(world.user(teamid=team))
    result = world.valid_result(host)
    axiomd = await world.axiomd()
    await axiomd.once()
    assert granted(world, result) == 2
    assert world.row("host", host)["total_credit"] == 2
    assert world.row("user", world.row("host", host)["userid"])["total_credit"] == 2
    assert world.row("team", team)["total_credit"] == 2
    assert world.value("SELECT SUM(credit) FROM axiomd_ledger") == 2


async def test_a_second_look_pays_nothing_more(world: World) -> None:
    host = world.host()
    results = [world.valid_result(host) for _ in range(20)]
    axiomd = await world.axiomd()
    await axiomd.once()
    await (await world.axiomd()).once()
    assert [granted(world, result) for result in results] == [2] * 20
    assert world.row("host", host)["total_credit"] == 40


async def test_a_paid_workunit_is_assimilated(world: World) -> None:
    result = world.valid_result(world.host())
    axiomd = await world.axiomd()
    await axiomd.once()
    await axiomd.once()
    workunit = world.row("workunit", world.row("result", result)["workunitid"])
    assert workunit["assimilate_state"] == 2
    assert abs(workunit["transition_time"] - world.now) < 60


async def test_what_finished_before_the_baseline_is_not_paid(world: World) -> None:
    history = world.valid_result(world.host())
    axiomd = await world.axiomd(baseline_at=None)
    new = world.valid_result(world.host(), received_time=world.now + 1000)
    await axiomd.once()
    assert (granted(world, history), granted(world, new)) == (0, 2)
    assert world.row("workunit", world.row("result", history)["workunitid"])["assimilate_state"] == 1


@pytest.mark.parametrize(
    ("name", "columns", "workunit", "reason"),
    [
        ("invalid", {"validate_state": 2}, {}, "invalid"),
        ("another program paid", {"granted_credit": 7.0}, {}, "already_granted"),
        ("the host was deleted", {"hostid": 999}, {}, "no_host"),
        ("cancelled by another", {}, {"error_mask": 16}, "cancelled"),
        ("aborted by the project", {"outcome": 3, "exit_status": 202, "validate_state": 2}, {}, "cancelled"),
        ("failed without consolation", {"outcome": 3, "exit_status": 1, "validate_state": 2}, {}, "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_never_paid(
    world: World, name: str, columns: dict[str, int], workunit: dict[str, int], reason: str
) -> None:
    host = world.host()
    result = world.valid_result(host, workunit=workunit, **columns)
    axiomd = await world.axiomd()
    await axiomd.once()
    assert world.rows("SELECT credit_mark, reason FROM axiomd_result WHERE result_id = %s", result) == [
        {"credit_mark": 2, "reason": reason}
    ]
    assert world.row("host", host)["total_credit"] == 0
    assert world.value("SELECT COUNT(*) FROM axiomd_ledger") == 0
