"""The report on a real database: what is undone is taken off, names are text, and the daemon writes the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import aiohttp

from axiomd.events import CoresCounted, ReportDue
from axiomd.gateways import http, report_file
from axiomd.handlers.cores import CoresHandler
from axiomd.handlers.report import ReportHandler
from axiomd.settings import HttpSettings
from axiomd.store import tables
from axiomd.store.tables import Entry
from axiomd.views.report import report
from axiomd.watchers.report import ReportFile
from tests.command import axiomd as command
from tests.world import World


async def nothing_in_the_way() -> list[str]:
    return []


async def test_a_report_of_undone_credit_cores_and_a_hostile_name(world: World) -> None:
    settings = world.settings(journal={"keep_s": 3600})
    database, project = await world.migrate(settings)
    host = world.host(world.user(name="<b>x</b>|"), p_ncpus=32)
    async with database.session() as session:
        at = float(world.now)
        given = await tables.write_journal(session, Entry(at - 100, "credit", "result_completed", 3, 60.0))
        taken = await tables.write_journal(session, Entry(at - 50, "undo", f"undo of {given}", 1, -20.0))
        long_ago = await tables.write_journal(session, Entry(at - 9000, "credit", "result_completed", 1, 7.0))
    rows = [(1, 0, given, 20.0), (2, 0, given, 20.0), (3, 0, given, 20.0), (3, 1, taken, -20.0), (4, 0, long_ago, 7.0)]
    for result, generation, entry, credit in rows:
        world.execute(
            "INSERT INTO axiomd_ledger (result_id, generation, journal_id, host_id, user_id, team_id, credit) "
            "VALUES (%s, %s, %s, %s, %s, 0, %s)",
            *(result, generation, entry, host, world.row("host", host)["userid"], credit),
        )
    world.execute("INSERT INTO axiomd_cores (at, hosts, cores, idle) VALUES (%s, 1, 1, 1)", at - 7000)
    handler = CoresHandler(database, settings)
    await handler.handle([CoresCounted(10, 200, 50)])
    assert world.rows("SELECT hosts, cores, idle FROM axiomd_cores") == [{"hosts": 10, "cores": 200, "idle": 50}]

    found = await report(database, project, settings, since=at - 1000)
    assert (found.summary.credited, found.summary.credit) == (2, 40.0)
    assert [(one.credit, one.results, one.total) for one in found.credit.by_amount] == [(20.0, 2, 40.0)]
    assert [(one.name, one.results, one.credit) for one in found.credit.by_user] == [("<b>x</b>|", 2, 40.0)]
    assert [(one.id, one.ncpus, one.credit) for one in found.credit.by_host] == [(host, 32, 40.0)]
    assert sum(day.credit for day in found.credit.by_day) == 40.0
    assert found.sealed_before is None
    assert [(point.cores, point.idle) for point in found.cores] == [(200.0, 50.0)]
    whole = await report(database, project, settings, since=0.0)
    assert whole.summary.credit == 47.0
    # What was pruned is missing, and the report says so.
    async with database.session() as session:
        await tables.set_state(session, tables.SEALED_THROUGH, 1)
    assert (await report(database, project, settings, since=0.0)).sealed_before == at - 100


async def test_the_daemon_writes_the_page_and_the_gateway_gives_it(world: World) -> None:
    file = world.folder / "report.html"
    settings = world.settings(report={"file": str(file), "interval_s": 60.0})
    await world.migrate(settings)
    watcher = ReportFile(settings, file)
    watcher._first_poll -= 100
    seen = [event async for events in watcher.poll(0.0) for event in events]
    assert seen == [ReportDue()]
    async with (
        http.serve(HttpSettings(port=0), nothing_in_the_way, report=file) as address,
        aiohttp.ClientSession() as client,
    ):
        async with client.get(f"{address}/report") as answer:
            assert answer.status == 404
            assert "no report yet" in (await answer.json())["error"]
        handler = ReportHandler(settings, report_file.writer(settings, file))
        await handler.handle(seen)
        async with client.get(f"{address}/report") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert await answer.text() == file.read_text("utf-8")
        assert world.database_name in file.read_text("utf-8")
        assert not [event async for events in watcher.poll(0.0) for event in events]
        # What isn't a file, or isn't set, is not served.
        file.unlink()
        os.mkfifo(file)
        async with client.get(f"{address}/report") as answer:
            assert answer.status == 503
    async with (
        http.serve(HttpSettings(port=0), nothing_in_the_way) as address,
        aiohttp.ClientSession() as client,
        client.get(f"{address}/report") as answer,
    ):
        assert answer.status == 404
        assert "report.file" in (await answer.json())["error"]


async def test_the_command(world: World, tmp_path: Path) -> None:
    settings = world.settings()
    await world.migrate(settings)
    config = tmp_path / "axiomd.toml"
    config.write_text(
        f'[project]\ndir = "{world.folder}"\napps = ["axiom"]\n[database]\nunix_socket = "{world.server.socket}"\n'
    )
    printed = command("report", "--config", str(config), "--since", "1d")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith(f"# {world.database_name}: ")
    data = command("report", "--config", str(config), "--format", "json")
    assert json.loads(data.stdout)["summary"]["results"] == 0
    for words, said in (
        (("--since", "yesterday"), "neither a date"),
        (("--until", "2020-01-01", "--since", "2021-01-01"), "ends before it begins"),
        (("--output", str(tmp_path / "no" / "where.md")), "--output"),
    ):
        wrong = command("report", "--config", str(config), *words)
        assert wrong.returncode == 2
        assert said in wrong.stderr
        assert "Traceback" not in wrong.stderr
