from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from experiments.kit.claims import Claim, Verdict, evaluate
from experiments.kit.metadata import Metadata, ResultKey

GREATER = Claim("wider", "Wide is more than narrow.", "wide", "narrow", "greater", 0.1)
LESS = dataclasses.replace(GREATER, direction="less")


@pytest.mark.parametrize(
    ("claim", "measured", "verdict"),
    [
        pytest.param(GREATER, {"wide": 2.0, "narrow": 1.0}, "supports", id="above the threshold"),
        pytest.param(GREATER, {"wide": 1.05, "narrow": 1.0}, "silent", id="right way, too small to count"),
        pytest.param(GREATER, {"wide": 1.0, "narrow": 1.0}, "contradicts", id="no difference"),
        pytest.param(GREATER, {"wide": 0.5, "narrow": 1.0}, "contradicts", id="wrong way"),
        pytest.param(LESS, {"wide": 0.5, "narrow": 1.0}, "supports", id="less, below the threshold"),
        pytest.param(LESS, {"wide": 0.95, "narrow": 1.0}, "silent", id="less, too small to count"),
        pytest.param(LESS, {"wide": 2, "narrow": 1}, "contradicts", id="less, wrong way"),
        pytest.param(GREATER, {"wide": 2.0}, "silent", id="control missing"),
        pytest.param(GREATER, {"narrow": 2.0}, "silent", id="quantity missing"),
        pytest.param(GREATER, {"wide": math.nan, "narrow": 1.0}, "silent", id="not a number"),
        pytest.param(GREATER, {"wide": math.inf, "narrow": 1.0}, "silent", id="infinite"),
        pytest.param(GREATER, {"wide": "2", "narrow": 1.0}, "silent", id="text"),
        pytest.param(GREATER, {"wide": True, "narrow": 0}, "silent", id="truth value"),
        pytest.param(GREATER, {"wide": [2.0], "narrow": 1.0}, "silent", id="list"),
    ],
)
def test_one_result_supports_contradicts_or_is_silent(
    claim: Claim, measured: dict[str, object], verdict: Verdict
) -> None:
    assert evaluate(claim, measured) == verdict


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "narrower"),
        ("statement", "Other words."),
        ("quantity", "a"),
        ("control", "b"),
        ("direction", "less"),
        ("threshold", 0.2),
    ],
)
def test_another_text_has_another_hash(field: str, value: Any) -> None:
    assert dataclasses.replace(GREATER, **{field: value}).hash != GREATER.hash


def test_the_hash_outlives_a_round_through_json_numbers() -> None:
    assert dataclasses.replace(GREATER, threshold=0).hash == dataclasses.replace(GREATER, threshold=0.0).hash


@pytest.mark.parametrize(("field", "value"), [("direction", "more"), ("threshold", -1), ("threshold", math.nan)])
def test_a_claim_that_can_not_be_tested_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match="claim wider"):
        dataclasses.replace(GREATER, **{field: value})


def _metadata(**changes: Any) -> Metadata:
    fields: dict[str, Any] = {
        "name": "toy",
        "version": 1,
        "category": "toys",
        "question": "Does it play?",
        "budget_s": 1.0,
        "memory_bytes": 1,
        "result_keys": (ResultKey("wide", (), ""), ResultKey("narrow", (), ""), ResultKey("by_width", (2,), "")),
        "claims": (GREATER,),
    }
    return Metadata(**{**fields, **changes})


def test_metadata_that_fit_together_are_taken() -> None:
    assert _metadata().as_json()["claims"][0]["hash"] == GREATER.hash


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"name": "Toy-1"}, id="a name no workunit can carry"),
        pytest.param({"version": 0}, id="version zero"),
        pytest.param({"budget_s": math.inf}, id="endless budget"),
        pytest.param({"tolerance": 0.0}, id="no tolerance"),
        pytest.param({"tolerance": math.nan}, id="a tolerance that is no number"),
        pytest.param({"claims": (GREATER, GREATER)}, id="a claim twice"),
        pytest.param({"claims": (dataclasses.replace(GREATER, control="nothing"),)}, id="control not declared"),
        pytest.param({"claims": (dataclasses.replace(GREATER, quantity="by_width"),)}, id="a list as quantity"),
    ],
)
def test_metadata_that_do_not_fit_together_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        _metadata(**changes)
