"""What a person sees of the demo: a live view on a terminal, lines now and then elsewhere, a table at the end."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from axiomd.demo.operations import Metrics
from axiomd.demo.run import State

LINE_INTERVAL_S = 5.0


class View:
    """Shows the demo's state: live where the console is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._addresses: list[str] = []
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Show a line for good."""
        self._console.print(line, highlight=False, soft_wrap=True)

    def watch(self, state: State) -> None:
        """Show how things are."""
        if self._live is not None:
            self._live.update(Group(_table(state), Text("Ctrl-C ends the demo", style="dim")))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_INTERVAL_S
            self.say(_line(state))


def numbers(state: State) -> list[tuple[str, str]]:
    """What the views show, as labels and texts."""
    metrics = state.metrics
    credit = metrics.total("axiomd_credit_granted_total")
    idle = state.cores_usable - state.cores_busy
    return [
        ("hosts live", f"{state.hosts_live}"),
        ("cores busy", f"{state.cores_busy} of {state.cores_usable} ({idle} idle)"),
        ("results", f"{state.results_in_progress} in progress, {state.results_unsent} unsent"),
        ("jobs", f"{state.jobs_computed} computed, {state.jobs_replayed} replayed"),
        ("credited", f"{metrics.total('axiomd_results_credited_total'):.0f} results, {credit:.0f} credit"),
        ("harvested", _harvested(metrics)),
        ("aborted", f"{metrics.total('axiomd_tasks_aborted_total'):.0f}"),
        ("repaired", f"{metrics.total('axiomd_flags_repaired_total'):.0f}"),
        ("deployed", f"{metrics.total('axiomd_workunits_deployed_total'):.0f}"),
        ("events a second", f"{state.events_per_s:.0f}"),
        (
            "faults so far",
            ", ".join(f"{name} {count}" for name, count in sorted(state.faults.items())) or "none",
        ),
    ]


def _harvested(metrics: Metrics) -> str:
    failing = metrics.by_label("axiomd_hosts").get("failing", 0)
    return (
        f"{metrics.total('axiomd_results_harvested_total'):.0f} results, "
        f"{metrics.total('axiomd_experiment_seeds'):.0f} independent seeds, "
        f"{metrics.total('axiomd_results_discounted_total'):.0f} discounted, {failing} hosts failing"
    )


def _table(state: State) -> Table:
    table = Table(title=f"axiomd's demo, {state.elapsed_s:.0f} s", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for label, text in numbers(state):
        table.add_row(label, text)
    return table


def _line(state: State) -> str:
    return f"{state.elapsed_s:4.0f} s  " + "; ".join(f"{label}: {text}" for label, text in numbers(state))


def summary(console: Console, answer: dict[str, Any]) -> None:
    """Print the summary for a person."""
    table = Table(title="What the demo came to", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for key, value in answer.items():
        parts = value if isinstance(value, dict) else {"": value}
        text = ", ".join(f"{name}: {part}" if name else str(part) for name, part in parts.items())
        table.add_row(key.replace("_", " "), text)
    console.print(table)
