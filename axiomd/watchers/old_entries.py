"""Are there journal entries that are older than the journal is to keep? -> JournalAged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd.events import Event, JournalAged
from axiomd.settings import Settings
from axiomd.store import guard, seal, tables
from axiomd.store.database import Database


class OldEntries:
    """The watcher of the journal's age."""

    name = "old_entries"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self.interval_s = settings.journal.interval_s
        # The caps look back into the journal: their windows are always kept.
        self._keep_s = max(settings.journal.keep_s, *(rail.window_s for rail in guard.rails(settings).values()))

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look at the oldest entry."""
        async with self._database.session() as session:
            sealed_through = (await tables.get_state(session)).get(tables.SEALED_THROUGH, 0)
            oldest_at = await seal.oldest_entry_at(session, after=int(sealed_through))
        before = now - self._keep_s
        if oldest_at is not None and oldest_at < before:
            yield [JournalAged(before)]
