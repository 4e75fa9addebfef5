"""Does an experiment fail more often than it may, beyond chance? -> ExperimentFailing; where it isn't stopped yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.events import Event, ExperimentFailing
from axiomd.policies.failures import failing_places
from axiomd.settings import HOUR_S, Settings
from axiomd.store import failures, tables
from axiomd.store.database import Database
from axiomd.store.failures import Stop


class FailingExperiments:
    """The watcher of experiments' failures, silent ones included, in the tally of the last hours."""

    name = "failing_experiments"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._shown = {(name, experiment.gpu) for name, experiment in settings.experiments.items()}
        self.interval_s = settings.failures.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look at the tally; what is stopped already, or has ended, is no news."""
        settings = self._settings
        async with self._database.session() as session:
            stops = await failures.stops(session)
            endings = await tables.endings(session)
            tallies = await failures.tallies(session, settings, now)
        self._show(stops)
        yield [
            ExperimentFailing(experiment, version, gpu, place.platform, place.results, place.failures)
            for (experiment, version, gpu), cells in sorted(tallies.items())
            for place in failing_places(cells, settings.failures, int(now // HOUR_S))
            if (experiment, version) not in endings
            and not stops & {Stop(experiment, version, gpu, None), Stop(experiment, version, gpu, place.platform)}
        ]

    def _show(self, stops: frozenset[Stop]) -> None:
        stopped = {(stop.experiment, stop.gpu) for stop in stops}
        self._shown |= stopped
        for experiment, gpu in self._shown:
            labels = (experiment, "gpu" if gpu else "cpu")
            metrics.EXPERIMENT_STOPPED.labels(*labels).set((experiment, gpu) in stopped)
