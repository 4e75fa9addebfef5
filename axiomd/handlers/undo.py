"""A person's undo: what journal entries did is shown, then reversed in small transactions, each an entry of its own.

It runs beside a live daemon. Each transaction reads anew under its locks and undoes only what is still as it was: the
ledger's key, the lock that credit goes through, and BOINC's rows keep the two apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from axiomd.boinc import locks, tasks, undo
from axiomd.boinc.project import Project
from axiomd.errors import AxiomdError
from axiomd.events import ReportLost
from axiomd.policies.undo import (
    KINDS,
    DeployedJob,
    EndedTask,
    PaidGrant,
    RepairedWorkunit,
    RestoredReport,
    Stays,
    Unit,
    stays,
)
from axiomd.settings import DAY_S
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store import undo as own
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.pace import Pace
from axiomd.store.tables import Change, Entry, JobState
from axiomd.store.undo import JournalEntry, Selection

PAGE = 5000
"""Rows of the journal's entries that are read at a time, about."""

MOST = 2500
"""Rows that one transaction undoes at most."""

Key = int | str


@dataclass(frozen=True)
class EntryPlan:
    """What of a journal entry would be undone, and what not."""

    entry: JournalEntry
    undone: tuple[Unit, ...] = ()
    stays: tuple[tuple[Unit, Stays], ...] = ()

    @property
    def credit(self) -> float:
        """Credit that would be taken back."""
        return sum(unit.credit for unit in self.undone if isinstance(unit, PaidGrant))

    @property
    def reasons(self) -> dict[str, int]:
        """Why the others stay, with how many."""
        return dict(Counter(why.value for _, why in self.stays))


@dataclass
class Done:
    """What one transaction undid."""

    entry_id: int
    """The entry that was undone, or part of it."""
    journal_id: int = 0
    """The entry that says so; 0 if there was nothing to do."""
    changes: int = 0
    credit: float = 0.0
    stays: Counter[str] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)
    """Hosts, users and teams that are no more, and have no total to take from."""


class Undo:
    """Plans and does what a person wants undone."""

    def __init__(self, database: Database, project: Project, actor: str) -> None:
        self._database = database
        reversals = (_Credit(project), _Aborts(), _Repairs(), _Jobs())
        self._reversals = {kind: reversal for reversal in reversals for kind in reversal.kinds}
        self._actor = actor[:64]

    async def plan(self, selection: Selection) -> list[EntryPlan]:
        """Say what would be undone now; changes nothing. Raises AxiomdError if an entry can't be undone at all."""
        async with self._database.session() as session:
            now = await read_clock(session)
            entries = await own.entries(session, selection)
            _check(entries, selection)
            plans: dict[int, EntryPlan] = {}
            for kind in sorted({entry.kind for entry in entries}):
                for page in _pages([entry for entry in entries if entry.kind == kind]):
                    units = await self._reversals[kind].read(session, [entry.id for entry in page], selection)
                    plans |= {plan.entry.id: plan for plan in _plans(page, units, now)}
        narrowed = any(selection.filters.values())
        return [plan for _, plan in sorted(plans.items()) if plan.undone or plan.stays or not narrowed]

    async def act(self, plans: Iterable[EntryPlan], told: Callable[[Done], None] | None = None) -> list[Done]:
        """Undo what was planned, as far as it still can be; tells each transaction when it is committed."""
        done = []
        for plan in plans:
            pace = Pace(MOST)
            reversal = self._reversals[plan.entry.kind]
            keys: list[Key] = [unit.key for unit in plan.undone]
            while keys:
                part, keys = keys[: pace.size], keys[pace.size :]
                work = partial(self._undo, reversal=reversal, entry=plan.entry, keys=part)
                done.append(await self._database.transaction(work, pace=pace, rows=len(part)))
                if told:
                    told(done[-1])
        return done

    async def _undo(self, session: Session, *, reversal: _Reversal, entry: JournalEntry, keys: Sequence[Key]) -> Done:
        if not await own.lock_entry(session, entry.id):
            raise AxiomdError(f"journal entry {entry.id} was pruned meanwhile, and can't be undone any more")
        return await reversal.undo(session, entry=entry, keys=keys, actor=self._actor)


def _check(entries: Sequence[JournalEntry], selection: Selection) -> None:
    """Raise unless each entry that was named is there, and is of a kind that can be undone."""
    there = {entry.id for entry in entries}
    for id_ in selection.entries:
        if id_ not in there and not selection.since:
            raise AxiomdError(
                f"journal entry {id_}: there is none. Entries older than journal.keep_s are pruned; "
                "`axiomd explain` names the entries of a row."
            )
    for entry in entries:
        if entry.kind == "undo":
            raise AxiomdError(
                f"journal entry {entry.id} is itself an undo. What it took back is paid again by "
                f"`axiomd backfill --undone --entry {entry.id}`; aborts, repairs and jobs are made anew by hand "
                "(docs/undo.md)."
            )
        if entry.kind not in KINDS:
            raise AxiomdError(f"journal entry {entry.id} is of kind '{entry.kind}', which has nothing to undo.")


