"""What becomes of a finished result at the harvest, and what its measurement adds to tallies and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from axiomd.policies.credit import Ending
from axiomd.policies.measurement import Failure, Measurement
from axiomd.policies.sizing import Quantity, bucket
from axiomd.settings import HOUR_S

MOST_FINGERPRINTS: Final = 1000
"""Failures of an experiment's version that are told apart; further ones count as one."""


class Fate(StrEnum):
    """What becomes of a finished result."""

    WAIT = "wait"
    """It isn't final."""
    SKIP = "skip"
    """It says nothing of its experiment, neither good nor bad."""
    READ = "read"
    """Its output is read."""
    FAILED = "failed"
    """BOINC calls it an error, or its validator calls it invalid."""


def fate(ending: Ending, *, ours: bool, cancelled: bool, ended_by_axiomd: bool) -> Fate:
    """Decide what becomes of a result.

    Args:
        ending: how it ended.
        ours: it is of an app that axiomd looks after, of a host that is there, and named as an experiment's.
        cancelled: its workunit was cancelled.
        ended_by_axiomd: it was axiomd that cancelled it.

    """
    if ending is Ending.NOT_FINAL:
        return Fate.WAIT
    if not ours or ending in (Ending.NOT_NEEDED, Ending.ABORTED_BY_PROJECT):
        return Fate.SKIP
    if cancelled and not (ended_by_axiomd and ending is Ending.VALID):
        return Fate.SKIP
    return Fate.READ if ending is Ending.VALID else Fate.FAILED


class FailureCount(NamedTuple):
    """Failures of one fingerprint in a batch. Times are Unix seconds."""

    experiment: str
    version: int
    failure: Failure
    results: int
    first_at: float
    last_at: float

    @property
    def experiment_key(self) -> tuple[str, int]:
        """The experiment's name and version."""
        return self.experiment, self.version

    def plus(self, other: FailureCount) -> FailureCount:
        """Add up the failures of two of the same fingerprint."""
        return self._replace(
            results=self.results + other.results,
            first_at=min(self.first_at, other.first_at),
            last_at=max(self.last_at, other.last_at),
        )


def beyond(
    unknown: Iterable[str], counts: Mapping[str, FailureCount], there: Mapping[tuple[str, int], int]
) -> set[str]:
    """Those of the fingerprints not seen before that are one too many for their experiment; the first seen go first.

    there: how many fingerprints each experiment has, by name and version.
    """
    number = dict(there)
    too_many = set()
    for one in sorted(unknown, key=lambda one: (counts[one].first_at, one)):
        experiment = counts[one].experiment_key
        number[experiment] = number.get(experiment, 0) + 1
        if number[experiment] > MOST_FINGERPRINTS:
            too_many.add(one)
    return too_many


class Tally(NamedTuple):
    """How results of an hour, an experiment and a host ended; a row of axiomd_tally."""

    hour: int
    experiment: str
    version: int
    host_id: int
    gpu: int
    platform: int
    results: int = 0
    failures: int = 0
    limits: int = 0
    seconds: float = 0.0


def tallies(measurements: Iterable[Measurement]) -> list[Tally]:
    """Count results by hour, experiment and host, in the order of the table's key."""
    found: dict[tuple[int, str, int, int, bool], Tally] = {}
    for m in measurements:
        key = int(m.received_at // HOUR_S), m.experiment, m.version, m.host_id, m.gpu
        tally = found.get(key) or Tally(*key[:4], int(m.gpu), int(m.platform))
        good = m.outcome.is_good
        found[key] = tally._replace(
            results=tally.results + 1,
            failures=tally.failures + (not good),
            limits=tally.limits + m.died_of_limit,
            seconds=tally.seconds + (m.elapsed_s if good else 0.0),
        )
    return [found[key] for key in sorted(found)]


def sizes(measurements: Iterable[Measurement], max_fpops: float) -> list[tuple[str, int, int, int, int, int]]:
    """Count how large the jobs of good results were: rows of axiomd_size, in the order of the table's key.

    A host's speed is a claim: no more than `max_fpops` (1/s) of it counts.
    """
    found: dict[tuple[str, int, int, int, int], int] = {}
    for m in measurements:
        if not m.outcome.is_good:
            continue
        for quantity, size in (
            (Quantity.FPOPS, m.elapsed_s * min(m.fpops, max_fpops)),
            (Quantity.MEMORY, m.memory),
            (Quantity.TURNAROUND, m.turnaround_s),
        ):
            if 1 <= size < math.inf:
                key = m.experiment, m.version, int(m.gpu), int(quantity), bucket(size)
                found[key] = found.get(key, 0) + 1
    return [(*key, found[key]) for key in sorted(found)]
