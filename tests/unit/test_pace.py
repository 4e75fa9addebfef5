"""The pace of a handler: batches become as large as the time allows for which BOINC's rows may be held."""

from __future__ import annotations

import random

import pytest

from axiomd.store.pace import Pace


def simulate(most: int, fixed_s: float, row_s: float, spread: float) -> tuple[Pace, list[float]]:
    """Run full batches on a made-up machine; how long each of the last ones held its locks."""
    rng, pace, held = random.Random(7), Pace(most), []
    for _ in range(3000):
        seconds = (fixed_s + row_s * pace.size) * rng.lognormvariate(0, spread)
        held.append(seconds)
        pace.record(seconds, pace.size)
    return pace, sorted(held[500:])


@pytest.mark.parametrize(
    ("fixed_s", "row_s"),
    [
        pytest.param(0.002, 30e-6, id="a quick machine"),
        pytest.param(0.010, 100e-6, id="a slow one"),
        pytest.param(0.005, 300e-6, id="a very slow one"),
    ],
)
def test_one_in_a_hundred_holds_its_locks_for_less_than_a_tenth_of_a_second(fixed_s: float, row_s: float) -> None:
    pace, held = simulate(100_000, fixed_s, row_s, spread=0.25)
    assert held[len(held) * 99 // 100] < 0.1
    assert held[len(held) // 2] > 0.02, "batches are needlessly small"
    assert pace.size > 50


def test_it_never_takes_more_than_the_settings_allow() -> None:
    pace, _ = simulate(300, 0.0, 1e-6, spread=0.1)
    assert pace.size == 300


def test_where_nothing_helps_it_goes_on_with_small_batches() -> None:
    pace, _ = simulate(5000, 1.0, 1e-3, spread=0.1)
    assert pace.size == 50


def test_a_setting_below_the_smallest_is_heeded() -> None:
    pace, _ = simulate(7, 1.0, 1e-3, spread=0.1)
    assert pace.size == 7


def test_a_small_batch_that_was_quick_says_nothing_of_large_ones() -> None:
    pace = Pace(5000)
    for _ in range(100):
        pace.record(0.001, 3)
    assert pace.size == 200


def test_a_handler_that_holds_no_row_of_boinc_grows_to_its_most() -> None:
    pace = Pace(5000)
    for _ in range(100):
        pace.record(0.0, pace.size)
    assert pace.size == 5000
