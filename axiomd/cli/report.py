"""`axiomd report`: what a period held, for a terminal, as a page, or as data."""

from __future__ import annotations

import asyncio
import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from axiomd import logs, opening
from axiomd.cli.inspection import parse_since
from axiomd.cli.options import CONFIG_DEFAULT, Config
from axiomd.errors import ProjectError, SettingsError
from axiomd.settings import Settings, load
from axiomd.views import report as view
from axiomd.views.report_parts import Report


class Format(StrEnum):
    """What a report is written as."""

    MD = "md"
    HTML = "html"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(report)


def report(
    since: Annotated[
        str, typer.Option("--since", help="From a date, a Unix time, or for so long before --until: 7d, 36h.")
    ] = "7d",
    until: Annotated[str, typer.Option("--until", help="To a date, a Unix time, or so long ago; default: now.")] = "",
    format_: Annotated[Format, typer.Option("--format", help="Markdown, a page in one file, or data.")] = Format.MD,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; default: print it.")] = None,
    config: Config = CONFIG_DEFAULT,
) -> None:
    """Report what a period held: results, credit, failures, findings, and what to look at next."""
    settings = load(config)
    logs.configure(settings.log)
    gathered = asyncio.run(_gather(settings, since, until))
    # Templates are loaded by this command alone.
    from axiomd.views.report_page import RENDER, write  # noqa: PLC0415

    text = RENDER[format_.value](gathered)
    if output is None:
        print(text, end="")
        return
    try:
        write(output, text)
    except OSError as error:
        raise ProjectError(
            f"--output {output}: {error.strerror}. Name a file in a folder that can be written."
        ) from error


async def _gather(settings: Settings, since: str, until: str) -> Report:
    async with opening.opened(settings) as (database, project):
        now = await database.now()
        end = parse_since(until, now) if until else math.inf
        start = parse_since(since, min(end, now))
        if start >= min(end, now):
            raise SettingsError(f"--since {since}: the period ends before it begins; give an earlier date")
        return await view.report(database, project, settings, since=start, until=end)
