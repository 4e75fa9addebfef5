"""What axiomd's own tables say of one row, for `axiomd explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from axiomd.policies.measurement import Failure, Outcome
from axiomd.settings import DAY_S
from axiomd.sql import Connection, load_statements
from axiomd.store.tables import HarvestMark, JobState, Mark

SQL = load_statements("axiomd.store", "story.sql")

LAST = 10
"""Payments of a host that its story tells."""


class MarkRow(NamedTuple):
    """How far axiomd is with a result."""

    mark: Mark
    reason: str
    look_at: float
    harvest: HarvestMark


class HarvestRow(NamedTuple):
    """What the harvest found of a result."""

    experiment: str
    version: int
    seed: int
    outcome: Outcome
    failure: Failure
    same_seed: int
    """The independent result with its seed; 0: none. Its own id: it is that one."""
    same_numbers: int
    """The independent result with its numbers; 0: none."""


class LedgerRow(NamedTuple):
    """A grant, or its reversal. The journal entry may be pruned: then `at` is 0."""

    journal_id: int
    at: float
    kind: str
    cause: str
    actor: str
    generation: int
    credit: float
    host_id: int
    user_id: int
    team_id: int


class ChangeRow(NamedTuple):
    """A change of a row by an abort, a repair or an undo."""

    journal_id: int
    at: float
    kind: str
    cause: str
    actor: str
    reason: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class JobRow(NamedTuple):
    """A job that top-up decided on."""

    journal_id: int
    at: float
    experiment: str
    seed: int
    host_id: int
    state: JobState


class Exclusion(NamedTuple):
    """Since when a host is excluded, and why."""

    since: float
    reason: str
    actor: str


class PostingRow(NamedTuple):
    """What a journal entry added to a host."""

    journal_id: int
    at: float
    kind: str
    actor: str
    credit: float


async def mark(connection: Connection, result_id: int) -> MarkRow | None:
    """Read the mark of a result."""
    rows = await connection.fetch(SQL["mark"], {"id": result_id})
    return MarkRow(Mark(rows[0][0]), str(rows[0][1]), float(rows[0][2]), HarvestMark(rows[0][3])) if rows else None


async def harvest(connection: Connection, result_id: int) -> HarvestRow | None:
    """Read what the harvest found of a result."""
    rows = await connection.fetch(SQL["harvest"], {"id": result_id})
    if not rows:
        return None
    experiment, version, seed, outcome, *failure, same_seed, same_numbers = rows[0]
    return HarvestRow(experiment, version, seed, Outcome(outcome), Failure(*failure), same_seed, same_numbers)


async def ledger(connection: Connection, result_id: int) -> list[LedgerRow]:
    """Grants of a result and their reversals, in order."""
    return [LedgerRow(*_known(row)) for row in await connection.fetch(SQL["ledger"], {"id": result_id})]


async def changes(connection: Connection, subject: str, id_: int) -> list[ChangeRow]:
    """Changes of a result or workunit that are in the journal, in order."""
    rows = await connection.fetch(SQL["changes"], {"subject": subject, "id": id_})
    return [ChangeRow(*_known((*row[:6], json.loads(row[6]), json.loads(row[7])))) for row in rows]


def _known(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fill in for a journal entry that was pruned."""
    journal_id, at, kind, cause, actor, *rest = row
    return (journal_id, at or 0.0, kind or "", cause or "", actor or "", *rest)


async def notes(connection: Connection, workunit_id: int) -> tuple[bool, bool]:
    """Whether a workunit is left alone as history, and whether axiomd cancelled it."""
    history, ended = (await connection.fetch(SQL["notes"], {"id": workunit_id}))[0]
    return bool(history), bool(ended)


async def job(connection: Connection, name: str) -> JobRow | None:
    """Read the job of a workunit's name."""
    rows = await connection.fetch(SQL["job"], {"name": name})
    if not rows:
        return None
    journal_id, at, experiment, seed, host_id, state = rows[0]
    return JobRow(journal_id, at or 0.0, experiment, seed, host_id, JobState(state))


async def host(connection: Connection, host_id: int) -> tuple[bool, float] | None:
    """Whether a host was last judged live, and since when."""
    rows = await connection.fetch(SQL["host"], {"id": host_id})
    return (bool(rows[0][0]), float(rows[0][1])) if rows else None


async def exclusion(connection: Connection, host_id: int) -> Exclusion | None:
    """Read the exclusion of a host by an intervention."""
    rows = await connection.fetch(SQL["exclusion"], {"id": host_id})
    return Exclusion(float(rows[0][0]), str(rows[0][1]), str(rows[0][2])) if rows else None


async def account(connection: Connection, host_id: int, now: float) -> tuple[float, float, float]:
    """A host's credit before axiomd, by axiomd, and by axiomd on this UTC day."""
    rows = await connection.fetch(SQL["account"], {"id": host_id, "day": int(now // DAY_S)})
    return (float(rows[0][0]), float(rows[0][1]), float(rows[0][2])) if rows else (0.0, 0.0, 0.0)


async def postings(connection: Connection, host_id: int) -> list[PostingRow]:
    """The last payments to a host, newest first."""
    rows = await connection.fetch(SQL["postings"], {"id": host_id, "limit": LAST})
    return [PostingRow(row[0], row[1] or 0.0, row[2] or "", row[3] or "", float(row[4])) for row in rows]
