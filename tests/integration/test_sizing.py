"""Sizes seen become the next jobs' templates, and deaths by limits make them wider: on real tables and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from axiomd.boinc import templates
from axiomd.boinc.programs import CreateWork, Job
from axiomd.events import BoundTooTight
from axiomd.handlers.sizing import Sizing, SizingHandler
from axiomd.policies.sizing import Quantity, bucket
from axiomd.science.catalogue import CatalogueEntry
from axiomd.watchers.limits import Limits
from tests.world import APP, World

ENTRY = CatalogueEntry("a", 2, memory=200_000_000, budget_s=100.0, gpu=False)
PATH = "templates/axiomd/axiom_a_v2_in"
BASE = "<workunit>\n    <rsc_fpops_bound>1e13</rsc_fpops_bound>\n    <min_quorum>1</min_quorum>\n</workunit>\n"
EXPERIMENTS = {"a": {"version": 2, "memory": 200_000_000}}


def see(world: World, quantity: Quantity, value: float, results: int) -> None:
    row = (int(quantity), bucket(value), results)
    world.execute("INSERT INTO axiomd_size VALUES ('a', 2, 0, %s, %s, %s)", *row)


def tally(world: World, experiment: str, results: int, limits: int, *, hours_ago: float = 1) -> None:
    row = (int(world.now // 3600 - hours_ago), experiment, results, limits, limits)
    world.execute("INSERT INTO axiomd_tally VALUES (%s, %s, 2, 1, 0, 2, %s, %s, %s, 0)", *row)


def entries(world: World) -> list[dict[str, Any]]:
    rows = world.rows("SELECT cause, detail FROM axiomd_journal WHERE kind = 'size' ORDER BY id")
    return [{"cause": row["cause"], **json.loads(row["detail"])} for row in rows]


async def test_a_template_follows_the_sizes_seen(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    settings = world.settings(experiments=EXPERIMENTS, sizing={"interval_s": 1e-9})
    database, project = await world.migrate(settings)
    for speed in (2e9, 3e9, 1e13):  # one claims to be faster than any core
        world.host(p_fpops=speed)
    (world.folder / "templates").mkdir()
    base = world.folder / "templates" / f"{APP}_in"
    sizing = Sizing(project, settings)

    async def look() -> str:
        async with database.session() as session:
            return await sizing.template(session, "a", ENTRY, APP)

    assert await look() == ""  # the project has no template at all: said once
    assert await look() == ""
    assert capsys.readouterr().out.count("topup.wu_template") == 1
    base.write_text(BASE)
    assert await look() == ""  # nothing seen
    see(world, Quantity.FPOPS, 1e11, 20)
    assert await look() == ""  # too little
    see(world, Quantity.FPOPS, 1.2e11, 20)
    see(world, Quantity.MEMORY, 1e8, 40)
    assert await look() == PATH
    found = templates.declared((world.folder / PATH).read_text())
    assert 1e11 < found.fpops_est < 1.3e11
    assert 1e12 < found.fpops_bound < 1.6e12
    assert 1.5e8 < found.memory < 1.8e8
    assert "<min_quorum>1</min_quorum>" in (world.folder / PATH).read_text()
    (entry,) = entries(world)
    assert (entry["cause"], entry["template"], entry["before"]["fpops_bound"]) == ("topup", PATH, 1e13)
    assert entry["after"]["fpops_bound"] == found.fpops_bound

    # A little more moves nothing, and a restart neither; another base, or a copy that went, is made good.
    see(world, Quantity.FPOPS, 1.4e11, 5)
    sizing = Sizing(project, settings)
    assert await look() == PATH
    assert len(entries(world)) == 1
    base.write_text(BASE.replace("<min_quorum>1", "<min_quorum>2"))
    assert await look() == PATH
    assert "<min_quorum>2</min_quorum>" in (world.folder / PATH).read_text()
    written = (world.folder / PATH).read_text()
    (world.folder / PATH).unlink()
    assert await look() == PATH
    (world.folder / PATH).write_text("")  # the machine lost its power
    assert await look() == PATH
    assert (world.folder / PATH).read_text() == written

    # What can't be written is said once, and the jobs are made with the ordinary template.
    (world.folder / PATH).unlink()
    (world.folder / PATH).parent.rmdir()
    (world.folder / PATH).parent.write_text("in the way")
    assert [await look(), await look()] == ["", ""]
    assert capsys.readouterr().out.count("jobs are made with the ordinary template") == 1


async def test_deaths_by_limits_make_the_next_bounds_wider_once_a_day(world: World) -> None:
    settings = world.settings(experiments=EXPERIMENTS)
    database, project = await world.migrate(settings)
    (world.folder / "templates").mkdir()
    (world.folder / "templates" / f"{APP}_in").write_text(BASE)
    columns = "fingerprint, experiment, version, class, place, detail, results, first_at, last_at"
    seen = ("f" * 16, "a", 2, "EXIT_TIME_LIMIT_EXCEEDED", "", "", 9, world.now - 60, world.now - 60)
    world.execute(f"INSERT INTO axiomd_failure ({columns}) VALUES {seen}")
    tally(world, "a", 90, 4, hours_ago=2)
    tally(world, "a", 10, 5)
    tally(world, "a", 100, 100, hours_ago=30)  # long ago
    tally(world, "b", 100, 100)  # in no settings
    watcher, handler = Limits(database, settings), SizingHandler(database, settings)

    async def poll() -> list[Any]:
        return [event async for events in watcher.poll(world.now) for event in events]

    events = await poll()
    assert events == [BoundTooTight("a", 2, False, 100, 9)]
    (planned,) = await handler.plan(events)
    assert (planned.action, planned.subject) == ("widen", "a v2")
    assert entries(world) == []
    await handler.act(events)
    await handler.act(events)  # seen again: once a day
    (entry,) = entries(world)
    assert (entry["factor"], entry["died"], entry["died_of"]) == (2.0, 9, ["EXIT_TIME_LIMIT_EXCEEDED"])
    assert await poll() == []  # what died before died of the old bounds
    assert await handler.plan(events) == []

    # Nothing came back yet that would tell a size: the project's own bounds are doubled.
    async with database.session() as session:
        assert await Sizing(project, settings).template(session, "a", ENTRY, APP) == PATH
    assert templates.declared((world.folder / PATH).read_text()).fpops_bound == 2e13

    world.execute("UPDATE axiomd_limit SET at = at - 90000")
    await handler.act(events)
    assert entries(world)[-1]["factor"] == 4.0


async def test_jobs_are_made_in_one_call_for_each_template(tmp_path: Path) -> None:
    for folder in ("bin", "templates/axiomd"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("templates/x_in", "templates/x_out", "templates/axiomd/one"):
        (tmp_path / name).touch()
    program = tmp_path / "bin/create_work"
    program.write_text('#!/bin/sh\necho "$4: $(tr "\\n" ";")" >> calls\n')
    program.chmod(0o755)
    jobs = [Job("a"), Job("b", wu_template="templates/axiomd/one"), Job("c", wu_template="templates/axiomd/gone")]
    assert await CreateWork(tmp_path, "bin/create_work", 5.0).make("x", jobs) == ""
    assert (tmp_path / "calls").read_text().splitlines() == [
        "templates/x_in: --wu_name a;--wu_name c;",
        "templates/axiomd/one: --wu_name b;",
    ]
