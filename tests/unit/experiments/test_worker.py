from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import NAMES, worker
from experiments.kit.claims import Claim
from experiments.kit.device import Device
from experiments.kit.encoder import Measured
from experiments.kit.files import load_checkpoint, save_checkpoint
from experiments.kit.metadata import Metadata, ResultKey
from experiments.kit.naming import MAX_SEED, WorkunitName
from experiments.kit.order import Order, OrderError, read_order
from experiments.kit.stages import Checkpoint, Deadline, follow, follow_batch
from experiments.worker import perform

NAME = WorkunitName("representation_alignment", 1, "b12", 4242)
TOY = "0.002"
ALIGN_OPTIONS = ("--experiment", "representation_alignment")


def _work(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "experiments.worker", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _init_data(folder: Path, tag: str, name: str) -> None:
    text = f"<app_init_data>\n<app_name>axiom</app_name>\n<{tag}>{name}</{tag}>\n</app_init_data>\n"
    (folder / "init_data.xml").write_text(text)


# As BOINC starts it: a process in a slot folder.


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"", id="empty"),
        pytest.param(b'{"seed": 1', id="cut off"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b"[1, 2]", id="a list"),
    ],
)
def test_without_its_input_file_the_name_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "wu.json").write_bytes(content)
    _init_data(tmp_path, "wu_name", str(NAME))
    done = _work(tmp_path, "--scale", TOY, "--budget", "0.0001")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["experiment"], result["seed"], result["seed_source"]) == (NAME.experiment, NAME.seed, "name")
    assert (tmp_path / "boinc_finish_called").exists()


def test_a_whole_run_leaves_its_result_and_the_sign_that_it_ended(tmp_path: Path) -> None:
    done = _work(tmp_path, "--experiment", NAME.experiment, "--seed", "7", "--scale", TOY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["version"], result["seed"], result["seed_source"], result["scale"]) == (1, 7, "input", 0.002)
    assert (result["partial"], result["completed"], result["ended"], "error" in result) == (0, 1.0, "complete", False)
    assert (result["omitted"], result["checkpoint"]) == ([], "none")
    assert result["elapsed_s"] > 0
    assert len(result["measured"]["cka_last_trained"]) == 4
    assert float((tmp_path / "fraction_done").read_text()) == 1
    assert (tmp_path / "boinc_finish_called").read_bytes() == b""
    assert not list(tmp_path.glob("*.part"))
    assert not (tmp_path / "checkpoint.npz").exists()


def test_the_input_file_decides_in_a_slot(tmp_path: Path) -> None:
    order = {"experiment": "representation_alignment", "scale": 0.002, "budget_s": 0.0001, "seed": 7}
    (tmp_path / "wu.json").write_text(json.dumps(order))
    _init_data(tmp_path, "result_name", f"{NAME}_0")
    assert _work(tmp_path).returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["seed"], result["seed_source"], result["scale"]) == (7, "input", 0.002)
    assert (result["ended"], result["partial"]) == ("budget", 1)


def test_a_budget_too_small_for_one_stage_is_told_at_once(tmp_path: Path) -> None:
    begin = time.monotonic()
    done = _work(tmp_path, "--experiment", "representation_alignment", "--budget", "0.5")  # of seconds in the stage
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - begin < 30
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["ended"], result["completed"], result["partial"]) == ("budget", 0, 1)
    assert (result["measured"], result["seed_source"]) == ({}, "random")
    assert (tmp_path / "boinc_finish_called").exists()


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = ["--experiment", "representation_alignment", "--seed", "3", "--scale", "0.02"]
    for folder in (whole, killed):
        folder.mkdir()
    assert _work(whole, *options).returncode == 0
    process = subprocess.Popen([sys.executable, "-m", "experiments.worker", *options], cwd=killed)
    while process.poll() is None and not (killed / "checkpoint.npz").exists():
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert _work(killed, *options).returncode == 0
    first, second = (json.loads((folder / "result.json").read_text()) for folder in (whole, killed))
    assert second.pop("checkpoint") == "continued"
    assert first.pop("checkpoint") == "none"
    assert first.pop("elapsed_s") > 0
    assert second.pop("elapsed_s") > 0
    assert first.pop("peak_memory_bytes") > 0
    assert second.pop("peak_memory_bytes") > 0
    assert first == second


@pytest.mark.parametrize(
    ("options", "says", "word"),
    [
        pytest.param([], "no experiment is named", "NoExperiment", id="nothing to do"),
        pytest.param(
            ["--experiment", "perpetual_motion"],
            "unknown experiment 'perpetual_motion'",
            "UnknownExperiment",
            id="unknown",
        ),
        pytest.param(
            ["--experiment", "micro_scaling_laws", "--seed", "x"], "the seed is an integer", "BadSeed", id="seed"
        ),
        pytest.param(
            ["--experiment", "micro_scaling_laws", "--gpu"],
            "micro_scaling_laws runs from one seed on a CPU",
            "NoGpuVariant",
            id="a GPU",
        ),
        pytest.param(
            ["--experiment", "micro_scaling_laws", "--seeds", "2"],
            "micro_scaling_laws runs from one seed on a CPU",
            "NoGpuVariant",
            id="two seeds",
        ),
        pytest.param(["--gpu", *ALIGN_OPTIONS, "--seeds", "1025"], "the number of seeds is", "BadSeeds", id="seeds"),
    ],
)
def test_a_bad_order_ends_in_one_line_and_a_word(tmp_path: Path, options: list[str], says: str, word: str) -> None:
    done = _work(tmp_path, *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"experiments.worker: {says}")
    assert done.stderr.count("\n") == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["error"], result["ended"], result["partial"], result["measured"]) == (word, "refused", 1, {})
    assert not (tmp_path / "boinc_finish_called").exists()


def test_a_result_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "result.json").mkdir()
    done = _work(tmp_path, "--experiment", "representation_alignment", "--scale", TOY, "--budget", "0.0001")
    assert done.returncode == 1
    assert done.stderr.startswith(f"experiments.worker: can't write the result in {tmp_path.resolve()}: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "boinc_finish_called").exists()


# What to run.


ALIGN: dict[str, Any] = {"experiment": "representation_alignment"}


@pytest.mark.parametrize(
    ("options", "given", "workunit", "order"),
    [
        pytest.param({}, {}, NAME, Order("representation_alignment", 4242, "name", 1.0, None), id="the name alone"),
        pytest.param(
            {}, {"seed": 0}, NAME, Order("representation_alignment", 0, "input", 1.0, None), id="the input's seed"
        ),
        pytest.param(
            {"seed": "9", "scale": "0.5"},
            {"seed": 8, "scale": 0.25, "budget_s": 3},
            NAME,
            Order("representation_alignment", 9, "input", 0.5, 3.0),
            id="options before the input",
        ),
        pytest.param(
            {},
            {"experiment": "micro_scaling_laws"},
            NAME,
            Order("micro_scaling_laws", 4242, "name", 1.0, None),
            id="the input's experiment, the name's seed",
        ),
        pytest.param(
            {**ALIGN, "seed": str(MAX_SEED)},
            {},
            None,
            Order("representation_alignment", MAX_SEED, "input", 1.0, None),
            id="the largest seed",
        ),
        pytest.param(
            {"gpu": True, "seeds": "1024"},
            {"seeds": 3},
            NAME,
            Order("representation_alignment", 4242, "name", 1.0, None, gpu=True, seeds=1024),
            id="a batch by options",
        ),
        pytest.param(
            {},
            {"gpu": False, "seeds": 3},
            NAME,
            Order("representation_alignment", 4242, "name", 1.0, None, seeds=3),
            id="a batch by the input",
        ),
    ],
)
def test_options_come_before_the_input_and_the_input_before_the_name(
    options: dict[str, Any], given: dict[str, Any], workunit: WorkunitName | None, order: Order
) -> None:
    assert read_order(options, given, workunit, NAMES) == order


def test_only_without_a_seed_the_system_draws_one() -> None:
    orders = [read_order(ALIGN, {}, None, NAMES) for _ in range(2)]
    assert [order.seed_source for order in orders] == ["random", "random"]
    assert orders[0].seed != orders[1].seed


OUT_OF_RANGE: dict[str, list[object]] = {
    "seed": [-1, MAX_SEED + 1, 1.0, "1.0", "-1", "", True, None, [1], "9" * 5000],
    "scale": [0, -1, 1.01, "x", "nan", float("nan"), None, True, {}, 10**400],
    "gpu": [1, 0, "true", None, [], 10**400],
    "seeds": [0, -1, 1025, 1.0, "x", "", True, None, [1], 10**400],
    "budget_s": [0, -5, 86_401, "inf", float("inf"), []],
    "experiment": ["worker", "kit", "../x", "x" * 5000, 5, ["micro_scaling_laws"], {}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in OUT_OF_RANGE.items() for value in values])
def test_an_order_out_of_range_is_refused_in_a_short_line(key: str, value: object) -> None:
    with pytest.raises(OrderError) as refusal:
        read_order({}, {**ALIGN, key: value}, None, NAMES)
    assert len(str(refusal.value)) < 200
    assert "\n" not in str(refusal.value)


def test_a_name_that_is_not_ours_says_nothing(tmp_path: Path) -> None:
    _init_data(tmp_path, "wu_name", "somebody_elses_task_17")
    assert worker._read_name(tmp_path) is None


@pytest.mark.parametrize(("tag", "name"), [("wu_name", str(NAME)), ("result_name", f"{NAME}_9_1700000000_2")])
def test_the_name_is_read_from_the_workunit_or_the_result(tmp_path: Path, tag: str, name: str) -> None:
    _init_data(tmp_path, tag, name)
    assert worker._read_name(tmp_path) == NAME


# When an experiment fails.


class _Failing:
    """An experiment of two stages that fails in a stage or in its summary."""

    METADATA = Metadata(
        name="failing",
        version=3,
        category="toys",
        question="Does it fail?",
        budget_s=5,
        memory_bytes=1,
        result_keys=(ResultKey("a", (), ""), ResultKey("b", (), "")),
        claims=(Claim("a_over_b", "A is more than b.", "a", "b", "greater", 0),),
    )

    def __init__(self, fails_in: str) -> None:
        self.fails_in = fails_in

    def run(self, seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
        return follow([self._first, self._second], self._summary, budget)

    def _first(self) -> Measured:
        return {"a": 1.0, "list": [1.0]}

    def _second(self) -> Measured:
        if self.fails_in == "stage":
            raise FloatingPointError("overflow")
        return {"b": float("nan")}

    def _summary(self, measured: Measured) -> Measured:
        numbers: dict[str, float] = {}
        return {} if self.fails_in == "nothing" else {"growth": numbers["top_sv_growth"]}


FAILING = Order("failing", 5, "input", 1.0, None)


@pytest.mark.parametrize(
    ("fails_in", "error", "completed", "omitted", "ended"),
    [
        ("stage", "FloatingPointError", 0.5, [], "error"),
        ("summary", "KeyError", 1.0, ["b"], "error"),
        ("nothing", "NotFinite", 1.0, ["b"], "complete"),
    ],
)
def test_what_was_measured_before_a_failure_is_kept(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fails_in: str,
    error: str,
    completed: float,
    omitted: list[str],
    ended: str,
) -> None:
    result = perform(FAILING, lambda _: _Failing(fails_in), tmp_path)
    assert (result["partial"], result["error"], result["completed"]) == (1, error, completed)
    assert (result["measured"], result["omitted"]) == ({"a": 1.0, "list": [1.0]}, omitted)
    assert (result["experiment"], result["version"], result["seed"]) == ("failing", 3, 5)
    assert (result["ended"], "failing failed after" in caplog.text) == (ended, ended == "error")


def test_an_experiment_that_can_not_be_loaded_is_told(tmp_path: Path) -> None:
    def find(_: str) -> _Failing:
        raise ModuleNotFoundError("No module named 'numpy'")

    result = perform(FAILING, find, tmp_path)
    assert (result["error"], result["partial"], result["completed"]) == ("ModuleNotFoundError", 1, 0)


# Several seeds, and a GPU.


class _Batch(_Failing):
    """The same of several seeds, each of which measures itself."""

    METADATA = replace(_Failing.METADATA, gpu=True)

    def run_batch(self, seeds: Sequence[int], budget: Deadline | float, scale: float, device: Device) -> list[Measured]:
        def first() -> list[Measured]:
            return [{"a": float(seed), "list": [device.put(seed)]} for seed in seeds]

        def second() -> list[Measured]:
            return [{**self._second(), "list": [seed]} if seed == seeds[-1] else {"b": 1.0} for seed in seeds]

        return follow_batch([first, second], [self._summary] * len(seeds), budget)


BATCH = Order("failing", MAX_SEED, "input", 1.0, None, seeds=2)


def test_a_batch_has_a_run_for_each_seed_and_goes_on_from_zero_after_the_largest(tmp_path: Path) -> None:
    result = perform(BATCH, lambda _: _Batch("nothing"), tmp_path)
    assert (result["completed"], result["omitted"], result["error"], result["seeds"]) == (1, ["b"], "NotFinite", 2)
    assert "measured" not in result
    assert "gpu" not in result
    assert result["runs"] == [
        {"seed": MAX_SEED, "measured": {"a": float(MAX_SEED), "b": 1.0, "list": [MAX_SEED]}},
        {"seed": 0, "measured": {"a": 0.0, "list": [0, 0]}},
    ]


def test_what_a_batch_measured_before_a_failure_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = perform(BATCH, lambda _: _Batch("stage"), tmp_path)
    assert (result["completed"], result["ended"], result["error"]) == (0.5, "error", "FloatingPointError")
    assert [run["measured"]["list"] for run in result["runs"]] == [[MAX_SEED], [0]]
    assert "failing failed after 50 %" in caplog.text


def test_a_batch_of_one_seed_leaves_what_one_seed_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "gpu", lambda: Device(lambda array: array + 0.5, lambda array: array))
    result = perform(Order("failing", 5, "input", 1.0, None, gpu=True), lambda _: _Batch("nothing"), tmp_path)
    assert result["measured"] == {"a": 5.0, "list": [5.5, 5]}
    assert (result["gpu"], "runs" in result, "seeds" in result) == (1, False, False)


def test_a_run_does_not_go_on_from_the_checkpoint_of_another_kind(tmp_path: Path) -> None:
    orders = [replace(BATCH, seeds=seeds) for seeds in (1, 2, 3)]
    for before in orders:
        for order in orders:
            perform(before, lambda _: _Batch("stage"), tmp_path)
            word = perform(order, lambda _: _Batch("nothing"), tmp_path)["checkpoint"]
            assert word == ("continued" if order == before else "of another run")
            (tmp_path / "checkpoint.npz").unlink()


def test_without_a_gpu_the_worker_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(worker, "load", lambda _: _Batch("nothing"))
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    assert worker.main([*ALIGN_OPTIONS, "--gpu", "--seeds", "8"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("experiments.worker: CuPy can't be imported; install")
    assert said.count("\n") == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["error"], result["ended"], result["partial"], result["measured"]) == ("NoGpu", "refused", 1, {})
    assert not (tmp_path / "boinc_finish_called").exists()


# Checkpoints.


RUN = {"experiment": "failing", "seed": 5, "seed_source": "input", "scale": 1.0, "version": 3}


@pytest.mark.parametrize(
    ("run", "word", "measured"),
    [
        pytest.param(RUN, "continued", {"a": 7.0, "list": [7.0]}, id="its own"),
        pytest.param({**RUN, "version": 2}, "of another run", {"a": 1.0, "list": [1.0]}, id="another version"),
        pytest.param({**RUN, "seed": 6}, "of another run", {"a": 1.0, "list": [1.0]}, id="another seed"),
        pytest.param({**RUN, "scale": 0.5}, "of another run", {"a": 1.0, "list": [1.0]}, id="another scale"),
        pytest.param({}, "of another run", {"a": 1.0, "list": [1.0]}, id="of nobody"),
    ],
)
def test_only_a_checkpoint_of_the_same_run_counts(
    tmp_path: Path, run: dict[str, Any], word: str, measured: Measured
) -> None:
    reached = Checkpoint(done=1, stages=2, measured={"a": 7.0, "list": [7.0]}, state={"mask": np.eye(2)})
    save_checkpoint(tmp_path / "checkpoint.npz", run, reached, 0.0)
    result = perform(FAILING, lambda _: _Failing("nothing"), tmp_path)
    assert (result["checkpoint"], result["measured"]) == (word, measured)


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    reached = Checkpoint(
        done=2,
        measured={"a": 0.1, "b": [[1, 2]]},
        state={"W/0": np.array([[1 / 3]], dtype=np.float32), "t": np.array(4)},
    )
    save_checkpoint(tmp_path / "c.npz", RUN, reached, 12.5)
    run, found, elapsed_s, word = load_checkpoint(tmp_path / "c.npz", RUN)
    assert (run, found.done, found.measured, elapsed_s, word) == (RUN, 2, reached.measured, 12.5, "continued")
    assert found.state["W/0"].dtype == np.float32
    assert found.state["W/0"] == reached.state["W/0"]
    assert found.state["t"] == 4


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"PK\x03\x04 cut off", b"PK\x05\x06" + b"\0" * 18],
    ids=["empty", "text", "cut off", "an empty archive"],
)
def test_a_broken_checkpoint_is_told_and_the_run_begins_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(content)
    result = perform(FAILING, lambda _: _Failing("nothing"), tmp_path)
    assert (result["checkpoint"], result["measured"]["a"], result["completed"]) == ("unreadable", 1.0, 1)


