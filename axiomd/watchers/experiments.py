"""How far are the experiments of the settings? For the metrics alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from axiomd import metrics
from axiomd.events import Event
from axiomd.science.catalogue import CatalogueEntry
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database
from axiomd.store.findings import independent_seeds


class Experiments:
    """The watcher of seeds. The jobs under way are counted where idle cores are looked for."""

    name = "experiments"

    def __init__(self, database: Database, settings: Settings, catalogue: Mapping[str, CatalogueEntry]) -> None:
        self._database = database
        self._experiments = settings.experiments
        self._harvests = settings.harvests
        self._catalogue = catalogue
        self.interval_s = settings.daemon.status_interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:  # noqa: ARG002 - nothing here has a time
        """Set the gauges; there is no event."""
        async with self._database.session() as session:
            seeds = await (independent_seeds if self._harvests else tables.independent_results)(session)
            endings = await tables.endings(session)
        for name, settings in self._experiments.items():
            known = self._catalogue.get(name)
            run = name, settings.version or (known.version if known else 0)
            metrics.EXPERIMENT_SEEDS.labels(name).set(seeds.get(run, 0))
            metrics.EXPERIMENT_TARGET.labels(name).set(settings.target)
            metrics.EXPERIMENT_ENDED.labels(name).set(run in endings)
        yield []
