"""What can be wrong with a project, its database or its rows: a clear word or a counted skip, and the rest goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY

from axiomd import opening
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.errors import ProjectError, SchemaError, SettingsError
from tests.command import axiomd
from tests.world import World

QUIET: dict[str, Any] = {"topup": {"enabled": False}, "abort": {"enabled": False}, "repair": {"enabled": False}}


async def once(world: World, **sections: Any) -> None:
    """Two looks, the second of a daemon that was just started."""
    for _ in range(2):
        await (await world.axiomd(**QUIET | sections)).once()


def granted(world: World, result: int) -> float:
    return float(world.row("result", result)["granted_credit"])


def verdict(world: World, result: int) -> tuple[int, str]:
    (row,) = world.rows("SELECT credit_mark, reason FROM axiomd_result WHERE result_id = %s", result)
    return row["credit_mark"], row["reason"]


def skipped(reason: str) -> float:
    return REGISTRY.get_sample_value("axiomd_rows_skipped_total", {"reason": reason}) or 0.0


# Rows.


ODD_ROWS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, str]]] = {
    # what is odd: the result's columns, its host's columns, mark and reason
    "a host without a user": ({}, {"userid": 0}, (2, "no_user")),
    "a host whose user was deleted": ({}, {"userid": 999_999}, (2, "no_user")),
    "a result whose host was deleted": ({"hostid": 999_999}, {}, (2, "no_host")),
    "a result without a host": ({"hostid": 0}, {}, (2, "no_host")),
    "a negative elapsed_time": ({"elapsed_time": -1e300}, {}, (2, "worth_nothing")),
    "an elapsed_time beyond all bounds": ({"elapsed_time": 1e300}, {}, (1, "")),
    "neither sent nor received": ({"sent_time": 0, "received_time": 0}, {}, (2, "worth_nothing")),
    "sent in the future": ({"sent_time": 2_147_483_647}, {}, (2, "worth_nothing")),
    "a speed beyond all bounds": ({}, {"p_fpops": 1e308}, (1, "")),
    "a negative speed": ({}, {"p_fpops": -1e308}, (2, "worth_nothing")),
    "a valid result with an odd exit status": ({"exit_status": 12345}, {}, (1, "")),
    "an outcome that BOINC doesn't have": ({"outcome": 77}, {}, (2, "not_needed")),
    "an anonymous platform": ({"app_version_id": -3}, {}, (1, "")),
    "an app version that was deleted": ({"app_version_id": 424_242}, {}, (1, "")),
    "a user whose team was deleted": ({}, {"teamid": 999_999}, (1, "")),
}


async def test_rows_that_make_no_sense_are_judged_and_the_others_are_paid(world: World) -> None:
    """All in one batch with good ones before and after."""
    good_host = world.host()
    before = world.valid_result(good_host)
    odd = {}
    for what, (columns, host, _) in ODD_ROWS.items():
        owner = {"userid": world.user(teamid=host["teamid"])} if "teamid" in host else host
        odd[what] = world.valid_result(world.host(**owner), **columns)
    after = world.valid_result(good_host)
    await once(world, credit={"policy": "flops", "flops_scale": 1e-11})
    expected = {what: mark for what, (_, _, mark) in ODD_ROWS.items()}
    assert {what: verdict(world, result) for what, result in odd.items()} == expected
    assert [granted(world, before), granted(world, after)] == [1, 1]
    assert world.row("host", good_host)["total_credit"] == 2


ODD_NAMES = {
    "another scheme": "wu_12345",
    "no experiment's name": "Grokking-v1-b1-s1",
    "no version": "micro_scaling_laws-v0-b1-s1",
    "a version beyond all bounds": "micro_scaling_laws-v99999999999-b1-s1",
    "quotes and percent signs": "it's-100%-{x}-%(y)s",
    "a name longer than a column": f"{'a' * 100}-v1-b1-s1",
    "a hyphen": "-",
}


async def test_workunits_that_name_no_experiment_are_counted_and_paid_with_the_others(world: World) -> None:
    host = world.host()
    known = world.valid_result(host)
    odd = {what: world.valid_result(host, workunit={"name": name}) for what, name in ODD_NAMES.items()}
    counted = skipped("workunit_name")
    await once(world)
    assert {what: granted(world, result) for what, result in odd.items()} == dict.fromkeys(ODD_NAMES, 2)
    assert granted(world, known) == 2
    assert skipped("workunit_name") == counted + len(ODD_NAMES)
    assert world.rows("SELECT name, canonical FROM axiomd_experiment") == [
        {"name": "micro_scaling_laws", "canonical": 1}
    ]


async def test_an_experiment_that_the_catalogue_does_not_know_is_counted_all_the_same(world: World) -> None:
    result = world.valid_result(world.host(), workunit={"name": "retired_long_ago-v3-b1-s1"})
    await once(world)
    assert granted(world, result) == 2
    assert world.rows("SELECT name, version, canonical FROM axiomd_experiment") == [
        {"name": "retired_long_ago", "version": 3, "canonical": 1}
    ]


async def test_an_average_from_the_future_is_no_obstacle(world: World) -> None:
    user = world.user(expavg_credit=5.0, expavg_time=world.now + 1e6)
    result = world.valid_result(world.host(user))
    await once(world)
    assert granted(world, result) == 2
    assert 5.0 <= world.row("user", user)["expavg_credit"] < 6.0


async def test_a_workunit_that_was_deleted_under_its_result_does_not_stop_the_others(world: World) -> None:
    host = world.host()
    orphan = world.valid_result(host)
    good = world.valid_result(host)
    world.execute("DELETE FROM workunit WHERE id = %s", world.row("result", orphan)["workunitid"])
    await once(world)
    assert granted(world, good) == 2


async def test_jobs_of_hosts_and_workunits_that_are_gone_do_not_stop_the_watchers(world: World) -> None:
    """All reactions at once over rows that point nowhere."""
    world.assignment(999_999, 999_999)
    world.assignment(world.workunit(transitioner_flags=2), 999_999)
    world.result(999_999, 999_999, sent_time=world.now - 500_000)
    world.result(999_999, 999_999, server_state=5, outcome=4, received_time=world.now - 5000)
    world.host(p_ncpus=-5, m_nbytes=-1.0)
    good = world.valid_result(world.host())
    axiomd = await world.axiomd(topup={"enabled": False})
    await axiomd.once()
    assert granted(world, good) == 2
    assert await axiomd.plan() is not None


# The project.


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        pytest.param("DROP TABLE assignment", "lacks what axiomd needs of BOINC: assignment", id="a table"),
        pytest.param("ALTER TABLE host DROP COLUMN p_ngpus", "host.p_ngpus", id="a column"),
        pytest.param("ALTER TABLE workunit DROP COLUMN transitioner_flags", "workunit.transitioner_flags", id="flags"),
        pytest.param("UPDATE app SET name = 'other'", "project.apps: the project has no app 'axiom'", id="the app"),
    ],
)
async def test_what_the_project_lacks_is_named(world: World, change: str, missing: str) -> None:
    world.execute(change)
    settings = world.settings()
    _, config = opening.open_database(settings)
    with pytest.raises(ProjectError) as caught:
        await opening.read_project(await world.database(settings), config, settings)
    assert missing in str(caught.value)


async def test_a_table_that_goes_away_meanwhile_stops_one_reaction_and_not_the_others(world: World) -> None:
    result = world.valid_result(world.host())
    axiomd = await world.axiomd(topup={"enabled": False}, intake={"late_interval_s": 0.001})
    world.execute("RENAME TABLE user TO user_away")
    await axiomd.once()
    assert granted(world, result) == 0
    world.execute("RENAME TABLE user_away TO user")
    await axiomd.once()
    assert granted(world, result) == 2


async def test_an_experiments_app_must_be_one_of_the_projects(world: World) -> None:
    settings = world.settings(experiments={"a": {"version": 1, "memory": 1, "app": "other"}})
    _, config = opening.open_database(settings)
    with pytest.raises(SettingsError, match=r"experiments\.a\.app: 'other' is not one of project\.apps"):
        await opening.read_project(await world.database(settings), config, settings)


async def test_the_index_of_the_chosen_mode_must_be_there(world: World) -> None:
    settings = world.settings(intake={"mode": "mod_time"})
    database, _ = await world.migrate(settings)
    with pytest.raises(SchemaError, match=r"axiomd migrate --index.*in_flight"):
        await opening.check_ready(database, settings)


# The command line: one message, exit status 2, no traceback.


def settings_file(world: World, more: str = "", database: str = "") -> Path:
    path = world.folder / "axiomd.toml"
    path.write_text(
        f'[project]\ndir = "{world.folder}"\napps = ["axiom"]\n'
        f'[database]\nunix_socket = "{world.server.socket}"\n{database}{more}'
    )
    return path


def command(config: Path, name: str) -> subprocess.CompletedProcess[str]:
    return axiomd(name, "--config", str(config))


def complaint(world: World, name: str, **file: str) -> str:
    done = command(settings_file(world, **file), name)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


async def test_a_wrong_password_ends_with_a_word_and_is_not_repeated(world: World) -> None:
    for name in ("status", "run"):
        told = complaint(world, name, database='password = "hush"\n', more="[http]\nenabled = false\n")
        assert "refuses user 'root'" in told
        assert "Check [database] in the settings" in told
        assert "hush" not in told


async def test_a_setting_out_of_range_ends_with_its_line(world: World) -> None:
    told = complaint(world, "run", more="[credit]\ncap = -5\n")
    assert told.startswith(f"axiomd: {world.folder}/axiomd.toml:7: credit.cap: ")


async def test_without_axiomds_tables_the_next_step_is_named(world: World) -> None:
    assert "Run `axiomd migrate`" in complaint(world, "once")


async def test_a_missing_column_ends_with_its_name(world: World) -> None:
    world.execute("ALTER TABLE result DROP COLUMN elapsed_time")
    assert "result.elapsed_time" in complaint(world, "status")


async def test_a_database_that_is_not_there_ends_a_command_with_a_word(world: World) -> None:
    told = complaint(world, "status", database='name = "nowhere"\n')
    assert "nowhere" in told


# A database that goes away and comes back while the daemon runs.


class Running:
    """`axiomd run`, by what it logs: no look is needed but at the next line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, event: str) -> dict[str, Any]:
        """Read the log up to an entry of this event."""
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                entry: dict[str, Any] = json.loads(line)
                if entry["event"].startswith(event):
                    return entry
        raise AssertionError(f"axiomd ended before '{event}':\n{''.join(self.lines)}")


