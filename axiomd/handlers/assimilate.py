"""WorkunitSettled -> assimilated: the end of a workunit, only after axiomd dealt with each of its final results.

With DONE BOINC's file_deleter and db_purge may take files and rows away. Results that may still come in late keep an
open mark, so that they are paid then.
"""

from __future__ import annotations

from collections.abc import Sequence

from axiomd.boinc import credit, locks
from axiomd.events import WorkunitSettled
from axiomd.handlers.handler import Handler, Planned
from axiomd.settings import Settings
from axiomd.store.database import Database, Session, read_clock

MOST = 1000


class AssimilateHandler(Handler):
    """Marks workunits as assimilated (DONE)."""

    name = "assimilate"
    events = (WorkunitSettled,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=MOST)
        self._database = database
        self._harvests = settings.harvests

    async def plan(self, events: Sequence[WorkunitSettled]) -> list[Planned]:
        """Say which workunits would be marked."""
        return [
            Planned("assimilate", f"workunit {event.workunit_id}", "every final result dealt with") for event in events
        ]

    async def act(self, events: Sequence[WorkunitSettled]) -> None:
        """Mark those that still wait for it and still have no final result with an open mark."""
        ids = sorted(event.workunit_id for event in events)

        async def mark(session: Session) -> None:
            # axiomd's own rows first: what may still come in late keeps an open mark.
            await credit.take_in_late(session, ids, harvest=self._harvests)
            await locks.lock(session, ids)
            now = await read_clock(session)
            settled = await credit.settled_among(session, ids, harvest=self._harvests)
            if settled:
                await credit.mark_assimilated(session, settled, now)

        await self._database.transaction(mark, pace=self.pace, rows=len(ids))
