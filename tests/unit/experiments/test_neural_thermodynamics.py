from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.kit.networks import gradients, new_networks
from experiments.neural_thermodynamics import CLASSES, binder_cumulant, critical, first_passage, gradient_variance

RNG = np.random.default_rng


def test_the_variance_of_the_gradient_is_that_over_single_points() -> None:
    rng = RNG(1)
    networks = new_networks(rng, 2, (3, 4, 4, CLASSES))
    x: Any = rng.normal(size=(30, 3)).astype(np.float32)
    y = rng.integers(CLASSES, size=30)
    by_point = []
    for point in range(30):
        parts = gradients(networks, x[np.newaxis, point : point + 1], y[np.newaxis, point : point + 1])
        by_point.append(np.concatenate([part.reshape(2, -1) for layer in parts for part in layer], axis=1))
    expected = np.var(by_point, axis=0).sum(axis=-1)
    assert gradient_variance(networks, (x, y)) == pytest.approx(expected, rel=1e-4)


def test_a_value_is_interpolated_to_where_the_loss_first_passes_the_target() -> None:
    losses = np.array([[2.0, 2.0, 2.0], [1.0, 1.5, 1.2], [0.5, 1.1, 0.2]])
    values = np.array([[0.0, 0.0, 0.0], [2.0, 3.0, 4.0], [9.0, 7.0, 5.0]])
    matched, reached = first_passage(1.0, losses, values)
    assert matched == pytest.approx(np.array([2.0, 7.0, 4.2]))
    assert reached.tolist() == [True, False, True]


def test_the_order_is_critical_where_it_falls_to_half_of_its_largest() -> None:
    log_rates = np.array([0.0, 1.0, 2.0, 3.0])
    assert critical(log_rates, np.array([0.1, 0.8, 0.6, 0.2])) == pytest.approx(2.5)


def test_an_order_that_stays_is_critical_at_the_last_rate() -> None:
    assert critical(np.array([0.0, 1.0]), np.array([0.8, 0.7])) == 1.0


def test_the_binder_cumulant_tells_order_from_disorder() -> None:
    order = np.stack([np.full(100_000, 0.7), RNG(1).normal(size=100_000), np.zeros(100_000)])
    assert binder_cumulant(order) == pytest.approx(np.array([2 / 3, 0.0, 0.0]), abs=0.02)
