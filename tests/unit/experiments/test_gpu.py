"""Several seeds side by side, and another device than the host: by an array that is as strict as CuPy's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final, cast

import numpy as np
import pytest

from axiomd.science.catalogue import read_catalogue
from axiomd.science.results import problems
from experiments import NAMES, BatchExperiment, load
from experiments.kit.batch import STEPS_AT_ONCE, batches, by_seed, networks_of_each_seed, one_stack
from experiments.kit.device import HOST, Device, NoGpuError, gpu
from experiments.kit.measures import linear_cka
from experiments.kit.naming import MAX_SEED
from experiments.kit.networks import new_networks, sgd_step
from experiments.kit.order import Order
from experiments.kit.stages import Checkpoint, Deadline
from experiments.worker import perform
from tests.unit.experiments.device_array import STAND_IN, DeviceArray

SMALLER: Final[dict[str, dict[str, Any]]] = {
    "representation_alignment": {"WIDTHS": (8, 16), "NETWORKS": 3, "TRAIN": 300, "FRESH": 100, "STEPS": 55},
    "feature_competition_dynamics": {"WIDTHS": (8, 16), "SETS": 2, "TRAIN": 300, "FRESH": 100, "STEPS": 55},
    "compositional_generalization": {"WIDTHS": (8, 16), "SPLITS": 2, "TRAIN": 300, "STEPS": 55, "SHUFFLES": 5},
    "memorization_dynamics": {"LEVELS": (0.0, 0.2), "WIDTH": 16, "TRAIN": 200, "HELD_OUT": 100, "EPOCHS": 3},
}
"""What each experiment's constants are set to, so that a full run takes a tenth of a second."""

SEEDS: Final = (1, 2, MAX_SEED)

each_experiment = pytest.mark.parametrize("name", SMALLER)


def _small(name: str, monkeypatch: pytest.MonkeyPatch) -> BatchExperiment:
    experiment = load(name)
    for constant, value in SMALLER[name].items():
        monkeypatch.setattr(experiment, constant, value)
    return cast("BatchExperiment", experiment)


def test_the_metadata_say_which_experiments_run_in_batches() -> None:
    of_metadata = {name for name in NAMES if load(name).METADATA.gpu}
    assert of_metadata == {name for name in NAMES if hasattr(load(name), "run_batch")} == set(SMALLER)


@each_experiment
def test_side_by_side_each_seed_gives_the_numbers_it_gives_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = _small(name, monkeypatch)
    alone = [experiment.run(seed, 600) for seed in SEEDS]
    assert alone[0] != alone[1]
    assert all(own["completed"] == 1 for own in alone)
    assert experiment.run_batch(SEEDS, 600, 1.0, HOST) == alone


@each_experiment
def test_on_another_device_the_numbers_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = _small(name, monkeypatch)
    assert experiment.run_batch(SEEDS, 600, 1.0, STAND_IN) == experiment.run_batch(SEEDS, 600, 1.0, HOST)


@each_experiment
@pytest.mark.parametrize("left_behind", ["one_stack", "generator"], ids=["weights", "data"])
def test_what_is_left_on_the_host_is_found(name: str, left_behind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = _small(name, monkeypatch)
    device = STAND_IN
    if left_behind == "one_stack":
        monkeypatch.setattr(experiment, "one_stack", lambda stacks, _: one_stack(stacks, HOST))
    else:  # the arrays of floating point numbers that aren't weights: the points

        def put(array: Any) -> Any:
            return array if array.dtype == np.float32 and array.shape[-2] > 1 else STAND_IN.put(array)

        monkeypatch.setattr(experiment, "one_stack", lambda stacks, _: one_stack(stacks, STAND_IN))
        device = Device(put, STAND_IN.get)
    with pytest.raises(TypeError, match=r"meets one of the host|implicit conversion"):
        experiment.run_batch(SEEDS, 600, 1.0, device)


@each_experiment
def test_a_batch_that_was_stopped_goes_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = _small(name, monkeypatch)
    reached: list[Checkpoint] = []
    ticks = iter([0.0, 0.0, 1.0, 1.0])  # a stage of a second, and no time for another one
    stopped = Deadline(1.5, clock=lambda: next(ticks), on_stage=reached.append)
    part = experiment.run_batch(SEEDS, stopped, 1.0, HOST)
    assert all(0 < own["completed"] < 1 for own in part)
    whole = experiment.run_batch(SEEDS, Deadline(600, checkpoint=reached[0]), 1.0, HOST)
    assert whole == experiment.run_batch(SEEDS, 600, 1.0, HOST)


def test_the_result_of_a_batch_is_what_its_experiment_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "memorization_dynamics"
    with_all_levels = {key: value for key, value in SMALLER[name].items() if key != "LEVELS"}
    for constant, value in with_all_levels.items():
        monkeypatch.setattr(load(name), constant, value)
    order = Order(name, MAX_SEED, "input", 1.0, None, seeds=2)
    result = perform(order, load, tmp_path)
    assert problems(result, read_catalogue(None)[name]) == []
    assert (result["ended"], [run["seed"] for run in result["runs"]]) == ("complete", [MAX_SEED, 0])
    alone = perform(Order(name, 0, "input", 1.0, None), load, tmp_path)
    assert result["runs"][1]["measured"] == alone["measured"]


# Where there is no GPU.


def _cupy(count: int | None) -> ModuleType:
    """CuPy as it is on a machine with so many GPUs, or without a driver."""

    def get_device_count() -> int:
        if count is None:
            raise RuntimeError("cudaErrorInsufficientDriver")
        return count

    cupy: Any = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=get_device_count))
    cupy.asarray, cupy.asnumpy = STAND_IN.put, STAND_IN.get
    return cast("ModuleType", cupy)


