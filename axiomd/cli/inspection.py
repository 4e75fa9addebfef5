"""`axiomd status`, `audit`, `doctor`: the commands that look."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from axiomd import doctor, logs, opening
from axiomd.boinc import audit as conservation
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json, print_table
from axiomd.errors import SettingsError
from axiomd.settings import DAY_S, HOUR_S, Settings, load
from axiomd.views import status as view


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
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


async def _status(settings: Settings) -> dict[str, Any]:
    async with opening.opened(settings) as (database, project):
        return (await view.status(database, project, settings)).model_dump()


def audit(
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
    since: str = typer.Option("", "--since", help="Only what is new: since a date, a Unix time, or for 1d, 36h, 90m."),
) -> None:
    """Check that every credit was granted once and adds up; exit status 1 if not."""
    settings = load(config)
    logs.configure(settings.log)
    found = asyncio.run(_audit(settings, since))
    if as_json:
        print_json({"ok": found.ok} | asdict(found))
    else:
        _print_counts(found)
        for remark in found.remarks:
            print(f"remark: {remark}")
        for problem in found.problems:
            print(f"problem: {problem}")
        print("the audit is good" if found.ok else f"the audit found {found.problem_count} problems")
    if not found.ok:
        raise typer.Exit(1)


async def _audit(settings: Settings, since: str) -> conservation.Audit:
    async with opening.opened(settings) as (database, _):
        now = await database.now()
        async with database.snapshot() as session:
            since_at = parse_since(since, now) if since else 0.0
            found = await conservation.audit(
                session, strict=settings.audit.strict, since=since_at, progress=_show_progress
            )
        _show_progress("", 0)
        return found


def _print_counts(found: conservation.Audit) -> None:
    entries = f"{found.entries} journal entries" + (" since then" if found.since else "")
    print(f"{entries}, {found.ledger_rows} ledger rows, {found.credit:.12g} credit")
    if found.sealed_rows:
        print(f"sealed: {found.sealed_rows} ledger rows, {found.sealed_credit:.12g} credit")
    print("by account: " + ", ".join(f"{table}s {credit:.12g}" for table, credit in found.accounts.items()))
    gone = [f"{count} {table}s" for table, count in found.deleted.items() if count]
    gone += [f"the results of {found.purged} ledger rows"] if found.purged else []
    if gone:
        print(f"gone since, which is no error: {', '.join(gone)}")
    if found.merged:
        print(f"{found.merged} hosts were merged into others, with their credit")


def _show_progress(what: str, rows: int) -> None:
    """Keep a person informed, on the one line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{what}: {rows}\033[K" if rows else "\r\033[K")


def parse_since(text: str, now: float) -> float:
    """Unix time of a date (`2026-05-01`, `2026-05-01T12:00`, UTC), a Unix time, or a span before now (`36h`)."""
    if span := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text):
        return now - float(span[1]) * {"s": 1, "m": 60, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}[span[2]]
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return float(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--since {text}: neither a date, nor a Unix time, nor a span such as 1d or 36h") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


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
