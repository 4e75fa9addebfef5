"""Which jobs of an experiment that has ended, or that fails, are cancelled."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from axiomd.events import Platform


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


def is_withdrawn(job: Job, stopped_on: Collection[Platform | None], targets: Collection[Platform]) -> bool:
    """Whether a job of a failing experiment is cancelled: if no volunteer has begun it, and it can only fail.

    Args:
        job: the job.
        stopped_on: where its experiment is stopped; None: everywhere.
        targets: what the hosts run that it waits for; none: any host may get it.

    """
    if not is_cancelled(job, aborted=False):
        return False
    return None in stopped_on or (bool(targets) and all(target in stopped_on for target in targets))
