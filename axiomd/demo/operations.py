"""What an operator of axiomd does: write the settings file, start the daemon, ask it how things are."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axiomd.demo import children
from axiomd.demo.project import APP

MIGRATE_TIMEOUT_S = 60.0
READY_TIMEOUT_S = 60.0
METRICS_TIMEOUT_S = 0.5

EXPERIMENTS = ("micro_scaling_laws", "representation_alignment", "memorization_dynamics")

# The demo's time is compressed: what takes hours on a real project takes seconds here.
DELAY_BOUND_S = 20
JOB_MEMORY = 2_420_000_000
MEMORY_SHARE = 0.75

SETTINGS = """\
# Settings of axiomd for the demo. Time is compressed: hours of a real project are seconds here.

[project]
dir = "{folder}"
apps = ["{app}"]

[database]
unix_socket = "{socket}"

[intake]
interval_s = 0.5
late_interval_s = 2.0
overlap_s = 5.0

[credit]
policy = "tiers"
tiers = [[0, 1], [2, 2], [4, 4], [8, 8]]

[hosts]
live_after_contact_s = 6.0
dead_after_s = 8.0
fleet_silent_after_s = 5.0
fleet_silent_share = 0.5
interval_s = 1.0

[abort]
interval_s = 1.0
stuck_after_s = 7.0
silent_after_s = 7.0
ceiling_s = 40.0
stuck_delay_bounds = 0.25
silent_delay_bounds = 0.25
ceiling_delay_bounds = 2.0

[repair]
interval_s = 1.0
min_age_s = 3.0
stalled_after_s = 30.0
transitioner_behind_s = 20.0

[topup]
interval_s = 1.0
jobs_per_core = 3.0
max_jobs_per_core = 4.0
max_cores = 64
memory_share = {memory_share}
timeout_s = 20.0

[harvest]
retry_s = 2.0

[failures]
interval_s = 1.0
pause_s = 15.0

[verification]
share = 0.15
interval_s = 1.0

[replication]
interval_s = 2.0
retire = false

[sizing]
interval_s = 5.0
delay_margin = 1.0
min_delay_bound_s = {delay_bound}

[report]
sample_interval_s = 1.0

[http]
port = {port}
token_file = "{token_file}"

# For whoever points a Prometheus and an Alertmanager at the demo: docs/alerts.md.
[[alerts.rules]]
alert = "AxiomdBoincDaemonDown"
intervention = "restart_daemon"
parameters = {{ daemon = "{{daemon}}" }}
min_interval_s = 5

[log]
format = "json"

[daemon]
stop_timeout_s = 1.0
status_interval_s = 1.0
"""

EXPERIMENT = """
[experiments.{name}]
target = 1000
memory = {memory}
inputs = ["{input_name}"]
"""


class OperationError(Exception):
    """A command of axiomd failed, or the daemon ended; the message says so in one line and names the log."""


@dataclass(frozen=True)
class Metrics:
    """What /metrics said: values by name and labels."""

    samples: dict[tuple[str, str], float] = field(default_factory=dict)

    def total(self, name: str) -> float:
        """Sum of a metric over its labels; 0 where there is none."""
        return sum(value for (sample, _), value in self.samples.items() if sample == name)

    def by_label(self, name: str) -> dict[str, int]:
        """Values of a counter with one label, by that label."""
        return {labels.split('"')[1]: int(v) for (sample, labels), v in self.samples.items() if sample == name}


def input_name(experiment: str) -> str:
    """Name of the staged input file of an experiment's jobs."""
    return f"wu_{experiment}.json"


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


MQTT = """
[mqtt]
enabled = true
port = {port}
commands = true
settle_s = 5.0
reconnect_max_s = 2.0
state_interval_s = 1.0
"""


