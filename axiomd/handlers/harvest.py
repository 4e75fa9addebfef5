"""ResultCompleted -> harvest: what a stranger's output file says becomes a measurement, or a counted failure, once.

The file is read outside the transaction, in a process of its own. Then one transaction writes the measurement and all
that hangs on it with the mark of the harvest.
"""

from __future__ import annotations

import math
import os
import time
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from axiomd import metrics
from axiomd.boinc import harvest as boinc
from axiomd.boinc.files import BadName, upload_path
from axiomd.boinc.harvest import Finished
from axiomd.boinc.project import Project
from axiomd.boinc.states import ExitStatus
from axiomd.events import ResultCompleted
from axiomd.handlers.handler import Handler, Planned
from axiomd.policies.credit import Ending, counted_s
from axiomd.policies.harvest import FailureCount, Fate, beyond, fate, sizes, tallies
from axiomd.policies.measurement import Failure, Measurement, Outcome
from axiomd.policies.presets import apply_preset
from axiomd.policies.verification import compare
from axiomd.science import fingerprint
from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.layout import Layout, digest
from axiomd.science.output import DROPPED, REASONS, Expected, Output, empty, refused
from axiomd.science.reader import Order, Reader, Retry
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import harvest as store
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.harvest import Compared
from axiomd.store.tables import LONGEST_NAME, HarvestMark
from experiments.kit.naming import WorkunitName, parse_workunit_name

log = structlog.get_logger(__name__)

LIMITS = frozenset({ExitStatus.DISK_LIMIT_EXCEEDED, ExitStatus.TIME_LIMIT_EXCEEDED, ExitStatus.MEM_LIMIT_EXCEEDED})
"""Exit statuses of jobs that were larger than their bounds."""
MOST_LATER = 50_000
"""Results whose files are tried again later that are kept in mind; others are tried at each look."""


@dataclass(frozen=True)
class _Read:
    """What was read of a batch, outside the transaction."""

    measurements: list[Measurement] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    skipped: list[tuple[int, int]] = field(default_factory=list)
    """(result, workunit) of what says nothing of an experiment."""
    troubled: dict[int, str] = field(default_factory=dict)
    """Results whose files can't be read now, and why."""


@dataclass(frozen=True)
class _Written:
    """What one transaction wrote."""

    measurements: list[Measurement]
    same_seed: int
    same_numbers: int
    pairs: Counter[str]


@dataclass
class _Failures:
    """Failures of a batch, by fingerprint."""

    counts: dict[str, FailureCount] = field(default_factory=dict)
    of_result: dict[int, str] = field(default_factory=dict)

    def add(self, m: Measurement, failure: Failure) -> None:
        """Count a result's failure."""
        one = fingerprint.fingerprint(m.experiment, m.version, failure)
        new = FailureCount(m.experiment, m.version, failure, 1, m.received_at, m.received_at)
        self.counts[one] = self.counts[one].plus(new) if one in self.counts else new
        self.of_result[m.result_id] = one

    def put_together(self, fingerprints: Collection[str], measurements: Iterable[Measurement]) -> None:
        """Count the failures of these fingerprints as one, of an unknown class."""
        for one in fingerprints:
            del self.counts[one]
        for m in measurements:
            if self.of_result.get(m.result_id) in fingerprints:
                self.add(m, Failure(fingerprint.OTHER))


