from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from axiomd.science.verdicts import conclude, mean_interval
from experiments.kit.claims import Claim


def _claim(
    direction: Literal["greater", "less"] = "greater", threshold: float = 0.5, baseline: float | str | None = 0
) -> Claim:
    return Claim("a", "A is more than b.", "a", "b", direction, threshold, baseline, logged=".7")


def _results(quantities: list[float], controls: list[float]) -> list[dict[str, Any]]:
    return [{"a": a, "b": b, "c": -9.0} for a, b in zip(quantities, controls, strict=True)]


@pytest.mark.parametrize(
    ("claim", "quantities", "controls", "verdict", "supported", "contradicted"),
    [
        pytest.param(_claim(), [3, 3.1, 2.9], [1, 1.1, 1], "reproduced", 3, 0, id="far beyond"),
        pytest.param(_claim("less"), [1, 1.1, 1], [3, 3.1, 2.9], "reproduced", 3, 0, id="far below"),
        pytest.param(_claim(), [1.2, 1.3, 1.25], [1, 1, 1], "direction only", 0, 0, id="too small an effect"),
        pytest.param(
            _claim(), [1.4, 1.4, 1.4, 2.0, 1.4], [1] * 5, "direction only", 1, 0, id="large on average, in few seeds"
        ),
        pytest.param(
            _claim(), [5, 5.2, 4.9], [5.1, 5, 5], "explained by the control", 0, 2, id="the control has it too"
        ),
        pytest.param(_claim(), [5, 5.2, 4.9], [9, 9, 9], "explained by the control", 0, 3, id="the control has more"),
        pytest.param(_claim(), [0.1, -0.2, 0.1], [0, 0, 0], "not reproduced", 0, 1, id="no effect at all"),
        pytest.param(_claim(baseline=None), [5, 5.2, 4.9], [9, 9, 9], "not reproduced", 0, 3, id="no baseline"),
        pytest.param(_claim(baseline=6), [5, 5.2, 4.9], [9, 9, 9], "not reproduced", 0, 3, id="not beyond a baseline"),
        pytest.param(
            _claim(baseline="c"), [-5, -5, -4.9], [0, 0, 0], "explained by the control", 0, 3, id="a measured baseline"
        ),
        pytest.param(_claim(), [5.0], [0], "too few seeds", 1, 0, id="one seed"),
        pytest.param(_claim(), [], [], "too few seeds", 0, 0, id="none"),
        pytest.param(_claim(), [1.0, 1.0], [0, 0], "reproduced", 2, 0, id="always the same"),
    ],
)
def test_what_seeds_together_say(
    claim: Claim, quantities: list[float], controls: list[float], verdict: str, supported: int, contradicted: int
) -> None:
    finding = conclude("an_experiment", claim, _results(quantities, controls))
    assert (finding.verdict, finding.supported, finding.contradicted) == (verdict, supported, contradicted)
    assert (finding.seeds, finding.claim, finding.logged) == (len(quantities), "a", ".7")


def test_an_effect_has_a_size_a_sign_and_its_controls_own() -> None:
    finding = conclude("x", _claim("less", baseline=2), _results([1, 2, 3], [5, 5, 8]))
    assert (finding.effect, finding.quantity, finding.control, finding.control_effect) == (-4, 2, 6, 4)
    assert finding.interval == pytest.approx(stats.ttest_1samp([-4, -3, -5], 0).confidence_interval(0.95))


def test_a_result_without_the_numbers_counts_as_a_seed_and_no_more() -> None:
    results = [*_results([3, 3.1], [1, 1]), {}, {"a": float("nan"), "b": 1}, {"a": "3", "b": 1}]
    finding = conclude("x", _claim(), results)
    assert (finding.seeds, finding.supported) == (5, 2)
    assert finding.effect == pytest.approx(2.05)
    assert finding.verdict == "direction only"  # two of five are no majority


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20).filter(lambda values: np.std(values) > 1e-3))
def test_the_interval_is_students(values: list[float]) -> None:
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx(expected, rel=1e-6, abs=1e-6)
