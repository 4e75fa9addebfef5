"""The spectrum and the reading at equal loss of the rank of features."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.feature_rank_dynamics import kept_at_loss, spectrum


def test_the_spectrum_holds_the_squared_singular_values_of_the_centred_features() -> None:
    features = np.random.default_rng(1).standard_normal((50, 6)).astype(np.float32) + 3
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2
    assert spectrum(features)[::-1] == pytest.approx(values, rel=1e-4)


def test_what_is_kept_is_a_share_of_the_first_rank_at_the_loss_asked_for() -> None:
    losses, ranks = np.array([1.0, 0.1, 0.01]), np.array([20.0, 30.0, 10.0])
    assert kept_at_loss(0.1, losses, ranks) == pytest.approx(1.5)
    assert kept_at_loss(np.sqrt(0.001), losses, ranks) == pytest.approx(1)
    assert kept_at_loss(0.001, losses, ranks) == pytest.approx(0.5)