class HarvestHandler(Handler):
    """Reads outputs and writes what they measured."""

    name = "harvest"
    events = (ResultCompleted,)
    # While one batch is written, the files of another are read, and the next is loaded.
    workers = 4

    def __init__(
        self, database: Database, project: Project, settings: Settings, catalogue: Mapping[str, CatalogueEntry]
    ) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=settings.harvest.batch)
        self._database = database
        self._project = project
        self._settings = settings
        self._catalogue = catalogue
        self._upload_dir = str(project.config.upload_dir)
        self._max_fpops = apply_preset(settings.credit).max_fpops
        self._layouts = {(entry.name, entry.version): Layout.of(entry) for entry in catalogue.values()}
        self._layout_ids: dict[tuple[str, int], int] = {}
        self._reader = Reader(settings.harvest, catalogue)
        self._later: dict[int, float] = {}
        """Results whose files are tried again, and when, by the monotonic clock."""
        self._trouble = ""

    @property
    def reader_pid(self) -> int | None:
        """Of the process that reads files; None while there is none."""
        return self._reader.pid

    async def close(self) -> None:
        """End the process that reads files; the next file starts another one."""
        await self._reader.close()

    async def plan(self, events: Sequence[ResultCompleted]) -> list[Planned]:
        """Say what each result's output holds."""
        read = await self._read(sorted(event.result_id for event in events))
        planned = [Planned("harvest", f"result {m.result_id}", _in_words(m)) for m in read.measurements]
        planned += [Planned("skip", f"result {id_}", "says nothing of an experiment") for id_, _ in read.skipped]
        return planned + [
            Planned("wait", f"result {id_}", f"its file can't be read now: {why}") for id_, why in read.troubled.items()
        ]

    async def act(self, events: Sequence[ResultCompleted]) -> None:
        """Read the outputs of a batch, and write what came of them."""
        ids = self._due(sorted(event.result_id for event in events))
        if not ids:
            return
        read = await self._read(ids)
        self._put_off(read.troubled)
        if not read.measurements and not read.skipped:
            return
        await self._ensure_layouts(read.measurements)
        written = await self._database.transaction(
            lambda session: self._write(session, read), pace=self.pace, rows=len(events)
        )
        self._count(written)
        for reason, count in read.dropped.items():
            metrics.HARVEST_DROPPED.labels(reason).inc(count)

    # What can't be read now.

    def _due(self, ids: Sequence[int]) -> list[int]:
        now = time.monotonic()
        return [id_ for id_ in ids if self._later.get(id_, 0.0) <= now]

    def _put_off(self, troubled: Mapping[int, str]) -> None:
        """Try files that the disk didn't give again later; their marks stay open."""
        now = time.monotonic()
        if not troubled:
            return
        self._later = {id_: at for id_, at in self._later.items() if at > now}
        for id_ in list(troubled)[: max(MOST_LATER - len(self._later), 0)]:
            self._later[id_] = now + self._settings.harvest.retry_s
        reason = next(iter(troubled.values()))
        if reason != self._trouble:
            self._trouble = reason
            log.warning(
                "output files can't be read; they are tried again. `axiomd doctor` looks at the upload folder",
                folder=str(self._project.config.upload_dir),
                results=len(troubled),
                error=reason,
            )

    # Reading.

    async def _read(self, ids: Sequence[int]) -> _Read:
        async with self._database.session() as session:
            now = await read_clock(session)
            results = await boinc.finished(session, ids, self._project.gpu_app_versions)
        read = _Read()
        named: list[tuple[Finished, WorkunitName]] = []
        for result in results:
            name = parse_workunit_name(result.workunit_name)
            is_named = name is not None and len(name.experiment) <= LONGEST_NAME
            found = fate(
                result.ending,
                ours=is_named and result.app_id in self._project.app_ids and result.host is not None,
                cancelled=result.cancelled,
                ended_by_axiomd=result.ended_by_axiomd,
            )
            if found is Fate.SKIP:
                read.skipped.append((result.result_id, result.workunit_id))
            elif found is not Fate.WAIT and name is not None:
                named.append((result, name))
        outputs = await self._outputs(named)
        async with self._database.calm:
            for (result, name), output in zip(named, outputs, strict=True):
                if isinstance(output, Retry):
                    read.troubled[result.result_id] = output.reason
                elif output.reason == "missing" and result.files_deleted:
                    # It came too late for the harvest: that is nobody's failure.
                    read.skipped.append((result.result_id, result.workunit_id))
                else:
                    read.measurements.append(_measurement(result, name, output, now))
                    for reason, count in output.dropped:
                        read.dropped[reason] += count
        return read

    async def _outputs(self, named: Sequence[tuple[Finished, WorkunitName]]) -> list[Output | Retry]:
        """What came of each result, in order; files are read where there are any."""
        found: list[Output | Retry] = []
        places, orders = [], []
        for result, name in named:
            output = self._known(result, declared=(name.experiment, name.version) in self._layouts)
            if isinstance(output, str):
                places.append(len(found))
                orders.append(Order(output, Expected(name.experiment, name.version, name.seed)))
            found.append(Retry("not read yet") if isinstance(output, str) else output)
        if not orders:
            return found
        folder = self._project.config.upload_dir
        if not os.access(folder, os.R_OK | os.X_OK):
            # Were each file called missing, every experiment would seem to fail.
            answers: Sequence[Output | Retry] = [Retry("the upload folder isn't there, or closed to axiomd")] * len(
                orders
            )
        else:
            answers = await self._reader.read(orders)
        for place, answer in zip(places, answers, strict=True):
            found[place] = answer
        return found

    def _known(self, result: Finished, *, declared: bool) -> Output | str:
        """What came of a result as its row says; the path of its file if that has to be read."""
        if result.ending is Ending.FAILED:
            return Output(Outcome.FAILED, failure=fingerprint.of_report(result.exit_status, result.stderr))
        if result.ending is not Ending.VALID:
            return Output(Outcome.FAILED, failure=Failure("Invalid"))
        if not result.output:
            return empty("missing") if declared else Output(Outcome.UNDECLARED)
        config = self._project.config
        try:
            return upload_path(self._upload_dir, config.uldl_dir_fanout, result.output)
        except BadName as error:
            return refused(error.reason)

    # Writing.

    async def _ensure_layouts(self, measurements: Sequence[Measurement]) -> None:
        """See that the layout of what was packed is written down; it is there before the first row that needs it."""
        wanted = {(m.experiment, m.version) for m in measurements if m.numbers} - self._layout_ids.keys()
        if not wanted:
            return

        async def ensure(session: Session) -> dict[tuple[str, str, int], int]:
            for key in sorted(wanted):
                layout = self._layouts[key]
                await store.add_layout(session, *key, layout.hash, layout.as_json())
            return {(row.hash, row.experiment, row.version): row.id for row in await store.layouts(session)}

        ids = await self._database.transaction(ensure)
        self._layout_ids |= {key: ids[self._layouts[key].hash, *key] for key in wanted}

    async def _write(self, session: Session, read: _Read) -> _Written:
        now = await read_clock(session)
        all_ids = [m.result_id for m in read.measurements] + [id_ for id_, _ in read.skipped]
        closed, unmarked = await store.closed(session, all_ids)
        fresh = [m for m in read.measurements if m.result_id not in closed]
        failure_ids = await self._write_failures(session, fresh)
        await store.write_measurements(session, fresh, self._layout_ids, failure_ids)
        # Who came in first is the independent one.
        good = sorted((m for m in fresh if m.outcome.is_good), key=lambda m: (m.received_at, m.result_id))
        independent = await store.write_replicates(session, good, self._layout_ids, now)
        copies = [m for m in good if m.result_id not in independent]
        known = await store.seeds_there(session, {(m.experiment, m.version, m.seed) for m in copies})
        same_seed = sum((m.experiment, m.version, m.seed) in known for m in copies)
        compared = await self._compare(session, copies)
        await store.write_comparisons(session, compared, now)
        await store.add_tallies(session, tallies(fresh))
        await store.add_sizes(session, sizes(fresh, self._max_fpops))
        done = [(m.result_id, m.workunit_id) for m in fresh]
        done += [(m.result_id, m.workunit_id) for m in read.measurements if m.result_id in unmarked]
        await store.mark(session, done, HarvestMark.DONE)
        await store.mark(session, [pair for pair in read.skipped if pair[0] not in closed], HarvestMark.REFUSED)
        pairs = Counter("agree" if pair.agrees else "disagree" for pair in compared)
        return _Written(fresh, same_seed, len(copies) - same_seed, pairs)

    async def _write_failures(self, session: Connection, measurements: Sequence[Measurement]) -> dict[int, int]:
        """Count failures by fingerprint, a bounded number of them; ids of the failures by result."""
        failures = _Failures()
        for m in measurements:
            if m.failure is not None:
                failures.add(m, m.failure)
        if not failures.counts:
            return {}
        known = await store.failures_known(session, failures.counts)
        if unknown := failures.counts.keys() - known.keys():
            experiments = {failures.counts[one].experiment_key for one in unknown}
            there = await store.failures_counted(session, experiments)
            failures.put_together(beyond(unknown, failures.counts, there), measurements)
            new = {one: count for one, count in failures.counts.items() if one not in known}
            await store.add_failures(session, new)
            known = await store.failures_known(session, failures.counts)
        await store.count_failures(session, {known[one]: count for one, count in failures.counts.items()})
        return {result_id: known[one] for result_id, one in failures.of_result.items()}

    async def _compare(self, session: Connection, copies: Sequence[Measurement]) -> list[Compared]:
        """Compare complete results with those of other hosts that have the same seed."""
        if not self._settings.verification.enabled:
            return []
        by_id = {m.result_id: m for m in copies if m.outcome is Outcome.COMPLETE}
        if not by_id:
            return []
        compared: dict[tuple[int, int], Compared] = {}
        for result_id, other_id, numbers in await store.others_of(session, list(by_id.values()), self._layout_ids):
            pair = min(result_id, other_id), max(result_id, other_id)
            if pair in compared:
                continue
            m = by_id[result_id]
            layout = self._layouts[m.experiment, m.version]
            tolerance = self._catalogue[m.experiment].tolerance
            found = compare(array("d", m.numbers), array("d", numbers), tolerance)
            worst = "" if found.difference == 0 else _key_at(layout, found.worst)
            key = m.experiment, m.version, m.seed
            compared[pair] = Compared(*pair, key, found.agrees, worst, found.difference)
        return list(compared.values())

    def _count(self, written: _Written) -> None:
        for m in written.measurements:
            metrics.RESULTS_HARVESTED.labels(m.outcome.name.lower()).inc()
            if m.outcome is Outcome.REFUSED:
                metrics.HARVEST_REFUSED.labels(m.reason).inc()
        by_experiment = Counter((m.experiment, m.outcome.is_good) for m in written.measurements)
        for (experiment, good), count in by_experiment.items():
            label = experiment if experiment in self._settings.experiments else metrics.OTHER
            metrics.EXPERIMENT_RESULTS.labels(label, "valid" if good else "failed").inc(count)
        for reason, count in (("same_seed", written.same_seed), ("same_numbers", written.same_numbers)):
            if count:
                metrics.RESULTS_DISCOUNTED.labels(reason).inc(count)
        for outcome, count in written.pairs.items():
            metrics.PAIRS_COMPARED.labels(outcome).inc(count)


