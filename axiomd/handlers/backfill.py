"""A person's backfill: pays what finished before the baseline, or again what an undo took back, by the present rules.

It pays by the daemon's own path, ledger and journal, and runs beside it. Each run is capped. A host's cap of the day
doesn't count: what is paid at once was worked for over a long time, and a person has looked at it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from axiomd.boinc import credit, history
from axiomd.boinc.project import Project
from axiomd.handlers import payment
from axiomd.policies.credit import CreditDecisions, CreditState, Delay, FinishedResult, decide_credit
from axiomd.policies.presets import apply_preset
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store import undo as own
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.pace import Pace
from axiomd.store.tables import Entry, Mark

PAGE = 5000
"""Results that one look decides on."""


@dataclass(frozen=True)
class Wish:
    """What is to be paid."""

    undone: bool = False
    """True: what an undo took back; False: what finished before the baseline."""
    entries: tuple[int, ...] = ()
    """Of what was undone: only these journal entries, the undo's or the undone one's."""
    since: float = 0.0
    until: float = math.inf
    """When it came in, or when it was undone (Unix seconds)."""
    limit: int = 0
    """Results paid at most; 0: as many as the cap allows."""
    cap: float | None = None
    """Credit paid at most; None: credit.backfill_cap."""


@dataclass
class BackfillPlan:
    """What would be paid, and what not."""

    cap: float
    results: list[int] = field(default_factory=list)
    """Results that would be paid, and those that would be refused: both are dealt with then."""
    paid: int = 0
    credit: float = 0.0
    by_host: dict[int, float] = field(default_factory=dict)
    """Credit by host."""
    refusals: Counter[str] = field(default_factory=Counter)
    complete: bool = True
    """False: the cap or the limit was reached, and there is more."""


@dataclass(frozen=True)
class Paid:
    """What one transaction paid."""

    journal_id: int
    """0 if there was nothing to pay."""
    results: int
    credit: float


class Backfill:
    """Plans and pays what a person wants paid."""

    def __init__(self, database: Database, project: Project, settings: Settings, actor: str) -> None:
        self._database = database
        self._project = project
        self._settings = settings
        self._credit = apply_preset(settings.credit)
        self._actor = actor[:64]

    async def plan(self, wish: Wish, told: Callable[[int], None] | None = None) -> BackfillPlan:
        """Say what would be paid now; changes nothing. Tells how many results it has looked at so far."""
        plan = BackfillPlan(self._credit.backfill_cap if wish.cap is None else wish.cap)
        seen = 0
        async with self._database.session() as session:
            async for ids in self._candidates(session, wish):
                left = wish.limit - plan.paid if wish.limit else len(ids)
                results, _ = await self._load(session, ids, wish)
                decisions = self._decide(results, plan.cap, plan.credit, await read_clock(session))
                capped = any(deferral.reason is Delay.CAP for deferral in decisions.deferrals)
                plan.complete = not capped and len(decisions.grants) <= left
                _add(plan, replace(decisions, grants=decisions.grants[:left]))
                seen += len(ids)
                if told:
                    told(seen)
                if not plan.complete or (wish.limit and plan.paid >= wish.limit):
                    break
        return plan

    async def act(self, wish: Wish, plan: BackfillPlan, told: Callable[[Paid], None] | None = None) -> list[Paid]:
        """Pay what was planned, as far as it still holds; tells each transaction when it is committed."""
        pace = Pace(self._credit.batch)
        ids, paid = sorted(plan.results), list[Paid]()
        while ids:
            part, ids = ids[: pace.size], ids[pace.size :]
            granted = sum(one.credit for one in paid)
            work = partial(self._pay, ids=part, wish=wish, cap=plan.cap, granted=granted)
            paid.append(await self._database.transaction(work, pace=pace, rows=len(part)))
            if told:
                told(paid[-1])
        return paid

    async def _candidates(self, connection: Connection, wish: Wish) -> AsyncIterator[list[int]]:
        """Ids of what may be paid, a page at a time."""
        if wish.undone:
            after = 0
            until = min(wish.until, 1e18)
            while ids := await own.undone_results(
                connection, wish.entries, since=wish.since, until=until, after=after, limit=PAGE
            ):
                yield ids
                after = ids[-1]
            return
        baseline = math.floor((await tables.get_state(connection))[tables.BASELINE_AT])
        until = min(wish.until, baseline)
        async for ids in history.unpaid(connection, self._project.app_ids, since=wish.since, until=until):
            for start in range(0, len(ids), PAGE):
                yield ids[start : start + PAGE]

    async def _load(
        self, connection: Connection, ids: Sequence[int], wish: Wish
    ) -> tuple[list[FinishedResult], dict[int, str]]:
        """Read those that may still be paid, as the marks say; and the canonical ones that weren't counted yet."""
        marks = await own.marks(connection, ids)
        wanted = {(Mark.REFUSED, "undone")} if wish.undone else {None, (Mark.REFUSED, "before_baseline")}
        eligible = [id_ for id_ in ids if marks.get(id_) in wanted]
        if not eligible:
            return [], {}
        results, canonical = await credit.finished_results(
            connection, eligible, self._project.gpu_app_versions, refused=True
        )
        if self._credit.waits_for_harvest:
            results = await payment.with_outcomes(connection, results, waits=False)
        return results, {id_: name for id_, name in canonical.items() if id_ not in marks}

    def _decide(self, results: Sequence[FinishedResult], cap: float, granted: float, now: float) -> CreditDecisions:
        state = CreditState(frozenset(self._project.app_ids), 0.0, granted, run_cap=cap)
        return decide_credit(results, state, self._credit, now)

    async def _pay(self, session: Session, *, ids: Sequence[int], wish: Wish, cap: float, granted: float) -> Paid:
        # One payment at a time, from the reading to the commit.
        await tables.lock_state(session, tables.CREDITED_COUNT)
        now = await read_clock(session)
        results, canonical = await self._load(session, ids, wish)
        decisions = self._decide(results, cap, granted, now)
        if wish.undone:
            decisions.refusals.clear()  # their mark says already that they aren't paid
        await own.write_marks(session, decisions)
        await payment.count_canonical(session, decisions.closed, canonical)
        if self._settings.intake.mode == "assimilator":
            # The daemon sees to the end of what has nothing left to be paid.
            workunits = sorted({result.workunit_id for result in decisions.closed})
            await own.forget_history(session, await history.dealt_with(session, workunits))
        if not decisions.grants:
            return Paid(0, 0, 0.0)
        cause = "undone" if wish.undone else "before the baseline"
        entry = Entry(now, "backfill", cause, len(decisions.grants), decisions.credit, actor=self._actor)
        journal_id = await payment.grant(session, self._project, decisions, entry, counts=False)
        return Paid(journal_id, len(decisions.grants), decisions.credit)


def _add(plan: BackfillPlan, decisions: CreditDecisions) -> None:
    plan.results += [result.result_id for result in decisions.closed]
    plan.paid += len(decisions.grants)
    plan.credit += decisions.credit
    plan.refusals.update(refusal.reason.value for refusal in decisions.refusals)
    for grant in decisions.grants:
        plan.by_host[grant.result.host_id] = plan.by_host.get(grant.result.host_id, 0.0) + grant.credit
