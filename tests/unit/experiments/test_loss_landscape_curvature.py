from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.kit.measures import hutchinson_trace
from experiments.kit.networks import gradients, new_networks
from experiments.loss_landscape_curvature import CLASSES, hessian_trace, momentum_step

RNG = np.random.default_rng


def _networks(seed: int, sizes: tuple[int, ...]) -> list[Any]:
    return [(W.astype(np.float64), b.astype(np.float64) + 0.1) for W, b in new_networks(RNG(seed), 2, sizes)]


def test_the_trace_is_the_sum_of_the_second_derivatives() -> None:
    """By central differences of the gradient, one weight after the other, in double precision."""
    rng = RNG(1)
    networks: Any = _networks(2, (3, 4, 4, CLASSES))
    x: Any = rng.normal(size=(20, 3))
    y = rng.integers(CLASSES, size=(1, 20))
    step = 1e-5
    expected = np.zeros(2)
    for layer in range(len(networks)):
        for part in range(2):
            weights = networks[layer][part]
            for index in np.ndindex(weights.shape[1:]):
                entry = (slice(None), *index)
                initial = weights[entry].copy()
                weights[entry] = initial + step
                above = gradients(networks, x[np.newaxis], y)[layer][part][entry]
                weights[entry] = initial - step
                below = gradients(networks, x[np.newaxis], y)[layer][part][entry]
                weights[entry] = initial
                expected += (above - below) / (2 * step)
    assert hessian_trace(networks, x) == pytest.approx(expected, rel=1e-5)


def test_momentum_takes_steps_of_the_effective_rate() -> None:
    """With one gradient for ever, heavy-ball SGD moves by rate times gradient a step after a while."""
    network: Any = [(np.zeros((1, 1, 2)), np.zeros((1, 1, 2)))]
    velocity: Any = [(np.zeros((1, 1, 2)), np.zeros((1, 1, 2)))]
    x: Any = np.zeros((1, 1, 1))
    first = gradients(network, x, np.array([[0]]))[0][1]
    for _ in range(200):
        before = network[0][1].copy()
        momentum_step(network, velocity, x, np.array([[0]]), 1e-9, 0.9)
    assert (before - network[0][1]) / 1e-9 == pytest.approx(first, rel=1e-3)


def test_the_trace_lies_within_the_error_of_hutchinsons_estimate() -> None:
    rng = RNG(3)
    networks: Any = [(W[:1], b[:1]) for W, b in _networks(4, (3, 4, CLASSES))]
    x: Any = rng.normal(size=(20, 3))
    y = rng.integers(CLASSES, size=(1, 20))
    parts = [part for layer in networks for part in layer]

    def product(v: Any) -> Any:
        directions = np.split(v, np.cumsum([part.size for part in parts])[:-1])
        ahead_and_behind = []
        for sign in (1e-5, -1e-5):
            moved = [part + sign * d.reshape(part.shape) for part, d in zip(parts, directions, strict=True)]
            layers: Any = list(zip(moved[::2], moved[1::2], strict=True))
            ahead_and_behind.append(
                np.concatenate([g.ravel() for pair in gradients(layers, x[np.newaxis], y) for g in pair])
            )
        return (ahead_and_behind[0] - ahead_and_behind[1]) / 2e-5

    trace, error = hutchinson_trace(product, rng, sum(part.size for part in parts), 400)
    assert error < 0.1 * trace
    assert abs(trace - hessian_trace(networks, x)[0]) < 4 * error
