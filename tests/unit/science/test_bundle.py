"""Bundles and their gate: the same bytes each time, a bare Python, and nothing deployed that doesn't run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest

from axiomd.science import bundle, skeleton
from axiomd.science.bundle import Bundle, BundleError

NAME = "representation_alignment"


@cache
def _packed() -> Bundle:
    return bundle.pack(NAME, bundle.sources_folder())


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder of experiments with one that `new` wrote."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    for name in ("__init__.py", "worker.py"):
        shutil.copy(bundle.sources_folder() / name, folder)
    shutil.copytree(bundle.sources_folder() / "kit", folder / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    skeleton.write("mine", folder)
    return folder


def _edit(sources: Path, before: str, after: str) -> None:
    path = sources / "mine.py"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_a_bundle_holds_one_experiment_and_what_it_imports() -> None:
    with zipfile.ZipFile(BytesIO(_packed().content)) as archive:
        names = archive.namelist()
    assert "__main__.py" in names
    assert f"experiments/{NAME}.py" in names
    assert "experiments/kit/measures.py" in names
    assert "experiments/memorization_dynamics.py" not in names
    assert not [name for name in names if name.startswith("axiomd")]


def test_the_same_sources_give_the_same_bytes_wherever_and_whenever(sources: Path, tmp_path: Path) -> None:
    first = bundle.pack("mine", sources)
    elsewhere = tmp_path / "elsewhere" / "experiments"
    shutil.copytree(sources, elsewhere)
    for path in elsewhere.rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (0, 0))
    second = bundle.pack("mine", elsewhere)
    assert second.content == first.content
    assert first.filename == f"mine-v1-{first.hash}.pyz"


def test_another_kit_is_another_bundle(sources: Path) -> None:
    before = bundle.pack("mine", sources)
    with (sources / "kit" / "networks.py").open("a") as file:
        file.write("# mended\n")
    assert bundle.pack("mine", sources).hash != before.hash


def test_a_bundle_runs_on_a_bare_python_in_a_slot(tmp_path: Path) -> None:
    path = tmp_path / _packed().filename
    path.write_bytes(_packed().content)
    (tmp_path / "wu.json").write_text("")
    (tmp_path / "init_data.xml").write_text(f"<app_init_data><wu_name>{NAME}-v1-b1-s77</wu_name></app_init_data>")
    slot = {"PATH": "/usr/bin:/bin"}
    subprocess.run(
        [sys.executable, "-I", str(path), "--scale", "0.002"], cwd=tmp_path, env=slot, check=True, timeout=60
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["experiment"], result["seed"], result["seed_source"]) == (NAME, 77, "name")
    assert result["ended"] == "complete"


def test_a_bundle_needs_no_name_for_its_only_experiment(tmp_path: Path) -> None:
    path = tmp_path / "b.pyz"
    path.write_bytes(_packed().content)
    command = [sys.executable, "-I", str(path), "--seed", "5", "--scale", "0.002"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert json.loads((tmp_path / "result.json").read_text())["experiment"] == NAME


def test_the_skeleton_passes_the_gate(sources: Path) -> None:
    assert bundle.gate(bundle.pack("mine", sources)) == []


def test_a_skeleton_never_overwrites(sources: Path) -> None:
    with pytest.raises(BundleError, match=r"mine\.py exists already; choose another name"):
        skeleton.write("mine", sources)


def test_a_skeleton_wants_a_folder_of_experiments(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no folder of experiments"):
        skeleton.write("mine", tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        pytest.param("def summary(", "def summary(:", r"mine\.py does not compile: .*line \d+", id="syntax"),
        pytest.param("import numpy as np", "import numpies as np", "can't be imported: .*numpies", id="import"),
        pytest.param("threshold=0.01", "threshold=-1", "can't be imported: .*threshold", id="metadata"),
    ],
)
def test_what_can_not_be_packed_is_told(sources: Path, before: str, after: str, says: str) -> None:
    _edit(sources, before, after)
    with pytest.raises(BundleError, match=says):
        bundle.pack("mine", sources)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        pytest.param('"rise": true[-1]', '"rose": true[-1]', "'rose' is not declared", id="another key"),
        pytest.param('"rise": true[-1] - true[0]', '"rise": 1 / 0', "it failed: ZeroDivisionError", id="failure"),
        pytest.param('"rise": true[-1] - true[0]', '"rise": float("nan")', "it failed: NotFinite", id="NaN"),
        pytest.param("128 * 2**20", "2**20", r"held \d+ MiB at toy size; its metadata say 1 MiB", id="memory"),
        pytest.param("budget_s=30", "budget_s=0.001", "ran out of its 0.001 s", id="time"),
        pytest.param("    def measure(", "    import os; os._exit(9)\n    def measure(", "left no result", id="death"),
    ],
)
def test_the_gate_says_what_is_wrong(sources: Path, before: str, after: str, says: str) -> None:
    _edit(sources, before, after)
    found = bundle.gate(bundle.pack("mine", sources))
    assert found
    assert re.search(says, "; ".join(found)), found


def test_a_run_that_hangs_is_killed(sources: Path) -> None:
    _edit(sources, "    def measure(", "    import time, threading; threading.Event().wait(60)\n    def measure(")
    packed = bundle.pack("mine", sources)
    hurried = replace(packed, entry=replace(packed.entry, budget_s=1.0))
    done = bundle.run(hurried, "--seed", "1", timeout_s=1)
    assert (done.result, done.status) == (None, -9)


def test_an_unknown_experiment_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"there is no experiment perpetual_motion .* `axiomd experiments list`"):
        bundle.pack("perpetual_motion", bundle.sources_folder())
