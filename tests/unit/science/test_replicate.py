"""Replication from the command line: real runs at toy size, kept, gone on with, and concluded from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from typer.testing import CliRunner, Result

from axiomd.cli import app
from axiomd.errors import AxiomdError
from axiomd.science import bundle, replicate
from axiomd.science.catalogue import entry_from_json
from axiomd.science.replicate import Job, Outcome

NAME = "representation_alignment"
TOY = ("--seeds", "2", "--first-seed", "1", "--scale", "0.002")


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["experiments", *arguments])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two seeds."""
    folder = tmp_path_factory.mktemp("kept")
    done = _invoke("replicate", NAME, *TOY, "--results", str(folder), "--json")
    assert done.exit_code == 0, done.output
    return folder


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}


def test_each_claim_has_a_row(kept: Path) -> None:
    done = _invoke("replicate", NAME, *TOY, "--results", str(kept), "--json")
    rows = json.loads(done.stdout)
    assert [row["claim"] for row in rows] == [
        "wider_is_more_alike",
        "training_makes_wide_networks_alike",
        "training_makes_the_rise_with_width",
    ]
    wanted = {"experiment", "claim", "seeds", "supported", "contradicted", "effect", "interval", "control_effect"}
    assert wanted | {"logged", "verdict", "seconds"} <= set(rows[0])
    assert (rows[0]["experiment"], rows[0]["seeds"], rows[0]["verdict"]) == (NAME, 2, "reproduced")
    low, high = rows[0]["interval"]
    assert low < rows[0]["effect"] < high
    assert rows[0]["seconds"] > 0


def test_what_is_kept_is_not_run_again(kept: Path) -> None:
    before = _files(kept)
    assert {path.name for path in before} == {"s1-x0.002.json", "s2-x0.002.json"}
    assert _invoke("replicate", NAME, *TOY, "--results", str(kept)).exit_code == 0
    assert _files(kept) == before


def test_a_broken_result_is_run_again(kept: Path) -> None:
    path = next(iter(_files(kept)))
    whole = path.read_text()
    path.write_text(whole[:50])
    assert _invoke("replicate", NAME, *TOY, "--results", str(kept)).exit_code == 0
    assert json.loads(path.read_text())["measured"] == json.loads(whole)["measured"]


def test_the_screen_says_what_became_of_each_claim(kept: Path) -> None:
    done = _invoke("replicate", NAME, *TOY, "--results", str(kept))
    assert "REPRODUCED: wider is more alike" in done.stdout
    assert "2 of 2 for, 0 against" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    table = _invoke("replicate", NAME, *TOY, "--results", str(kept), "--markdown").stdout.splitlines()
    assert len(table) == 5
    assert {line.count("|") for line in table} == {11}


def test_a_figure_is_drawn_from_what_is_kept(kept: Path, tmp_path: Path) -> None:
    for out in ("first", "second"):
        done = _invoke("figures", NAME, *TOY, "--results", str(kept), "--out", str(tmp_path / out))
        assert done.exit_code == 0, done.output
    first, second = (tmp_path / out / f"{NAME}.svg" for out in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert b"<svg" in first.read_bytes()


def test_a_figure_without_results_says_what_to_run_first(tmp_path: Path) -> None:
    done = _invoke("figures", NAME, "--seeds", "3", "--results", str(tmp_path))
    assert isinstance(done.exception, AxiomdError)
    assert f"axiomd experiments replicate {NAME} --seeds 3 --first-seed 101" in str(done.exception)


def test_a_run_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    packed = bundle.pack(NAME, bundle.sources_folder())
    hurried = replace(packed, entry=replace(packed.entry, version=99))  # the result will be of version 1
    outcomes = list(replicate.replicate([Job(hurried, 1, 0.002)], tmp_path, cores=1))
    assert [outcome.result for outcome in outcomes] == [None]
    assert "not of representation_alignment version 99" in outcomes[0].problem
    assert not _files(tmp_path)


def test_an_experiment_of_which_nothing_ran_is_told_without_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(job: Job) -> Outcome:
        return Outcome(job, None, "it left no result (exit status -9)")

    monkeypatch.setattr(replicate, "perform", dead)
    for form in ("--json", "--markdown", "--scale=0.002"):
        done = _invoke("replicate", NAME, *TOY, "--results", str(tmp_path), form)
        assert done.exit_code == 1
        assert "seed 1: it left no result (exit status -9)" in done.stderr
    rows = json.loads(_invoke("replicate", NAME, *TOY, "--results", str(tmp_path), "--json").stdout)
    assert {(row["effect"], row["seconds"], row["verdict"]) for row in rows} == {(None, None, "too few seeds")}


def test_another_hash_is_another_result(kept: Path) -> None:
    packed = bundle.pack(NAME, bundle.sources_folder())
    assert replicate.kept(Job(packed, 1, 0.002), kept) is not None
    assert replicate.kept(Job(replace(packed, content=packed.content + b" "), 1, 0.002), kept) is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("perpetual_motion",), "there is no experiment perpetual_motion"),
        ((NAME, "--backend", "dask"), "--scheduler ADDRESS"),
        ((NAME, "--scheduler", "tcp://127.0.0.1:1"), "--scheduler ADDRESS"),
        ((NAME, "--backend", "spark"), "--backend is local, or dask"),
        ((NAME, "--first-seed", str(2**63 - 2)), "choose a smaller --first-seed"),
    ],
)
def test_what_can_not_be_run_is_told(options: tuple[str, ...], says: str) -> None:
    done = _invoke("replicate", *options)
    assert isinstance(done.exception, AxiomdError)
    assert says in str(done.exception)


def test_the_list_shows_what_there_is() -> None:
    done = _invoke("list", "--json")
    entries: list[dict[str, Any]] = json.loads(done.stdout)
    assert NAME in {entry["name"] for entry in entries}
    assert all(entry["claims"] and entry["shapes"] for entry in entries)
    assert NAME in _invoke("list").stdout


def test_a_catalogue_that_was_edited_by_hand_is_refused() -> None:
    entry: dict[str, Any] = json.loads((bundle.sources_folder() / "catalogue.json").read_text())["experiments"][0]
    entry["claims"][0]["threshold"] += 1
    with pytest.raises(ValueError, match="was changed without its hash"):
        entry_from_json(entry)


def test_a_dask_cluster_gives_the_same_numbers(kept: Path, tmp_path: Path) -> None:
    # A cluster of threads: what travels over its wire, and what comes back, is what a cluster of machines would see.
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        options = ("--backend", "dask", "--scheduler", cluster.scheduler_address, "--results", str(tmp_path))
        done = _invoke("replicate", NAME, *TOY, *options, "--json")
    assert done.exit_code == 0, done.output
    here, there = ({path.name: json.loads(path.read_text()) for path in _files(folder)} for folder in (kept, tmp_path))
    assert {name: result["measured"] for name, result in there.items()} == {
        name: result["measured"] for name, result in here.items()
    }


def test_a_scheduler_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicate, "CONNECT_TIMEOUT_S", 0.2)
    done = _invoke(
        "replicate", NAME, "--backend", "dask", "--scheduler", "tcp://127.0.0.1:1", "--results", str(tmp_path)
    )
    assert isinstance(done.exception, AxiomdError)
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in str(done.exception)
