"""What of a journal entry can still be undone, and what can't, and why.

Undone is only what is still as axiomd left it: what BOINC or anyone else changed since is theirs. What was undone once
is done with; a second time finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from axiomd.policies.rac import decayed
from axiomd.policies.repair import NO_TRANSITION, Remedy

KINDS = ("credit", "backfill", "abort", "repair", "topup")
"""Kinds of journal entries that can be undone."""

CANCELLED = 16
"""The bit of workunit.error_mask."""

_IN_PROGRESS, _OVER = 4, 5
"""Values of result.server_state."""


class Stays(StrEnum):
    """Why something is not undone, in words."""

    UNDONE = "undone already"
    GRANT_CHANGED = "granted_credit was changed by another program since"
    GONE = "BOINC has purged the row since"
    ENDED = "the task is over"
    DEADLINE_CHANGED = "report_deadline was changed since"
    DEADLINE_PASSED = "its own deadline has passed meanwhile"
    TRANSITIONED = "the transitioner has ended the workunit"
    NOT_CANCELLED = "the workunit isn't cancelled any more, or has another error too"
    NOTHING_TO_REVERSE = "waking the transitioner left nothing behind that could be reversed"
    WITHDRAWN = "an unsent result was withdrawn with it"
    INSTANCE_MADE = "an instance was made from it since"
    MOVED_ON = "the workunit has moved on since"
    NOT_KEPT = "the journal doesn't hold what was there before"
    PAID = "it was paid since"
    SENT = "a host has got it already"
    CANCELLED = "the workunit is cancelled already"
    FINISHED = "the workunit is finished"


class PaidGrant(NamedTuple):
    """A grant in the ledger, and what became of it."""

    journal_id: int
    result_id: int
    generation: int
    credit: float
    host_id: int
    user_id: int
    team_id: int
    last_generation: int
    """The newest row of this result in the ledger."""
    granted_credit: float | None
    """result.granted_credit; None if BOINC has purged the result."""
    app_id: int
    """0 if BOINC has purged the result."""

    @property
    def key(self) -> int:
        """What tells it from the others of its entry."""
        return self.result_id

    @property
    def words(self) -> str:
        """What undoing it means."""
        return f"result {self.result_id}: {self.credit:g} credit taken back from host {self.host_id}"


def grant_stays(grant: PaidGrant) -> Stays | None:
    """Why a grant can't be taken back; None if it can."""
    if grant.last_generation > grant.generation:
        return Stays.UNDONE
    if grant.granted_credit is not None and grant.granted_credit != grant.credit:
        return Stays.GRANT_CHANGED
    return None


def taken_average(posted: float, posted_at: float, share: float, average: float, average_at: float) -> float:
    """How much of expavg_credit goes with a grant that is taken back, as of expavg_time.

    What a grant added decays with the rest of the average, for BOINC's formula is linear. No average falls below 0.

    Args:
        posted: what the journal entry added to the average, as of its time.
        posted_at: the time of the entry.
        share: the share of the entry's credit that is taken back.
        average: expavg_credit as it is.
        average_at: expavg_time as it is.

    """
    return min(max(decayed(posted * share, average_at - posted_at), 0.0), max(average, 0.0))


@dataclass(frozen=True, slots=True)
class EndedTask:
    """A task that an abort ended, as the journal has it and as it is now."""

    journal_id: int
    result_id: int
    workunit_id: int
    """0 if BOINC has purged it."""
    cancelled_for: bool
    """True: its workunit was cancelled; False: its deadline was set into the past."""
    deadline_before: float
    deadline_after: float
    undone: bool
    server_state: int
    report_deadline: float
    error_mask: int
    assimilate_state: int
    has_canonical: bool
    reason: str

    @property
    def key(self) -> int:
        """What tells it from the others of its entry."""
        return self.result_id

    @property
    def words(self) -> str:
        """What undoing it means."""
        how = "no longer cancelled" if self.cancelled_for else "gets its deadline back"
        return f"result {self.result_id}: {how}"


def task_stays(task: EndedTask, now: float) -> Stays | None:
    """Why the end of a task can't be undone; None if it can."""
    if task.undone:
        return Stays.UNDONE
    if not task.workunit_id:
        return Stays.GONE
    if task.server_state != _IN_PROGRESS:
        return Stays.ENDED
    if task.cancelled_for:
        if task.error_mask != CANCELLED:
            return Stays.NOT_CANCELLED
        return Stays.TRANSITIONED if task.assimilate_state or task.has_canonical else None
    if task.report_deadline != task.deadline_after:
        return Stays.DEADLINE_CHANGED
    if task.deadline_before <= now:
        return Stays.DEADLINE_PASSED
    return None


class OldAssignment(NamedTuple):
    """A row of BOINC's assignment table that a repair deleted: all that is needed to insert it again."""

    create_time: int
    target_id: int
    target_type: int
    multi: int
    result_id: int


class Target(NamedTuple):
    """An assignment as it is now."""

    assignment_id: int
    target_type: int
    target_id: int


