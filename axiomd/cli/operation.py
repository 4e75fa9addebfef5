"""`axiomd run`, `once`, `plan`, `migrate`, `demo`: the commands that start something."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from dataclasses import asdict

import typer

from axiomd import logs, opening
from axiomd.boinc import schema
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json, print_table
from axiomd.handlers.baseline import write_baseline
from axiomd.handlers.handler import Planned
from axiomd.settings import Settings, load
from axiomd.store import schema as own_schema
from axiomd.store.database import read_clock


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(run)
    app.command()(once)
    app.command()(plan)
    app.command()(migrate)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)(
        demo
    )


def run(config: Config = CONFIG_DEFAULT) -> None:
    """Run the daemon until it is told to stop (SIGTERM, Ctrl-C)."""
    from axiomd import daemon  # noqa: PLC0415 - with the gateways it loads slowly: no other command waits for it

    settings = load(config)
    logs.configure(settings.log)
    asyncio.run(daemon.run(settings))


def once(config: Config = CONFIG_DEFAULT) -> None:
    """Look once, react, and end."""
    settings = load(config)
    logs.configure(settings.log)
    seen = asyncio.run(_once(settings))
    print(f"{seen} events handled")


async def _once(settings: Settings) -> int:
    from axiomd import daemon  # noqa: PLC0415 - as above

    async with opening.opened(settings) as (database, project), opening.leased(database, settings):
        return await daemon.build(settings, database, project).once()


def plan(config: Config = CONFIG_DEFAULT, as_json: Json = False) -> None:
    """Say what the daemon would change now, and change nothing."""
    settings = load(config)
    logs.configure(settings.log)
    planned = asyncio.run(_plan(settings))
    if as_json:
        print_json([asdict(change) for change in planned])
        return
    shown = 200
    print_table(
        f"{len(planned)} changes" + (f", the first {shown}" if len(planned) > shown else ""),
        ("action", "what", "how"),
        [(change.action, change.subject, change.detail) for change in planned[:shown]],
    )
    for action, count in sorted(Counter(change.action for change in planned).items()):
        print(f"{action}: {count}")


async def _plan(settings: Settings) -> list[Planned]:
    from axiomd import daemon  # noqa: PLC0415 - as above

    async with opening.opened(settings) as (database, project):
        return await daemon.build(settings, database, project).plan()


def migrate(
    config: Config = CONFIG_DEFAULT,
    index: bool = typer.Option(False, "--index", help="Also make the index for intake.mode = 'mod_time', online."),
) -> None:
    """Make axiomd's own tables, or bring them up to date; at the first time, write the baseline."""
    settings = load(config)
    logs.configure(settings.log)
    asyncio.run(_migrate(settings, index=index))


async def _migrate(settings: Settings, *, index: bool) -> None:
    async with opening.opened(settings, ready=False) as (database, project):
        async with database.session() as session:
            ran = await own_schema.migrate(session, await read_clock(session))
            print(f"tables: {', '.join(ran) if ran else 'up to date'}")
            if index and not await schema.has_mod_time_index(session):
                await schema.make_mod_time_index(session)
                print("index axiomd_mod_time on result: made")
        baseline = await write_baseline(database, project)
    if baseline is None:
        print("baseline: written before")
    else:
        print(
            f"baseline: {baseline.at:.0f}; {baseline.under_way} results under way, "
            f"{baseline.history} finished workunits left alone"
        )


def demo(context: typer.Context) -> None:
    """Watch a made-up fleet being run: a private MariaDB, a stand-in for BOINC's daemons, volunteers."""
    # The demo stands beside the house: a program of its own, which starts `axiomd run` like any operator would.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "axiomd.demo", *context.args])  # noqa: S606 - a program of ours
