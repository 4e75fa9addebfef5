"""How large the next jobs are declared to be, from how large the last ones turned out.

What volunteers' machines claim goes in: so quantiles count and never the largest value, and what they say of memory
counts for no more than twice what the experiment declares. Too tight a bound ends good work, too loose a one only lets
a run that hangs go on for longer: every doubt widens. Memory and disk are what a host must have to be sent a job;
BOINC's client ends a run for the time and the disk that it takes, and for more memory than the volunteer allows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from axiomd.policies.failures import tail
from axiomd.settings import DAY_S, SizingSettings

TAIL: Final = 0.999
"""Share of the results that a bound is to leave in peace, before any margin."""
LEAST_ROOM: Final = 10.0
"""rsc_fpops_bound is at least so many times rsc_fpops_est: BOINC's client projects run times off by such factors."""
MOST_MEMORY: Final = 2.0
"""Times the memory that the experiment declares."""
MOVED: Final = 0.25
"""Bounds that moved by less than this share aren't worth a new template."""
WIDEST: Final = 64.0
"""Bounds are made wider by this factor at most."""
WIDEN_EVERY_S: Final = DAY_S
"""Seconds from one doubling to the next: jobs that were sent before keep their bounds, and may die of them still."""
FEWEST_DEATHS: Final = 5
MOST_DEATHS: Final = 0.01
"""Share of an experiment's results that may die of limits."""


class Quantity(IntEnum):
    """What is known of a result's size; axiomd_size.quantity."""

    FPOPS = 1
    """Seconds of its run times the speed of a core that its host claims."""
    MEMORY = 2
    """Bytes that it held at most."""
    TURNAROUND = 3
    """Seconds from sent to received."""


Histogram = Mapping[int, int]
"""How many results lie in each bucket; bucket b holds the values from 2^(b/8) to 2^((b+1)/8)."""


class Bounds(NamedTuple):
    """What a job is declared to take: floating-point operations, bytes of memory and disk, seconds to its deadline."""

    fpops_est: float
    fpops_bound: float
    memory: float
    disk: float
    delay_s: float


class Needs(NamedTuple):
    """What an experiment says of itself: seconds after which a run ends by itself, and bytes. 0: not known."""

    budget_s: float
    memory: float


def bucket(value: float) -> int:
    """Bucket of a value above 0."""
    return math.floor(8 * math.log2(value))


def upper_edge(number: int) -> float:
    """Where a bucket ends."""
    return float(2 ** ((number + 1) / 8))


def quantile(histogram: Histogram, share: float) -> float:
    """Value that this share of the results stays below, as the upper edge of its bucket; 0 without any result.

    Below a share of 1 the largest value of several is never the one: nobody sets a bound alone.
    """
    results = sum(histogram.values())
    left = math.floor(share * (results - 1)) + 1
    for number in sorted(histogram):
        left -= histogram[number]
        if left <= 0:
            return upper_edge(number)
    return 0.0


def bounds(
    sizes: Mapping[Quantity, Histogram],
    declared: Bounds,
    needs: Needs,
    fast_fpops: float,
    settings: SizingSettings,
    factor: float = 1.0,
) -> Bounds | None:
    """Bounds for the next jobs; None if what the project's template declares is all that is known.

    declared: by the project's template. fast_fpops: speed of a core of the fleet's fast hosts (1/s), on which the
    run's own budget must end it before the bound does. factor: how much wider than usual, after results died of limits.
    """
    flops = sizes.get(Quantity.FPOPS, {})
    if sum(flops.values()) < settings.min_results:
        return _wider(declared, needs, factor) if factor > 1 else None
    estimate = quantile(flops, 0.5)
    bound = quantile(flops, TAIL) * settings.time_margin * factor
    return Bounds(
        fpops_est=estimate,
        fpops_bound=max(bound, LEAST_ROOM * estimate, needs.budget_s * fast_fpops),
        memory=_memory(sizes.get(Quantity.MEMORY, {}), declared, needs, settings, factor),
        disk=declared.disk * factor,
        delay_s=_delay(sizes.get(Quantity.TURNAROUND, {}), declared, settings),
    )


def has_moved(before: Bounds, after: Bounds) -> bool:
    """Whether bounds changed by so much that a new template is worth it."""
    return any(abs(new - old) > MOVED * old for old, new in zip(before, after, strict=True))


def is_too_tight(results: int, died: int, chance: float) -> bool:
    """Whether so many of the results died of limits that it is no accident, at this chance of being one."""
    return died >= FEWEST_DEATHS and tail(died, results, MOST_DEATHS) <= chance


def next_factor(factor: float, widened_at: float, now: float) -> float | None:
    """How wide the bounds become of an experiment whose results die of them; None if they stay for now."""
    if factor >= WIDEST or now - widened_at < WIDEN_EVERY_S:
        return None
    return min(max(factor, 1.0) * 2, WIDEST)


def _wider(declared: Bounds, needs: Needs, factor: float) -> Bounds:
    """Too few results to know their sizes, and they die of limits: what is declared, times the factor."""
    memory = max(declared.memory, needs.memory)
    return declared._replace(
        fpops_bound=max(declared.fpops_bound, declared.fpops_est) * factor,
        memory=min(memory * factor, max(memory, MOST_MEMORY * needs.memory)) if needs.memory else memory * factor,
        disk=declared.disk * factor,
    )


def _memory(seen: Histogram, declared: Bounds, needs: Needs, settings: SizingSettings, factor: float) -> float:
    """Few results say what they held (a client of another system can't): the declared need counts then."""
    if sum(seen.values()) < settings.min_results:
        return max(needs.memory, declared.memory)
    wanted = quantile(seen, TAIL) * settings.memory_margin * factor
    return min(wanted, MOST_MEMORY * needs.memory) if needs.memory else wanted


def _delay(seen: Histogram, declared: Bounds, settings: SizingSettings) -> float:
    """Never past the declared delay times the margin: those who report late would move the deadline for ever."""
    if sum(seen.values()) < settings.min_results:
        return declared.delay_s
    wanted = quantile(seen, TAIL) * settings.delay_margin
    return max(min(wanted, declared.delay_s * settings.delay_margin), settings.min_delay_bound_s)
