from __future__ import annotations

import numpy as np
import pytest

from experiments.edge_of_chaos import (
    DELAYS,
    RADII,
    critical_radius,
    growths,
    memories,
    memory_capacity,
    peak_radius,
    reservoir,
)
from experiments.kit.measures import lyapunov_exponent

RNG = np.random.default_rng


def test_a_reservoir_has_spectral_radius_one() -> None:
    recurrent, entry = reservoir(1, 30, 0)
    assert np.abs(np.linalg.eigvals(recurrent)).max() == pytest.approx(1, abs=1e-5)
    assert entry.shape == (1, 30)


def test_growth_is_that_of_a_small_perturbation() -> None:
    recurrent, entry = reservoir(1, 20, 0)
    u = RNG(1).standard_normal(3).astype(np.float32)
    start = RNG(2).standard_normal((1, 1, 20)).astype(np.float32)
    total = np.prod(growths(recurrent[np.newaxis], entry[np.newaxis], u, start), axis=0)[0]

    def end(x: np.ndarray, radius: float) -> np.ndarray:
        for now in u.astype(np.float64):
            x = np.tanh(radius * x @ recurrent.astype(np.float64) + entry * now)
        return x

    for column in (4, 12, 25):
        x, small = start[0].astype(np.float64), 1e-6 * start[0]
        change = end(x + small, RADII[column]) - end(x, RADII[column])
        # The first perturbation is as long as the state it starts from, and is set to length 1 after the first step.
        assert total[column] == pytest.approx(np.linalg.norm(change) / 1e-6, rel=1e-3)


def test_without_input_the_exponent_below_radius_one_is_the_logarithm_of_the_radius() -> None:
    recurrent, entry = reservoir(1, 20, 0)
    start = RNG(2).standard_normal((1, 1, 20)).astype(np.float32)
    growth = growths(recurrent[np.newaxis], 0 * entry[np.newaxis], np.zeros(600, dtype=np.float32), start)
    exponents = lyapunov_exponent(growth[300:])[0]
    np.testing.assert_allclose(exponents[1:8], np.log(RADII[1:8]), atol=0.02)


@pytest.mark.parametrize(
    ("exponents", "radius"),
    [
        (np.array(RADII) - 1.23, 1.23),
        (np.where(np.array(RADII) < 0.5, 1, np.array(RADII) - 1.23), 1.23),
        (np.ones(30), 0.1),
        (-np.ones(30), 3.0),
    ],
    ids=["between two radii", "for the last time", "all chaotic", "none chaotic"],
)
def test_critical_radius(exponents: np.ndarray, radius: float) -> None:
    assert critical_radius(exponents) == pytest.approx(radius)


def test_a_delay_line_remembers_as_many_steps_as_it_has_units() -> None:
    u = RNG(1).standard_normal(2020).astype(np.float32)
    delays = np.lib.stride_tricks.sliding_window_view(u, 20)
    assert memory_capacity(delays[:, :7], delays, 1500) == pytest.approx(7, abs=0.3)


def test_a_network_recalls_its_last_inputs() -> None:
    u = RNG(1).standard_normal(DELAYS + 900).astype(np.float32)
    recurrent, entry = reservoir(1, 20, 0)
    capacity = memories(recurrent, 0.1 * entry, u, 100, 600)
    assert len(capacity) == len(RADII)
    assert all(1 < steps <= 20 for steps in capacity[:10])  # no more than it has units


def test_the_peak_is_the_vertex_of_a_parabola() -> None:
    assert peak_radius(-((np.array(RADII) - 1.04) ** 2)) == pytest.approx(1.04)
    assert peak_radius(np.array(RADII)) == 3.0
