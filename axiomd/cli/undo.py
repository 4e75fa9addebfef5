"""`axiomd undo`, `backfill`: a person changes what was paid or done. Shown first, then asked, then done."""

from __future__ import annotations

import asyncio
import getpass
import math
import re
import sys
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from axiomd import logs, opening
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json, print_table
from axiomd.errors import AxiomdError
from axiomd.handlers.backfill import Backfill, BackfillPlan, Paid, Wish
from axiomd.handlers.undo import Done, EntryPlan, Undo
from axiomd.policies.undo import Stays
from axiomd.settings import Settings, load
from axiomd.store.undo import Selection

SHOWN = 20
"""Rows of each kind that are shown; the others are counted."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask: for scripts.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be done, and do nothing.")]

_SPAN_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(undo)
    app.command()(backfill)


def point_in_time(text: str, now: float) -> float:
    """Read a time: Unix seconds, a date (2026-03-01, 2026-03-01T12:30, UTC), or a span before now (90m, 2h, 1d)."""
    if not text:
        return 0.0
    if span := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text):
        return now - float(span[1]) * _SPAN_S[span[2]]
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise AxiomdError(
            f"'{text}' is no time. Write Unix seconds, a date (2026-03-01, 2026-03-01T12:30, in UTC), "
            "or a span before now (90m, 2h, 1d)."
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def login_name() -> str:
    """Who works here, for the journal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def confirm(question: str) -> None:
    """Ask; ends the command with exit status 1 if the answer is no, and with 2 where nobody is there to answer."""
    if not sys.stdin.isatty():
        raise AxiomdError("there is no terminal to ask at: look with --dry-run, then say --yes")
    if not typer.confirm(question):
        print("nothing was changed")
        raise typer.Exit(1)


def undo(
    entries: Annotated[
        list[int] | None, typer.Argument(help="Journal entries to undo.", metavar="ENTRY...", show_default=False)
    ] = None,
    batch: Annotated[
        str, typer.Option(help="Only the jobs of this batch: the topup entry that made them.", metavar="ENTRY")
    ] = "",
    since: Annotated[
        str, typer.Option(help="Only entries since then: Unix time, date, or a span like 2h or 1d.", metavar="TIME")
    ] = "",
    host: Annotated[int, typer.Option(help="Only what concerns this host.", metavar="ID", min=0)] = 0,
    experiment: Annotated[str, typer.Option(help="Only what concerns this experiment.", metavar="NAME")] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
) -> None:
    """Undo journal entries, or parts of them: credit, aborts, repairs, jobs not sent yet.

    Shows what will be undone and what can't be, asks, and does it by new journal entries. Undone twice changes nothing.
    """
    if not (entries or batch or since or host or experiment):
        raise AxiomdError("undo what? Name journal entries, or narrow by --batch, --since, --host or --experiment.")
    settings = load(config)
    logs.configure(settings.log)
    number = batch.removeprefix("b")
    if batch and not number.isdigit():
        raise AxiomdError(f"--batch: '{batch}' is no batch; it is the number after b in a workunit's name")
    selection = Selection(tuple(entries or ()), int(number or 0), 0.0, host, experiment)
    found = asyncio.run(_undo(settings, selection, since, yes=yes, look_only=dry_run, as_json=as_json))
    if found:
        raise typer.Exit(found)


async def _undo(
    settings: Settings, selection: Selection, since: str, *, yes: bool, look_only: bool, as_json: bool
) -> int:
    """Plan, ask, do; the exit status: 1 if there was something to undo and nothing of it can be."""
    async with opening.opened(settings) as (database, project):
        after = point_in_time(since, await database.now())
        selection = replace(selection, since=after)
        work = Undo(database, project, login_name())
        plans = await work.plan(selection)
        if not as_json:
            _show(plans)
        possible = sum(len(plan.undone) for plan in plans)
        stuck = any(why is not Stays.UNDONE for plan in plans for _, why in plan.stays)
        done: list[Done] = []
        if possible and not look_only and (yes or not as_json):
            if not yes:
                confirm(f"Undo {possible}?")
            done = await work.act(plans, None if as_json else _tell)
        if as_json:
            print_json({"plan": [_as_json(plan) for plan in plans], "done": [asdict(part) for part in done]})
        elif not possible:
            print("nothing to undo")
        elif done:
            _sum_up(done)
        return 1 if stuck and not possible else 0


def _show(plans: list[EntryPlan]) -> None:
    rows = [
        (
            plan.entry.id,
            _utc(plan.entry.at),
            plan.entry.kind,
            plan.entry.actor,
            len(plan.undone),
            f"{plan.credit:g}" if plan.credit else "",
            "; ".join(f"{count}: {why}" for why, count in plan.reasons.items()),
        )
        for plan in plans
    ]
    columns = ("entry", "at (UTC)", "kind", "by", "to undo", "credit", "stays")
    print_table(f"{len(plans)} journal entries", columns, rows[:SHOWN])
    if len(rows) > SHOWN:
        print(f"... and {len(rows) - SHOWN} more entries")
    console = Console(highlight=False, soft_wrap=True)
    undone = [unit.words for plan in plans for unit in plan.undone]
    staying = [f"{_subject(unit.words)} stays: {why.value}" for plan in plans for unit, why in plan.stays]
    for lines in (undone, staying):
        for line in lines[:SHOWN]:
            console.print(line, markup=False)
        if len(lines) > SHOWN:
            console.print(f"... and {len(lines) - SHOWN} more")


