"""Recent average credit against BOINC's own way: update_average of lib/util.cpp, applied result by result."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.policies.rac import updated_average

DAY = 86_400.0
WEEK = 7 * DAY
NOW = 1_772_460_000.0


def boincs_update_average(now: float, started: float, work: float, average: float, at: float) -> tuple[float, float]:
    """BOINC's function, line by line after lib/util.cpp; gives the new average and its time."""
    if at:
        diff = max(now - at, 0.0)
        weight = math.exp(-diff * math.log(2) / WEEK)
        average *= weight
        if 1.0 - weight > 1e-6:
            average += (1.0 - weight) * (work / (diff / DAY))
        else:
            average += math.log(2) * work * DAY / WEEK
    elif work:
        average = work / ((now - started) / DAY)
    return average, now


def one_by_one(works: list[float], average: float, at: float, started: float) -> float:
    for work in works:
        average, at = boincs_update_average(NOW, started, work, average, at)
    return average


credit = st.floats(0.001, 1000)
works_of_a_batch = st.lists(credit, min_size=1, max_size=50)
an_average = st.floats(0, 1e6)
some_while = st.one_of(st.floats(0, 2.0), st.floats(0, 100 * DAY))


@given(credit, an_average, some_while)
def test_a_single_result_gives_what_boinc_gives(work: float, average: float, passed: float) -> None:
    theirs, _ = boincs_update_average(NOW, NOW - 1000, work, average, NOW - passed)
    assert math.isclose(updated_average(average, NOW - passed, work, NOW, NOW - 1000), theirs, rel_tol=1e-9)


@given(works_of_a_batch, an_average, some_while)
def test_a_batch_differs_from_one_by_one_by_less_than_its_docstring_says(
    works: list[float], average: float, passed: float
) -> None:
    """Of the batch's own term, by less than (d ln2 / H) / 2, d being the time since the average was computed."""
    batch = updated_average(average, NOW - passed, sum(works), NOW, NOW - 1000)
    single = one_by_one(works, average, NOW - passed, NOW - 1000)
    term = sum(works) * math.log(2) * DAY / WEEK
    relative = passed * math.log(2) / WEEK / 2
    rounding = 1e-5 * term + 1e-9 * average
    assert batch <= single + rounding
    assert single - batch <= min(relative, 1.0) * term + rounding


@given(works_of_a_batch, st.floats(1.0, 30 * DAY))
def test_the_first_average_is_the_batch_over_the_time_that_it_took(works: list[float], took: float) -> None:
    """BOINC's own formula for one result that is worth the whole batch."""
    theirs, _ = boincs_update_average(NOW, NOW - took, sum(works), 0.0, 0.0)
    assert math.isclose(updated_average(0.0, 0.0, sum(works), NOW, NOW - took), theirs, rel_tol=1e-9)


@pytest.mark.parametrize("took", [0.0, -100.0, 0.5])
def test_a_first_average_of_no_time_counts_one_second(took: float) -> None:
    assert updated_average(0.0, 0.0, 2.0, NOW, NOW - took) == 2.0 * DAY


@pytest.mark.parametrize("weeks", [1, 2, 3])
def test_without_work_the_average_halves_every_week(weeks: int) -> None:
    assert math.isclose(updated_average(80.0, NOW - weeks * WEEK, 0.0, NOW, 0.0), 80.0 / 2**weeks, rel_tol=1e-12)


def test_without_work_there_is_no_first_average() -> None:
    assert updated_average(0.0, 0.0, 0.0, NOW, NOW - 1000) == 0.0


def test_an_average_from_the_future_does_not_grow_by_decaying_backwards() -> None:
    assert math.isclose(updated_average(80.0, NOW + DAY, 0.0, NOW, 0.0), 80.0)


@given(an_average, some_while, works_of_a_batch)
def test_an_average_is_finite_and_never_negative(average: float, passed: float, works: list[float]) -> None:
    new = updated_average(average, NOW - passed, sum(works), NOW, NOW)
    assert math.isfinite(new)
    assert new >= 0


def test_a_steady_rate_becomes_the_average() -> None:
    average, at = 0.0, NOW - 100 * DAY
    average = updated_average(0.0, 0.0, 24.0, at, at - DAY)
    for hour in range(1, 100 * 24 + 1):
        then = NOW - 100 * DAY + hour * 3600
        average, at = updated_average(average, at, 1.0, then, at), then
    assert math.isclose(average, 24.0, rel_tol=1e-6)
