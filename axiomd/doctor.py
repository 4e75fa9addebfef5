"""`axiomd doctor`: checks what can go wrong, and says what to do about each."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from axiomd import opening
from axiomd.boinc import schema, workunits
from axiomd.boinc.config import ProjectConfig
from axiomd.boinc.programs import CreateWork
from axiomd.errors import AxiomdError, ProjectError
from axiomd.settings import Settings
from axiomd.store import schema as own_schema
from axiomd.store import tables
from axiomd.store.database import Database, read_clock

CLOCK_TOLERANCE_S = 5.0
SHORTEST_TOKEN = 16
"""Letters of a token that nobody guesses."""


class Verdict(StrEnum):
    """How a check ended."""

    GOOD = "good"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    verdict: Verdict
    words: str


async def examine(settings: Settings) -> list[Finding]:
    """Check the project, its database and the settings that depend on them."""
    database, config = opening.open_database(settings)
    try:
        return [*_examine_config(settings, config), *await _examine_database(settings, config, database)]
    finally:
        await database.close()


def _examine_config(settings: Settings, config: ProjectConfig) -> list[Finding]:
    findings = [Finding("config.xml", Verdict.GOOD, str(config.project_dir / "config.xml"))]
    findings += [_examine_secret(name, path) for name, path in _secrets(settings) if path]
    if settings.alerts.rules and not settings.http.token_file and "CREDENTIALS_DIRECTORY" not in os.environ:
        words = "alerts.rules are set, and without http.token_file Alertmanager's webhook is off"
        findings.append(Finding("alerts", Verdict.NOTE, words))
    if settings.topup.enabled and settings.topup.targeted and not config.enable_assignment:
        findings.append(
            Finding(
                "targeted jobs",
                Verdict.WRONG,
                "config.xml lacks <enable_assignment>1</enable_assignment>: targeted jobs would never be sent. "
                "Add it, or set topup.targeted = false.",
            )
        )
    if settings.abort.enabled and not config.send_result_abort:
        findings.append(
            Finding(
                "aborts",
                Verdict.NOTE,
                "config.xml lacks <send_result_abort>1</send_result_abort>: clients are not told of cancelled jobs "
                "and compute on in vain.",
            )
        )
    if settings.harvests:
        findings.append(_examine_uploads(config.upload_dir))
    if settings.topup.enabled and settings.experiments:
        create_work = CreateWork(
            settings.project.dir,
            settings.topup.create_work,
            settings.topup.timeout_s,
            settings.topup.wu_template,
            settings.topup.result_template,
        )
        for app in sorted({e.app or settings.project.apps[0] for e in settings.experiments.values()}):
            try:
                create_work.check(app)
                findings.append(Finding("create_work", Verdict.GOOD, f"app {app}"))
            except ProjectError as error:
                findings.append(Finding("create_work", Verdict.WRONG, str(error)))
    return findings


def _examine_uploads(folder: Path) -> Finding:
    """See that volunteers' output files can be read."""
    if not folder.is_dir():
        words = f"{folder} isn't there: no output can be read. Correct <upload_dir> in config.xml."
    elif not os.access(folder, os.R_OK | os.X_OK):
        words = (
            f"{folder} can't be read by axiomd's user: results wait unharvested. Put that user into the group of the "
            "web server, which writes there, or set harvest.enabled = false."
        )
    else:
        return Finding("uploads", Verdict.GOOD, str(folder))
    return Finding("uploads", Verdict.WRONG, words)


def _secrets(settings: Settings) -> list[tuple[str, Path | None]]:
    return [
        ("database.password_file", settings.database.password_file),
        ("http.token_file", settings.http.token_file),
        ("mqtt.password_file", settings.mqtt.password_file),
    ]


def _examine_secret(name: str, path: Path) -> Finding:
    """See that a file with a secret can be read, by axiomd's user alone."""
    try:
        mode = path.stat().st_mode
        first = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return Finding(name, Verdict.WRONG, f"{path} can't be read by axiomd's user")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return Finding(name, Verdict.NOTE, f"{path} can be read by others: chmod 600 {path}")
    if not first:
        return Finding(name, Verdict.WRONG, f"the first line of {path} is empty")
    if name == "http.token_file" and len(first) < SHORTEST_TOKEN:
        return Finding(name, Verdict.NOTE, f"the token in {path} is short: make one by `openssl rand -hex 32`")
    return Finding(name, Verdict.GOOD, str(path))


async def _examine_database(settings: Settings, config: ProjectConfig, database: Database) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async with database.session() as session:
            version = await schema.server_version(session)
            findings.append(Finding("database", Verdict.GOOD, f"{database.login.place}, {version}"))
            difference = await read_clock(session) - time.time()
            findings.append(
                Finding("clock", Verdict.GOOD, "agrees with the database's")
                if abs(difference) <= CLOCK_TOLERANCE_S
                else Finding(
                    "clock",
                    Verdict.NOTE,
                    f"differs from the database's by {difference:.0f} s; the database's counts. Check NTP on both.",
                )
            )
            missing = await schema.missing_columns(session, credit_by_app=config.credit_by_app)
        if missing:
            words = f"missing: {', '.join(missing)}. Bring the tables up to date with html/ops/upgrade_db.php."
            return [*findings, Finding("BOINC's tables", Verdict.WRONG, words)]
        findings.append(Finding("BOINC's tables", Verdict.GOOD, "complete"))
        await opening.read_project(database, config, settings)
        findings.append(Finding("apps", Verdict.GOOD, ", ".join(settings.project.apps)))
        findings.append(await _examine_transitioner(settings, database))
        await opening.check_ready(database, settings)
        async with database.session() as session:
            state = await tables.get_state(session)
            await own_schema.check(session)
        findings.append(Finding("axiomd's tables", Verdict.GOOD, f"baseline at {state[tables.BASELINE_AT]:.0f}"))
    except AxiomdError as error:
        findings.append(Finding("database", Verdict.WRONG, str(error)))
    return findings


async def _examine_transitioner(settings: Settings, database: Database) -> Finding:
    async with database.session() as session:
        due_at = await workunits.overdue_transition(session)
        lag_s = await read_clock(session) - due_at if due_at is not None else 0.0
    if lag_s > settings.repair.transitioner_behind_s:
        words = (
            f"a transition is overdue for {lag_s:.0f} s: is the transitioner running? See bin/status of the project."
        )
        return Finding("transitioner", Verdict.WRONG, words)
    return Finding("transitioner", Verdict.GOOD, "keeps up")