@pytest.mark.parametrize(
    ("cupy", "says"),
    [
        pytest.param(None, "pip install cupy-cuda12x", id="no CuPy"),
        pytest.param(_cupy(None), "cudaErrorInsufficientDriver", id="no driver"),
        pytest.param(_cupy(0), "finds no GPU", id="no GPU"),
    ],
)
def test_why_there_is_no_gpu_is_told(cupy: ModuleType | None, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(NoGpuError, match=says) as told:
        gpu()
    assert "or run without --gpu" in str(told.value)


def test_a_gpu_is_reached_through_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", _cupy(1))
    device = gpu()
    there = device.put(np.arange(3))
    assert isinstance(there, DeviceArray)
    assert device.get(there + 1).tolist() == [1, 2, 3]


# The parts.


@pytest.mark.parametrize("steps", [1, STEPS_AT_ONCE, 2 * STEPS_AT_ONCE + 1])
def test_batches_are_drawn_as_each_seed_would_draw_them_step_by_step(steps: int) -> None:
    given = list(batches([np.random.default_rng(seed) for seed in (5, 6)], 100, (2, 3), steps, HOST, copies=2))
    rngs = [np.random.default_rng(seed) for seed in (5, 6)]
    expected = [np.concatenate([np.tile(rng.integers(100, size=(2, 3)), (2, 1)) for rng in rngs]) for _ in range(steps)]
    np.testing.assert_array_equal(given, expected)


def test_the_views_of_a_stack_follow_its_training() -> None:
    rng = np.random.default_rng(7)
    stack = one_stack([new_networks(rng, 2, (4, 6, 3)) for _ in range(3)], STAND_IN)
    grouped = by_seed(stack, 3)[0][0]
    first, last = networks_of_each_seed(stack, 3)[0][0][0], networks_of_each_seed(stack, 3)[2][0][0]
    x, y = rng.standard_normal((1, 5, 4), dtype=np.float32), rng.integers(3, size=(1, 5))
    before = STAND_IN.get(stack[0][0])
    sgd_step(stack, STAND_IN.put(x), STAND_IN.put(y), 0.1)
    after = STAND_IN.get(stack[0][0])
    assert (after != before).any()
    np.testing.assert_array_equal(STAND_IN.get(grouped), after.reshape(3, 2, 4, 6))
    np.testing.assert_array_equal(STAND_IN.get(first), after[:2])
    np.testing.assert_array_equal(STAND_IN.get(last), after[4:])


def test_linear_cka_works_on_the_device() -> None:
    x, y = np.random.default_rng(8).standard_normal((2, 20, 5))
    assert linear_cka(STAND_IN.put(x), STAND_IN.put(y)) == linear_cka(x, y)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda there, here: there + here,
        lambda there, here: here @ there,
        lambda there, here: there[here.astype(int)],
        lambda there, here: here[there],
        lambda there, here: there.__setitem__(0, here[0]),
        lambda there, here: here.__setitem__(0, there[0]),
        lambda there, here: np.add(here, here, out=there),
        lambda there, here: np.concatenate([there, here]),
        lambda there, _: np.median(there),
        lambda there, _: np.asarray(there),
    ],
)
def test_the_stand_in_is_strict(mixed: Any) -> None:
    here = np.ones((2, 2))
    with pytest.raises(TypeError):
        mixed(STAND_IN.put(here), here)
