"""Credit on a real MariaDB: who is paid, once, and what is written where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest

from axiomd.boinc import credit
from axiomd.policies.rac import updated_average
from axiomd.sql import Connection, Row
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


@contextmanager
def just_before(statement: str, meddle: Callable[[set[int]], object]) -> Iterator[None]:
    """Let another program meddle each time right before these rows are locked; it is told which they are."""
    lock = credit._lock

    async def lock_late(connection: Connection, wanted: str, ids: Iterable[int]) -> dict[int, Row]:
        rows = set(ids)
        if wanted == statement:
            meddle(rows)
        return await lock(connection, wanted, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(credit, "_lock", lock_late)
        yield


async def test_a_host_that_changes_hands_while_being_paid_is_paid_to_its_new_owner(world: World) -> None:
    """Between the reading of the owners and their locking another program moves the host: the batch is decided anew."""
    old, new = world.user(), world.user()
    host = world.host(old)
    result = world.valid_result(host)
    axiomd = await world.axiomd()
    with just_before("lock_hosts", lambda _: world.execute("UPDATE host SET userid = %s WHERE id = %s", new, host)):
        await axiomd.once()
    assert granted(world, result) == 2
    assert (world.row("user", old)["total_credit"], world.row("user", new)["total_credit"]) == (0, 2)
    assert world.value("SELECT COUNT(*) FROM axiomd_ledger") == 1


async def test_a_host_that_changes_hands_all_the_time_keeps_no_other_waiting(world: World) -> None:
    restless, calm = world.host(), [world.host() for _ in range(6)]
    late = world.valid_result(restless)
    others = [world.valid_result(host) for host in calm]
    axiomd = await world.axiomd()

    def move(hosts: set[int]) -> None:
        if restless in hosts:
            world.execute("UPDATE host SET userid = %s WHERE id = %s", world.user(), restless)

    with just_before("lock_hosts", move):
        await axiomd.once()
    assert [granted(world, result) for result in others] == [2] * 6
    assert granted(world, late) == 0
    await axiomd.once()
    assert granted(world, late) == 2


async def test_a_user_who_joins_a_team_while_being_paid_is_paid_with_it(world: World) -> None:
    team, user = world.team(), world.user()
    world.valid_result(world.host(user))
    axiomd = await world.axiomd()
    with just_before("lock_users", lambda _: world.execute("UPDATE user SET teamid = %s WHERE id = %s", team, user)):
        await axiomd.once()
    assert (world.row("user", user)["total_credit"], world.row("team", team)["total_credit"]) == (2, 2)
    assert world.rows("SELECT team_id FROM axiomd_ledger") == [{"team_id": team}]


async def test_a_user_of_a_deleted_team_is_paid_without_one(world: World) -> None:
    user = world.user(teamid=4711)
    world.valid_result(world.host(user))
    await (await world.axiomd()).once()
    assert world.rows("SELECT team_id, credit FROM axiomd_ledger") == [{"team_id": 0, "credit": 2.0}]


async def test_what_a_batch_added_is_posted_by_account(world: World) -> None:
    team = world.team()
    user = world.user(teamid=team)
    first, second = world.host(user), world.host(user)
    for host in (first, first, second):
        world.valid_result(host)
    await (await world.axiomd()).once()
    postings = world.rows("SELECT kind, id, credit FROM axiomd_posting ORDER BY kind, id")
    assert [tuple(row.values()) for row in postings] == [(1, first, 4), (1, second, 2), (2, user, 6), (3, team, 6)]
    averages = world.rows(
        "SELECT p.average, h.expavg_credit FROM axiomd_posting p JOIN host h ON h.id=p.id WHERE p.kind=1"
    )
    assert all(row["average"] == row["expavg_credit"] > 0 for row in averages)


async def test_rac_of_a_batch_is_boincs_formula_with_the_batchs_sum(world: World) -> None:
    host = world.host(expavg_credit=70.0, expavg_time=world.now - 7 * 86_400.0)
    for _ in range(3):
        world.valid_result(host)
    await (await world.axiomd()).once()
    row = world.row("host", host)
    expected = updated_average(70.0, world.now - 7 * 86_400.0, 6.0, row["expavg_time"], 0)
    assert row["expavg_credit"] == pytest.approx(expected, rel=1e-12)
    assert row["expavg_credit"] == pytest.approx(35 + 3 / 7, rel=1e-3)


async def test_credit_by_app_is_kept_where_the_project_wants_it(world: World) -> None:
    world.write_config("<credit_by_app>1</credit_by_app>")
    team = world.team()
    user = world.user(teamid=team)
    host = world.host(user)
    for _ in range(3):
        world.valid_result(host)
    await (await world.axiomd()).once()
    world.valid_result(host)
    await (await world.axiomd()).once()
    rows = world.rows("SELECT userid, appid, njobs, total FROM credit_user")
    assert rows == [{"userid": user, "appid": world.app_id, "njobs": 4, "total": 8.0}]
    rows = world.rows("SELECT teamid, njobs, total FROM credit_team")
    assert rows == [{"teamid": team, "njobs": 4, "total": 8.0}]


async def test_purged_results_are_forgotten(world: World) -> None:
    result = world.result(world.workunit(), world.host())
    axiomd = await world.axiomd()
    assert world.rows("SELECT result_id FROM axiomd_result") == [{"result_id": result}]
    world.execute("DELETE FROM result WHERE id = %s", result)
    await axiomd.once()
    assert world.rows("SELECT result_id FROM axiomd_result") == []