@asynccontextmanager
async def axiomd_runs(config: Path) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "axiomd", "run", "--config", str(config), stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def paid(world: World, result: int) -> None:
    """Wait until a result is paid."""
    async with asyncio.timeout(30):
        while True:
            if granted(world, result):
                return
            await asyncio.sleep(0.05)


async def ready(address: str, status: int) -> str:
    """Ask /readyz until it answers with this status; what it says."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as client:
        while True:
            async with client.get(f"{address}/readyz") as answer:
                if answer.status == status:
                    return await answer.text()
            await asyncio.sleep(0.05)


FAST = """
[log]
format = "json"
[http]
port = 0
[intake]
interval_s = 0.1
[hosts]
interval_s = 0.1
[repair]
interval_s = 0.1
[abort]
interval_s = 0.1
[topup]
interval_s = 0.1
"""


async def test_the_database_goes_away_and_comes_back_while_the_daemon_runs(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    with PrivateMariaDB(tmp_path / "db") as server:
        world = World(server, "project", tmp_path / "project")
        host = world.host()
        first = world.valid_result(host)
        database, _ = await world.migrate(world.settings())
        await database.close()
        config = settings_file(world, more=FAST)
        server.kill()
        async with axiomd_runs(config) as running:
            await running.until("the database is not there yet")
            server.start()
            address = (await running.until("axiomd runs"))["metrics"].removesuffix("/metrics")
            world.connection = server.connect("project")
            await paid(world, first)
            assert await ready(address, 200) == "ready\n"

            server.kill()
            assert "the database can't be reached" in await ready(address, 503)
            await running.until("poll failed")
            server.start()
            world.connection = server.connect("project")
            second = world.valid_result(host)
            await paid(world, second)
            await ready(address, 200)
            running.process.send_signal(signal.SIGTERM)
            await running.until("axiomd stopped")
            assert await asyncio.wait_for(running.process.wait(), 10) == 0
        assert world.row("host", host)["total_credit"] == 4
        assert "Traceback" not in "".join(running.lines)
        await world.close()


async def test_a_daemon_that_waits_for_its_database_can_be_stopped(world: World) -> None:
    config = settings_file(world, more=FAST)
    config.write_text(config.read_text().replace(str(world.server.socket), "/nowhere/mariadb.sock"))
    async with axiomd_runs(config) as running:
        await running.until("the database is not there yet")
        os.kill(running.process.pid, signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 10) == 0
