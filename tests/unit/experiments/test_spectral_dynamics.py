from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.spectral_dynamics import spectrum


def test_adding_one_direction_grows_the_top_and_is_an_update_of_rank_one() -> None:
    initial: Any = np.eye(4, dtype=np.float32)[np.newaxis]
    grown = initial.copy()
    grown[0, 0, 0] = 3
    measured = spectrum(grown, initial)
    assert measured["growth"] == pytest.approx(np.array([3.0]))
    assert measured["norm_growth"] == pytest.approx(np.array([np.sqrt(12) / 2]))
    assert measured["update_rank"] == pytest.approx(np.array([1.0]))
    assert 1 < measured["rank"][0] < 4
