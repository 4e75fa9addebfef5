"""Prometheus' rules: promtool checks and tests them; they, their tests, pages and examples name what is there."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from axiomd import metrics
from axiomd.cli import app
from axiomd.events import StuckCase, StuckReason
from axiomd.handlers.topup import TopupHandler
from axiomd.interventions.registry import ALL
from axiomd.policies.credit import Delay
from axiomd.settings import AlertSettings
from axiomd.store.guard import Kind
from axiomd.watchers.audit import Audits
from axiomd.watchers.completed_results import CompletedResults

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
RUNBOOK_URL = "https://axiomd.example/docs/runbooks/{}.md"
TARGET_LABELS = {"job", "instance"}
OTHERS: dict[str, set[str]] = {"up": set(), "process_start_time_seconds": set()}
"""Series that aren't axiomd's own, with their labels."""


def rules_of(name: str) -> list[dict[str, Any]]:
    document = yaml.safe_load((FOLDER / "rules" / name).read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


RECORDING = rules_of("recording.yml")
ALERTS = {rule["alert"]: rule for rule in rules_of("alerts.yml")}
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
CASES = [case for path in TESTS for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]


def scraped() -> dict[str, set[str]]:
    """Labels of every series that axiomd serves, by the name under which it is scraped."""
    found = dict(OTHERS)
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            labels = set(metric._labelnames)
            for name in (f"{metric._name}_total",) if metric._type == "counter" else (metric._name,):
                found[name] = labels
            if metric._type == "histogram":
                del found[metric._name]
                found |= {f"{metric._name}_{part}": labels for part in ("count", "sum")}
                found[f"{metric._name}_bucket"] = labels | {"le"}
    return found


def recorded() -> dict[str, set[str]]:
    """Labels of every recorded series: its level names them."""
    return {rule["record"]: set(rule["record"].split(":")[0].split("_")) - {"job"} for rule in RECORDING}


SERIES = scraped() | recorded()
SELECTOR = re.compile(r"\b((?:axiomd|up|process|job)[a-z0-9_:]*)\s*(?:\{([^}]*)\})?")
CLAUSE = re.compile(r"\b(?:by|on|ignoring|without|group_left)\s*\(([^)]*)\)")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def selectors(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Series that an expression names, with the labels that it asks for."""
    bare = CLAUSE.sub("", expression)
    return [(match[1], dict(MATCHER.findall(match[2] or ""))) for match in SELECTOR.finditer(bare)]


