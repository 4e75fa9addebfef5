"""Each experiment runs to its end at toy size: a bug in its summary is found here, not on a thousand machines."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from functools import cache

import numpy as np
import pytest

from experiments import NAMES, catalogue, load
from experiments.kit.claims import evaluate
from experiments.kit.encoder import Measured, encode, finite_only
from experiments.kit.seeds import generator
from experiments.kit.stages import Checkpoint, Deadline

TOY = 0.002
"""The share of the full length that the tests train for."""


@cache
def _toy_run(name: str, seed: int) -> Measured:
    return load(name).run(seed, 600, TOY)


class _StoppedError(Exception):
    """The client stops a run."""


def _stopped_run(name: str, stages: int) -> Checkpoint:
    """Begin a run, and stop it after so many stages; gives where it came to."""
    reached = []

    def stop(checkpoint: Checkpoint) -> None:
        if checkpoint.done == min(stages, checkpoint.stages - 1):
            reached.append(deepcopy(checkpoint))
            raise _StoppedError

    with pytest.raises(_StoppedError):
        load(name).run(1, Deadline(600, on_stage=stop), TOY)
    return reached[0]


each_experiment = pytest.mark.parametrize("name", NAMES)


@each_experiment
def test_every_declared_key_is_measured_and_finite(name: str) -> None:
    measured = dict(_toy_run(name, 1))
    assert measured.pop("completed") == 1
    kept, omitted = finite_only(measured)
    assert omitted == []
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
@pytest.mark.parametrize("of_the_data", [True, False], ids=["data", "weights and batches"])
def test_the_seed_draws_the_data_as_well_as_all_else(
    name: str, of_the_data: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = load(name)

    def drawn_anew(seed: int, experiment: str, stream: str) -> np.random.Generator:
        return generator(2 if stream.startswith("data") is of_the_data else seed, experiment, stream)

    monkeypatch.setattr(experiment, "generator", drawn_anew)
    begun = _stopped_run(name, stages=2).measured
    whole = _toy_run(name, 1)
    assert begun
    assert any(
        value != (whole[key][: len(value)] if isinstance(value, list) else whole[key]) for key, value in begun.items()
    )


@each_experiment
def test_a_deadline_cuts_stages_off_and_changes_no_number(name: str) -> None:
    ticks = iter([0.0, 0.0, 1.0, 1.0, 2.0, 2.5])  # two stages of a second each, and no time for a third
    measured = load(name).run(1, Deadline(3.0, clock=lambda: next(ticks)), TOY)
    whole = _toy_run(name, 1)
    assert 0 < measured.pop("completed") < 1
    for key, value in measured.items():
        assert value == (whole[key][: len(value)] if isinstance(value, list) else whole[key])
    for claim in load(name).METADATA.claims:
        compared = {claim.quantity, claim.control} <= measured.keys()  # of completed stages alone
        assert evaluate(claim, measured) == (evaluate(claim, whole) if compared else "silent")


@each_experiment
def test_a_restart_gives_the_numbers_of_a_run_in_one_piece(name: str) -> None:
    reached = _stopped_run(name, stages=3)
    assert load(name).run(1, Deadline(600, checkpoint=reached), TOY) == _toy_run(name, 1)


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