def _subject(words: str) -> str:
    return words.partition(":")[0]


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def _tell(done: Done) -> None:
    if done.journal_id:
        credit = f", {-done.credit:g} credit" if done.credit else ""
        print(f"entry {done.journal_id}: {done.changes} of entry {done.entry_id} undone{credit}")


def _sum_up(done: list[Done]) -> None:
    print(f"undone: {sum(part.changes for part in done)}")
    if credit := -sum(part.credit for part in done):
        print(f"credit taken back: {credit:g}")
    for why, count in sum((part.stays for part in done), Counter[str]()).items():
        print(f"stayed: {count}: {why}")
    for table, count in sum((part.deleted for part in done), Counter[str]()).items():
        print(f"{table}s that are no more, and have no total to take from: {count}")


def _as_json(plan: EntryPlan) -> dict[str, Any]:
    return asdict(plan.entry) | {
        "to_undo": len(plan.undone),
        "credit_back": plan.credit,
        "stays": plan.reasons,
        "rows": [unit.words for unit in plan.undone[:SHOWN]],
    }


def backfill(
    since: Annotated[str, typer.Option(help="Only what came in (or was undone) since then.", metavar="TIME")] = "",
    until: Annotated[str, typer.Option(help="Only what came in (or was undone) before.", metavar="TIME")] = "",
    limit: Annotated[int, typer.Option(help="Pay so many results at most; 0: as the cap allows.", min=0)] = 0,
    cap: Annotated[
        float | None, typer.Option(help="Pay so much credit at most, in place of credit.backfill_cap.", min=0)
    ] = None,
    undone: Annotated[bool, typer.Option("--undone", help="Pay again what an undo took back.")] = False,
    entries: Annotated[
        list[int] | None,
        typer.Option("--entry", help="With --undone: only these journal entries.", metavar="ENTRY", show_default=False),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
) -> None:
    """Pay what finished before the baseline, or again what was undone, by the present rules.

    Shows what will be paid, asks, and pays. Each run is capped; `axiomd undo` takes it back.
    """
    if entries and not undone:
        raise AxiomdError("--entry goes with --undone: it names the entries whose undoing is paid again.")
    settings = load(config)
    logs.configure(settings.log)
    wish = Wish(undone, tuple(entries or ()), limit=limit, cap=cap)
    asyncio.run(_backfill(settings, wish, since, until, yes=yes, look_only=dry_run, as_json=as_json))


async def _backfill(
    settings: Settings, wish: Wish, since: str, until: str, *, yes: bool, look_only: bool, as_json: bool
) -> None:
    async with opening.opened(settings) as (database, project):
        now = await database.now()
        wish = replace(wish, since=point_in_time(since, now), until=point_in_time(until, now) if until else math.inf)
        work = Backfill(database, project, settings, login_name())
        plan = await work.plan(wish)
        if not as_json:
            _show_backfill(plan)
        paid: list[Paid] = []
        if plan.results and not look_only and (yes or not as_json):
            if not yes:
                confirm(f"Pay {plan.paid} results {plan.credit:g} credit?")
            paid = await work.act(wish, plan, None if as_json else _tell_paid)
        if as_json:
            top = [{"host": host_id, "credit": credit} for host_id, credit in _top(plan)]
            shown = {"results": plan.paid, "credit": plan.credit, "by_host": top, "refusals": dict(plan.refusals)}
            plan_json = shown | {"cap": plan.cap, "complete": plan.complete}
            print_json({"plan": plan_json, "done": [asdict(part) for part in paid]})
        elif not plan.results:
            print("nothing to pay")
        elif paid:
            print(f"paid: {sum(part.results for part in paid)} results, {sum(part.credit for part in paid):g} credit")


def _top(plan: BackfillPlan) -> list[tuple[int, float]]:
    """Hosts that get most."""
    return sorted(plan.by_host.items(), key=lambda item: (-item[1], item[0]))[:10]


def _show_backfill(plan: BackfillPlan) -> None:
    print(f"to pay: {plan.paid} results, {plan.credit:g} credit, to {len(plan.by_host)} hosts (cap {plan.cap:g})")
    if plan.by_host:
        print_table("most goes to", ("host", "credit"), [(host_id, f"{credit:g}") for host_id, credit in _top(plan)])
    for reason, count in plan.refusals.most_common():
        print(f"not paid: {count}: {reason}")
    if not plan.complete:
        print("the cap or the limit is reached: there is more, for another run")


def _tell_paid(paid: Paid) -> None:
    if paid.journal_id:
        print(f"entry {paid.journal_id}: {paid.results} results paid, {paid.credit:g} credit")
