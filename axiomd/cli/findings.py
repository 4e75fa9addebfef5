"""`axiomd findings`: what the independent results say of each claim."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from axiomd import logs, opening
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json
from axiomd.errors import SettingsError
from axiomd.science.catalogue import CatalogueEntry, read_catalogue
from axiomd.science.findings import ClaimFinding
from axiomd.settings import Settings, load
from axiomd.views import findings as view

WIDTH = 100
"""Letters of a line at most."""


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(findings)


def findings(
    experiment: Annotated[str | None, typer.Argument(help="Only the claims of this experiment.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Claims without any result too.")] = False,
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
) -> None:
    """Say what came of each claim: settled ones first, then by evidence."""
    settings = load(config)
    logs.configure(settings.log)
    catalogue = read_catalogue(settings.daemon.catalogue)
    if experiment is not None and experiment not in catalogue:
        raise SettingsError(f"no experiment '{experiment}' in the catalogue; it has: {', '.join(catalogue)}")
    found = view.ranked(asyncio.run(_findings(settings, catalogue, experiment)))
    shown = [one for one in found if all_ or one.seeds or one.verdict != "open"]
    if as_json:
        print_json([view.finding(one).model_dump() for one in shown])
        return
    for one in shown:
        print("\n".join(lines(one)))
    settled = sum(one.verdict != "open" for one in found)
    rate = f"{settings.replication.error_rate:.0%}"
    print(
        f"{settled} of {len(found)} claims settled, at a chance of {rate} at most that any verdict is ever wrong",
        end="",
    )
    print("" if len(shown) == len(found) else f"; {len(found) - len(shown)} have no result yet, --all shows them")


async def _findings(
    settings: Settings, catalogue: dict[str, CatalogueEntry], experiment: str | None
) -> Sequence[ClaimFinding]:
    async with opening.opened(settings) as (database, _):
        return await view.read(database, settings, catalogue, None if experiment is None else [experiment])


def lines(found: ClaimFinding) -> list[str]:
    """Give the lines that tell a finding, none longer than a screen is wide."""
    head = f"{found.verdict.upper()}: {found.experiment}: {found.claim.replace('_', ' ')}"
    if found.settled_at:
        head += f" (settled {datetime.fromtimestamp(found.settled_at, UTC):%Y-%m-%d}, {found.settled_seeds} seeds)"
    told = [head]
    if not found.seeds:
        told.append("  no result yet")
    else:
        platforms = f" on {', '.join(found.platforms)}" if found.platforms else ""
        told.append(
            f"  {found.supported} of {found.seeds} seeds for, {found.contradicted} against; {found.hosts} hosts"
            f"{platforms}, replication {found.level}; evidence {_evidence(found)}"
        )
        low, high = found.interval or (None, None)
        told.append(
            f"  median effect {_signed(found.effect)} ({_signed(low, 'open')} to {_signed(high, 'open')}), "
            f"same sign in {found.consistency:.0%}; control {found.control:.3g}, its own effect "
            f"{_signed(found.control_effect)}"
        )
    if found.logged:
        told.append(f"  logged: {found.logged}")
    return [part for line in told for part in textwrap.wrap(line, WIDTH, subsequent_indent="    ")]


def _evidence(found: ClaimFinding) -> str:
    """Say how far the evidence is, on the side where there is more."""
    side = "for" if found.e_value >= found.e_value_against else "against"
    return f"{_number(max(found.e_value, found.e_value_against))} {side} it, of {_number(found.bar)} wanted"


def _number(value: float) -> str:
    return f"{value:,.0f}" if 10 <= value < 1e6 else f"{value:.2g}"


def _signed(value: float | None, none: str = "unknown") -> str:
    return none if value is None else f"{value:+.3g}"
