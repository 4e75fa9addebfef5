"""The journal as it is read: page by page, and an entry with what hangs on it; and the calls of a caller.

A page is found by primary key. One that is narrowed to a kind looks at so many entries at most and says where to go on,
so that its cost doesn't grow with the journal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from axiomd.sql import Connection, Row, load_statements
from axiomd.store.tables import JobState

SQL = load_statements("axiomd.store", "journal.sql")

LOOKED_AT = 10_000
"""Entries that a page of one kind looks at."""
CALLS = 1000
"""Calls of one caller that are looked at."""


class JournalRow(NamedTuple):
    """An entry of the journal."""

    id: int
    at: float
    kind: str
    cause: str
    actor: str
    changes: int
    credit: float
    detail: Mapping[str, Any]


class ChangeRow(NamedTuple):
    """A row that an entry changed."""

    subject: str
    row_id: int
    reason: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class GrantRow(NamedTuple):
    """Credit that an entry granted, or took back."""

    result_id: int
    host_id: int
    credit: float


class JobRow(NamedTuple):
    """A job that an entry decided to make."""

    workunit_name: str
    host_id: int
    state: JobState


async def entries_before(
    connection: Connection, cursor: int, *, kind: str, limit: int
) -> tuple[list[JournalRow], int | None]:
    """Entries below an id, newest first; and the cursor of the next page, None where the journal begins."""
    what = {"cursor": cursor, "kind": kind, "limit": limit, "looked_at": LOOKED_AT if kind else limit}
    lowest, looked_at = (await connection.fetch(SQL["window_before"], what))[0]
    if not looked_at:
        return [], None
    rows = await connection.fetch(SQL["entries_before"], what | {"bound": int(lowest)})
    entries = [_entry(row) for row in rows]
    if len(entries) == limit:
        return entries, entries[-1].id
    return entries, int(lowest) if looked_at == what["looked_at"] else None


async def entries_after(
    connection: Connection, cursor: int, *, before: int, kind: str, limit: int
) -> tuple[list[JournalRow], int]:
    """Entries above an id and below another, oldest first; and the cursor to go on with, now or later."""
    what = {"cursor": cursor, "before": before, "kind": kind, "limit": limit, "looked_at": LOOKED_AT if kind else limit}
    highest, looked_at = (await connection.fetch(SQL["window_after"], what))[0]
    if not looked_at:
        return [], cursor
    rows = await connection.fetch(SQL["entries_after"], what | {"bound": int(highest)})
    entries = [_entry(row) for row in rows]
    return entries, entries[-1].id if len(entries) == limit else int(highest)


async def entry(connection: Connection, id_: int) -> JournalRow | None:
    """Read one entry."""
    rows = await connection.fetch(SQL["entry"], {"id": id_})
    return _entry(rows[0]) if rows else None


def _entry(row: Row) -> JournalRow:
    id_, at, kind, cause, actor, changes_, credit, detail = row
    return JournalRow(
        int(id_), float(at), str(kind), str(cause), str(actor), int(changes_), float(credit), json.loads(detail)
    )


async def changes(connection: Connection, id_: int, limit: int) -> list[ChangeRow]:
    """Rows that an entry changed, the first so many."""
    rows = await connection.fetch(SQL["changes"], {"id": id_, "limit": limit})
    return [ChangeRow(str(s), int(i), str(r), json.loads(before), json.loads(after)) for s, i, r, before, after in rows]


async def grants(connection: Connection, id_: int, limit: int) -> list[GrantRow]:
    """Credit that an entry granted or took back, the first so many results."""
    rows = await connection.fetch(SQL["grants"], {"id": id_, "limit": limit})
    return [GrantRow(int(result), int(host), float(credit)) for result, host, credit in rows]


async def jobs(connection: Connection, id_: int, limit: int) -> list[JobRow]:
    """Jobs that an entry decided to make, the first so many."""
    rows = await connection.fetch(SQL["jobs"], {"id": id_, "limit": limit})
    return [JobRow(str(name), int(host), JobState(state)) for name, host, state in rows]


async def calls_since(connection: Connection, caller: str, since: float) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Calls of a caller that were begun since then, newest first: id, intervention, parameters."""
    rows = await connection.fetch(SQL["calls_since"], {"caller": caller, "since": since, "limit": CALLS})
    return [(str(id_), str(intervention), json.loads(parameters)) for id_, intervention, parameters in rows]
