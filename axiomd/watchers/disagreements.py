"""Do results of the same seed disagree, and can it be said why? -> ResultsDisagree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from axiomd.events import Event, ResultsDisagree
from axiomd.settings import Settings
from axiomd.store import verification
from axiomd.store.database import Database


class Disagreements:
    """The watcher of disputed seeds. One that waits for a copy is no event: top-up sends it."""

    name = "disagreements"

    def __init__(self, database: Database, settings: Settings, versions: Mapping[str, int]) -> None:
        """`versions`: of the experiments that get new jobs."""
        self._database = database
        self._verification = settings.verification
        self._versions = versions
        self.interval_s = settings.verification.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:  # noqa: ARG002 - it needs no clock
        """Judge the disputes that aren't settled, which are few."""
        async with self._database.session() as session:
            cases = await verification.cases(session, self._versions, self._verification.max_copies)
        due = [case.dispute for case in cases if case.is_due]
        if due:
            yield [ResultsDisagree(d.experiment, d.version, d.seed) for d in due]
