"""`axiomd metrics`: every metric that /metrics serves: name, type, labels, meaning. docs/metrics.md is its output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from prometheus_client.metrics import MetricWrapperBase

from axiomd import metrics as declared
from axiomd.cli.options import Json, print_json, print_table

PAGE = """\
# Metrics

What `/metrics` serves, as Prometheus scrapes it. This page is the output of a command; write it anew by

```text
axiomd metrics --markdown > docs/metrics.md
```

Times are Unix seconds, durations seconds, credit is BOINC credit (cobblestones). A counter counts from the start of
the process. Labels have few values, never a host or a user. A histogram has a series `_bucket` for each bound (label
`le`), a `_sum` and a `_count`. Beside these there are the Python client's own `process_*` and `python_*`.

| metric | type | labels | meaning |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Described:
    """A metric under the name that is scraped."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(name="metrics")(metrics)


def metrics(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/metrics.md.")] = False,
) -> None:
    """List every metric: name, type, labels, meaning."""
    rows = described()
    if as_json:
        print_json([asdict(row) for row in rows])
    elif markdown:
        print(PAGE, end="")
        for row in rows:
            print(f"| `{row.name}` | {row.type} | {', '.join(row.labels)} | {row.meaning} |")
    else:
        print_table("metrics", ("metric", "type", "labels", "meaning"), [_cells(row) for row in rows])


def described() -> list[Described]:
    """Every metric of axiomd, in the order in which they are declared."""
    return [_described(metric) for metric in vars(declared).values() if isinstance(metric, MetricWrapperBase)]


def _described(metric: MetricWrapperBase) -> Described:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    # The client has no public way to ask a metric for its labels' names.
    return Described(name, family.type, tuple(metric._labelnames), family.documentation)  # noqa: SLF001


def _cells(row: Described) -> tuple[str, str, str, str]:
    return row.name, row.type, ", ".join(row.labels), row.meaning