def announce_harvest() -> None:
    """Begin the harvest's counters at 0."""
    for outcome in Outcome:
        metrics.RESULTS_HARVESTED.labels(outcome.name.lower())
    for reason in sorted(REASONS - {"missing", "no_bytes", "no_numbers"}):
        metrics.HARVEST_REFUSED.labels(reason)
    for reason in sorted(DROPPED):
        metrics.HARVEST_DROPPED.labels(reason)
    for reason in ("same_seed", "same_numbers"):
        metrics.RESULTS_DISCOUNTED.labels(reason)
    for verdict in ("agree", "disagree"):
        metrics.PAIRS_COMPARED.labels(verdict)


def _measurement(result: Finished, name: WorkunitName, output: Output, now: float) -> Measurement:
    """Put together what the row and the output say. One that was never looked into has its seed for numbers."""
    host = result.host
    if host is None:
        raise ValueError(f"result {result.result_id} has no host: it is not to be harvested")
    received_at = result.received_at or now
    failed = not output.outcome.is_good
    undeclared = output.outcome is Outcome.UNDECLARED
    return Measurement(
        result_id=result.result_id,
        workunit_id=result.workunit_id,
        experiment=name.experiment,
        version=name.version,
        seed=name.seed,
        host_id=host.id,
        user_id=host.user_id,
        platform=host.platform,
        gpu=result.uses_gpu,
        received_at=received_at,
        elapsed_s=counted_s(result.elapsed_s, result.sent_at, received_at),
        turnaround_s=max(received_at - result.sent_at, 0.0) if result.sent_at else 0.0,
        fpops=max(host.fpops, 0.0),
        outcome=output.outcome,
        reason=output.reason,
        failure=output.failure or (Failure(fingerprint.OTHER) if failed else None),
        died_of_limit=result.ending is Ending.FAILED and result.exit_status in LIMITS,
        memory=output.memory,
        digest=digest(f"seed {name.seed}".encode()) if undeclared else output.digest,
        numbers=b"" if undeclared else output.numbers,
        quantities=b"" if undeclared else output.quantities,
    )


def _key_at(layout: Layout, index: int) -> str:
    """Name of the measured key that the number at this place belongs to."""
    for key, shape in layout.keys:
        if index < math.prod(shape):
            return key
        index -= math.prod(shape)
    return ""


def _in_words(m: Measurement) -> str:
    words = m.outcome.name.lower()
    if m.reason:
        return f"{words}: {m.reason}"
    if m.failure:
        return f"{words}: {' '.join(filter(None, (m.failure.class_, m.failure.place, m.failure.detail)))}"
    return words
