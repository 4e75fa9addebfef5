"""docs/metrics.md is what `axiomd metrics --markdown` prints, and every metric that is declared stands there."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from axiomd import metrics as declared
from axiomd.cli import metrics

REPOSITORY = Path(__file__).parents[2]


def printed(*options: str) -> str:
    app = typer.Typer()
    metrics.add_to(app)
    done = CliRunner().invoke(app, list(options))
    assert done.exit_code == 0
    return done.stdout


def test_the_page_is_what_the_command_prints() -> None:
    page = (REPOSITORY / "docs" / "metrics.md").read_bytes()
    assert page == printed("--markdown").encode(), "write it anew: axiomd metrics --markdown > docs/metrics.md"


def test_every_metric_stands_in_the_table_once_under_the_name_that_is_scraped() -> None:
    scraped = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in REGISTRY.collect()
        if family.name.startswith("axiomd_")
    }
    listed = [row["name"] for row in json.loads(printed("--json"))]
    assert sorted(scraped) == sorted(listed)
    assert "axiomd_results_credited_total" in listed


def test_type_labels_and_meaning_are_those_of_the_metric() -> None:
    rows = {row["name"]: row for row in json.loads(printed("--json"))}
    assert rows["axiomd_experiment_results_total"] == {
        "name": "axiomd_experiment_results_total",
        "type": "counter",
        "labels": ["experiment", "outcome"],
        "meaning": declared.EXPERIMENT_RESULTS._documentation,
    }
    assert (rows["axiomd_poll_seconds"]["type"], rows["axiomd_poll_seconds"]["labels"]) == ("histogram", ["watcher"])
    assert (rows["axiomd_cores"]["type"], rows["axiomd_cores"]["labels"]) == ("gauge", [])


def test_no_metric_lacks_its_meaning_and_none_breaks_the_table() -> None:
    rows = metrics.described()
    assert len(rows) > 60
    assert [row for row in rows if not row.meaning.endswith(".") or set("|\n") & set(row.meaning)] == []


def test_a_person_gets_a_table() -> None:
    assert "axiomd_hosts" in printed()
