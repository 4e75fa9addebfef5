"""The journal of what axiomd did, page by page; and an entry with the rows that it changed."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from axiomd.store import journal
from axiomd.store.database import Database
from axiomd.views.view import View

MOST_ROWS = 500
"""Rows of each kind that an entry shows."""


class Entry(View):
    """Every change of a kind in one transaction."""

    id: int
    at: float = Field(description="when (Unix seconds, by the database's clock)")
    kind: str = Field(description="credit, abort, repair, topup, undo, backfill, ...")
    cause: str = Field(description="the event or intervention that led to it")
    actor: str = Field(description="who did it: axiomd, a login name, or the caller of an intervention")
    changes: int = Field(description="how many results, tasks, workunits or jobs it changed")
    credit: float = Field(description="credit that it granted (cobblestones); negative: taken back")
    detail: dict[str, Any] = Field(description="counts by reason or case")


class JournalPage(View):
    """Entries of the journal."""

    entries: list[Entry] = Field(
        description="fewer than `limit`, even none, where the filter found no more at the first look"
    )
    next: int | None = Field(
        description="`before` of the next page, or `after` where that was asked for; null: the journal begins here"
    )


class Changed(View):
    """A row of BOINC's that an entry changed."""

    subject: str = Field(description="the table")
    row_id: int
    reason: str
    before: dict[str, Any] = Field(description="its columns before")
    after: dict[str, Any] = Field(description="its columns after")


class Granted(View):
    """Credit for a result."""

    result_id: int
    host_id: int
    credit: float


class Made(View):
    """A job of top-up's."""

    workunit_name: str
    host_id: int = Field(description="the host that it is for; 0: any")
    state: str = Field(description="intended, made or given up")


class EntryWithRows(Entry):
    """An entry of the journal and what hangs on it."""

    changed: list[Changed] = Field(description=f"rows that it changed, the first {MOST_ROWS}")
    granted: list[Granted] = Field(description=f"credit that it granted or took back, the first {MOST_ROWS} results")
    made: list[Made] = Field(description=f"jobs that it decided to make, the first {MOST_ROWS}")
    complete: bool = Field(description="whether these are all")


async def before(database: Database, cursor: int, *, kind: str, limit: int) -> JournalPage:
    """Give entries below an id, newest first; of one kind unless it is empty."""
    async with database.session() as session:
        rows, following = await journal.entries_before(session, cursor, kind=kind, limit=limit)
    return JournalPage(entries=[Entry(**row._asdict()) for row in rows], next=following)


async def after(database: Database, cursor: int, *, before: int, kind: str, limit: int) -> JournalPage:
    """Give entries above an id and below another, oldest first; of one kind unless it is empty."""
    async with database.session() as session:
        rows, following = await journal.entries_after(session, cursor, before=before, kind=kind, limit=limit)
    return JournalPage(entries=[Entry(**row._asdict()) for row in rows], next=following)


async def entry(database: Database, id_: int) -> EntryWithRows | None:
    """Give one entry with its rows; None if there is none, or it was pruned."""
    async with database.session() as session:
        row = await journal.entry(session, id_)
        if row is None:
            return None
        changed = await journal.changes(session, id_, MOST_ROWS + 1)
        granted = await journal.grants(session, id_, MOST_ROWS + 1)
        made = await journal.jobs(session, id_, MOST_ROWS + 1)
    return EntryWithRows(
        **row._asdict(),
        changed=[Changed(**one._asdict()) for one in changed[:MOST_ROWS]],
        granted=[Granted(**one._asdict()) for one in granted[:MOST_ROWS]],
        made=[Made(**one._asdict() | {"state": one.state.name.lower().replace("_", " ")}) for one in made[:MOST_ROWS]],
        complete=max(len(changed), len(granted), len(made)) <= MOST_ROWS,
    )
