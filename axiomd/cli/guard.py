"""`axiomd pause`, `resume`: a person stops a kind of change, or lets it go on."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated

import typer

from axiomd import daemon, logs
from axiomd.cli.options import CONFIG_DEFAULT, Config
from axiomd.settings import Settings, load
from axiomd.store import guard, tables
from axiomd.store.database import Session, read_clock
from axiomd.store.guard import Kind
from axiomd.store.tables import Entry

What = Annotated[Kind, typer.Argument(help="The kind of change.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(pause)
    app.command()(resume)


def pause(kind: What, config: Config = CONFIG_DEFAULT) -> None:
    """Stop a kind of change until `axiomd resume`; the daemon heeds it at once, and does the rest."""
    settings = load(config)
    logs.configure(settings.log)
    asyncio.run(_intervene(settings, kind, stop=True))
    print(f"{kind}: paused. `axiomd resume {kind}` lets it go on.")


def resume(kind: What, config: Config = CONFIG_DEFAULT) -> None:
    """Let a kind of change go on that was paused or has used up its cap; its window begins anew."""
    settings = load(config)
    logs.configure(settings.log)
    asyncio.run(_intervene(settings, kind, stop=False))
    print(f"{kind}: goes on; its cap counts from now.")


async def _intervene(settings: Settings, kind: Kind, *, stop: bool) -> None:
    async def write(session: Session) -> None:
        now = await read_clock(session)
        if stop:
            await guard.pause(session, kind)
        else:
            await guard.resume(session, kind, now)
        entry = Entry(now, "pause" if stop else "resume", kind.value, 0, actor=getpass.getuser())
        await tables.write_journal(session, entry)

    async with daemon.opened(settings) as (database, _):
        await database.transaction(write)
