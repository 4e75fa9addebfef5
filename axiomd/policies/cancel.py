"""Which jobs of an experiment that has ended are cancelled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """A workunit and the results made of it."""

    workunit_id: int
    name: str
    open: bool
    """Neither in error nor with a canonical result nor waiting for its assimilator."""
    unsent: tuple[int, ...] = ()
    """Ids of results that no host has got."""
    in_progress: tuple[int, ...] = ()
    """Ids of results that volunteers have."""
    reported: int = 0
    """Successes that came in."""


def is_cancelled(job: Job, *, aborted: bool) -> bool:
    """Whether a job is cancelled: of a retired experiment, only if no volunteer has spent anything on it."""
    if not job.open:
        return False
    return aborted or not (job.in_progress or job.reported)
