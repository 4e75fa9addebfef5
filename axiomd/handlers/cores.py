"""CoresCounted -> a note of how many cores the fleet has and how many idle, for the report; old notes are deleted."""

from __future__ import annotations

from collections.abc import Sequence

from axiomd.events import CoresCounted
from axiomd.handlers.handler import Handler, Planned
from axiomd.settings import Settings
from axiomd.store import report
from axiomd.store.database import Database, Session, read_clock


class CoresHandler(Handler):
    """Writes axiomd's own table alone; a note more or less is no matter."""

    name = "cores"
    events = (CoresCounted,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run)
        self._database = database
        self._keep_s = settings.journal.keep_s

    async def plan(self, events: Sequence[CoresCounted]) -> list[Planned]:
        """Say what would be noted."""
        return [Planned("note", "the cores", f"{event.idle} of {event.cores} idle") for event in events[-1:]]

    async def act(self, events: Sequence[CoresCounted]) -> None:
        """Note the latest count, and delete some of what is older than the journal is kept."""
        latest = events[-1]

        async def note(session: Session) -> None:
            now = await read_clock(session)
            await report.put_cores(session, at=now, hosts=latest.hosts, cores=latest.cores, idle=latest.idle)
            if self._keep_s:
                await report.prune_cores(session, now - self._keep_s)

        await self._database.transaction(note)