async def promtool(*arguments: str) -> tuple[int | None, str]:
    path = shutil.which("promtool", path=f"{ROOT / '.tools' / 'bin'}:/usr/bin:/usr/local/bin")
    assert path, "promtool is missing: run tools/need-programs promtool"
    process = await asyncio.create_subprocess_exec(
        path, *arguments, cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_promtool_finds_nothing_wrong() -> None:
    status, said = await promtool("check", "rules", "rules/recording.yml", "rules/alerts.yml")
    assert status == 0, said
    assert said.count("SUCCESS") == 2


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
async def test_the_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    status, said = await promtool("test", "rules", f"tests/{path.name}")
    assert status == 0, said


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_tested_both_ways(name: str) -> None:
    expected: dict[str, list[list[Any]]] = {"fires": [], "stays": []}
    for case in CASES:
        if case["name"].split()[0] == name:
            found = [test["exp_alerts"] for test in case["alert_rule_test"] if test["alertname"] == name]
            expected[case["name"].split()[1]] += [found[-1]]
    assert expected["fires"]
    assert all(expected["fires"])
    assert expected["stays"]
    assert not any(expected["stays"])


def test_no_alert_is_there_twice() -> None:
    assert len(ALERTS) == len(rules_of("alerts.yml"))


@pytest.mark.parametrize(("name", "rule"), ALERTS.items(), ids=ALERTS)
def test_each_alert_says_what_a_person_needs(name: str, rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Axiomd[A-Z][A-Za-z]+", name)
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["for"]
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == RUNBOOK_URL.format(name)
    assert "{{" not in rule["annotations"]["summary"]
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
    known = set().union(*(SERIES[series] for series, _ in selectors(rule["expr"])))
    assert used <= known | TARGET_LABELS
    assert used


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ALERTS)


@pytest.mark.parametrize("rule", [*RECORDING, *ALERTS.values()], ids=lambda rule: rule.get("record", rule.get("alert")))
def test_what_a_rule_names_is_there(rule: dict[str, Any]) -> None:
    named = selectors(rule["expr"])
    assert named
    for series, labels in named:
        assert series in SERIES
        assert set(labels) <= SERIES[series] | TARGET_LABELS, series
    clauses = {label.strip() for clause in CLAUSE.findall(rule["expr"]) for label in clause.split(",")}
    known = set().union(*(SERIES[series] for series, _ in named)) | TARGET_LABELS
    assert clauses <= known


def test_values_of_labels_that_rules_ask_for_are_the_codes_own() -> None:
    known: dict[str, set[str]] = {
        "kind": set(Kind),
        "case": set(StuckCase),
        "reason": {*StuckReason, *Delay},
        "watcher": {CompletedResults.name, Audits.name},
        "handler": {TopupHandler.name},
        "state": {"live", "failing"},
        "outcome": {"failed"},
        "experiment": {"other"},
    }
    asked: dict[str, set[str]] = {}
    for rule in (*RECORDING, *ALERTS.values()):
        for _, labels in selectors(rule["expr"]):
            for label, value in labels.items():
                asked.setdefault(label, set()).add(value)
    assert asked.pop("job") == {"axiomd.*"}
    assert asked.pop("daemon") == {"transitioner.*"}
    assert asked.keys() <= known.keys()
    for label, values in asked.items():
        assert values <= known[label], label


@pytest.mark.parametrize("rule", RECORDING, ids=lambda rule: rule["record"])
def test_the_level_of_a_recorded_series_names_its_labels(rule: dict[str, Any]) -> None:
    level, metric, operation = rule["record"].split(":")
    assert level.split("_")[0] == "job"
    if operation == "leader" and metric != "axiomd_poll_age_seconds":
        assert set(level.split("_")) == {"job"} | SERIES[metric]
        assert rule["expr"] == f"max without (instance) ({metric} and on (job, instance) axiomd_lease_held == 1)"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_series_of_the_tests_are_as_axiomd_serves_them(case: dict[str, Any]) -> None:
    for row in case["input_series"]:
        ((name, labels),) = selectors(row["series"])
        assert set(labels) - TARGET_LABELS == SERIES[name]


def test_the_table_of_alerts_is_complete() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \| (\w+) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert rows == [
        (name, name, rule["labels"]["severity"], rule["for"], rule["annotations"]["summary"])
        for name, rule in ALERTS.items()
    ]


def test_the_example_of_alerts_that_act_holds() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    rules = AlertSettings(**tomllib.loads(example)["alerts"]).rules
    by_name = {kind.name: kind for kind in ALL}
    assert rules
    for rule in rules:
        alert = ALERTS[rule.alert]
        labels = set().union(*(SERIES[series] for series, _ in selectors(alert["expr"])))
        filled = {
            name: "an_example" if isinstance(value, str) and value.startswith("{") else value
            for name, value in rule.parameters.items()
        }
        by_name[rule.intervention].parameters.model_validate(filled)
        placeholders = set(re.findall(r"\{(\w+)\}", " ".join(map(str, rule.parameters.values()))))
        assert placeholders | set(rule.labels) <= labels


def blocks(path: Path) -> list[str]:
    """Lines of a page's blocks that a person is to type."""
    found = re.findall(r"^```text\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_commands_of_a_page_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem}\n")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "What axiomd does by itself", "Look first", "Mend", "When it is harmless"
    ]  # fmt: skip
    assert set(re.findall(r"\bAxiomd[A-Z]\w+", text)) <= set(ALERTS)
    commands = [shlex.split(line)[1:] for line in blocks(path) if line.startswith("axiomd ")]
    assert commands
    registered = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    registered |= {group.name for group in app.registered_groups}
    by_name = {kind.name: kind for kind in ALL}
    for name, *arguments in commands:
        assert name in registered
        if name == "intervene":
            intervention, *given = [word for word in arguments if not word.startswith("--")]
            by_name[intervention].parameters.model_validate(dict(word.split("=", 1) for word in given))
