"""The command `python -m axiomd.demo`, which `axiomd demo` runs."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from axiomd.demo.fleet import FEWEST_HOSTS
from axiomd.demo.run import Demo, DemoError, Interrupted, Options
from axiomd.demo.show import View, summary

INTERRUPTED = 130  # exit status, as shells give it for a program that Ctrl-C ended

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    *,
    duration: Annotated[
        float, typer.Option(min=0, help="Seconds until the demo ends by itself; 0: it runs until Ctrl-C.")
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object on standard output.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Repeats the hosts and the faults of an earlier run.")] = None,
    hosts: Annotated[int, typer.Option(min=FEWEST_HOSTS, help="Number of volunteers' hosts.")] = 14,
    scale: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Size of the experiments; 1 is the real size.")
    ] = 0.05,
    folder: Annotated[
        Path | None, typer.Option(help="Empty folder for everything; by default a temporary one.")
    ] = None,
    keep: Annotated[bool, typer.Option(help="Keep the folder with the project, the database and the logs.")] = False,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of axiomd's metrics and API on 127.0.0.1; 0: a free one.")
    ] = 0,
    report: Annotated[
        Path | None, typer.Option(help="HTML file for what `axiomd report` says at the end.", dir_okay=False)
    ] = None,
    mqtt_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of an MQTT broker on 127.0.0.1 that lets anybody in; 0: none.")
    ] = 0,
) -> None:
    """Let axiomd look after a small BOINC project: a private database, a dozen volunteers, and faults on purpose."""
    console = Console(stderr=True)
    if seed is None:
        seed = random.SystemRandom().getrandbits(31)
    options = Options(duration, seed, hosts, scale, keep, folder, http_port, mqtt_port, report)
    try:
        with View(console) as view:
            answer = Demo(options, view.say).run(view.watch)
    except Interrupted as error:
        print(f"axiomd demo: {error}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except DemoError as error:
        print(f"axiomd demo: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(answer))
    else:
        summary(Console(), answer)
    raise typer.Exit(0 if answer["audit"]["ok"] else 1)


if __name__ == "__main__":
    app()
