"""When an experiment fails beyond chance, and where it is stopped then."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from axiomd.events import Platform
from axiomd.policies.failures import EXACT_UP_TO, Cell, as_deployed, failing_places, tail
from axiomd.settings import FailureSettings

SETTINGS = FailureSettings()
HOUR = 500_000
WINDOWS, LINUX, MAC = Platform.WINDOWS, Platform.LINUX, Platform.MAC


def cell(platform: Platform, failures: int, results: int, *, hosts: int = 4, first_hour: int = HOUR) -> Cell:
    return Cell(platform, hosts, results, failures, results, failures, first_hour)


@given(st.integers(0, EXACT_UP_TO), st.integers(0, EXACT_UP_TO), st.floats(0.001, 0.999))
def test_the_tail_of_few_results_is_the_binomial_s(k: int, n: int, p: float) -> None:
    if k > n * p:
        assert tail(k, n, p) == pytest.approx(float(binom.sf(k - 1, n, p)), rel=1e-9, abs=1e-250)
    else:
        assert tail(k, n, p) == 1.0


@given(st.integers(EXACT_UP_TO + 1, 100_000), st.floats(0, 1), st.floats(0.001, 0.999))
def test_the_tail_of_many_results_is_never_called_less_likely_than_it_is(n: int, share: float, p: float) -> None:
    k = math.ceil(share * n)
    assert tail(k, n, p) >= float(binom.sf(k - 1, n, p)) * (1 - 1e-9)


@pytest.mark.parametrize(
    ("k", "n", "p", "chance"),
    [
        (0, 0, 0.3, 1.0),
        (1, 1, 0.0, 0.0),
        (5, 4, 0.3, 0.0),
        (3, 3, 1.0, 1.0),
        (10, 10, 0.3, float(Fraction(3, 10) ** 10)),
    ],
)
def test_the_tail_at_its_ends(k: int, n: int, p: float, chance: float) -> None:
    assert tail(k, n, p) == pytest.approx(chance)


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        pytest.param([cell(LINUX, 10, 10)], [None], id="ten of ten"),
        pytest.param([cell(LINUX, 3, 3)], [], id="three unlucky ones"),
        pytest.param([cell(LINUX, 9, 30)], [], id="as many as it may have"),
        pytest.param([cell(LINUX, 10, 20)], [], id="half of twenty may be chance"),
        pytest.param([cell(LINUX, 100, 200)], [None], id="half of two hundred is not"),
        pytest.param([cell(WINDOWS, 30, 30), cell(LINUX, 0, 40)], [WINDOWS], id="one platform, the other does well"),
        pytest.param([cell(WINDOWS, 30, 30), cell(LINUX, 0, 3)], [None], id="of the other is hardly anything known"),
        pytest.param([cell(WINDOWS, 30, 30), cell(LINUX, 40, 40)], [None], id="all"),
        pytest.param(
            [cell(WINDOWS, 30, 30), cell(LINUX, 40, 40), cell(MAC, 1, 20)], [WINDOWS, LINUX], id="two of three"
        ),
        pytest.param([cell(WINDOWS, 4, 4), cell(LINUX, 4, 4), cell(MAC, 4, 4)], [None], id="a few on each"),
        pytest.param([cell(LINUX, 500, 500)._replace(hosts=9, counted=30, counted_failures=5)], [], id="a broken host"),
        pytest.param(
            [cell(LINUX, 20, 20, hosts=1)._replace(counted=5, counted_failures=5)], [], id="one host only, yet"
        ),
        pytest.param(
            [cell(LINUX, 20, 20, hosts=1, first_hour=HOUR - 1)._replace(counted=5, counted_failures=5)],
            [None],
            id="one host only, for more than an hour",
        ),
        pytest.param([], [], id="nothing"),
    ],
)
def test_where_an_experiment_is_stopped(cells: list[Cell], where: list[Platform | None]) -> None:
    assert [place.platform for place in failing_places(cells, SETTINGS, HOUR)] == where


def test_an_experiment_at_the_bar_is_hardly_ever_stopped_though_one_looks_after_each_result() -> None:
    """At one look the chance is settings.chance at most; over a thousand looks, a thousand times that at most."""
    import random  # noqa: PLC0415 - here alone

    stopped = 0
    for seed in range(200):
        draw, failures = random.Random(seed).random, 0
        for results in range(1, 301):
            failures += draw() < SETTINGS.bar
            if failures >= SETTINGS.min_failures and failures > 0.4 * results:
                stopped += tail(failures, results, SETTINGS.bar) <= SETTINGS.chance
    assert stopped <= 1


def test_results_of_one_kind_are_those_of_the_jobs_that_were_made() -> None:
    cpu, gpu = [cell(LINUX, 1, 2)], [cell(LINUX, 2, 2)]
    one_kind = {("a", 1, False): cpu}
    assert as_deployed(one_kind, {"a": True}) == {("a", 1, True): cpu}
    assert as_deployed(one_kind, {}) == one_kind
    both = {("a", 1, False): cpu, ("a", 1, True): gpu}
    assert as_deployed(both, {"a": True}) == both