def write_settings(path: Path, *, folder: Path, socket_path: Path, port: int, mqtt_port: int = 0) -> None:
    """Write the settings file, and the token beside it, as an operator would for a project in `folder`."""
    token_file = path.with_name("http-token")
    token_file.touch(mode=0o600)
    token_file.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
    text = SETTINGS.format(
        folder=folder,
        app=APP,
        socket=socket_path,
        port=port,
        token_file=token_file,
        memory_share=MEMORY_SHARE,
        delay_bound=DELAY_BOUND_S,
    )
    if mqtt_port:
        text += MQTT.format(port=mqtt_port)
    for name in EXPERIMENTS:
        text += EXPERIMENT.format(name=name, memory=JOB_MEMORY, input_name=input_name(name))
    path.write_text(text, encoding="utf-8")


class Axiomd:
    """The daemon under test, as processes of its own."""

    def __init__(self, settings: Path, log: Path, port: int) -> None:
        self.settings = settings
        self.log = log
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def migrate(self, stopping: threading.Event) -> None:
        """Make axiomd's own tables, unless `stopping` is set first. Raises OperationError."""
        with self.log.open("ab") as log:
            process = children.start(self._command("migrate"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + MIGRATE_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline and not stopping.is_set():
            time.sleep(0.02)
        status = children.kill(process)
        if status != 0 and not stopping.is_set():
            raise OperationError(f"`axiomd migrate` failed with exit status {status}: see {self.log}")

    def start(self, stopping: threading.Event) -> None:
        """Start the daemon and wait until it serves its metrics, or `stopping` is set. Raises OperationError."""
        with self.log.open("ab") as log:
            self._process = children.start(self._command("run"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while self.metrics() is None and not stopping.wait(0.1):
            self.check()
            if time.monotonic() > deadline:
                raise OperationError(f"axiomd served no metrics within {READY_TIMEOUT_S:.0f} s: see {self.log}")

    def check(self) -> None:
        """See that the daemon still runs. Raises OperationError."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise OperationError(f"axiomd ended with exit status {status}: see {self.log}")

    def metrics(self) -> Metrics | None:
        """What the daemon measures now; None while it doesn't answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=METRICS_TIMEOUT_S)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return Metrics(dict(parse_metrics(text)))

    def report(self, timeout_s: float) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """What `axiomd status` and `axiomd audit` say; None for one that doesn't in time. They run side by side."""
        deadline = time.monotonic() + timeout_s
        with self.log.open("ab") as log:
            processes = [
                children.start(
                    self._command(name, "--json"),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
                for name in ("status", "audit")
            ]
        status, audit = (_json_output(process, deadline) for process in processes)
        return status, audit

    def write_report(self, path: Path, timeout_s: float, stopping: threading.Event) -> None:
        """Let `axiomd report` write an HTML file, unless `stopping` is set first. Raises OperationError."""
        with self.log.open("ab") as log:
            command = self._command("report", "--format", "html", "--output", str(path.absolute()))
            process = children.start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < deadline and not stopping.wait(0.05):
            pass
        if children.kill(process) != 0 and not stopping.is_set():
            raise OperationError(f"`axiomd report` wrote no report: see {self.log}")

    def stop(self, timeout_s: float) -> None:
        """End the daemon."""
        if self._process is not None:
            children.stop(self._process, timeout_s)
            self._process = None

    def _command(self, name: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "axiomd", name, *words, "--config", str(self.settings)]


def parse_metrics(text: str) -> list[tuple[tuple[str, str], float]]:
    """Samples of Prometheus's text format: name and labels as they stand, and value."""
    samples = re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, flags=re.MULTILINE)
    return [((name, labels), float(value)) for name, labels, value in samples]


def _json_output(process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any] | None:
    """The JSON object that a process prints until the deadline; None for anything else."""
    try:
        output, _ = process.communicate(timeout=max(0.05, deadline - time.monotonic()))
        answer = json.loads(output)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    finally:
        children.kill(process)
    return answer if isinstance(answer, dict) else None