@dataclass(frozen=True, slots=True)
class RepairedWorkunit:
    """A workunit that was repaired, as the journal has it and as it is now."""

    journal_id: int
    workunit_id: int
    reason: str
    remedy: str
    host_id: int
    """The new target of a retarget."""
    flags_before: int
    transition_before: int
    assignments_before: tuple[OldAssignment, ...] | None
    """None if the journal doesn't hold them, or not all."""
    results_before: int | None
    withdrawn: int
    undone: bool
    there: bool
    flags: int
    error_mask: int
    need_validate: bool
    has_canonical: bool
    assimilate_state: int
    results: int
    assignments: tuple[Target, ...]

    @property
    def key(self) -> int:
        """What tells it from the others of its entry."""
        return self.workunit_id

    @property
    def words(self) -> str:
        """What undoing it means."""
        targets = ", ".join(f"host {a.target_id}" for a in self.assignments_before or () if a.target_type == 1)
        return f"workunit {self.workunit_id}: flags {self.flags_before} again" + (f", for {targets}" if targets else "")


def repair_stays(workunit: RepairedWorkunit) -> Stays | None:
    """Why a repair can't be undone; None if it can: as long as no instance was made from it."""
    if workunit.undone:
        return Stays.UNDONE
    if not workunit.there:
        return Stays.GONE
    if workunit.remedy == Remedy.WAKE:
        return Stays.NOTHING_TO_REVERSE
    if workunit.assignments_before is None or workunit.results_before is None:
        return Stays.NOT_KEPT
    if workunit.withdrawn:
        return Stays.WITHDRAWN
    if workunit.results != workunit.results_before:
        return Stays.INSTANCE_MADE
    settled = workunit.error_mask or workunit.need_validate or workunit.has_canonical or workunit.assimilate_state
    flags = workunit.flags_before if workunit.remedy == Remedy.RETARGET else 0
    wanted = [(1, workunit.host_id)] if workunit.remedy == Remedy.RETARGET else []
    if settled or workunit.flags != flags or [target[1:] for target in workunit.assignments] != wanted:
        return Stays.MOVED_ON
    return None


def transition_after(workunit: RepairedWorkunit, now: float) -> int:
    """transition_time of a workunit whose repair is undone: the transitioner looks at all but those it leaves alone."""
    return workunit.transition_before if workunit.flags_before == NO_TRANSITION else int(now)


@dataclass(frozen=True, slots=True)
class RestoredReport:
    """A lost report that was brought back, as the journal has it and as it is now."""

    journal_id: int
    result_id: int
    workunit_id: int
    """0 if BOINC has purged it."""
    reason: str
    outcome_before: int
    validate_before: int
    outcome_after: int
    validate_after: int
    undone: bool
    server_state: int
    outcome: int
    validate_state: int
    granted_credit: float
    error_mask: int
    need_validate: bool
    has_canonical: bool
    assimilate_state: int

    @property
    def key(self) -> int:
        """What tells it from the others of its entry."""
        return self.result_id

    @property
    def words(self) -> str:
        """What undoing it means."""
        return f"result {self.result_id}: counts as not reported again"


def report_stays(report: RestoredReport) -> Stays | None:
    """Why a report that was brought back can't be lost again; None if it can: until anyone looked at it."""
    if report.undone:
        return Stays.UNDONE
    if not report.workunit_id:
        return Stays.GONE
    if report.granted_credit:
        return Stays.PAID
    now = (report.server_state, report.outcome, report.validate_state)
    settled = report.error_mask or report.need_validate or report.has_canonical or report.assimilate_state
    if settled or now != (_OVER, report.outcome_after, report.validate_after):
        return Stays.MOVED_ON
    return None


@dataclass(frozen=True, slots=True)
class DeployedJob:
    """A job that top-up decided on, and what became of it."""

    journal_id: int
    name: str
    host_id: int
    given_up: bool
    workunit_id: int
    """0 if there is no such workunit: not made yet, or purged."""
    intended: bool
    error_mask: int = 0
    assimilate_state: int = 0
    has_canonical: bool = False
    sent: int = 0
    """Results that a host has got."""

    @property
    def key(self) -> str:
        """What tells it from the others of its entry."""
        return self.name

    @property
    def words(self) -> str:
        """What undoing it means."""
        return f"job {self.name}: " + ("cancelled before it is sent" if self.workunit_id else "not made")


def job_stays(job: DeployedJob) -> Stays | None:
    """Why a job can't be taken back; None if it can: as long as no host has got it."""
    if not job.workunit_id:
        if job.given_up:
            return Stays.UNDONE
        return None if job.intended else Stays.GONE
    if job.error_mask & CANCELLED:
        return Stays.UNDONE if job.given_up else Stays.CANCELLED
    if job.sent:
        return Stays.SENT
    return Stays.FINISHED if job.error_mask or job.assimilate_state or job.has_canonical else None


Unit = PaidGrant | EndedTask | RepairedWorkunit | RestoredReport | DeployedJob
"""What an entry consists of: the least that is undone."""


def stays(unit: Unit, now: float) -> Stays | None:
    """Why a unit of a journal entry can't be undone; None if it can."""
    match unit:
        case PaidGrant():
            return grant_stays(unit)
        case EndedTask():
            return task_stays(unit, now)
        case RepairedWorkunit():
            return repair_stays(unit)
        case RestoredReport():
            return report_stays(unit)
        case DeployedJob():
            return job_stays(unit)


def sums_by(pairs: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Sum up amounts by id; nobody's (0) are left out."""
    sums: dict[int, float] = {}
    for id_, amount in pairs:
        if id_:
            sums[id_] = sums.get(id_, 0.0) + amount
    return sums
