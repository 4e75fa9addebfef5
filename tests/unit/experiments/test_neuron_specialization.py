"""The measures of specialisation on weights whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.neuron_specialization import (
    FEATURES,
    activation_selectivity,
    grouped_xor,
    selectivity,
    similarities,
    spectrum,
)


def test_selectivity_counts_the_features_that_a_neuron_weighs() -> None:
    weights = np.zeros((1, FEATURES, 3), dtype=np.float32)
    weights[0, 7, 0] = 2
    weights[0, :4, 1] = -1
    weights[0, :, 2] = 0.5
    assert selectivity(weights)[0] == pytest.approx([1 - 1 / FEATURES, 1 - 4 / FEATURES, 0])


def test_similarity_leaves_out_a_neuron_with_itself() -> None:
    weights = np.array([[[1, -3, 0], [0, 0, 5]]], dtype=np.float32)  # two opposite neurons and one at a right angle
    mean, nearest = similarities(weights)
    assert mean == pytest.approx(1 / 3)
    assert nearest == pytest.approx(2 / 3)


def test_the_spectrum_is_that_of_the_covariance_over_neurons() -> None:
    weights = np.random.default_rng(1).standard_normal((3, 5000)).astype(np.float32) * np.array([[1], [2], [0]], "f")
    assert spectrum(weights) == pytest.approx([0, 1, 4], abs=0.2)


def test_activation_selectivity_is_the_largest_correlation_of_living_neurons() -> None:
    points = np.random.default_rng(2).standard_normal((4000, 3)).astype(np.float32)
    hidden = np.stack(
        [points[:, 1] + 5, -points[:, 2], points[:, 0] + points[:, 1], np.zeros(4000, dtype=np.float32)], axis=1
    )
    assert activation_selectivity(hidden[np.newaxis], points) == pytest.approx((1 + 1 + np.sqrt(0.5)) / 3, abs=0.02)


def test_the_label_is_xor_of_two_groups() -> None:
    points, y = grouped_xor(np.random.default_rng(3), 4000)
    assert points.shape == (4000, FEATURES)
    assert y.mean() == pytest.approx(0.5, abs=0.05)
    correlations = np.corrcoef(np.concatenate([points, y[:, np.newaxis]], axis=1).T)[-1, :-1]
    assert np.abs(correlations).max() < 0.06  # no feature tells anything alone
