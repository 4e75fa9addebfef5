from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.grokking_dynamics import first_step, mean_log_step, share_after
from experiments.kit.modular import BETAS, EPSILON, AdamW, FullBatch, Kind, Networks, Split, sums

RNG = np.random.default_rng


# Pairs.


def test_sums_are_numbered_as_pairs_are() -> None:
    assert sums(3).tolist() == [0, 1, 2, 1, 2, 0, 2, 0, 1]


def test_a_split_holds_out_what_it_does_not_train_on() -> None:
    split = Split.draw(RNG(1), 7, 0.3, 4)
    assert split.train.shape == (4, round(0.3 * 49))
    for train, held_out in zip(split.train, split.held_out, strict=True):
        assert sorted([*train, *np.flatnonzero(held_out)]) == list(range(49))
    assert len({tuple(train) for train in split.train}) == 4


def test_mirror_unseen_pairs_are_those_held_out_both_ways() -> None:
    split = Split.draw(RNG(2), 7, 0.5, 1)
    train = {divmod(int(pair), 7) for pair in split.train[0]}
    unseen = {divmod(int(pair), 7) for pair in np.flatnonzero(split.mirror_unseen[0])}
    assert unseen == {(a, b) for a in range(7) for b in range(7) if not {(a, b), (b, a)} & train}


# Networks.


def _outputs(networks: Networks, kind: str, index: int) -> NDArray[np.float64]:
    """What network `index` answers to every pair, by one-hot inputs in double precision."""
    p = networks.second.shape[-1]
    inputs = np.array([np.concatenate([np.eye(p)[a], np.eye(p)[b]]) for a in range(p) for b in range(p)])
    into = inputs @ networks.first[index].astype(np.float64)
    hidden = into**2 if kind == "quadratic" else np.maximum(into, 0)
    outputs: NDArray[np.float64] = hidden @ networks.second[index].astype(np.float64)
    return outputs


def _loss(networks: Networks, kind: str, index: int, train: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    outputs = _outputs(networks, kind, index)[train]
    if kind == "quadratic":
        return float(((outputs - np.eye(outputs.shape[-1])[y[train]]) ** 2).sum(axis=1).mean() / 2)
    log_probabilities = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(train)), y[train]].mean())


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_gradient_agrees_with_finite_differences(kind: Kind) -> None:
    rng = RNG(3)
    networks = Networks.draw(rng, 2, 5, 4, (0.5, 0.5))
    split, y = Split.draw(rng, 5, 0.4, 2), rng.permuted(np.tile(sums(5), (2, 1)), axis=1)
    gradient = FullBatch(kind, networks, split.train, y).gradient().copy()

    def loss() -> float:
        return sum(_loss(networks, kind, index, split.train[index], y[index]) for index in range(2))

    step = 2.0**-10
    for place in range(len(gradient)):
        kept = networks.weights[place]
        networks.weights[place] = kept + step
        above = loss()
        networks.weights[place] = kept - step
        slope = (above - loss()) / (2 * step)
        networks.weights[place] = kept
        assert gradient[place] == pytest.approx(slope, abs=2e-4)


