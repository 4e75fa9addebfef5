"""Alertmanager's webhook, version 4 of its payload: alerts in, by the rules of the settings interventions out.

A call's id is made of what doesn't change when a notification is sent again, so that a second delivery, or one after a
restart, does nothing twice. What can't be dealt with in time, or without the database, is answered by 503:
Alertmanager sends the notification again.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from axiomd import metrics
from axiomd.gateways.api import registry_of
from axiomd.gateways.inside import Inside
from axiomd.gateways.problem import Problem
from axiomd.gateways.routes import Request, Route
from axiomd.interventions.intervention import Call, Source
from axiomd.interventions.registry import Interventions
from axiomd.policies.alerts import Alert, AlertCall, Ignored, Status, decide
from axiomd.settings import AlertSettings
from axiomd.store import journal
from axiomd.store.database import read_clock

log = structlog.get_logger(__name__)

ANSWER_WITHIN_S = 8.0
"""Alertmanager waits ten seconds for an answer, or longer."""


class AlertBody(BaseModel):
    """An alert; what else is in it is not looked at."""

    model_config = ConfigDict(strict=True)

    status: Status
    labels: dict[str, str]
    startsAt: str = ""  # noqa: N815 - as Alertmanager spells it
    fingerprint: str = ""


class Notification(BaseModel):
    """Alertmanager's payload; what else is in it is not looked at."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "version": "4",
                    "alerts": [
                        {
                            "status": "firing",
                            "labels": {"alertname": "Example"},
                            "startsAt": "2026-03-01T12:00:00Z",
                            "fingerprint": "c0ffee",
                        }
                    ],
                }
            ]
        },
    )

    version: Literal["4"]
    alerts: list[Any] = Field(description="each is looked at by itself: one that can't be read is ignored and counted")


class Made(BaseModel):
    """A call that an alert led to."""

    alert: str
    intervention: str
    outcome: str = Field(description="done, planned, refused or failed")
    message: str
    repeated: bool = Field(description="whether it was done at an earlier delivery")


class Summary(BaseModel):
    """What became of a notification."""

    alerts: int = Field(description="alerts in it")
    calls: list[Made]
    ignored: dict[str, int] = Field(description="alerts that led to no call, by reason")


class Webhook:
    """The receiver."""

    def __init__(self, inside: Inside, settings: AlertSettings, timeout_s: float) -> None:
        self._inside = inside
        self._settings = settings
        self._within_s = min(timeout_s, ANSWER_WITHIN_S)
        self._one_at_a_time = asyncio.Lock()
        """Two notifications at once could both find that the same call was long ago."""
        for status in ("firing", "resolved"):
            metrics.ALERTS_RECEIVED.labels(status)
        for reason in Ignored:
            metrics.ALERTS_IGNORED.labels(reason.value)

    def route(self) -> Route:
        """Give its route."""
        return Route("POST", "/alertmanager", self.alertmanager, Summary, body=Notification, changes=True)

    async def alertmanager(self, asked: Request) -> Summary:
        """Take a notification of Alertmanager's, version 4."""
        sent: list[Any] = asked.body.alerts
        ignored: Counter[Ignored] = Counter()
        calls: list[AlertCall] = []
        for one in sent[: self._settings.max_alerts]:
            alert = _read(one)
            if alert is not None:
                metrics.ALERTS_RECEIVED.labels(alert.status).inc()
            decision = decide(alert, self._settings.rules) if alert else Ignored.UNREADABLE
            if isinstance(decision, AlertCall):
                calls.append(decision)
            else:
                ignored[decision] += 1
        ignored[Ignored.TOO_MANY] = max(len(sent) - self._settings.max_alerts, 0)
        made: list[Made] = []
        try:
            if calls:
                async with asyncio.timeout(self._within_s), self._one_at_a_time:
                    await self._call(registry_of(self._inside), calls, made, ignored)
        except TimeoutError:
            raise Problem(
                503, "not done in time: send it again; what was begun isn't begun twice", headers={"Retry-After": "5"}
            ) from None
        finally:
            for reason, count in ignored.items():
                metrics.ALERTS_IGNORED.labels(reason.value).inc(count)
        counts = {reason.value: count for reason, count in ignored.items() if count}
        log.info("alerts received", alerts=len(sent), calls=len(made), ignored=counts)
        return Summary(alerts=len(sent), calls=made, ignored=counts)

    async def _call(
        self, registry: Interventions, calls: list[AlertCall], made: list[Made], ignored: Counter[Ignored]
    ) -> None:
        """Make the calls one after another."""
        for call in calls:
            if await self._is_too_soon(registry, call):
                ignored[Ignored.TOO_SOON] += 1
                continue
            answer = await registry.call(
                Call(call.id, call.intervention, call.parameters, source=Source.ALERT, caller=call.caller)
            )
            made.append(
                Made(
                    alert=call.caller.removeprefix("alert:"),
                    intervention=answer.intervention,
                    outcome=answer.outcome.value,
                    message=answer.message,
                    repeated=answer.repeated,
                )
            )

    async def _is_too_soon(self, registry: Interventions, call: AlertCall) -> bool:
        """Whether an alert of this name led to the same call, under another id, too short a time ago."""
        wanted = (call.intervention, _as_recorded(registry, call))
        async with registry.ground.database.session() as session:
            since = await read_clock(session) - call.min_interval_s
            earlier = await journal.calls_since(session, call.caller, since)
        # Its own id: this is another delivery, whose answer the registry knows.
        if any(id_ == call.id for id_, _, _ in earlier):
            return False
        return any((intervention, parameters) == wanted for _, intervention, parameters in earlier)


def _read(sent: Any) -> Alert | None:
    """Read an alert; None if it isn't one."""
    try:
        body = AlertBody.model_validate(sent)
    except ValidationError:
        return None
    return Alert(body.status, body.labels, body.startsAt, body.fingerprint)


def _as_recorded(registry: Interventions, call: AlertCall) -> dict[str, Any] | None:
    """Give the parameters as the record of calls has them; None where the registry will refuse them."""
    intervention = registry.by_name.get(call.intervention)
    if intervention is None:
        return None
    try:
        given = intervention.parameters.model_validate_json(json.dumps(dict(call.parameters)))
    except ValidationError:
        return None
    plain: dict[str, Any] = given.model_dump(mode="json")
    return plain
