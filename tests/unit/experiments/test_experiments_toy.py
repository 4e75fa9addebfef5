"""Each experiment runs to its end at toy size: a bug in its summary is found here, not on a thousand machines."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from experiments import NAMES, catalogue, load
from experiments.kit.claims import evaluate
from experiments.kit.deadline import Deadline
from experiments.kit.encoder import Measured, encode, finite_only

TOY = 0.01
"""The share of the full length that the tests train for."""


@cache
def _toy_run(name: str, seed: int) -> Measured:
    return load(name).run(seed, 600, TOY)


each_experiment = pytest.mark.parametrize("name", NAMES)


@each_experiment
def test_every_declared_key_is_measured_and_finite(name: str) -> None:
    measured = dict(_toy_run(name, 1))
    assert measured.pop("completed") == 1
    kept, omitted = finite_only(measured)
    assert omitted == 0
    declared = {key.name: key.shape for key in load(name).METADATA.result_keys}
    assert {key: np.shape(value) for key, value in kept.items()} == declared
    assert encode(kept)


@each_experiment
def test_every_claim_finds_its_numbers(name: str) -> None:
    measured = _toy_run(name, 1)
    for claim in load(name).METADATA.claims:
        assert isinstance(measured[claim.quantity], float)
        assert isinstance(measured[claim.control], float)
        assert evaluate(claim, measured) in {"supports", "contradicts", "silent"}


@each_experiment
def test_the_same_seed_gives_the_same_numbers(name: str) -> None:
    assert load(name).run(1, 600, TOY) == _toy_run(name, 1)


@each_experiment
def test_another_seed_gives_other_data_and_other_numbers(name: str) -> None:
    first, second = _toy_run(name, 1), _toy_run(name, 2)
    # The best possible classifier depends on the data alone, so it tells that the data are drawn anew too.
    of_the_data = [key for key in first if "bayes" in key]
    assert of_the_data
    assert all(first[key] != second[key] for key in of_the_data)
    claims = load(name).METADATA.claims
    assert all(first[claim.quantity] != second[claim.quantity] for claim in claims)


@each_experiment
def test_a_deadline_cuts_stages_off_and_changes_no_number(name: str) -> None:
    ticks = iter([0.0, 0.0, 1.0, 1.0, 2.0, 2.5])  # two stages of a second each, and no time for a third
    measured = load(name).run(1, Deadline(3.0, clock=lambda: next(ticks)), TOY)
    whole = _toy_run(name, 1)
    assert 0 < measured.pop("completed") < 1
    for key, value in measured.items():
        assert value == (whole[key][: len(value)] if isinstance(value, list) else whole[key])
    for claim in load(name).METADATA.claims:
        assert evaluate(claim, measured) == "silent"


def test_the_catalogue_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_catalogue_is_told(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalogue, "PATH", catalogue.PATH.with_name("not_there.json"))
    assert catalogue.main(["--check"]) == 1
    assert "python -m experiments.catalogue" in capsys.readouterr().err


def test_an_unknown_experiment_is_not_imported() -> None:
    with pytest.raises(KeyError):
        load("worker")


def test_what_the_server_uses_loads_no_numpy() -> None:
    code = (
        "import sys, experiments, experiments.kit.naming, experiments.kit.claims, experiments.kit.metadata, "
        "experiments.worker; sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
