"""When an experiment has its answer, and gets no new jobs any more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Completion(StrEnum):
    """Why an experiment is complete."""

    SETTLED = "each of its claims is settled"
    TARGET = "it has the independent seeds that were wanted"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an experiment's version is."""

    seeds: int
    """Independent results."""
    target: int
    """Independent results that the settings want."""
    claims: int
    settled: int
    """Claims that are settled."""
    retired_at_seeds: int | None = None
    """How many seeds it had when axiomd retired it before; None: it never did."""


def completion(progress: Progress) -> Completion | None:
    """Say why an experiment is complete; None: it isn't.

    One that axiomd retired, and that a person let go on, isn't retired again for the same reason: only once a target is
    reached that was raised since.
    """
    again = progress.retired_at_seeds is not None
    if progress.claims and progress.settled == progress.claims and not again:
        return Completion.SETTLED
    if progress.seeds < progress.target:
        return None
    if progress.retired_at_seeds is not None and progress.target <= progress.retired_at_seeds:
        return None
    return Completion.TARGET
