"""Do BOINC's own daemons do their work? -> DaemonDown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.boinc import workunits
from axiomd.events import DaemonDown, Event
from axiomd.settings import Settings
from axiomd.store.database import Database


class Daemons:
    """The watcher of the transitioner: transitions that stay overdue say that it is behind or down."""

    name = "daemons"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._repair = settings.repair
        self.interval_s = settings.repair.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look at the earliest transition that is due."""
        async with self._database.session() as session:
            due_at = await workunits.overdue_transition(session)
        lag_s = max(now - due_at, 0.0) if due_at is not None else 0.0
        metrics.TRANSITIONER_LAG.set(lag_s)
        if lag_s > self._repair.transitioner_behind_s:
            yield [DaemonDown("transitioner", lag_s)]
