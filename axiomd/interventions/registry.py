"""Every intervention by name, and the one way to call one: checked, done once, journaled, answered.

A transactional intervention, its record and its journal entry are one transaction. An errand (a program of the
project's, or more than one transaction) is noted as begun first, and never begun twice under one id: whoever asks again
while it runs waits for its answer, and after a crash learns that its end isn't known.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog
from pydantic import ValidationError

from axiomd import metrics
from axiomd.errors import AxiomdError, DatabaseUnavailable, Fenced, SettingsError
from axiomd.interventions.experiments import AbortExperiment, ContinueExperiment, RetireExperiment
from axiomd.interventions.guard import Pause, RaiseCap, Resume
from axiomd.interventions.hosts import ExcludeHost, ReleaseHost
from axiomd.interventions.intervention import (
    Answer,
    Call,
    Done,
    Errand,
    Ground,
    Intervention,
    Outcome,
    Parameters,
    Refusal,
    Source,
    Transactional,
)
from axiomd.interventions.programs import RestartDaemon, TransitionerPass
from axiomd.interventions.repair import RepairFlags
from axiomd.settings import Settings
from axiomd.store import interventions as record
from axiomd.store import tables
from axiomd.store.database import Session, read_clock
from axiomd.store.interventions import CallState
from axiomd.store.tables import Entry

log = structlog.get_logger(__name__)

ALL: tuple[type[Intervention[Any]], ...] = (
    Pause,
    Resume,
    RaiseCap,
    RepairFlags,
    RetireExperiment,
    AbortExperiment,
    ContinueExperiment,
    ExcludeHost,
    ReleaseHost,
    TransitionerPass,
    RestartDaemon,
)
JOURNAL_KIND = "intervene"
LONGEST_CALLER = 64


class Interventions:
    """The registry, on a project. `close` it when the daemon stops."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.by_name: dict[str, Intervention[Any]] = {kind.name: kind(ground) for kind in ALL}
        self._errands: dict[str, asyncio.Task[Answer]] = {}

    def allowed(self, intervention: Intervention[Any], source: Source) -> bool:
        """Whether the settings let calls from there through."""
        settings = self.ground.settings.interventions
        chosen = {Source.HTTP: settings.http, Source.MQTT: settings.mqtt}.get(source)
        return source in intervention.sources and (chosen is None or intervention.name in chosen)

    async def call(self, call: Call) -> Answer:
        """Do what is asked for, or say why not.

        Raises DatabaseUnavailable if the database can't be reached: the caller may deliver the call again.
        """
        call = replace(call, caller=_printable(call.caller)[:LONGEST_CALLER])
        try:
            answer = await self._call(call)
        except DatabaseUnavailable:
            raise
        except Fenced as error:
            raise DatabaseUnavailable(f"{error}; ask that one") from error
        except Refusal as refusal:
            answer = Answer(call.id, call.intervention, Outcome.REFUSED, str(refusal))
        except AxiomdError as error:
            answer = Answer(call.id, call.intervention, Outcome.FAILED, str(error))
        known = call.intervention if call.intervention in self.by_name else "unknown"
        outcome = "repeated" if answer.repeated else answer.outcome.value
        metrics.INTERVENTIONS.labels(known, call.source.value, outcome).inc()
        if call.source is not Source.CLI:  # a person reads the answer itself
            log.info("intervention", name=known, caller=call.caller, outcome=outcome, answer=answer.message)
        return answer

    async def close(self) -> None:
        """Break off the errands that still run; what they began is not begun again."""
        for errand in self._errands.values():
            errand.cancel()
        await asyncio.gather(*self._errands.values(), return_exceptions=True)

    async def _call(self, call: Call) -> Answer:
        intervention = self.by_name.get(call.intervention)
        if intervention is None:
            raise Refusal(f"there is no intervention '{_printable(call.intervention)[:32]}'; {_listed(self.by_name)}")
        if not self.allowed(intervention, call.source):
            raise Refusal(f"{intervention.name} isn't allowed by {call.source.value}")
        if not re.fullmatch(r"[\x21-\x7e]{1,64}", call.id):
            raise Refusal("an id has 1 to 64 printable letters, without spaces")
        parameters = _parameters(intervention, call)
        before = await self._before(call, parameters)
        if before is not None:
            return before
        plan = await intervention.plan(parameters)
        if call.dry_run or (self.ground.settings.daemon.dry_run and intervention.changes_boinc):
            return Answer(call.id, call.intervention, Outcome.PLANNED, plan)
        if isinstance(intervention, Transactional):
            return await self._change(intervention, parameters, call)
        if isinstance(intervention, Errand):
            return await self._send(intervention, parameters, call)
        raise TypeError(f"{intervention.name} is neither transactional nor an errand")

    async def _before(self, call: Call, parameters: Parameters) -> Answer | None:
        """What became of the call when it was delivered before; None if this is the first time."""
        running = self._errands.get(call.id)
        async with self.ground.database.session() as session:
            known = await record.read(session, call.id)
        if known is None:
            return None
        if (known.intervention, known.parameters) != (call.intervention, _plain(parameters)):
            raise Refusal(f"the id '{call.id}' was used for another call")
        if running is not None:
            return replace(await asyncio.shield(running), repeated=True)
        return _answer_of(call, known)

    async def _change(self, intervention: Transactional[Any], parameters: Parameters, call: Call) -> Answer:
        async def work(session: Session) -> Answer:
            now = await read_clock(session)
            if not await self._begin(session, call, parameters, now):
                return _answer_of(call, await record.read(session, call.id))
            done = await intervention.change(session, parameters, actor=call.caller, now=now)
            return await _end(session, call, parameters, Outcome.DONE, done)

        return await self.ground.database.transaction(work)

    async def _send(self, intervention: Errand[Any], parameters: Parameters, call: Call) -> Answer:
        async def begin(session: Session) -> bool:
            return await self._begin(session, call, parameters, await read_clock(session))

        if not await self.ground.database.transaction(begin):
            before = await self._before(call, parameters)
            if before is None:
                raise AxiomdError(f"the record of call '{call.id}' went away")
            return before
        # A task of its own: whoever asked may go away meanwhile.
        errand = asyncio.create_task(self._run(intervention, parameters, call), name=f"intervention {call.id}")
        self._errands[call.id] = errand
        errand.add_done_callback(self._ended)
        return await asyncio.shield(errand)

    def _ended(self, errand: asyncio.Task[Answer]) -> None:
        """Forget an errand; whoever asked for it may be gone, so its trouble is told here."""
        self._errands = {id_: task for id_, task in self._errands.items() if task is not errand}
        if not errand.cancelled() and (error := errand.exception()):
            log.error("the end of an intervention could not be noted", task=errand.get_name(), error=str(error))

    async def _run(self, intervention: Errand[Any], parameters: Parameters, call: Call) -> Answer:
        try:
            outcome, done = Outcome.DONE, await intervention.run(parameters, actor=call.caller)
        except AxiomdError as error:
            outcome, done = Outcome.FAILED, Done(str(error))

        async def end(session: Session) -> Answer:
            return await _end(session, call, parameters, outcome, done)

        return await self.ground.database.transaction(end)

    async def _begin(self, session: Session, call: Call, parameters: Parameters, now: float) -> bool:
        return await record.begin(
            session,
            call.id,
            intervention=call.intervention,
            parameters=_plain(parameters),
            source=call.source.value,
            caller=call.caller,
            now=now,
        )


