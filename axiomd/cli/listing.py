"""`axiomd hosts`, `journal`: pages of the hosts, and of what axiomd did. The same as the API gives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape

from axiomd import logs, opening
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json, print_table
from axiomd.settings import Settings, load
from axiomd.views import hosts as hosts_view
from axiomd.views import journal as journal_view

NEWEST = 2**62
"""Above every journal entry."""


class HostState(StrEnum):
    """States that a list of hosts can be narrowed to."""

    LIVE = "live"
    STALE = "stale"
    FAILING = "failing"
    EXCLUDED = "excluded"


Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="How many at most.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(hosts)
    app.command()(journal)


def hosts(
    state: Annotated[HostState | None, typer.Option("--state", help="Only hosts in this state.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Only hosts with a higher id.")] = 0,
    limit: Limit = 50,
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
) -> None:
    """List hosts by id: state, cores, last contact, jobs, credit; failing and excluded ones with since when and why."""
    settings = load(config)
    logs.configure(settings.log)
    page = asyncio.run(_hosts(settings, state, after, limit))
    if as_json:
        print_json(page.model_dump())
        return
    if state in {HostState.FAILING, HostState.EXCLUDED}:
        # What a person asks of these is since when and why.
        columns: tuple[str, ...] = ("host", "state", "since (UTC)", "until (UTC)", "why", "jobs", "contact (UTC)")
        rows: list[tuple[object, ...]] = [
            (
                *(h.id, _state(h), _minute(h.held_since), _minute(h.held_until), escape(h.held_reason)),
                *(h.jobs_in_progress, _minute(h.last_contact_at)),
            )
            for h in page.hosts
        ]
    else:
        columns = ("host", "state", "cores", "GPUs", "contact (UTC)", "jobs", "credit")
        rows = [
            (h.id, _state(h), h.ncpus, h.ngpus, _minute(h.last_contact_at), h.jobs_in_progress, f"{h.credit:g}")
            for h in page.hosts
        ]
    print_table("hosts", columns, rows)
    if page.next is not None:
        print(f"more: --after {page.next}")


async def _hosts(settings: Settings, state: HostState | None, after: int, limit: int) -> hosts_view.HostPage:
    async with opening.opened(settings) as (database, project):
        chosen: Any = state.value if state else None
        return await hosts_view.page(database, project, settings, after=after, limit=limit, state=chosen)


def _state(host: hosts_view.Host) -> str:
    """Say all that is so of a host."""
    words = ["live" if host.live else "stale"]
    return ", ".join(words + ["failing"] * host.failing + ["excluded"] * host.excluded)


def journal(
    kind: Annotated[str, typer.Option("--kind", help="Only entries of this kind: credit, abort, intervene ...")] = "",
    before: Annotated[int, typer.Option("--before", min=1, help="Only entries with a lower id.")] = NEWEST,
    limit: Limit = 20,
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
) -> None:
    """List what axiomd did, newest first; `axiomd undo ENTRY` takes one back."""
    settings = load(config)
    logs.configure(settings.log)
    page = asyncio.run(_journal(settings, kind, before, limit))
    if as_json:
        print_json(page.model_dump())
        return
    for entry in page.entries:
        credit = f", {entry.credit:g} credit" if entry.credit else ""
        what = f"{entry.kind}: {entry.changes} changed{credit}"
        print(f"{entry.id:>8}  {_utc(entry.at)}  {what} ({entry.cause}, by {entry.actor})")
    if page.next is not None:
        print(f"more: --before {page.next}")


async def _journal(settings: Settings, kind: str, before: int, limit: int) -> journal_view.JournalPage:
    async with opening.opened(settings) as (database, _):
        return await journal_view.before(database, before, kind=kind, limit=limit)


def _minute(at: float | None) -> str:
    return _utc(at)[:16] if at else "-" if at is None else "never"


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}" if at else "never"
