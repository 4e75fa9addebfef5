"""A running demo with a Prometheus that watches it, and what Grafana would ask: for the pictures and for the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.servers import Prometheus, Sample, Series, free_port

RULES: Final = sorted((Path(__file__).parents[1] / "deploy" / "prometheus" / "rules").glob("*.yml"))
JOB: Final = "axiomd"
SCRAPE_S: Final = 1.0
RATE_S: Final = 15
LOOK_S: Final = 0.2
SERVES_WITHIN_S: Final = 60.0
BETWEEN_PRESSES_S: Final = 0.1
ENDS_WITHIN_S: Final = 30.0


@dataclass(frozen=True)
class Run:
    """What Prometheus knows of a demo since it began to serve its metrics, at the Unix time `since`."""

    prometheus: Prometheus
    since: float

    def latest(self, expr: str, at: float) -> list[Sample]:
        """Give the values at a time, as for a panel that asks for an instant."""
        return self.prometheus.query(self._spelled(expr, at), at)

    def course(self, expr: str, until: float, points: int = 150) -> list[Series]:
        """Give the values from the beginning until a time, as for a graph."""
        step_s = max(SCRAPE_S, (until - self.since) / points)
        return self.prometheus.query_range(self._spelled(expr, until), self.since, until, step_s)

    def _spelled(self, expr: str, until: float) -> str:
        """Put in what Grafana puts in for the variables."""
        range_s = max(1, round(until - self.since))
        return expr.replace("$job", JOB).replace("$__rate_interval", f"{RATE_S}s").replace("$__range", f"{range_s}s")


@contextmanager
def watched_demo(folder: Path, *words: str) -> Iterator[Run]:
    """Run the demo, and a Prometheus on it, until the context ends. `words` go to the demo's command line.

    Raises ServerError or RuntimeError, with what it said, if one of them doesn't come up.
    """
    port = free_port()
    log = folder / "demo.log"
    with (
        Prometheus(folder / "prometheus", scrape=[f"127.0.0.1:{port}"], rules=RULES, interval_s=SCRAPE_S) as prometheus,
        log.open("wb") as output,
    ):
        deadline = time.monotonic() + SERVES_WITHIN_S
        command = [sys.executable, "-m", "axiomd.demo", "--http-port", str(port), *words]
        demo = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ, start_new_session=True
        )
        try:
            while not prometheus.query("axiomd_build_info"):
                if demo.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the demo serves no metrics: {log.read_text(encoding='utf-8')}")
                time.sleep(LOOK_S)
            yield Run(prometheus, time.time())
        finally:
            _end(demo)


def _end(demo: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C twice: the demo ends at once, and leaves nothing behind."""
    for _ in range(2):
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
            time.sleep(BETWEEN_PRESSES_S)
    demo.wait(ENDS_WITHIN_S)


def queries(panel: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Give a panel's queries: expression, legend, and whether it asks for an instant only."""
    return [(target["expr"], target["legendFormat"], bool(target.get("instant"))) for target in panel["targets"]]
