"""What do the independent results say, and which experiments have their answer? -> ClaimSettled, ExperimentComplete."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence

from axiomd import metrics
from axiomd.events import ClaimSettled, Event, ExperimentComplete
from axiomd.policies.retire import Completion, Progress, completion
from axiomd.science import findings
from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.findings import Verdict
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import findings as store
from axiomd.store import tables
from axiomd.store.database import Database
from axiomd.store.findings import Run

Verdicts = dict[str, tuple[Verdict, int]]
"""The verdict on each claim, and on how many seeds it stands."""


class Findings:
    """The watcher of claims. It reads the evidence of an experiment again only when there is more of it, or less."""

    name = "findings"

    def __init__(self, database: Database, settings: Settings, catalogue: Mapping[str, CatalogueEntry]) -> None:
        self._database = database
        self._experiments = settings.experiments
        self._retires = settings.replication.retire
        self._harvests = settings.harvests
        self._catalogue = catalogue
        self._bar = findings.bar(catalogue, settings.replication.error_rate)
        self._read: dict[Run, tuple[int, frozenset[int], Verdicts]] = {}
        self.interval_s = settings.replication.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:  # noqa: ARG002 - evidence has no age
        """Look at all claims of the catalogue, and at how far the experiments of the settings are."""
        async with self._database.session() as session:
            distrusted = await store.distrusted_hosts(session)
            seeds = await store.independent_seeds(session)
            kept = {(one.experiment, one.version, one.claim, one.claim_hash): one for one in
                    await store.kept_findings(session)}  # fmt: skip
            verdicts = {
                name: await self._verdicts(session, entry, seeds.get((name, entry.version), 0), distrusted)
                for name, entry in self._catalogue.items()
            }
        settled: list[Event] = []
        counted: Counter[str] = Counter()
        settled_claims: Counter[Run] = Counter()
        for name, entry in self._catalogue.items():
            for claim in entry.claims:
                verdict, count = verdicts[name].get(claim.name, ("open", 0))
                known = kept.get((name, entry.version, claim.name, claim.hash))
                counted[known.verdict if known else verdict] += 1
                if known or verdict != "open":
                    settled_claims[name, entry.version] += 1
                if not known and verdict != "open":
                    settled.append(ClaimSettled(name, entry.version, claim.name, claim.hash, verdict, count))
        for each in findings.VERDICTS:
            metrics.FINDINGS.labels(each).set(counted[each])
        yield settled
        if self._retires:
            yield await self._complete(seeds, settled_claims)

    async def _verdicts(
        self, connection: Connection, entry: CatalogueEntry, seeds: int, distrusted: frozenset[int]
    ) -> Verdicts:
        run = entry.name, entry.version
        if not seeds:
            self._read.pop(run, None)
            return {}
        known = self._read.get(run)
        if known is None or known[:2] != (seeds, distrusted):
            found = await findings.read(connection, entry, distrusted)
            verdicts = await asyncio.to_thread(findings.verdicts, entry, found, self._bar)
            known = self._read[run] = (len(found), distrusted, verdicts)
        return known[2]

    async def _complete(self, seeds: Mapping[Run, int], settled: Mapping[Run, int]) -> list[ExperimentComplete]:
        """Find the experiments of the settings that are complete and haven't ended."""
        async with self._database.session() as session:
            endings = await tables.endings(session)
            retired = await store.retirements(session)
            if not self._harvests:
                seeds = await tables.independent_results(session)
        complete = []
        for name, wanted in self._experiments.items():
            known = self._catalogue.get(name)
            version = wanted.version or (known.version if known else 0)
            run = name, version
            claims = len(known.claims) if known and known.version == version else 0
            progress = Progress(seeds.get(run, 0), wanted.target, claims, settled.get(run, 0), retired.get(run))
            why = None if run in endings else completion(progress)
            if why:
                complete.append(ExperimentComplete(name, version, progress.seeds, why is Completion.SETTLED))
        return complete
