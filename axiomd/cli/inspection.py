"""`axiomd status`, `audit`, `doctor`: the commands that look."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import typer

from axiomd import daemon, doctor, logs
from axiomd.boinc import audit as conservation
from axiomd.boinc import fleet
from axiomd.boinc.states import ServerState
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json, print_table
from axiomd.policies.presets import apply_preset
from axiomd.settings import Settings, load
from axiomd.store import schema as own_schema
from axiomd.store import tables
from axiomd.store.database import read_clock


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(status)
    app.command()(audit)
    app.command(name="doctor")(examine)


def status(config: Config = CONFIG_DEFAULT, as_json: Json = False) -> None:
    """Say what axiomd has done, what waits, and how full the caps are."""
    settings = load(config)
    logs.configure(settings.log)
    found = asyncio.run(_status(settings))
    if as_json:
        print_json(found)
        return
    rows = [(name.replace("_", " "), _words(value)) for name, value in found.items()]
    print_table(f"axiomd on {settings.project.dir}", ("what", "value"), rows)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


async def _status(settings: Settings) -> dict[str, Any]:
    database, project_config = daemon.open_database(settings)
    try:
        project = await daemon.read_project(database, project_config, settings)
        async with database.session() as session:
            await own_schema.check(session)
            now = await read_clock(session)
            totals = await tables.totals(session)
            states = await fleet.results_by_state(session, project.app_ids)
            waiting, oldest = await fleet.backlog(
                session, project.app_ids, assimilates=settings.intake.mode == "assimilator"
            )
            credit = apply_preset(settings.credit)
            caps = {}
            for kind, cap, window_s in (
                ("abort", settings.abort.cap, settings.abort.cap_window_s),
                ("repair", settings.repair.cap, settings.repair.cap_window_s),
            ):
                used, _ = await tables.used_in_window(session, kind, now, window_s)
                caps[kind] = f"{used} of {cap}"
            made = await tables.jobs_in_window(session, now, settings.topup.cap_window_s)
            caps["topup"] = f"{made} of {settings.topup.cap}"
            _, granted = await tables.used_in_window(session, "credit", now, credit.cap_window_s)
            caps["credit"] = f"{granted:g} of {credit.cap:g}"
    finally:
        await database.close()
    return asdict(totals) | {
        "results_unsent": states.get(ServerState.UNSENT, 0),
        "results_in_progress": states.get(ServerState.IN_PROGRESS, 0),
        "results_waiting": waiting,
        "oldest_waiting_s": round(max(now - oldest, 0.0), 1) if oldest else 0.0,
        "caps": caps,
        "dry_run": settings.daemon.dry_run,
    }


def audit(config: Config = CONFIG_DEFAULT, as_json: Json = False) -> None:
    """Check that every credit was granted once and adds up; exit status 1 if not."""
    settings = load(config)
    logs.configure(settings.log)
    found = asyncio.run(_audit(settings))
    if as_json:
        print_json({"ok": found.ok} | asdict(found))
    else:
        print(f"{found.ledger_rows} grants, {found.credit:g} credit, {found.purged} of results that BOINC purged since")
        for remark in found.remarks:
            print(f"remark: {remark}")
        for problem in found.problems:
            print(f"problem: {problem}")
        print("the audit is good" if found.ok else f"the audit found {len(found.problems)} problems")
    if not found.ok:
        raise typer.Exit(1)


async def _audit(settings: Settings) -> conservation.Audit:
    database, _ = daemon.open_database(settings)
    try:
        async with database.session() as session:
            await own_schema.check(session)
        async with database.snapshot() as session:
            return await conservation.audit(session, strict=settings.audit.strict)
    finally:
        await database.close()


def examine(config: Config = CONFIG_DEFAULT, as_json: Json = False) -> None:
    """Check what can go wrong, and say what to do about it; exit status 1 if something is wrong."""
    settings = load(config)
    logs.configure(settings.log)
    findings = asyncio.run(doctor.examine(settings))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table("doctor", ("", "check", "finding"), [(f.verdict.value, f.check, f.words) for f in findings])
    if any(finding.verdict is doctor.Verdict.WRONG for finding in findings):
        raise typer.Exit(1)
