from __future__ import annotations

import numpy as np
import pytest

from experiments.curriculum_learning_dynamics import (
    CLASSES,
    CLOUDS,
    DIMENSIONS,
    LEVELS,
    ORDERS,
    SETS,
    TRAIN,
    bayes_classes,
    open_points,
    queues_by_order,
)
from experiments.kit.data import GaussianMixture

RNG = np.random.default_rng


def _level_shares() -> dict[str, list[float]]:
    """In which share of all draws each level comes up, by order."""
    rng = RNG(1)
    queues = queues_by_order(rng)
    draws = 20_000
    shares = np.zeros((len(ORDERS), LEVELS))
    for fifth in range(LEVELS):
        opened = open_points(fifth, rng.integers(LEVELS, size=(SETS, draws)))
        places = (rng.random((SETS, draws)) * opened).astype(np.int64)
        levels = np.take_along_axis(queues, places, axis=-1) // (TRAIN // LEVELS)
        for order, of_order in enumerate(levels):
            shares[order] += np.bincount(of_order.ravel(), minlength=LEVELS)
    return dict(zip(ORDERS, (shares / shares.sum(axis=1, keepdims=True)).tolist(), strict=True))


def test_weighted_draws_have_the_levels_of_easy_first_and_hard_first_has_them_reversed() -> None:
    shares = _level_shares()
    harmonic = [sum(1 / (fifth + 1) for fifth in range(level, LEVELS)) / LEVELS for level in range(LEVELS)]
    assert shares["easy_first"] == pytest.approx(harmonic, abs=0.01)
    assert shares["easy_weighted"] == pytest.approx(harmonic, abs=0.01)
    assert shares["hard_first"] == pytest.approx(harmonic[::-1], abs=0.01)
    assert shares["random_pacing"] == pytest.approx([1 / LEVELS] * LEVELS, abs=0.02)
    assert shares["shuffled"] == pytest.approx([1 / LEVELS] * LEVELS, abs=0.01)


def test_paced_orders_open_a_fifth_more_at_a_time() -> None:
    random_fifths = np.zeros((SETS, 3), dtype=np.int64)
    for fifth in range(LEVELS):
        by_order = dict(zip(ORDERS, open_points(fifth, random_fifths), strict=True))
        for order in ("easy_first", "hard_first", "random_pacing"):
            assert (by_order[order] == TRAIN * (fifth + 1) // LEVELS).all()
        assert (by_order["shuffled"] == TRAIN).all()
        assert (by_order["easy_weighted"] == TRAIN // LEVELS).all()


def test_with_equal_noise_the_bayes_classifier_is_that_of_the_mixture() -> None:
    rng = RNG(2)
    means = rng.standard_normal((CLOUDS, CLASSES, DIMENSIONS))
    points = rng.standard_normal((50, DIMENSIONS)).astype(np.float32)
    of_mixture = GaussianMixture(means).bayes_logits(points).argmax(axis=-1)
    classes = bayes_classes(points, means.reshape(-1, DIMENSIONS), np.ones(LEVELS))
    assert classes.tolist() == of_mixture.tolist()
