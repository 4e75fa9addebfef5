"""AuditDue -> the audit, on a connection of its own; what it found is noted and said."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from axiomd.boinc.audit import audit
from axiomd.events import AuditDue
from axiomd.handlers.handler import Handler, Planned
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock

log = structlog.get_logger(__name__)

MOST_SAID = 10
"""Problems that are logged one by one; `axiomd audit` prints all."""


class AuditHandler(Handler):
    """Checks conservation of credit. It changes nothing of BOINC's, so that a dry run does it too."""

    name = "audit"
    events = (AuditDue,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=False)
        self._database = database
        self._strict = settings.audit.strict

    async def plan(self, events: Sequence[AuditDue]) -> list[Planned]:
        """Say how far back an audit would look."""
        return [Planned("audit", "the ledger", f"since {e.since:.0f}" if e.since else "all of it") for e in events]

    async def act(self, events: Sequence[AuditDue]) -> None:
        """Look at one moment of the database, without a lock, and note what was found."""
        since = min(event.since for event in events)
        started = time.monotonic()
        async with self._database.snapshot() as session:
            at = await read_clock(session)
            found = await audit(session, strict=self._strict, since=since)
        seconds = time.monotonic() - started
        noted = {
            tables.AUDITED_AT: at,
            tables.AUDIT_PROBLEMS: found.problem_count,
            tables.AUDIT_TOOK: seconds,
        }
        if not since:
            noted[tables.FULLY_AUDITED_AT] = at

        async def note(session: Session) -> None:
            for name, value in noted.items():
                await tables.set_state(session, name, value)

        await self._database.transaction(note)
        for problem in found.problems[:MOST_SAID]:
            log.error("audit", problem=problem)
        said = log.info if found.ok else log.error
        said(
            "audit: all is well" if found.ok else "audit: something is wrong. `axiomd audit` lists it",
            problems=found.problem_count,
            remarks=len(found.remarks),
            ledger_rows=found.ledger_rows,
            since=since,
            seconds=round(seconds, 2),
        )
