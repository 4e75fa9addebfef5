"""The whole way round: fault, metric, Prometheus' rule, Alertmanager, webhook, intervention; no fault, resolved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from axiomd.demo.operations import parse_metrics
from axiomd.demo.start import Daemon, Project
from tests.servers import DEPLOY, Alertmanager, Prometheus, free_port

ALERT = "AxiomdBoincDaemonDown"
T = TypeVar("T")

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Scene:
    """A running demo with the servers that watch it."""

    folder: Path
    port: int
    prometheus: Prometheus
    alertmanager: Alertmanager

    @property
    def transitioner(self) -> Daemon:
        return next(d for d in Project(self.folder / "project").daemons if d.cmd.startswith("transitioner"))

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def metric(self, name: str, labels: str = "") -> float:
        return dict(parse_metrics(self.get("/metrics"))).get((name, labels), 0.0)


def until(what: Callable[[], T], why: str, timeout_s: float = 60.0) -> T:
    """Ask again and again until there is an answer."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            if found := what():
                return found
        except OSError:
            pass  # nobody listens yet
        assert time.monotonic() < give_up_at, why
        time.sleep(0.05)


def quick_rules(folder: Path) -> list[Path]:
    """The rules as they are deployed, but that nothing has to last before it fires: a test has no five minutes."""
    copies = []
    for file in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml")):
        rules = yaml.safe_load(file.read_text(encoding="utf-8"))
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
                rule.pop("keep_firing_for", None)
        copies.append(folder / file.name)
        copies[-1].write_text(yaml.safe_dump(rules), encoding="utf-8")
    return copies


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    port = free_port()
    folder = tmp_path / "demo"
    demo = subprocess.Popen(
        [sys.executable, "-m", "axiomd.demo", "--json", "--seed", "7", "--folder", folder, "--http-port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until((folder / "http-token").exists, "the demo doesn't start")
        with (
            Alertmanager(
                tmp_path / "alertmanager",
                webhook_url=f"http://127.0.0.1:{port}/alertmanager",
                token_file=folder / "http-token",
                repeat_interval_s=1.0,
            ) as alertmanager,
            Prometheus(
                tmp_path / "prometheus",
                scrape=[f"127.0.0.1:{port}"],
                rules=quick_rules(tmp_path),
                alertmanager=f"127.0.0.1:{alertmanager.port}",
                interval_s=0.5,
            ) as prometheus,
        ):
            yield Scene(folder, port, prometheus, alertmanager)
    finally:
        demo.send_signal(signal.SIGINT)
        _, complaints = demo.communicate(timeout=30)
        assert "Traceback" not in complaints


def firing(scene: Scene) -> list[dict[str, Any]]:
    return [a for a in scene.prometheus.alerts() if a["labels"]["alertname"] == ALERT and a["state"] == "firing"]


def test_a_daemon_that_dies_is_started_by_its_alert(scene: Scene) -> None:
    up = 'axiomd_boinc_daemon_up{daemon="transitioner"}'
    until(lambda: scene.prometheus.query(f"{up} == 1"), "the transitioner isn't seen to run")
    first = scene.transitioner.holder
    assert first

    killed_at = time.monotonic()
    os.kill(first, signal.SIGKILL)
    # Its lock ends a moment after the signal.
    second = until(lambda: {scene.transitioner.holder} - {0, first}, "the transitioner isn't started again").pop()
    repaired_s = time.monotonic() - killed_at

    until(
        lambda: scene.prometheus.query(f"{up} == 1") and not firing(scene),
        "the alert still fires though the transitioner runs",
    )
    until(lambda: scene.metric("axiomd_alerts_received_total", 'status="resolved"'), "nobody says that it is resolved")
    resolved_s = time.monotonic() - killed_at

    entries = json.loads(scene.get("/api/v1/journal?kind=intervene"))["entries"]
    assert [(e["cause"], e["actor"], e["changes"]) for e in entries] == [("restart_daemon", f"alert:{ALERT}", 1)]
    assert entries[0]["detail"]["parameters"] == {"daemon": "transitioner"}
    assert f"runs as process {second}" in entries[0]["detail"]["answer"]
    print(f"repaired after {repaired_s:.1f} s, resolved after {resolved_s:.1f} s")  # noqa: T201 - shown by `pytest -s`
