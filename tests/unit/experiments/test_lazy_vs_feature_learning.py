"""The linearisation and the parametrisations are what their formulas say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.kit.networks import Layer, forward, gradients, new_networks
from experiments.lazy_vs_feature_learning import (
    BASE,
    LEARNING_RATE,
    PARAMETRISATIONS,
    drops,
    linearisation_error,
    linearise,
    movement,
    parametrise,
    train,
)

RNG_SEED = 5


def _networks(width: int) -> tuple[list[Layer], np.random.Generator]:
    rng = np.random.default_rng(RNG_SEED)
    return new_networks(rng, 2, (6, width, width, 3)), rng


def _moved(initial: Any, rng: np.random.Generator, size: float) -> list[Layer]:
    return [(W + size * rng.standard_normal(W.shape), b + size * rng.standard_normal(b.shape)) for W, b in initial]


def test_the_linearisation_is_the_derivative() -> None:
    networks, rng = _networks(8)
    initial: Any = [(W.astype(np.float64), b.astype(np.float64)) for W, b in networks]
    points: Any = rng.standard_normal((1, 20, 6))
    moved = _moved(initial, rng, 1e-6)
    logits, change = linearise(initial, moved, points)
    assert np.array_equal(logits, forward(initial, points)[-1])
    np.testing.assert_allclose(change, forward(moved, points)[-1] - logits, rtol=1e-3, atol=1e-9)


def test_a_change_of_the_last_layer_alone_is_linear_and_a_large_one_of_all_is_not() -> None:
    initial, rng = _networks(8)
    points = rng.standard_normal((1, 20, 6)).astype(np.float32)
    moved = _moved(initial, rng, 1.0)
    assert linearisation_error(initial, moved, points).min() > 0.1
    assert linearisation_error(initial, [*initial[:-1], moved[-1]], points).max() < 1e-5


def test_the_rates_of_ntk_train_as_a_factor_before_each_weight_does() -> None:
    width = 4 * BASE
    networks, rng = _networks(width)
    points, y = rng.standard_normal((2, 10, 6)).astype(np.float32), rng.integers(3, size=(2, 10))
    # weight = factor * parameter; the factors are those of 1 / sqrt(inputs), set to 1 at the base width
    factors = [1.0, np.sqrt(BASE / width), np.sqrt(BASE / width)]
    expected = [
        factor * (weights / factor - LEARNING_RATE * factor * slope)
        for factor, (weights, _), (slope, _) in zip(factors, networks, gradients(networks, points, y), strict=True)
    ]
    train(networks, points, y, parametrise("ntk", width, networks))
    for (weights, _), wanted in zip(networks, expected, strict=True):
        np.testing.assert_allclose(weights, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_all_parametrisations_are_the_same_at_the_base_width(name: str) -> None:
    networks, _ = _networks(BASE)
    assert parametrise(name, BASE, networks) == parametrise("standard", BASE, networks)
    assert np.array_equal(networks[-1][0], _networks(BASE)[0][-1][0])


def test_mup_makes_the_output_weights_smaller_and_keeps_the_hidden_ones() -> None:
    networks, _ = _networks(4 * BASE)
    rates = parametrise("mup", 4 * BASE, networks)
    np.testing.assert_allclose(networks[-1][0], _networks(4 * BASE)[0][-1][0] / 2)
    assert [weights / LEARNING_RATE for weights, _ in rates] == pytest.approx([4, 1, 1 / 4])


def test_movement_is_relative_to_the_initial_norm() -> None:
    initial, _ = _networks(8)
    assert movement(initial, [(W * 3, b) for W, b in initial]) == pytest.approx(2)


def test_a_power_law_drops_evenly_and_a_step_does_not() -> None:
    law = drops(np.array([2.0 ** (-k / 2) for k in range(7)]))
    assert law["steepest_drop"] == pytest.approx(law["steepest_drop_smooth"]) == pytest.approx(law["mean_drop"])
    step = drops(np.array([1.0, 1.0, 1.0, 1.0, 0.25, 0.25, 0.25]))
    assert step["steepest_drop"] == pytest.approx(2)
    assert step["steepest_drop_smooth"] < 1
    assert step["steepest_drop_width"] == 64
