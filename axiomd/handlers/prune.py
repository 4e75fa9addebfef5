"""JournalAged -> old journal entries are summed up and deleted, oldest first, a few in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from axiomd import metrics
from axiomd.boinc.audit import purged_results
from axiomd.events import JournalAged
from axiomd.handlers.handler import Handler, Planned
from axiomd.settings import Settings
from axiomd.store import interventions, outbox, seal, tables
from axiomd.store.database import Database, Session

log = structlog.get_logger(__name__)


class PruneHandler(Handler):
    """Keeps the journal from growing for ever. No row of BOINC's is locked or changed."""

    name = "prune"
    events = (JournalAged,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run)
        self._database = database

    async def plan(self, events: Sequence[JournalAged]) -> list[Planned]:
        """Say how many entries are old."""
        async with self._database.session() as session:
            older = [await seal.count_older(session, event.before) for event in events]
        return [Planned("prune", "the journal", f"{count} entries") for count in older]

    async def act(self, events: Sequence[JournalAged]) -> None:
        """Seal until nothing old is left."""
        before = min(event.before for event in events)

        async def seal_some(session: Session) -> int:
            sealed_through = (await tables.get_state(session)).get(tables.SEALED_THROUGH, 0)
            ids = await seal.aged_entries(session, before, after=int(sealed_through))
            if ids:
                await seal.seal(session, ids, await purged_results(session, ids))
                await outbox.forget(session, ids)
                await tables.set_state(session, tables.SEALED_THROUGH, ids[-1])
            return len(ids)

        total = 0
        while sealed := await self._database.transaction(seal_some):
            metrics.ENTRIES_SEALED.inc(sealed)
            total += sealed
        while await self._database.transaction(lambda session: interventions.forget(session, before)):
            pass
        if total:
            log.info("old journal entries sealed", entries=total)
