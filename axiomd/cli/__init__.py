"""The command line, thin: parse, call, print. Exit codes: 0 good, 1 found something wrong, 2 could not run."""

from __future__ import annotations

import sys

import typer

from axiomd.cli import (
    configuration,
    experiments,
    explain,
    export,
    failures,
    findings,
    inspection,
    intervene,
    listing,
    metrics,
    operation,
    report,
    undo,
)
from axiomd.errors import AxiomdError

app = typer.Typer(
    name="axiomd",
    help="Runs a BOINC project's daily work as a service: credit, aborts, repairs, new work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
operation.add_to(app)
inspection.add_to(app)
listing.add_to(app)
findings.add_to(app)
export.add_to(app)
failures.add_to(app)
undo.add_to(app)
intervene.add_to(app)
explain.add_to(app)
configuration.add_to(app)
experiments.add_to(app)
metrics.add_to(app)
report.add_to(app)


def main() -> None:
    """Run the command line; an error that axiomd expects is one message and exit status 2."""
    try:
        app()
    except AxiomdError as error:
        print(f"axiomd: {error}", file=sys.stderr)
        sys.exit(2)
    except BaseExceptionGroup as group:
        expected, unexpected = group.split(AxiomdError)
        if unexpected is not None or expected is None:
            raise
        for leaf in _leaves(expected):
            print(f"axiomd: {leaf}", file=sys.stderr)
        sys.exit(2)


def _leaves(group: BaseExceptionGroup[AxiomdError]) -> list[AxiomdError]:
    """Flatten the errors of a group."""
    leaves: list[AxiomdError] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves
