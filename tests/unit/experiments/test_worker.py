from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import worker
from experiments.kit.claims import Claim
from experiments.kit.deadline import Deadline, Stages, follow
from experiments.kit.encoder import Measured
from experiments.kit.metadata import Metadata, ResultKey
from experiments.kit.naming import MAX_SEED, WorkunitName
from experiments.worker import Order, OrderError, perform, read_order

NAME = WorkunitName("representation_alignment", 1, "b12", 4242)
TOY = "0.002"


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
    assert (result["partial"], result["completed"], result["omitted"], "error" in result) == (0, 1.0, 0, False)
    assert result["elapsed_s"] > 0
    assert len(result["measured"]["cka_last_trained"]) == 4
    assert float((tmp_path / "fraction_done").read_text()) == 1
    assert (tmp_path / "boinc_finish_called").read_bytes() == b""
    assert not list(tmp_path.glob("*.part"))


def test_the_input_file_decides_in_a_slot(tmp_path: Path) -> None:
    order = {"experiment": "representation_alignment", "scale": 0.002, "budget_s": 0.0001, "seed": 7}
    (tmp_path / "wu.json").write_text(json.dumps(order))
    _init_data(tmp_path, "result_name", f"{NAME}_0")
    assert _work(tmp_path).returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["seed"], result["seed_source"], result["scale"]) == (7, "input", 0.002)
    assert (result["completed"], result["partial"]) == (0.25, 1)


def test_a_run_cut_short_by_its_budget_is_partial(tmp_path: Path) -> None:
    done = _work(tmp_path, "--experiment", "representation_alignment", "--scale", TOY, "--budget", "0.0001")
    assert done.returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["completed"], result["partial"], result["seed_source"]) == (0.25, 1, "random")
    assert len(result["measured"]["cka_last_trained"]) == 1
    assert "cka_widest" not in result["measured"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param([], "no experiment is named", id="nothing to do"),
        pytest.param(["--experiment", "perpetual_motion"], "unknown experiment 'perpetual_motion'", id="unknown"),
        pytest.param(["--experiment", "micro_scaling_laws", "--seed", "x"], "the seed is an integer", id="seed"),
    ],
)
def test_a_bad_order_ends_in_one_line(tmp_path: Path, options: list[str], says: str) -> None:
    done = _work(tmp_path, *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"experiments.worker: {says}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


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
    ],
)
def test_options_come_before_the_input_and_the_input_before_the_name(
    options: dict[str, Any], given: dict[str, Any], workunit: WorkunitName | None, order: Order
) -> None:
    assert read_order(options, given, workunit) == order


def test_only_without_a_seed_the_system_draws_one() -> None:
    orders = [read_order(ALIGN, {}, None) for _ in range(2)]
    assert [order.seed_source for order in orders] == ["random", "random"]
    assert orders[0].seed != orders[1].seed


OUT_OF_RANGE: dict[str, list[object]] = {
    "seed": [-1, MAX_SEED + 1, 1.0, "1.0", "-1", "", True, None, [1], "9" * 5000],
    "scale": [0, -1, 1.01, "x", "nan", float("nan"), None, True, {}, 10**400],
    "budget_s": [0, -5, 86_401, "inf", float("inf"), []],
    "experiment": ["worker", "kit", "../x", "x" * 5000, 5, ["micro_scaling_laws"], {}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in OUT_OF_RANGE.items() for value in values])
def test_an_order_out_of_range_is_refused_in_a_short_line(key: str, value: object) -> None:
    with pytest.raises(OrderError) as refusal:
        read_order({}, {**ALIGN, key: value}, None)
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
        return follow(self._stages(), 2, budget)

    def _stages(self) -> Stages:
        yield {"a": 1.0, "list": [1.0]}
        if self.fails_in == "stage":
            raise FloatingPointError("overflow")
        yield {"b": float("nan")}
        numbers: dict[str, float] = {}
        return {"growth": numbers["top_sv_growth"]}


@pytest.mark.parametrize(
    ("fails_in", "error", "completed", "omitted"),
    [("stage", "FloatingPointError", 0.5, 0), ("summary", "KeyError", 1.0, 1)],
)
def test_what_was_measured_before_a_failure_is_kept(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fails_in: str,
    error: str,
    completed: float,
    omitted: int,
) -> None:
    result = perform(Order("failing", 5, "input", 1.0, None), _Failing(fails_in), tmp_path)
    assert (result["partial"], result["error"], result["completed"]) == (1, error, completed)
    assert (result["measured"], result["omitted"]) == ({"a": 1.0, "list": [1.0]}, omitted)
    assert (result["experiment"], result["version"], result["seed"]) == ("failing", 3, 5)
    assert "failing failed after" in caplog.text


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
    assert perform(Order("failing", 5, "input", 1.0, None), _Failing("summary"), tmp_path)["error"] == "KeyError"
