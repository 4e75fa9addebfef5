"""`axiomd intervene`, `pause`, `resume`: what a person may ask axiomd to do; each call is journaled."""

from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from axiomd import logs, opening
from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json
from axiomd.cli.undo import login_name
from axiomd.errors import AxiomdError
from axiomd.interventions.intervention import Answer, Call, Ground, Intervention, Outcome, Source
from axiomd.interventions.registry import ALL, Interventions
from axiomd.settings import Settings, load
from axiomd.store.guard import Kind

What = Annotated[Kind, typer.Argument(help="The kind of change.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(intervene)
    app.command()(pause)
    app.command()(resume)


def intervene(
    name: Annotated[str, typer.Argument(help="The intervention; without one all are listed.", metavar="[NAME]")] = "",
    parameters: Annotated[
        list[str] | None, typer.Argument(help="Its parameters.", metavar="[PARAMETER=VALUE]...", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")] = False,
    id_: Annotated[str, typer.Option("--id", help="Id of the call: under one id it is done once.")] = "",
    config: Config = CONFIG_DEFAULT,
    as_json: Json = False,
) -> None:
    """Step in: exclude a host, retire an experiment, restart a BOINC daemon ... Exit status 1 if it failed.

    A call that is refused changes nothing, and says why.
    """
    if not name:
        _list(as_json=as_json)
        return
    answer = _call(config, name, _given(parameters or []), dry_run=dry_run, id_=id_)
    if as_json:
        print_json(asdict(answer))
    elif answer.outcome is Outcome.REFUSED:
        print(f"axiomd: refused: {answer.message}", file=sys.stderr)
    else:
        print(f"{'failed: ' if answer.outcome is Outcome.FAILED else ''}{answer.message}")
    _exit(answer)


def pause(kind: What, config: Config = CONFIG_DEFAULT) -> None:
    """Stop a kind of change until `axiomd resume`; the daemon heeds it at once, and does the rest."""
    _say(_call(config, "pause", {"kind": kind.value}))


def resume(kind: What, config: Config = CONFIG_DEFAULT) -> None:
    """Let a kind of change go on that was paused or has used up its cap; its window begins anew."""
    _say(_call(config, "resume", {"kind": kind.value}))


def _say(answer: Answer) -> None:
    print(answer.message)
    _exit(answer)


def _exit(answer: Answer) -> None:
    if answer.outcome is Outcome.REFUSED:
        raise typer.Exit(2)
    if answer.outcome is Outcome.FAILED:
        raise typer.Exit(1)


def _given(words: list[str]) -> dict[str, Any]:
    """Read `parameter=value` words."""
    given: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise AxiomdError(f"'{word}' is no parameter; write name=value, such as host=17")
        if name in given:
            raise AxiomdError(f"parameter {name} stands twice")
        given[name] = value
    return given


def _call(config: Config, name: str, parameters: dict[str, Any], *, dry_run: bool = False, id_: str = "") -> Answer:
    settings = load(config)
    logs.configure(settings.log)
    call = Call(id_ or secrets.token_hex(16), name, parameters, Source.CLI, login_name(), dry_run)
    return asyncio.run(_called(settings, call))


async def _called(settings: Settings, call: Call) -> Answer:
    async with opening.opened(settings) as (database, project):
        interventions = Interventions(Ground(settings, database, project))
        try:
            return await interventions.call(call)
        finally:
            await interventions.close()


def _list(*, as_json: bool) -> None:
    if as_json:
        print_json([_described(kind) for kind in ALL])
        return
    for kind in ALL:
        fields = kind.parameters.model_fields
        given = " ".join(f"{n}=..." if field.is_required() else f"[{n}=...]" for n, field in fields.items())
        print(f"{kind.name} {given}".rstrip())
        print(f"    {kind.summary}")
        print(f"    changes at most: {kind.at_most}")
        print(f"    may be called by: {', '.join(sorted(kind.sources))}")


def _described(kind: type[Intervention[Any]]) -> dict[str, Any]:
    return {
        "name": kind.name,
        "summary": kind.summary,
        "at_most": kind.at_most,
        "sources": sorted(kind.sources),
        "parameters": kind.parameters.model_json_schema(),
    }
