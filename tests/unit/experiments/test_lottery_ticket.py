from __future__ import annotations

import numpy as np
import pytest

from experiments.kit.networks import new_networks
from experiments.lottery_ticket import (
    ROUNDS,
    SMALL_WIDTH,
    SPARSE,
    WIDTH,
    apply_masks,
    critical_sparsity,
    largest,
    layer_sizes,
    random_masks,
    shuffled,
    sparsities,
    weights_left,
    width_of,
)

RNG = np.random.default_rng
GRID = (0.0, 0.5, 0.75, 0.875)


def test_largest_keeps_the_largest_weights_of_each_network() -> None:
    weights = np.array([[[1, -4], [0, 2]], [[-3, 1], [2, 0]]], dtype=np.float32)
    (mask,) = largest([weights], [2])
    assert mask.tolist() == [[[0, 1], [0, 1]], [[1, 0], [1, 0]]]


def test_pruning_again_keeps_nothing_that_was_pruned() -> None:
    networks = new_networks(RNG(1), 3, layer_sizes(SMALL_WIDTH))
    first = largest([W for W, _ in networks], weights_left(SMALL_WIDTH, 1))
    apply_masks(networks, first)
    second = largest([W for W, _ in networks], weights_left(SMALL_WIDTH, 2))
    for before, after, count in zip(first, second, weights_left(SMALL_WIDTH, 2), strict=True):
        assert (after <= before).all()
        assert after.sum(axis=(1, 2)).tolist() == [count] * 3


def test_random_masks_keep_as_many_weights_elsewhere() -> None:
    networks = new_networks(RNG(1), 3, layer_sizes(SMALL_WIDTH))
    masks = largest([W for W, _ in networks], weights_left(SMALL_WIDTH, 5))
    for mask, random in zip(masks, random_masks(RNG(2), masks), strict=True):
        assert random.sum(axis=(1, 2)).tolist() == mask.sum(axis=(1, 2)).tolist()
        assert (random != mask).any()


def test_shuffled_keeps_the_kept_weights_and_their_places() -> None:
    networks = new_networks(RNG(1), 3, layer_sizes(SMALL_WIDTH))
    masks = largest([W for W, _ in networks], weights_left(SMALL_WIDTH, 5))
    for (weights, _), (moved, _), mask in zip(networks, shuffled(RNG(2), networks, masks), masks, strict=True):
        assert (moved != weights).any()
        for before, after, kept in zip(weights, moved, mask > 0, strict=True):
            assert sorted(after[kept]) == sorted(before[kept])
            assert (after[~kept] == before[~kept]).all()


@pytest.mark.parametrize(
    ("accuracies", "critical", "last"),
    [
        ((0.90, 0.90, 0.86, 0.80), 0.625, 1),
        ((0.90, 0.87, 0.90, 0.86), 0.8125, 2),
        ((0.90, 0.90, 0.90, 0.90), 0.875, 3),
        ((0.80, 0.80, 0.80, 0.80), 0.0, 0),
    ],
    ids=["half way between two rounds", "the last fall counts", "never below", "always below"],
)
def test_critical_sparsity(accuracies: tuple[float, ...], critical: float, last: int) -> None:
    sparsity, before = critical_sparsity(accuracies, 0.90, GRID)
    assert sparsity == pytest.approx(critical)
    assert before == last


def test_the_narrow_network_has_no_more_weights_and_the_next_one_has() -> None:
    for pruned in range(ROUNDS):
        weights = sum(weights_left(WIDTH, pruned))
        width = width_of(weights)
        assert sum(weights_left(width, 0)) <= weights < sum(weights_left(width + 1, 0))
    assert width_of(sum(weights_left(WIDTH, 0))) == WIDTH


def test_the_rounds_that_count_as_sparse_are_those_above_80_percent() -> None:
    assert [sparsity > 0.8 for sparsity in sparsities(WIDTH)] == [False] * SPARSE + [True] * (ROUNDS - SPARSE)
