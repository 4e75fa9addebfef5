"""Grafana's dashboards: what the code generates, and that every query of every panel answers on a running demo."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana import credit, daemon, experiments, fleet
from grafana.__main__ import BOARDS, FOLDER, text
from grafana.draw import DRAWN, draw, shown
from grafana.run import RULES, Run, queries, watched_demo

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"
ANSWERS_WITHIN_S = 60.0
LOOK_S = 1.0

JSON = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in BOARDS}
PANELS = [(name, panel) for name, board in JSON.items() for panel in board["panels"]]
each_board = pytest.mark.parametrize("name", BOARDS)
each_panel = pytest.mark.parametrize(
    ("name", "panel"), [pytest.param(name, panel, id=f"{name}-{panel['title']}") for name, panel in PANELS]
)


@each_board
def test_the_json_is_what_the_code_generates(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text(name), "run `make dashboards`"


def test_no_other_dashboard_lies_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in BOARDS}


@each_panel
def test_a_panel_says_what_it_shows_and_in_which_unit(name: str, panel: dict[str, Any]) -> None:
    assert panel["description"].endswith((".", "?"))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["type"] in DRAWN
    assert all(expr and legend for expr, legend, _ in queries(panel))


@each_board
def test_ids_are_unique_and_panels_do_not_overlap(name: str) -> None:
    panels = JSON[name]["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    assert all(len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) for panel in panels)


def test_dashboards_have_ids_of_their_own_and_lead_to_each_other() -> None:
    assert {board["uid"] for board in JSON.values()} == {f"axiomd-{name}" for name in BOARDS}
    for board in JSON.values():
        (link,) = board["links"]
        assert link["tags"] == board["tags"] == ["axiomd"]
        assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "job"]
        (annotation,) = board["annotations"]["list"]
        assert annotation["titleFormat"] == "{{alertname}}"
        assert 'alertstate="firing"' in annotation["expr"]


def test_provisioning_finds_the_dashboards_and_prometheus() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "axiomd.yml").read_text())["providers"]
    assert provider["type"] == "file"
    page = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert f"grafana/dashboards/*.json {provider['options']['path']}" in page
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "axiomd.yml").read_text())["datasources"]
    assert source["type"] == JSON["fleet"]["panels"][0]["datasource"]["type"]
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


@pytest.mark.parametrize(
    ("alert", "bound"),
    [
        ("AxiomdFleetIdle", f"> {fleet.IDLE_SHARE:g}"),
        ("AxiomdTransitionerBehind", f"> {fleet.TRANSITIONER_LATE_S}"),
        ("AxiomdCreditBacklogOld", f"> {credit.BACKLOG_OLD_S}"),
        ("AxiomdExperimentFailing", f"> {experiments.FAILED_SHARE:g}"),
        ("AxiomdLocksHeldLong", f"> {daemon.LOCKS_LONG_S:g}"),
        ("AxiomdNotPolling", f"> {daemon.ALLOWED_POLLS} * axiomd_poll_interval_seconds + {daemon.ALLOWED_S}"),
    ],
)
def test_colours_change_where_the_alert_stands(alert: str, bound: str) -> None:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    rules = {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert bound in rules[alert]


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0, "short", "0"),
        (1234, "short", "1.23 K"),
        (2_500_000, "short", "2.5 Mil"),
        (0.137, "percentunit", "13.7%"),
        (0, "s", "0 s"),
        (0.004, "s", "4 ms"),
        (90, "s", "1.5 min"),
        (172800, "s", "2 d"),
    ],
)
def test_numbers_are_shown_as_grafana_shows_them(value: float, unit: str, words: str) -> None:
    assert shown(value, unit) == words


def _silent(run: Run, until: float) -> list[str]:
    """The queries that have no number yet, asked both ways; an error of a query is raised."""
    silent = []
    for name, panel in PANELS:
        for expr, _, instant in queries(panel):
            latest = (sample.value for sample in run.latest(expr, until))
            course = (value for series in run.course(expr, until) for value in series.values)
            if not (any(map(math.isfinite, latest)) and (instant or any(map(math.isfinite, course)))):
                silent.append(f"{name}, {panel['title']}: {expr}")
    return silent


@pytest.mark.timeout(180)
def test_every_query_of_every_panel_gives_data_on_a_running_demo(tmp_path: Path) -> None:
    with watched_demo(tmp_path, "--seed", "7") as run:
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while silent := _silent(run, time.time()):
            assert time.monotonic() < deadline, "no data:\n" + "\n".join(silent)
            time.sleep(LOOK_S)
        # Of the four this one has every kind of panel.
        picture = tmp_path / "experiments.svg"
        draw(JSON["experiments"], run, time.time(), picture)
        assert picture.read_text(encoding="utf-8").rstrip().endswith("</svg>")