def test_one_split_serves_all_networks_of_a_stack() -> None:
    rng = RNG(4)
    networks, split, y = Networks.draw(rng, 3, 5, 4, (0.5, 0.5)), Split.draw(rng, 5, 0.4, 1), sums(5)[np.newaxis]
    shared = FullBatch("relu", networks, split.train, y).gradient()
    tiled = FullBatch("relu", networks, np.tile(split.train, (3, 1)), np.tile(y, (3, 1))).gradient()
    np.testing.assert_allclose(shared, tiled, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_answers_are_those_to_one_hot_inputs(kind: Kind) -> None:
    networks = Networks.draw(RNG(5), 2, 5, 8, (1, 1))
    expected = np.array([_outputs(networks, kind, index) for index in range(2)])
    np.testing.assert_allclose(networks.answers(kind), expected, rtol=1e-4, atol=1e-4)


def test_each_network_has_its_own_norm_and_its_own_values() -> None:
    networks = Networks.draw(RNG(6), 2, 5, 4, (1, 1))
    alone = [np.concatenate([networks.first[index].ravel(), networks.second[index].ravel()]) for index in range(2)]
    assert networks.norms() == pytest.approx([np.linalg.norm(weights) for weights in alone], rel=1e-6)
    spread = networks.like(networks.for_each_weight([2, 3]))
    assert [np.unique(layer).tolist() for layer in (*spread.first, *spread.second)] == [[2], [3], [2], [3]]


# AdamW.


def test_two_steps_of_adamw_by_hand() -> None:
    rate, decay, gradients = 0.1, 0.5, (2.0, -1.0)
    weight, mean, square = 3.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        unbiased = mean / (1 - BETAS[0] ** step), square / (1 - BETAS[1] ** step)
        weight += -rate * decay * weight - rate * unbiased[0] / (math.sqrt(unbiased[1]) + EPSILON)

    weights = np.array([3], dtype=np.float32)
    optimiser = AdamW(weights, rate, decay)
    for gradient in gradients:
        optimiser.step(np.array([gradient], dtype=np.float32))
    assert weights[0] == pytest.approx(weight, rel=1e-6)


def test_the_first_step_of_adamw_is_the_rate_whatever_the_gradient() -> None:
    weights = np.zeros(3, dtype=np.float32)
    AdamW(weights, 0.1, 0).step(np.array([5, -0.01, 300], dtype=np.float32))
    assert weights == pytest.approx([-0.1, 0.1, -0.1], rel=1e-5)


def test_adamw_resumes_where_it_was() -> None:
    def gradients() -> list[NDArray[np.float32]]:
        return list(RNG(7).standard_normal((6, 4), dtype=np.float32))

    whole, parts = np.ones(4, dtype=np.float32), np.ones(4, dtype=np.float32)
    decay = np.array([0, 1, 2, 3], dtype=np.float32)
    optimiser = AdamW(whole, 0.1, decay)
    for gradient in gradients():
        optimiser.step(gradient)
    first, second = AdamW(parts, 0.1, decay), AdamW(parts, 0.1, decay)
    for gradient in gradients()[:3]:
        first.step(gradient)
    second.resume(first.mean, first.square, first.steps)
    for gradient in gradients()[3:]:
        second.step(gradient)
    assert parts.tolist() == whole.tolist()


# When an accuracy is reached.

STEPS = np.array([10, 100, 1000])


def test_a_level_is_reached_on_the_line_between_two_checks() -> None:
    assert first_step(STEPS, np.array([0.0, 0.5, 1.0]), 0.75) == pytest.approx(550)
    assert first_step(STEPS, np.array([0.8, 0.5, 1.0]), 0.4) == pytest.approx(5)
    assert first_step(STEPS, np.array([0.0, 0.5, 0.6]), 0.75) == 1000


def test_the_mean_log_step_counts_each_pair_at_the_step_at_which_it_comes_right() -> None:
    assert mean_log_step(STEPS, np.array([1.0, 1.0, 1.0])) == pytest.approx(1)
    assert mean_log_step(STEPS, np.array([0.5, 0.5, 1.0])) == pytest.approx((1 + 3) / 2)
    assert mean_log_step(STEPS, np.array([0.0, 0.0, 0.0])) == pytest.approx(3)


def test_the_share_after_reaching_a_level_leaves_out_the_check_that_reached_it() -> None:
    assert share_after(np.array([0.9, 0.96, 0.94, 0.95, 0.99]), 0.95) == pytest.approx(2 / 3)
    assert share_after(np.array([0.9, 0.96]), 0.95) == 0
    assert share_after(np.array([0.9, 0.94]), 0.95) == 0
