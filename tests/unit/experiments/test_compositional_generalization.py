from __future__ import annotations

import numpy as np
import pytest

from experiments.compositional_generalization import (
    DIMENSIONS,
    HELD_OUT,
    TASKS,
    VALUES,
    bayes_classes,
    held_out_combinations,
    monotone_share,
    rule,
)

RNG = np.random.default_rng


def test_each_value_is_held_out_equally_often() -> None:
    held_out = held_out_combinations(RNG(1))
    assert (held_out.sum(axis=0) == HELD_OUT).all()
    assert (held_out.sum(axis=1) == HELD_OUT).all()
    assert (held_out != held_out_combinations(RNG(2))).any()


@pytest.mark.parametrize("task", TASKS)
def test_a_rule_has_all_classes_and_about_equally_often(task: str) -> None:
    counts = np.bincount(rule(RNG(1), task).ravel())
    assert len(counts) == TASKS[task]
    assert counts.min() >= 25


def test_only_the_first_attribute_matters_in_the_attribute_task() -> None:
    classes = rule(RNG(1), "attribute")
    assert (classes == classes[:, :1]).all()


@pytest.mark.parametrize("task", ["xor", "modulo_3"])
def test_neither_attribute_alone_tells_the_class(task: str) -> None:
    classes = rule(RNG(1), task)
    assert all(len(set(row)) == TASKS[task] for row in [*classes.tolist(), *classes.T.tolist()])


def test_the_bayes_classifier_adds_up_the_densities_of_each_class() -> None:
    rng = RNG(3)
    centres = rng.standard_normal((VALUES, VALUES, DIMENSIONS)) * 0.5  # near each other, so that the sum matters
    classes = rule(rng, "modulo_3")
    points = rng.standard_normal((20, DIMENSIONS))
    expected = []
    for point in points:
        likelihoods = np.exp(-((point - centres) ** 2).sum(axis=-1) / 2)
        expected.append(int(np.argmax([likelihoods[classes == label].sum() for label in range(3)])))
    assert bayes_classes(points, centres, classes).tolist() == expected


def test_monotone_share_counts_the_splits_that_rise_at_every_step() -> None:
    gaps = np.array([[0.1, 0.1, 0.3], [0.2, 0.3, 0.2], [0.3, 0.2, 0.1]])  # (widths, splits)
    assert monotone_share(gaps[..., np.newaxis]) == pytest.approx(1 / 3)
