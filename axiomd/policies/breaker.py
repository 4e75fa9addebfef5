"""A circuit breaker for each host: when it opens, for how long, and what its probe says.

Closed: the host gets jobs. Open: it gets none until `until_at`. Half open: one job, the probe, decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from axiomd.events import Platform
from axiomd.policies.failures import tail
from axiomd.settings import HOUR_S, FailureSettings

GRACE_S: Final = HOUR_S
"""A probe that is late by more than this has failed."""
STORM_SHARE: Final = 0.25
"""If more than this share of the live hosts begins to fail at once, the server is the patient."""


class State(IntEnum):
    """axiomd_breaker.state."""

    CLOSED = 0
    """It was open; what the host did up to the hour of its closing doesn't count."""
    OPEN = 1
    HALF_OPEN = 2


class BreakerRow(NamedTuple):
    """A host's breaker. Times are Unix seconds."""

    host_id: int
    state: State
    since: float
    until_at: float
    trips: int
    """How often it opened, without a clean window in between."""
    reason: str
    probe: str = ""
    """Name of the workunit that is the probe."""


class Work(NamedTuple):
    """What somebody did: an experiment and version, on CPUs or GPUs of a platform."""

    experiment: str
    version: int
    gpu: bool
    platform: Platform


class Others(NamedTuple):
    """How results of one kind of work ended: the tally has a row for each hour of each host."""

    rows: int
    shares: float
    """Sum of the rows' shares of failures."""


class Done(NamedTuple):
    """How a host's results of one kind of work ended."""

    host_id: int
    work: Work
    results: int
    failures: int
    own: Others
    """Its rows of the tally."""


class Failing(NamedTuple):
    """A host that fails more often than others do."""

    host_id: int
    results: int
    failures: int


def failing_hosts(
    done: Iterable[Done],
    fleet: Mapping[Work, Others],
    stopped: Iterable[tuple[str, int, bool]],
    settings: FailureSettings,
) -> list[Failing]:
    """Hosts whose failures are more than what other hosts have with the same work would explain, and above the bar.

    The others' share is the mean over the hours of hosts of the same platform (of any, where there is none), each one
    vote: a host that fails by the hundred doesn't speak for the fleet. One success and one failure are added, which
    matters where the others are few. Work that fails for most others, that is stopped, or that nobody else did, says
    nothing of a host. The failures of a host are a sum of trials with different chances; no such sum has a heavier tail
    than the binomial of their mean share (Hoeffding, Ann. Math. Statist. 27 (1956) 713), which policies/failures.tail
    bounds.

    Args:
        done: what the hosts in question did.
        fleet: what all hosts did together, those in question among them.
        stopped: (experiment, version, GPU) that are stopped somewhere.
        settings: the bar, the least number of failures, and what passes for chance.

    """
    anywhere: dict[tuple[str, int, bool], Others] = defaultdict(lambda: Others(0, 0.0))
    for work, some in fleet.items():
        before = anywhere[work[:3]]
        anywhere[work[:3]] = Others(before.rows + some.rows, before.shares + some.shares)
    no_evidence = frozenset(stopped)
    sums: dict[int, tuple[int, int, float]] = {}
    for host_id, work, results, failures, own in done:
        if work[:3] in no_evidence or not results:
            continue
        share = _share_of_others(fleet.get(work), own)
        if share is None:
            share = _share_of_others(anywhere.get(work[:3]), own)
        if share is not None and share <= 0.5:
            so_far = sums.get(host_id, (0, 0, 0.0))
            sums[host_id] = (so_far[0] + results, so_far[1] + failures, so_far[2] + results * share)
    return [
        Failing(host_id, results, failures)
        for host_id, (results, failures, expected) in sorted(sums.items())
        if failures >= max(settings.min_failures, settings.bar * results)
        and tail(failures, results, expected / results) <= settings.chance
    ]


def _share_of_others(all_: Others | None, own: Others) -> float | None:
    """Share of failures of the other hosts; None if there is no other."""
    if all_ is None or all_.rows <= own.rows:
        return None
    return (1 + max(0.0, all_.shares - own.shares)) / (2 + all_.rows - own.rows)


def is_storm(failing: int, live: int) -> bool:
    """Whether so many hosts begin to fail together that it can't be them."""
    return failing > max(1.0, STORM_SHARE * live)


def opened(
    host_id: int, before: BreakerRow | None, reason: str, settings: FailureSettings, now: float, *, longer: bool = True
) -> BreakerRow:
    """Open a breaker; each time longer, unless that is not the host's fault."""
    trips = before.trips if before else 0
    if before and before.state is State.CLOSED and now - before.since > settings.window_s:
        trips = 0  # it did well for a whole window
    trips = max(1, trips + longer)
    pause_s = min(settings.pause_s * 2.0 ** min(trips - 1, 60), settings.max_pause_s)
    return BreakerRow(host_id, State.OPEN, now, now + pause_s, trips, reason)


def closed(before: BreakerRow, now: float) -> BreakerRow:
    """Close a breaker; it is remembered how often it opened."""
    return before._replace(state=State.CLOSED, since=now, until_at=0.0, probe="")


class Probe(NamedTuple):
    """What is known of a host's probe."""

    there: bool
    """Whether its workunit exists."""
    intended: bool = False
    """Whether it is still to be made."""
    cancelled: bool = False
    deadline: float = 0.0
    """When it ought to be back (Unix seconds)."""
    good: bool | None = None
    """What the harvest says of its result; None: nothing yet."""


class Verdict(Enum):
    """What a probe says of its host."""

    GOOD = "good"
    BAD = "bad"
    """Its result is a failure, or never came."""
    NONE = "none"
    """It was cancelled, or never made: another is needed."""


def judge(probe: Probe, now: float) -> Verdict | None:
    """What a probe says; None while it is under way."""
    if probe.good:
        return Verdict.GOOD
    if not probe.there:
        return None if probe.intended else Verdict.NONE
    if probe.cancelled:
        return Verdict.NONE
    return Verdict.BAD if probe.good is False or now > probe.deadline + GRACE_S else None


def reason_of(counts: Sequence[tuple[str, int]]) -> str:
    """Say why a host fails: `memory (7 of 9), download (2)`, the most frequent reason first."""
    total = sum(count for _, count in counts)
    ordered = sorted(counts, key=lambda item: (-item[1], item[0]))
    words = [
        f"{reason} ({count} of {total})" if not i else f"{reason} ({count})"
        for i, (reason, count) in enumerate(ordered)
    ]
    return ", ".join(words)
