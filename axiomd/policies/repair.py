"""Which workunits can't move, why, and what helps: the stuck cases of BOINC's transitioner_flags told apart.

A healthy targeted job is never touched, nor is anything younger than repair.min_age_s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from axiomd.events import StuckCase
from axiomd.settings import RepairSettings

NORMAL, NO_TRANSITION, NO_NEW_RESULTS = 0, 1, 2
"""Values of workunit.transitioner_flags: none, TRANSITION_NONE (broadcast), TRANSITION_NO_NEW_RESULTS (targeted)."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A row of BOINC's assignment table; `target_ok` says whether its host, user or team can still fetch the job."""

    assignment_id: int
    host_id: int
    """Target host; 0 if the target is a user or a team."""
    broadcast: bool
    target_ok: bool
    successor_id: int = 0
    """Where the host was merged into another: that one."""


@dataclass(frozen=True, slots=True)
class OpenWorkunit:
    """A workunit that is not finished, with the counts of its results. Times are Unix seconds."""

    workunit_id: int
    flags: int
    touched_at: float
    transition_at: float
    error_mask: int
    need_validate: bool
    has_canonical: bool
    target_nresults: int
    max_total_results: int
    unsent: int = 0
    in_progress: int = 0
    viable_successes: int = 0
    """Results that are over with a success that isn't known to be invalid."""
    unjudged: int = 0
    """Those of them that no validator has looked at."""
    min_quorum: int = 1
    total: int = 0
    hosts_tried: frozenset[int] = frozenset()
    assignments: tuple[Assignment, ...] = ()
    memory: float = 0.0
    spared: frozenset[str] = frozenset()
    """Cases whose repair a person undid: it isn't repaired again for these."""


class Remedy(StrEnum):
    """What is done about a stuck workunit."""

    RETARGET = "retarget"
    FREE = "free"
    WAKE = "wake"


@dataclass(frozen=True, slots=True)
class Repair:
    """Help this workunit. `host_id` is the new target of a RETARGET."""

    workunit: OpenWorkunit
    case: StuckCase
    remedy: Remedy
    host_id: int = 0


def stuck_case(workunit: OpenWorkunit, settings: RepairSettings, now: float) -> StuckCase | None:
    """Why a workunit can't move; None if it can, is fresh, spared, or about to be looked at by the transitioner."""
    case = _stuck_case(workunit, settings, now)
    return None if case in workunit.spared else case


def _stuck_case(workunit: OpenWorkunit, settings: RepairSettings, now: float) -> StuckCase | None:
    if workunit.error_mask or workunit.need_validate or now - workunit.touched_at < settings.min_age_s:
        return None
    waits_long = workunit.transition_at - now > settings.stalled_after_s
    if (
        workunit.unjudged
        and workunit.viable_successes >= workunit.min_quorum
        and workunit.flags != NO_TRANSITION
        and waits_long
    ):
        # The transitioner was to call the validator, and another program overwrote the time of its look. This happens
        # to late reports of finished workunits too.
        return StuckCase.STALLED
    if workunit.has_canonical:
        return None
    if workunit.flags == NO_TRANSITION:
        broadcast = any(assignment.broadcast for assignment in workunit.assignments)
        return None if broadcast else StuckCase.ORPHANED_BROADCAST
    if workunit.transition_at <= now:
        # Pending: if it stays so, the transitioner is behind or down, and no flag is to blame.
        return None
    if workunit.flags == NO_NEW_RESULTS:
        return _stuck_targeted(workunit)
    under_way = workunit.unsent + workunit.in_progress + workunit.viable_successes
    if under_way < workunit.target_nresults and waits_long:
        return StuckCase.STALLED
    return None


def _stuck_targeted(workunit: OpenWorkunit) -> StuckCase | None:
    if workunit.in_progress or workunit.viable_successes:
        return None
    if workunit.unsent:
        return StuckCase.UNSENDABLE
    if workunit.total >= workunit.max_total_results:
        return None  # the transitioner ends this one itself, flags or not
    if not workunit.assignments:
        return StuckCase.ORPHANED
    waiting = [a for a in workunit.assignments if not (a.host_id and a.host_id in workunit.hosts_tried)]
    if not waiting:
        return StuckCase.SPENT_TARGET
    if not any(assignment.target_ok for assignment in waiting):
        return StuckCase.DEAD_TARGET
    return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live host that a job could be given to, with the memory that its jobs may need and how much work it lacks."""

    host_id: int
    memory: float
    idle: int


def decide_repairs(
    stuck: Iterable[tuple[OpenWorkunit, StuckCase]], candidates: Iterable[Candidate], settings: RepairSettings
) -> list[Repair]:
    """Choose a remedy for each stuck workunit.

    A targeted job that lost its target goes to the successor of a merged host, else to the fit live host with the
    most idle cores that hasn't tried it; where there is none, or the settings say so, it is freed for any host.
    """
    idle: dict[int, int] = {}
    hosts: dict[int, Candidate] = {}
    for candidate in candidates:
        idle[candidate.host_id] = candidate.idle
        hosts[candidate.host_id] = candidate
    repairs = []
    for workunit, case in stuck:
        if case in (StuckCase.DEAD_TARGET, StuckCase.SPENT_TARGET, StuckCase.UNSENDABLE):
            # A job that has used up its results can only be freed: the unsent one that it has is its last.
            may_move = settings.method == "retarget" and workunit.total < workunit.max_total_results
            host_id = _new_target(workunit, hosts, idle) if may_move else 0
            if host_id:
                idle[host_id] -= 1
            repairs.append(Repair(workunit, case, Remedy.RETARGET if host_id else Remedy.FREE, host_id))
        elif case is StuckCase.STALLED:
            repairs.append(Repair(workunit, case, Remedy.WAKE))
        else:
            repairs.append(Repair(workunit, case, Remedy.FREE))
    return repairs


def _new_target(workunit: OpenWorkunit, hosts: Mapping[int, Candidate], idle: Mapping[int, int]) -> int:
    """Id of the host that gets the job; 0 if none is fit and idle."""
    for assignment in workunit.assignments:
        if assignment.successor_id in hosts and assignment.successor_id not in workunit.hosts_tried:
            return assignment.successor_id
    fit = [
        host_id
        for host_id, spare in idle.items()
        if spare > 0 and host_id not in workunit.hosts_tried and hosts[host_id].memory >= workunit.memory
    ]
    return max(fit, key=lambda host_id: (idle[host_id], -host_id), default=0)