def test_a_restart_keeps_the_seed_that_the_system_drew(tmp_path: Path) -> None:
    run = {**RUN, "seed": 99, "seed_source": "random"}
    save_checkpoint(tmp_path / "checkpoint.npz", run, Checkpoint(done=1, measured={"a": 7.0}), 100.0)
    result = perform(Order("failing", 5, "random", 1.0, 200), lambda _: _Failing("nothing"), tmp_path)
    assert (result["seed"], result["checkpoint"], result["measured"]["a"]) == (99, "continued", 7.0)
    assert result["elapsed_s"] >= 100


def test_a_budget_that_was_used_before_a_restart_is_used(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.npz", RUN, Checkpoint(done=1, stages=2, measured={"a": 7.0}), 100.0)
    waits: Any = _Failing("nothing")
    waits._second = lambda: time.sleep(30)
    result = perform(FAILING, lambda _: waits, tmp_path)
    assert (result["ended"], result["measured"], result["completed"]) == ("budget", {"a": 7.0}, 0.5)


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker, "save_checkpoint", full)
    result = perform(FAILING, lambda _: _Failing("nothing"), tmp_path)
    assert (result["checkpoint"], result["completed"]) == ("not written", 1)


def test_a_failed_experiment_still_ends_well_for_boinc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "load", lambda _: _Failing("summary"))
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    assert worker.main(["--experiment", "micro_scaling_laws", "--seed", "1"]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["error"] == "KeyError"
    assert (tmp_path / "boinc_finish_called").exists()


def test_a_progress_file_that_can_not_be_written_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "fraction_done").mkdir()
    assert perform(FAILING, lambda _: _Failing("summary"), tmp_path)["error"] == "KeyError"
