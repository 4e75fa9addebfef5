"""Do results die of limits of time, memory or disk more often than they may? -> BoundTooTight."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd.events import BoundTooTight, Event
from axiomd.policies.sizing import FEWEST_DEATHS, is_too_tight
from axiomd.settings import DAY_S, Settings
from axiomd.store import sizing
from axiomd.store.database import Database


class Limits:
    """The watcher of results that die of limits, in the last 24 hours, of experiments that the settings name."""

    name = "limits"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._experiments = settings.experiments
        self._chance = settings.failures.chance
        self.interval_s = settings.sizing.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look once, at hourly counts."""
        async with self._database.session() as session:
            counted = await sizing.deaths(session, since=now - DAY_S, fewest=FEWEST_DEATHS)
        yield [
            BoundTooTight(of.experiment, of.version, of.gpu, results, died)
            for of, results, died in counted
            if of.experiment in self._experiments and is_too_tight(results, died, self._chance)
        ]
