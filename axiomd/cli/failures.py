"""`axiomd failures`: what failed, a line a cause."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from axiomd import logs, opening
from axiomd.cli.inspection import parse_since
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json
from axiomd.settings import Settings, load
from axiomd.views import failures as view


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(failures)


def failures(
    experiment: Annotated[str, typer.Argument(help="Only those of this experiment.")] = "",
    since: Annotated[str, typer.Option("--since", help="Only since a date, a Unix time, or for 1d, 36h, 90m.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many lines at most.")] = 50,
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
) -> None:
    """List what failed, grouped by its cause: how many results of how many hosts, first and last seen."""
    settings = load(config)
    logs.configure(settings.log)
    found = asyncio.run(_failures(settings, experiment, since, limit))
    if as_json:
        print_json(found.model_dump())
        return
    for line in found.failures:
        print(words(line))
    if not found.failures:
        print(f"no failures of {experiment}" if experiment else "no failures")
    elif found.fingerprints > len(found.failures):
        print(f"and {found.fingerprints - len(found.failures)} more: --limit")


async def _failures(settings: Settings, experiment: str, since: str, limit: int) -> view.FailureList:
    async with opening.opened(settings) as (database, _):
        since_at = parse_since(since, await database.now()) if since else 0.0
        return await view.failures(database, experiment=experiment, since=since_at, limit=limit)


def words(line: view.FailureLine) -> str:
    """Say it in a line."""
    what = " ".join(filter(None, (line.class_, line.detail)))
    place = f", at {line.place}" if line.place else ""
    return (
        f"{what} in {line.experiment} v{line.version}{place}: {_many(line.results, 'result')}, "
        f"{_many(line.hosts, 'host')}, first seen {_utc(line.first_at)}, last {_utc(line.last_at)}"
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
