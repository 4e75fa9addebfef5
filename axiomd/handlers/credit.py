"""ResultCompleted -> credit: what finished work is worth, granted exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from axiomd import metrics
from axiomd.boinc import credit
from axiomd.boinc.project import Project
from axiomd.events import ResultCompleted
from axiomd.handlers.handler import Cap, Handler, Planned
from axiomd.policies.credit import CreditDecisions, CreditState, FinishedResult, decide_credit
from axiomd.policies.presets import apply_preset
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.tables import Entry
from experiments.kit.naming import parse_workunit_name


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
        self._cap = Cap("credit", self._credit.cap, self._credit.cap_window_s)

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
        decisions = await self._database.transaction(
            lambda session: self._pay(session, ids), pace=self.pace, rows=len(ids)
        )
        metrics.RESULTS_CREDITED.inc(len(decisions.grants))
        metrics.CREDIT_GRANTED.inc(decisions.credit)
        for reason, count in Counter(refusal.reason.value for refusal in decisions.refusals).items():
            metrics.RESULTS_REFUSED.labels(reason).inc(count)
        for reason, count in Counter(deferral.reason.value for deferral in decisions.deferrals).items():
            metrics.RESULTS_WAITING.labels(reason).inc(count)

    async def _load(self, connection: Connection, ids: Sequence[int]) -> _Loaded:
        """Read the results that have an open mark, and the clock."""
        now = await read_clock(connection)
        results, canonical = await credit.finished_results(connection, ids, self._project.gpu_app_versions)
        return _Loaded(now, results, canonical)

    async def _decide(self, connection: Connection, loaded: _Loaded) -> CreditDecisions:
        _, granted = await tables.used_in_window(connection, "credit", loaded.now, self._credit.cap_window_s)
        self._cap.left(granted)
        state = CreditState(
            app_ids=frozenset(self._project.app_ids),
            baseline_at=(await tables.get_state(connection))[tables.BASELINE_AT],
            granted_in_window=granted,
            granted_today=await tables.granted_today(connection, {r.host_id for r in loaded.results}, loaded.now),
        )
        return decide_credit(loaded.results, state, self._credit, loaded.now)

    async def _pay(self, session: Session, ids: Sequence[int]) -> CreditDecisions:
        loaded = await self._load(session, ids)
        # One batch at a time from here to its commit: the caps must see what the batch before granted.
        await tables.lock_state(session, tables.CREDITED_COUNT)
        decisions = await self._decide(session, loaded)
        await tables.close_results(session, decisions)
        await tables.defer_results(session, decisions)
        closed = len(decisions.grants) + len(decisions.refusals)
        if closed:
            await tables.add_state(session, tables.COMPLETED_COUNT, closed)
            await self._count_canonical(session, loaded, decisions)
        if decisions.grants:
            await self._grant(session, decisions, loaded.now)
        return decisions

    async def _grant(self, session: Session, decisions: CreditDecisions, now: float) -> None:
        """Write axiomd's own rows first: BOINC's are locked last and briefly, and only if they are as they were."""
        entry = Entry(now, "credit", ResultCompleted.name, len(decisions.grants), decisions.credit)
        journal_id = await tables.write_journal(session, entry)
        await tables.write_ledger(session, journal_id, decisions)
        await tables.add_state(session, tables.CREDITED_COUNT, len(decisions.grants))
        postings = await credit.pay(session, journal_id, decisions, now)
        if self._project.config.credit_by_app:
            await credit.pay_by_app(session, decisions, now)
        await tables.write_postings(session, journal_id, postings)
        await tables.add_to_accounts(session, postings, now)

    async def _count_canonical(self, session: Session, loaded: _Loaded, decisions: CreditDecisions) -> None:
        """Count independent results: each workunit has one canonical result, and a seed of its own."""
        closed = [grant.result.result_id for grant in decisions.grants]
        closed += [refusal.result.result_id for refusal in decisions.refusals]
        counts: Counter[tuple[str, int]] = Counter()
        for prefix, count in Counter(loaded.canonical[id_] for id_ in closed if id_ in loaded.canonical).items():
            name = parse_workunit_name(f"{prefix}-0-s0")
            if name and len(name.experiment) <= tables.LONGEST_NAME:
                counts[name.experiment, name.version] += count
            else:
                metrics.ROWS_SKIPPED.labels("workunit_name").inc(count)
        if counts:
            await tables.add_canonical(session, counts)
