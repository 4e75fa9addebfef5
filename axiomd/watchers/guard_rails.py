"""How full are the caps, and what is stopped? For the metrics alone: a kind may resume with nobody asking for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd.events import Event
from axiomd.settings import Settings
from axiomd.store import guard
from axiomd.store.database import Database


class GuardRails:
    """The watcher of the caps."""

    name = "guard_rails"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._rails = guard.rails(settings)
        self.interval_s = settings.daemon.status_interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Set the gauges; there is no event."""
        async with self._database.session() as session:
            for rail in self._rails.values():
                await guard.use(session, rail, now)
        yield []
