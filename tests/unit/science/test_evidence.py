"""The e-process and the confidence sequence: against hand, against integration, and over histories with many looks."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from axiomd.science.evidence import e_value, fewest_successes, log_e_value, median_interval

BY_HAND = {(0, 0): 1, (0, 1): 1 / 2, (1, 1): 3 / 2, (0, 2): 1 / 3, (1, 2): 2 / 3, (2, 2): 7 / 3, (3, 3): 15 / 4}


def exact(successes: int, results: int) -> Fraction:
    """E(k, n) in whole numbers."""
    ways = sum(math.comb(results + 1, j) for j in range(successes + 1))
    return Fraction(ways, (results + 1) * math.comb(results, successes))


def test_small_cases_by_hand() -> None:
    assert {key: e_value(*key) for key in BY_HAND} == pytest.approx(BY_HAND)


def test_the_closed_form_is_the_integral_of_the_mixture() -> None:
    for results in (1, 3, 10, 40, 120):
        for successes in {0, results // 3, results // 2, (results + 1) // 2, 3 * results // 4, results}:

            def ratio(q: float, k: int = successes, n: int = results) -> float:
                return 2 * 2.0**n * q**k * (1 - q) ** (n - k)

            integral, _ = integrate.quad(ratio, 0.5, 1, epsabs=0, epsrel=1e-10, limit=200)
            assert e_value(successes, results) == pytest.approx(integral, rel=1e-8)


def test_it_is_a_supermartingale_exactly_and_what_is_computed_is_that() -> None:
    """Whatever happened so far, one more fair toss doesn't raise it on average, and a worse one lowers it."""
    for results in range(61):
        for successes in range(results + 1):
            now, up, down = (exact(successes + more, results + one) for more, one in ((0, 0), (1, 1), (0, 1)))
            assert (up + down) / 2 == now
            assert up > down  # so that a chance below 1/2 lowers the mean
            assert log_e_value(successes, results) == pytest.approx(math.log(now), abs=1e-11)


@pytest.mark.parametrize("results", [1_000, 100_000, 1_000_000])
def test_large_numbers_neither_overflow_nor_lose_their_digits(results: int) -> None:
    for successes in (0, results // 4, results // 2, results // 2 + round(3 * results**0.5), results):
        found = log_e_value(successes, results)
        ways = math.lgamma(results + 1) - math.lgamma(successes + 1) - math.lgamma(results - successes + 1)
        tail = stats.binom.logcdf(successes, results + 1, 0.5)
        if math.isfinite(tail):  # scipy's underflows far from the middle
            assert found == pytest.approx((results + 1) * math.log(2) - math.log(results + 1) - ways + tail, abs=1e-7)
        assert math.isfinite(found)
    assert e_value(results, results) == math.inf or results == 1_000


@pytest.mark.parametrize(("successes", "results"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_counts_are_refused(successes: int, results: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        e_value(successes, results)


@given(results=st.integers(0, 3000), bar=st.floats(1.5, 1e9))
def test_the_bar_is_reached_from_the_fewest_successes_on(results: int, bar: float) -> None:
    fewest = fewest_successes(results, math.log(bar))
    assert fewest > results / 2
    assert fewest == results + 1 or log_e_value(fewest, results) >= math.log(bar)
    assert log_e_value(fewest - 1, results) < math.log(bar)


@given(values=st.lists(st.integers(-4, 4), max_size=60), rate=st.sampled_from([0.5, 0.2, 0.05]))
def test_the_interval_is_what_neither_e_process_rejects(values: list[int], rate: float) -> None:
    low, high = median_interval(sorted(map(float, values)), rate)
    assert low <= high
    for c in (-4.5 + half / 2 for half in range(19)):
        above, below = sum(value > c for value in values), sum(value < c for value in values)
        rejected = max(e_value(above, len(values)), e_value(below, len(values))) >= 2 / rate
        assert rejected == (not low <= c <= high)


# Histories: a look after each of 300 results. What is asked of the sequence is only whether it ever misses the median.

HISTORIES, LOOKS = 2000, 300
Draw = Callable[[np.random.Generator, tuple[int, int]], npt.NDArray[np.float64]]
SHAPES: dict[str, Draw] = {
    "symmetric": lambda rng, size: rng.normal(size=size),
    "skewed": lambda rng, size: rng.exponential(size=size) - math.log(2),
    "heavy-tailed": lambda rng, size: rng.standard_cauchy(size=size),
    "whole numbers, with ties": lambda rng, size: rng.integers(-2, 3, size=size).astype(float),
    "spread changes over time": lambda rng, size: rng.normal(size=size) * (1 + np.arange(size[1]) % 7),
}


@lru_cache(maxsize=8)
def boundary(bar: float) -> npt.NDArray[np.int64]:
    """The fewest successes that reach a bar, after each result."""
    return np.array([fewest_successes(results, math.log(bar)) for results in range(1, LOOKS + 1)])


def ever(successes: npt.NDArray[np.bool_], bar: float) -> npt.NDArray[np.bool_]:
    """Which histories reach the bar at any look."""
    return np.asarray((np.cumsum(successes, axis=1, dtype=np.int32) >= boundary(bar)).any(axis=1))


@pytest.mark.parametrize("shape", SHAPES)
def test_without_an_effect_one_claim_is_ever_settled_wrongly_no_more_often_than_stated(shape: str) -> None:
    rate = 0.05
    margins = SHAPES[shape](np.random.default_rng(7), (HISTORIES, LOOKS))
    wrong = ever(margins > 0, 2 / rate) | ever(margins < 0, 2 / rate)
    assert wrong.mean() <= rate
    # The same looks with a test for a fixed sample: what this is for.
    counts = np.cumsum(margins > 0, axis=1)
    fixed = stats.binom.isf(rate / 2, np.arange(1, LOOKS + 1), 0.5)
    if shape == "symmetric":
        assert wrong.any()  # the test can fail
        assert (counts > fixed).any(axis=1).mean() > 2 * rate


def test_in_a_family_of_claims_hardly_any_history_has_one_settled_wrongly() -> None:
    rate, claims = 0.05, 100
    rng, wrong = np.random.default_rng(8), np.zeros(HISTORIES, dtype=bool)
    fewest = boundary(2 * claims / rate).astype(np.int16)
    most = np.arange(1, LOOKS + 1, dtype=np.int16) - fewest
    for _ in range(claims):
        above = np.cumsum(rng.integers(0, 2, size=(HISTORIES, LOOKS), dtype=np.int8), axis=1, dtype=np.int16)
        wrong |= ((above >= fewest) | (above <= most)).any(axis=1)
    assert wrong.any()  # the test can fail
    assert wrong.mean() <= rate


@pytest.mark.parametrize(("share", "bar", "seeds"), [(1.0, 7200, 16), (0.9, 7200, 28), (0.75, 7200, 80), (0.9, 40, 13)])
def test_an_effect_is_found_soon(share: float, bar: float, seeds: int) -> None:
    """Half of the histories are settled after so many seeds, where each seed supports the claim with this chance."""
    supports = np.random.default_rng(9).random((500, LOOKS)) < share
    reached = np.cumsum(supports, axis=1) >= boundary(bar)
    assert reached.any(axis=1).mean() > 0.9
    assert np.median(reached.argmax(axis=1)[reached.any(axis=1)]) + 1 <= seeds