def _pages(entries: Sequence[JournalEntry]) -> list[list[JournalEntry]]:
    """Entries of about PAGE rows together."""
    pages: list[list[JournalEntry]] = []
    rows = PAGE
    for entry in entries:
        if rows >= PAGE:
            pages.append([])
            rows = 0
        pages[-1].append(entry)
        rows += entry.changes
    return pages


def _plans(entries: Sequence[JournalEntry], units: Sequence[Unit], now: float) -> list[EntryPlan]:
    by_entry: dict[int, list[Unit]] = {entry.id: [] for entry in entries}
    for unit in units:
        by_entry[unit.journal_id].append(unit)
    plans = []
    for entry in entries:
        judged = [(unit, stays(unit, now)) for unit in by_entry[entry.id]]
        undone = tuple(unit for unit, why in judged if why is None)
        plans.append(EntryPlan(entry, undone, tuple((unit, why) for unit, why in judged if why is not None)))
    return plans


class _Reversal(ABC):
    """How entries of a kind are read and reversed."""

    kinds: tuple[str, ...]

    @abstractmethod
    async def read(self, connection: Connection, entries: Sequence[int], selection: Selection) -> Sequence[Unit]:
        """Read what these entries changed, as far as the selection asks for it, and what it is now."""

    @abstractmethod
    async def undo(self, session: Session, *, entry: JournalEntry, keys: Sequence[Key], actor: str) -> Done:
        """Undo these parts of an entry in one transaction, as far as they still can be."""


def _judge(units: Sequence[Unit], now: float, done: Done) -> list[Unit]:
    """Give what can be undone; the others are counted with their reasons."""
    judged = [(unit, stays(unit, now)) for unit in units]
    done.stays.update(why.value for _, why in judged if why is not None)
    return [unit for unit, why in judged if why is None]


async def _write(
    session: Session, entry: JournalEntry, done: Done, now: float, actor: str, changes: Sequence[Change] = ()
) -> None:
    detail = {"entry": entry.id, entry.kind: done.changes} | dict(done.stays)
    what = Entry(now, "undo", f"undo of {entry.id}", done.changes, done.credit, detail, actor)
    done.journal_id = await tables.write_journal(session, what, changes)


def _undone(unit: EndedTask | RestoredReport | RepairedWorkunit, before: dict[str, object]) -> Change:
    """Give the change that an undo makes. Its reason keeps the daemon from doing the same again."""
    subject = "workunit" if isinstance(unit, RepairedWorkunit) else "result"
    return Change(subject, unit.key, f"undo:{unit.reason}", before, {"entry": unit.journal_id})


class _Credit(_Reversal):
    """Takes grants back."""

    kinds = ("credit", "backfill")

    def __init__(self, project: Project) -> None:
        self._by_app = project.config.credit_by_app

    async def read(self, connection: Connection, entries: Sequence[int], selection: Selection) -> Sequence[Unit]:
        return await undo.grants(connection, entries, selection.filters)

    async def undo(self, session: Session, *, entry: JournalEntry, keys: Sequence[Key], actor: str) -> Done:
        done = Done(entry.id)
        # As for every payment: one at a time, from the reading to the commit.
        await tables.lock_state(session, tables.CREDITED_COUNT)
        now = await read_clock(session)
        found = await undo.grants(session, [entry.id], keys=[int(key) for key in keys])
        grants = [grant for grant in _judge(found, now, done) if isinstance(grant, PaidGrant)]
        if not grants:
            return done
        done.changes, done.credit = len(grants), -sum(grant.credit for grant in grants)
        await _write(session, entry, done, now, actor)
        await own.write_reversals(session, done.journal_id, grants)
        await own.mark_undone(session, [grant.result_id for grant in grants])
        await tables.add_state(session, tables.CREDITED_COUNT, -len(grants))
        posted = await own.postings_of(session, entry.id)
        taken = await undo.take_back(session, done.journal_id, grants, posted, entry.at, now)
        if self._by_app:
            await undo.take_back_by_app(session, grants, entry.at)
        await tables.write_postings(session, done.journal_id, taken.postings)
        # A host's cap of the day counts what the daemon granted on it, not what a person paid for the past.
        same_day = entry.kind == "credit" and entry.at // DAY_S == now // DAY_S
        await own.change_accounts(session, taken.postings, now, today=same_day)
        done.deleted = taken.deleted
        return done


class _Aborts(_Reversal):
    """Lets tasks live that were ended, while they still do."""

    kinds = ("abort",)

    async def read(self, connection: Connection, entries: Sequence[int], selection: Selection) -> Sequence[Unit]:
        return await undo.changed_results(connection, entries, selection.filters)

    async def undo(self, session: Session, *, entry: JournalEntry, keys: Sequence[Key], actor: str) -> Done:
        done = Done(entry.id)
        found, now = await _lock_and_read(session, entry, keys)
        ended = [task for task in _judge(found, now, done) if isinstance(task, EndedTask)]
        if not ended:
            return done
        done.changes = len(ended)
        cancelled = sorted({task.workunit_id for task in ended if task.cancelled_for})
        late = [task for task in ended if not task.cancelled_for]
        changes = [
            _undone(task, {"report_deadline": task.report_deadline, "error_mask": task.error_mask}) for task in ended
        ]
        await _write(session, entry, done, now, actor, changes)
        if cancelled:
            await own.forget_ended(session, cancelled)
            await undo.uncancel(session, entry.id, cancelled, now)
        if late:
            await undo.restore_deadlines(session, late, now)
        return done


