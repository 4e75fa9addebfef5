from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.activation_fn_landscape import (
    ACTIVATIONS,
    FAMILIES,
    NETWORKS,
    RATES,
    all_points,
    at_rates,
    forward,
    gradients,
    new_stack,
)
from experiments.kit.networks import cross_entropy

each_activation = pytest.mark.parametrize("name", ACTIVATIONS)


@each_activation
def test_a_slope_is_the_derivative(name: str) -> None:
    activation = ACTIVATIONS[name]
    z: Any = np.linspace(-4, 4, 64)  # without 0, where ReLU has a kink
    above: Any = activation.value(z + 1e-5)
    below: Any = activation.value(z - 1e-5)
    np.testing.assert_allclose(activation.slope(z, activation.value(z)), (above - below) / 2e-5, atol=1e-6)


@each_activation
def test_an_activation_stays_finite_in_float32_far_from_zero(name: str) -> None:
    z = np.array([-300, 300], dtype=np.float32)
    a = ACTIVATIONS[name].value(z)
    slope = ACTIVATIONS[name].slope(z, a)
    assert a.dtype == slope.dtype == np.float32
    assert np.isfinite(a).all()
    assert np.isfinite(slope).all()


@each_activation
def test_the_gradients_are_those_of_the_loss(name: str) -> None:
    activation = ACTIVATIONS[name]
    rng = np.random.default_rng(1)
    networks: Any = [(W.astype(np.float64), b.astype(np.float64)) for W, b in new_stack(rng)]
    x: Any = rng.standard_normal((len(FAMILIES), 1, 6, 20))
    y = rng.integers(5, size=(len(FAMILIES), 1, 6))
    found = gradients(networks, activation, x, y)
    for layer, slopes in zip(networks, found, strict=True):
        for weights, slope in zip(layer, slopes, strict=True):
            place = (2, 4, 0, 3)
            losses = []
            for h in (1e-5, -2e-5):
                weights[place] += h
                logits = forward(networks, activation, x)[0][-1]
                losses.append(cross_entropy(logits, y)[place[:2]])
            weights[place] += 1e-5
            assert slope[place] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-3, abs=1e-6)


def test_at_rates_picks_the_networks_of_each_family_that_learned_at_its_rates() -> None:
    networks = new_stack(np.random.default_rng(1))
    for _, biases in networks:
        biases[:] = np.repeat(RATES, NETWORKS)[np.newaxis, :, np.newaxis, np.newaxis]
    (_, b), *_ = at_rates(networks, np.array([[1, 0], [1, 1], [1, 2], [1, 4]]))
    assert b.shape[:2] == (len(FAMILIES), 2 * NETWORKS)
    assert b[3, :, 0, 0] == pytest.approx([RATES[1]] * NETWORKS + [RATES[4]] * NETWORKS)


def test_no_class_is_rare_in_any_family() -> None:
    _, y = all_points(1)
    for classes in y:
        assert np.bincount(classes, minlength=5).min() > len(classes) / 20