def check(settings: Settings) -> None:
    """Raise SettingsError where the settings name an intervention that isn't there, or call one wrongly."""
    by_name = {kind.name: kind for kind in ALL}
    for source, names in (("http", settings.interventions.http), ("mqtt", settings.interventions.mqtt)):
        for name in names or ():
            if name not in by_name:
                raise SettingsError(f"interventions.{source}: there is no '{name}'; {_listed(by_name)}")
    for number, rule in enumerate(settings.alerts.rules, start=1):
        where = f"alerts.rules, rule {number} ({rule.alert})"
        kind = by_name.get(rule.intervention)
        if kind is None:
            raise SettingsError(f"{where}: there is no intervention '{rule.intervention}'; {_listed(by_name)}")
        if Source.ALERT not in kind.sources:
            raise SettingsError(f"{where}: {rule.intervention} is not for alerts")
        fields = kind.parameters.model_fields
        unknown = sorted(set(rule.parameters) - set(fields))
        missing = sorted(name for name, field in fields.items() if field.is_required() and name not in rule.parameters)
        if unknown or missing:
            what = f"no parameter {', '.join(unknown)}" if unknown else f"it needs {', '.join(missing)}"
            raise SettingsError(f"{where}: {rule.intervention}: {what}")


async def _end(session: Session, call: Call, parameters: Parameters, outcome: Outcome, done: Done) -> Answer:
    """Write the journal entry and the answer of a call."""
    now = await read_clock(session)
    detail = {
        "id": call.id,
        "source": call.source.value,
        "parameters": _plain(parameters),
        "outcome": outcome.value,
        "answer": done.message,
    }
    entry = Entry(now, JOURNAL_KIND, call.intervention, done.changes, detail=detail, actor=call.caller)
    journal_id = await tables.write_journal(session, entry, done.rows)
    state = CallState.DONE if outcome is Outcome.DONE else CallState.FAILED
    what = {"answer": done.message, "changes": done.changes, "journal_id": journal_id}
    await record.end(session, call.id, state, now=now, **what)  # type: ignore[arg-type]
    return Answer(call.id, call.intervention, outcome, done.message, done.changes, journal_id)


def _answer_of(call: Call, known: record.CallRecord | None) -> Answer:
    """Give the answer that a call had before."""
    if known is None or known.state is CallState.BEGUN:
        message = "it was begun before, and its end isn't known; it isn't begun again under this id"
        return Answer(call.id, call.intervention, Outcome.FAILED, message, repeated=True)
    outcome = Outcome.DONE if known.state is CallState.DONE else Outcome.FAILED
    return Answer(call.id, call.intervention, outcome, known.answer, known.changes, known.journal_id, repeated=True)


def _parameters(intervention: Intervention[Any], call: Call) -> Parameters:
    """Check the parameters: strictly where they come as JSON, from text where a person or an alert gives them."""
    strict = call.source in {Source.HTTP, Source.MQTT}
    try:
        given = json.dumps(dict(call.parameters))
        checked: Parameters = intervention.parameters.model_validate_json(given, strict=strict)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(_printable(str(part))[:40] for part in problem["loc"])
        known = ", ".join(intervention.parameters.model_fields) or "none"
        what = f"{place}: " if place else ""
        raise Refusal(f"{intervention.name}: {what}{problem['msg']}; its parameters: {known}") from None
    except (TypeError, ValueError) as error:
        raise Refusal(f"{intervention.name}: its parameters can't be read: {error}") from None
    return checked


def _plain(parameters: Parameters) -> Mapping[str, Any]:
    return parameters.model_dump(mode="json")


def _listed(names: Mapping[str, object]) -> str:
    return f"there are: {', '.join(names)}"


def _printable(text: str) -> str:
    """Take what isn't printable out of a stranger's text."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