async def _lock_and_read(
    session: Session, entry: JournalEntry, keys: Sequence[Key]
) -> tuple[list[EndedTask | RestoredReport], float]:
    """Lock results with their workunits, then read what an entry did to them."""
    ids = [int(key) for key in keys]
    await locks.lock(session, await undo.workunits_of(session, ids), ids)
    return await undo.changed_results(session, [entry.id], keys=ids), await read_clock(session)


class _Repairs(_Reversal):
    """Puts workunits and reports back to where they were before a repair."""

    kinds = ("repair",)

    async def read(self, connection: Connection, entries: Sequence[int], selection: Selection) -> Sequence[Unit]:
        workunits = await undo.changed_workunits(connection, entries, selection.filters)
        reports = await undo.changed_results(connection, entries, selection.filters)
        return [*workunits, *reports]

    async def undo(self, session: Session, *, entry: JournalEntry, keys: Sequence[Key], actor: str) -> Done:
        done = Done(entry.id)
        if entry.cause == ReportLost.name:
            found, now = await _lock_and_read(session, entry, keys)
            reports = [report for report in _judge(found, now, done) if isinstance(report, RestoredReport)]
            if reports:
                done.changes = len(reports)
                changes = [_undone(r, {"outcome": r.outcome, "validate_state": r.validate_state}) for r in reports]
                await _write(session, entry, done, now, actor, changes)
                await undo.lose_reports(session, reports, now)
            return done
        ids = [int(key) for key in keys]
        await locks.lock(session, ids)
        now = await read_clock(session)
        repaired = await undo.changed_workunits(session, [entry.id], keys=ids)
        workunits = [workunit for workunit in _judge(repaired, now, done) if isinstance(workunit, RepairedWorkunit)]
        if workunits:
            done.changes = len(workunits)
            changes = [_undone(w, {"transitioner_flags": w.flags, "targets": [w.host_id]}) for w in workunits]
            await _write(session, entry, done, now, actor, changes)
            await undo.restore_flags(session, workunits, now)
        return done


class _Jobs(_Reversal):
    """Takes jobs back that no host has got yet."""

    kinds = ("topup",)

    async def read(self, connection: Connection, entries: Sequence[int], selection: Selection) -> Sequence[Unit]:
        return await _deployed(connection, await own.jobs_of(connection, entries, selection))

    async def undo(self, session: Session, *, entry: JournalEntry, keys: Sequence[Key], actor: str) -> Done:
        done = Done(entry.id)
        names = [str(key) for key in keys]
        there = await undo.workunits_named(session, names)
        await locks.lock(session, [workunit.workunit_id for workunit in there.values()])
        now = await read_clock(session)
        found = await _deployed(session, await own.jobs_named(session, names))
        jobs = [job for job in _judge(found, now, done) if isinstance(job, DeployedJob)]
        if not jobs:
            return done
        done.changes = len(jobs)
        workunit_ids = sorted(job.workunit_id for job in jobs if job.workunit_id)
        changes = [
            Change("workunit", id_, "undo:topup", {"error_mask": 0}, {"error_mask": 16, "entry": entry.id})
            for id_ in workunit_ids
        ]
        await _write(session, entry, done, now, actor, changes)
        await own.give_up_jobs(session, [job.name for job in jobs])
        if workunit_ids:
            # Should a host get one at this very moment, its work is paid if it comes back good.
            await tables.note_ended(session, workunit_ids)
            unsent = await tasks.unsent_of(session, workunit_ids)
            targets = await undo.assignments_of(session, workunit_ids)
            await tasks.cancel(session, workunit_ids, now)
            await tasks.withdraw(session, unsent)
            await undo.delete_assignments(session, [target.assignment_id for _, target in targets])
        return done


async def _deployed(connection: Connection, jobs: Sequence[own.Job]) -> list[DeployedJob]:
    """What became of jobs."""
    there = await undo.workunits_named(connection, [job.name for job in jobs])
    deployed = []
    for job in sorted(jobs, key=lambda job: (job.journal_id, job.name)):
        given_up, intended = job.state is JobState.GIVEN_UP, job.state is JobState.INTENDED
        workunit = there.get(job.name)
        if workunit is None:
            deployed.append(DeployedJob(job.journal_id, job.name, job.host_id, given_up, 0, intended))
            continue
        deployed.append(
            DeployedJob(
                job.journal_id,
                job.name,
                job.host_id,
                given_up,
                workunit.workunit_id,
                intended,
                error_mask=workunit.error_mask,
                assimilate_state=workunit.assimilate_state,
                has_canonical=workunit.has_canonical,
                sent=workunit.sent,
            )
        )
    return deployed
