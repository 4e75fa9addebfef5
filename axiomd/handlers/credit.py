"""ResultCompleted -> credit: what finished work is worth, granted exactly once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from axiomd import metrics
from axiomd.boinc import credit
from axiomd.boinc.project import Project
from axiomd.errors import Conflict
from axiomd.events import ResultCompleted
from axiomd.handlers import payment
from axiomd.handlers.handler import Cap, Handler, Planned
from axiomd.policies.credit import CreditDecisions, CreditState, Ending, FinishedResult, decide_credit
from axiomd.policies.presets import apply_preset
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.guard import Kind, rails
from axiomd.store.tables import Entry, HarvestMark

# What was cancelled, aborted by the project or not needed any more says nothing of an experiment.
OUTCOMES = {Ending.VALID: "valid", Ending.FAILED: "failed", Ending.INVALID: "failed"}


@dataclass(frozen=True)
class _Loaded:
    now: float
    results: list[FinishedResult]
    canonical: dict[int, str]


class CreditHandler(Handler):
    """Pays, refuses or puts off results, a batch in one transaction."""

    name = "credit"
    events = (ResultCompleted,)
    # While one batch waits for the database, the other is read and decoded.
    workers = 2

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=settings.credit.batch)
        self._database = database
        self._project = project
        self._credit = apply_preset(settings.credit)
        self._experiments = frozenset(settings.experiments)
        # Where outputs are read, it is the harvest that counts how experiments end.
        self._harvests = settings.harvests
        self._first = HarvestMark.OPEN if settings.harvests else HarvestMark.NOT_WANTED
        self._cap = Cap(rails(settings)[Kind.CREDIT])

    async def plan(self, events: Sequence[ResultCompleted]) -> list[Planned]:
        """Say what each result would be paid, or why not."""
        async with self._database.session() as session:
            loaded = await self._load(session, [event.result_id for event in events])
            decisions = await self._decide(session, loaded)
        planned = [Planned("credit", f"result {g.result.result_id}", f"{g.credit:g} credit") for g in decisions.grants]
        planned += [Planned("refuse", f"result {r.result.result_id}", r.reason.value) for r in decisions.refusals]
        return planned + [Planned("wait", f"result {d.result.result_id}", d.reason.value) for d in decisions.deferrals]

    async def act(self, events: Sequence[ResultCompleted]) -> None:
        """Pay a batch: axiomd's own rows are written first, BOINC's are locked last and briefly."""
        ids = sorted(event.result_id for event in events)
        try:
            decisions = await self._database.transaction(
                lambda session: self._pay(session, ids), pace=self.pace, rows=len(ids)
            )
        except Conflict:
            # Some host or user changes hands all the time: it must not keep the others waiting.
            if len(events) > 1:
                await self._act_apart(events)
                return
            raise
        metrics.RESULTS_CREDITED.inc(len(decisions.grants))
        metrics.CREDIT_GRANTED.inc(decisions.credit)
        for reason, count in Counter(refusal.reason.value for refusal in decisions.refusals).items():
            metrics.RESULTS_REFUSED.labels(reason).inc(count)
        for reason, count in Counter(deferral.reason.value for deferral in decisions.deferrals).items():
            metrics.RESULTS_WAITING.labels(reason).inc(count)
        if not self._harvests:
            self._count_by_experiment(decisions.closed)

    def _count_by_experiment(self, closed: Sequence[FinishedResult]) -> None:
        """Count what was dealt with for good, paid or not, by experiment and by how it ended."""
        for (experiment, ending), count in Counter((result.experiment, result.ending) for result in closed).items():
            if outcome := OUTCOMES.get(ending):
                label = experiment if experiment in self._experiments else metrics.OTHER
                metrics.EXPERIMENT_RESULTS.labels(label, outcome).inc(count)

    async def _act_apart(self, events: Sequence[ResultCompleted]) -> None:
        """Pay the two halves of a batch, the second whatever becomes of the first."""
        middle = len(events) // 2
        trouble: Conflict | None = None
        for half in (events[:middle], events[middle:]):
            try:
                await self.act(half)
            except Conflict as error:
                trouble = error
        if trouble:
            raise trouble

    async def _load(self, connection: Connection, ids: Sequence[int]) -> _Loaded:
        """Read the results that have an open mark, and the clock."""
        now = await read_clock(connection)
        results, canonical = await credit.finished_results(connection, ids, self._project.gpu_app_versions)
        if self._credit.waits_for_harvest:
            results = await payment.with_outcomes(connection, results, waits=True)
        return _Loaded(now, results, canonical)

    async def _decide(self, connection: Connection, loaded: _Loaded) -> CreditDecisions:
        use = await self._cap.use(connection, loaded.now)
        state = CreditState(
            app_ids=frozenset(self._project.app_ids),
            baseline_at=(await tables.get_state(connection))[tables.BASELINE_AT],
            # What is left of the cap, which may be raised for a time, and not what the settings say of it.
            granted_in_window=math.inf if use.paused else self._credit.cap - use.left,
            granted_today=await tables.granted_today(connection, {r.host_id for r in loaded.results}, loaded.now),
        )
        return decide_credit(loaded.results, state, self._credit, loaded.now)

    async def _pay(self, session: Session, ids: Sequence[int]) -> CreditDecisions:
        loaded = await self._load(session, ids)
        # One batch at a time from here to its commit: the caps must see what the batch before granted.
        await tables.lock_state(session, tables.CREDITED_COUNT)
        decisions = await self._decide(session, loaded)
        await tables.close_results(session, decisions, self._first)
        await tables.defer_results(session, decisions, self._first)
        closed = len(decisions.grants) + len(decisions.refusals)
        if closed:
            await tables.add_state(session, tables.COMPLETED_COUNT, closed)
            await payment.count_canonical(session, decisions.closed, loaded.canonical)
        if decisions.grants:
            entry = Entry(loaded.now, "credit", ResultCompleted.name, len(decisions.grants), decisions.credit)
            await payment.grant(session, self._project, decisions, entry, counts=True)
        return decisions
