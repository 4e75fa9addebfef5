"""`axiomd explain`: the story of one result, workunit or host."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from axiomd import logs, opening
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json
from axiomd.errors import AxiomdError
from axiomd.explain import Story, Teller, utc
from axiomd.settings import Settings, load


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(explain)


def explain(
    what: Annotated[
        list[str],
        typer.Argument(help="result, workunit or host, and its id or name; a name or a clear id is enough."),
    ],
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
) -> None:
    """Tell what was seen of a row, what was decided and why, and what is next; exit status 1 if there is none."""
    if len(what) > 2:
        raise AxiomdError("explain what? Say for example `axiomd explain result 123`.")
    settings = load(config)
    logs.configure(settings.log)
    try:
        story = asyncio.run(_explain(settings, what))
    except LookupError as error:
        print(f"axiomd: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print_json(asdict(story))
    else:
        _show(story)


async def _explain(settings: Settings, what: Sequence[str]) -> Story:
    async with opening.opened(settings) as (database, project):
        teller = Teller(database, project, settings)
        return await teller.tell(*await teller.find(what))


def _show(story: Story) -> None:
    print(story.title)
    happened = [f"{utc(one.at)}  {one.words}" for one in story.happened]
    for heading, lines in (
        ("as BOINC has it", story.is_now),
        ("what happened", happened),
        ("what axiomd says of it now", story.decided),
        ("what is next", story.next or ["nothing"]),
    ):
        if lines:
            print(f"\n{heading}:")
            for line in lines:
                print(f"  {line}")
