"""When a task that hangs is ended, and how."""

from __future__ import annotations

from dataclasses import dataclass

from axiomd.events import StuckReason
from axiomd.settings import AbortSettings


@dataclass(frozen=True, slots=True)
class Task:
    """A result in progress. Times are Unix seconds, delay_bound seconds."""

    result_id: int
    workunit_id: int
    host_id: int
    sent_at: float
    report_deadline: float
    delay_bound: float
    last_contact_at: float
    """The host's last contact; 0 if the host is gone."""
    transition_at: float
    cancelled: bool = False
    has_canonical: bool = False
    spared: bool = False
    """A person undid an abort of it: it isn't ended again; its deadline holds."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """After how many seconds a task of a certain delay_bound counts as stuck."""

    stuck_s: float
    silent_s: float
    ceiling_s: float


def thresholds(delay_bound: float, settings: AbortSettings) -> Thresholds:
    """Thresholds for a task: those of the settings, longer for a job that was given longer."""
    return Thresholds(
        stuck_s=max(settings.stuck_after_s, settings.stuck_delay_bounds * delay_bound),
        silent_s=max(settings.silent_after_s, settings.silent_delay_bounds * delay_bound),
        ceiling_s=max(settings.ceiling_s, settings.ceiling_delay_bounds * delay_bound),
    )


def stuck_reason(task: Task, settings: AbortSettings, now: float) -> StuckReason | None:
    """Why a task is stuck; None if it isn't, or is being ended already.

    IN_PROGRESS means sent, not running, so the time since sending counts. A task of a workunit that has its canonical
    result is left alone: nobody looks at its deadline before the workunit is assimilated (BOINC sets transition_time to
    2147483647), and then the transitioner ends it.
    """
    if task.has_canonical or task.cancelled or task.spared:
        return None
    if task.report_deadline < now and task.transition_at <= now:
        # Past its deadline: the transitioner is about to end it. If it doesn't, it is the one that is stuck.
        return None
    limits = thresholds(task.delay_bound, settings)
    out_for = now - task.sent_at
    if out_for > limits.ceiling_s:
        return StuckReason.CEILING
    if out_for > limits.stuck_s and now - task.last_contact_at > limits.silent_s:
        return StuckReason.HOST_SILENT
    return None
