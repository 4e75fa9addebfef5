"""How large the next jobs are declared to be: quantiles from buckets, margins, and what volunteers can't move."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.policies.sizing import (
    LEAST_ROOM,
    MOST_MEMORY,
    WIDEN_EVERY_S,
    WIDEST,
    Bounds,
    Needs,
    Quantity,
    bounds,
    bucket,
    has_moved,
    is_too_tight,
    next_factor,
    quantile,
    upper_edge,
)
from axiomd.settings import SizingSettings

DECLARED = Bounds(fpops_est=1e10, fpops_bound=1e13, memory=5e8, disk=1e9, delay_s=7 * 86400.0)
NEEDS = Needs(budget_s=100.0, memory=2.5e8)
SETTINGS = SizingSettings()

HISTOGRAMS = st.dictionaries(st.integers(0, 400), st.integers(1, 2000), max_size=12)
SIZES = st.fixed_dictionaries(dict.fromkeys(Quantity, HISTOGRAMS))
DECLARATIONS = st.builds(Bounds, *[st.floats(1.0, 1e15) for _ in Bounds._fields])
NEEDED = st.builds(Needs, st.floats(0.0, 1e5), st.floats(0.0, 1e10))


def histogram(*values: float) -> dict[int, int]:
    return dict(Counter(map(bucket, values)))


def sizes(flops: float = 1e11, memory: float = 1e8, turnaround: float = 7200.0, results: int = 100) -> dict[Any, Any]:
    return {
        Quantity.FPOPS: histogram(*[flops] * results),
        Quantity.MEMORY: histogram(*[memory] * results),
        Quantity.TURNAROUND: histogram(*[turnaround] * results),
    }


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, 0.0),
        ([100.0], 0.5, 100.0),
        ([1.0, 100.0, 10_000.0], 0.5, 100.0),
        ([1.0] * 99 + [1e12], 0.999, 1.0),  # one liar sets nothing
        ([1.0] * 998 + [1e12] * 2, 0.999, 1e12),
        ([1.0, 1e12], 1.0, 1e12),
    ],
)
def test_a_quantile_is_the_upper_edge_of_its_bucket(values: list[float], share: float, expected: float) -> None:
    found = quantile(histogram(*values), share)
    assert found == (upper_edge(bucket(expected)) if expected else 0.0)
    assert expected <= found <= expected * 2 ** (1 / 8)


@given(st.floats(1e-6, 1e18))
def test_a_value_lies_in_its_bucket(value: float) -> None:
    assert upper_edge(bucket(value) - 1) <= value * (1 + 1e-12)
    assert value <= upper_edge(bucket(value)) * (1 + 1e-12)


CASES: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "a run's size, times the margin": (
        {"flops": 1e12},
        {"fpops_est": 1e12, "fpops_bound": 1e13, "memory": 1.5e8, "delay_s": 86400.0, "disk": 1e9},
    ),
    "never below what the budget needs on a fast host": ({"flops": 1e10}, {"fpops_est": 1e10, "fpops_bound": 1e12}),
    "memory: at most twice what the experiment declares": ({"memory": 9e9}, {"memory": 5e8}),
    "a deadline follows what hosts need": ({"turnaround": 2 * 86400.0}, {"delay_s": 6 * 86400.0}),
    "a deadline is never moved past the declared one times the margin": (
        {"turnaround": 90 * 86400.0},
        {"delay_s": 21 * 86400.0},
    ),
}


@pytest.mark.parametrize(("seen", "expected"), CASES.values(), ids=CASES)
def test_bounds_follow_the_sizes_seen(seen: dict[str, Any], expected: dict[str, float]) -> None:
    found = bounds(sizes(**seen), DECLARED, NEEDS, 1e10, SETTINGS)
    assert found is not None
    for name, value in expected.items():
        assert value <= getattr(found, name) <= value * 2 ** (1 / 8) * (1 + 1e-12), name


def test_few_results_say_nothing_of_a_size() -> None:
    few = sizes(results=SETTINGS.min_results - 1)
    assert bounds(few, DECLARED, NEEDS, 1e10, SETTINGS) is None
    # ... and where nothing came back because everything dies of its limits, the declared ones grow.
    wider = bounds(few, DECLARED, NEEDS, 1e10, SETTINGS, factor=4.0)
    assert wider == Bounds(1e10, 4e13, 5e8, 4e9, DECLARED.delay_s)
    # A quantity that few results tell of is as it was declared.
    some = sizes() | {Quantity.MEMORY: histogram(1e6), Quantity.TURNAROUND: {}}
    found = bounds(some, DECLARED, NEEDS, 1e10, SETTINGS)
    assert found is not None
    assert (found.memory, found.delay_s) == (DECLARED.memory, DECLARED.delay_s)


@given(SIZES, DECLARATIONS, NEEDED, st.floats(0, 1e11), st.floats(1, 1000), st.floats(1, 1000), st.floats(1, 64))
def test_bounds_leave_room_and_grow_with_margin_and_factor(
    seen: dict[Quantity, dict[int, int]],
    declared: Bounds,
    needs: Needs,
    fast: float,
    margin: float,
    more: float,
    factor: float,
) -> None:
    low, high = sorted((margin, more))
    tight = bounds(seen, declared, needs, fast, SizingSettings(time_margin=low))
    if tight is None:
        assert sum(seen[Quantity.FPOPS].values()) < SETTINGS.min_results
        return
    assert tight.fpops_bound >= LEAST_ROOM * tight.fpops_est
    assert tight.fpops_bound >= needs.budget_s * fast
    assert tight.delay_s >= SETTINGS.min_delay_bound_s or tight.delay_s == declared.delay_s
    if needs.memory and sum(seen[Quantity.MEMORY].values()) >= SETTINGS.min_results:
        assert tight.memory <= MOST_MEMORY * needs.memory
    wider = bounds(seen, declared, needs, fast, SizingSettings(time_margin=high))
    widened = bounds(seen, declared, needs, fast, SizingSettings(time_margin=low), factor)
    assert wider is not None
    assert widened is not None
    assert all(a <= b for a, b in zip(tight, wider, strict=True))
    assert all(a <= b for a, b in zip(tight, widened, strict=True))


def test_only_what_moved_by_more_than_a_quarter_is_worth_a_template() -> None:
    assert not has_moved(DECLARED, DECLARED._replace(fpops_est=1.2e10))
    assert has_moved(DECLARED, DECLARED._replace(fpops_est=1.3e10))
    assert has_moved(DECLARED, DECLARED._replace(delay_s=DECLARED.delay_s / 2))


@pytest.mark.parametrize(
    ("results", "died", "expected"),
    [(4, 4, False), (5, 5, True), (100, 5, False), (100, 9, True), (10_000, 100, False), (10_000, 200, True)],
)
def test_deaths_count_beyond_chance(results: int, died: int, expected: bool) -> None:
    assert is_too_tight(results, died, chance=1e-4) == expected


def test_bounds_double_once_a_day_up_to_a_limit() -> None:
    factor, at = 1.0, 0.0
    for day in range(1, 7):
        wider = next_factor(factor, at, day * WIDEN_EVERY_S)
        assert wider == 2.0**day
        factor, at = wider, day * WIDEN_EVERY_S
        assert next_factor(factor, at, at + WIDEN_EVERY_S / 2) is None
    assert factor == WIDEST
    assert next_factor(factor, at, math.inf) is None
