from __future__ import annotations

from typing import Any

import pytest

from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.results import problems

ENTRY = CatalogueEntry("x", 2, 1, 1.0, gpu=False, shapes={"n": (), "list": (2,), "table": (2, 3)})
MEASURED: dict[str, Any] = {"n": 1.5, "list": [1, 2], "table": [[1, 2, 3], [4, 5, 6]]}


def _result(**changes: Any) -> dict[str, Any]:
    whole = {
        "experiment": "x",
        "version": 2,
        "completed": 1.0,
        "ended": "complete",
        "omitted": [],
        "measured": MEASURED,
    }
    return whole | changes


def _partial(**measured: Any) -> dict[str, Any]:
    return _result(completed=0.5, ended="budget", measured=measured)


def _batch(*runs: object, **changes: Any) -> dict[str, Any]:
    whole = _result(runs=list(runs), **changes)
    del whole["measured"]
    return whole


def _run(seed: object, **measured: Any) -> dict[str, Any]:
    return {"seed": seed, "measured": MEASURED | measured}


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(_result(), id="complete"),
        pytest.param(_partial(), id="nothing yet"),
        pytest.param(_partial(list=[1], table=[[1, 2, 3]]), id="shorter lists after an early end"),
        pytest.param(_result(omitted=["n"], measured={"list": [1, 2], "table": [[1, 2, 3]] * 2}), id="a NaN left out"),
        pytest.param(_batch(_run(0)), id="a batch of one"),
        pytest.param(_batch(*map(_run, range(1024))), id="as many seeds as a batch may have"),
        pytest.param(
            _batch(_run(2**31 - 1), {"seed": 0, "measured": {"n": 1}}, ended="budget"), id="a batch cut short"
        ),
    ],
)
def test_what_an_experiment_declares_passes(result: object) -> None:
    assert problems(result, ENTRY) == []


@pytest.mark.parametrize(
    ("result", "says"),
    [
        pytest.param([], "no JSON object", id="no object"),
        pytest.param(_result(version=1), "not of x version 2", id="another version"),
        pytest.param(_result(experiment=None), "not of x version 2", id="another experiment"),
        pytest.param(_result(completed=2), "no share", id="more than all"),
        pytest.param(_result(completed=True), "no share", id="a truth value"),
        pytest.param(_result(measured=[]), "measured is no", id="no measures"),
        pytest.param(_result(measured={**MEASURED, "stderr": "x"}), "'stderr' is not declared", id="undeclared"),
        pytest.param(_result(measured={"n": 1}), "list is missing", id="missing"),
        pytest.param(_result(measured={**MEASURED, "n": "1"}), "n is not a finite number", id="text"),
        pytest.param(_result(measured={**MEASURED, "n": float("nan")}), "n is not a finite number", id="NaN"),
        pytest.param(_result(measured={**MEASURED, "n": 10**400}), "n is not a finite number", id="a huge integer"),
        pytest.param(_result(measured={**MEASURED, "n": [1]}), "n is not a finite number", id="a list for a number"),
        pytest.param(_result(measured={**MEASURED, "list": [1]}), "list is not", id="too short for a whole run"),
        pytest.param(_result(measured={**MEASURED, "list": [1, 2, 3]}), "list is not", id="too long"),
        pytest.param(_partial(list=[1, 2, 3]), "list is not", id="too long for a part"),
        pytest.param(_partial(table=[[1, 2]]), "table is not", id="a row cut off"),
        pytest.param(_partial(table=[[[]] * 3]), "table is not", id="too deep"),
        pytest.param(_batch(), "runs is no list", id="a batch of none"),
        pytest.param(_batch(*map(_run, range(1025))), "runs is no list of 1 to 1024", id="too many seeds"),
        pytest.param({**_batch(), "runs": {"0": MEASURED}}, "runs is no list", id="runs by name"),
        pytest.param({**_result(), "runs": [_run(1)]}, "both measured and runs", id="both forms"),
        pytest.param(_batch(_run(1), 5), "a run has no seed", id="a run that is a number"),
        pytest.param(_batch(_run(True)), "a run has no seed", id="a truth value for a seed"),
        pytest.param(_batch(_run("1")), "a run has no seed", id="a text for a seed"),
        pytest.param(_batch(_run(-1)), "a run has no seed", id="a seed below 0"),
        pytest.param(_batch(_run(10**400)), "a run has no seed", id="a seed too large"),
        pytest.param(_batch(_run(1), _run(2), _run(1)), "seed 1 is there twice", id="a seed twice"),
        pytest.param(_batch(_run(1), {"seed": 2}), "measured is no", id="a run without measures"),
        pytest.param(_batch(_run(1), _run(2, n="1")), "n is not a finite number", id="text in one of the runs"),
        pytest.param(_batch(_run(1), {"seed": 2, "measured": {"n": 1}}), "list is missing", id="missing in one run"),
    ],
)
def test_what_is_not_declared_is_told(result: object, says: str) -> None:
    found = problems(result, ENTRY)
    assert found
    assert says in "; ".join(found)


def test_what_all_runs_have_wrong_is_told_once() -> None:
    assert problems(_batch(*(_run(seed, n="1") for seed in range(9))), ENTRY) == ["n is not a finite number"]
