from __future__ import annotations

import numpy as np
import pytest

from experiments.feature_competition_dynamics import (
    BLOCK,
    CLASSES,
    CONDITIONS,
    FRESH,
    SETS,
    STRONG_ALONE,
    TOGETHER,
    WEAK_ALONE,
    Points,
    draw,
    learned,
    log_ratio,
)
from experiments.kit.networks import Floats, new_networks

COUNT = len(CONDITIONS) * SETS


def _points(first: Floats) -> Points:
    """Points with the blocks `first` and a third of it; the strong probe names the class, the weak one says nothing."""
    y = np.arange(FRESH) % CLASSES * np.ones((COUNT, 1), dtype=np.int64)
    one_hot = np.zeros((COUNT, FRESH, 2 * BLOCK), dtype=np.float32)
    one_hot[..., :CLASSES] = y[..., np.newaxis] == np.arange(CLASSES)
    return Points(
        np.concatenate([first, first / 3], axis=-1),
        y,
        one_hot,
        np.zeros_like(one_hot),
        y,
        np.ones((2, len(CONDITIONS))),
    )


def test_conditions_differ_in_the_clouds_alone() -> None:
    points = draw(np.random.default_rng(1))
    by_condition = points.X.reshape(len(CONDITIONS), SETS, -1, 2, BLOCK)
    assert np.array_equal(by_condition[TOGETHER][..., 1, :], by_condition[WEAK_ALONE][..., 1, :])
    assert np.array_equal(by_condition[TOGETHER][..., 0, :], by_condition[STRONG_ALONE][..., 0, :])
    assert not np.array_equal(by_condition[TOGETHER][..., 0, :], by_condition[WEAK_ALONE][..., 0, :])
    assert not points.strong[..., BLOCK:].any()
    assert not points.weak[..., :BLOCK].any()
    assert points.bayes[0, TOGETHER] > points.bayes[1, TOGETHER] > 0.5


def test_the_ratio_is_that_of_the_blocks_where_one_is_a_multiple_of_the_other() -> None:
    rng = np.random.default_rng(2)
    points = _points(rng.standard_normal((COUNT, FRESH, BLOCK), dtype=np.float32))
    networks = new_networks(rng, COUNT, (2 * BLOCK, 7, CLASSES))
    assert log_ratio(networks, points) == pytest.approx(np.full((len(CONDITIONS), SETS), np.log(3)), rel=1e-4)


def test_learned_is_one_for_the_best_zero_at_chance_and_zero_where_nothing_is_to_learn() -> None:
    points = _points(np.zeros((COUNT, FRESH, BLOCK), dtype=np.float32))
    reads_the_class = np.tile(np.eye(2 * BLOCK, CLASSES, dtype=np.float32), (COUNT, 1, 1))
    share = learned([(reads_the_class, np.zeros((COUNT, 1, CLASSES), dtype=np.float32))], points)
    assert share[0] == pytest.approx(np.array([1, 0, 1, 1]))
    assert share[1] == pytest.approx(np.zeros(len(CONDITIONS)))
