"""Commands by MQTT: each is read, called once, and answered by response topic and correlation data.

Commands are done one after another, by a task that outlives connections: an intervention may take minutes, and neither
waits for the broker nor breaks off with it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from axiomd import metrics
from axiomd.errors import AxiomdError, DatabaseUnavailable
from axiomd.gateways.inside import Inside
from axiomd.gateways.mqtt_client import Connection
from axiomd.interventions.intervention import Answer, Call, Ground, Outcome, Source
from axiomd.policies.commands import MOST_BYTES, BadCommand, check_age, check_answer_topic, read_command

log = structlog.get_logger(__name__)

CALLER = "mqtt"
"""MQTT doesn't tell who sent a message: the broker's ACL decides who may."""
LONGEST_NAME = 64
"""Letters of an intervention's name that are kept: no name is longer."""
MOST_WAITING = 100
"""Commands that wait, and answers that wait for a connection, at most."""


@dataclass(frozen=True)
class Request:
    """A command as it came in, with the way back. An empty response topic: no answer is wanted, or none is possible."""

    intervention: str
    payload: bytes
    response_topic: str
    correlation: bytes | None


class Commands:
    """What comes in on the topics axiom/PROJECT/commands/INTERVENTION."""

    def __init__(self, ground: Ground, inside: Inside, prefix: str) -> None:
        """`prefix` is axiom/PROJECT/."""
        self._database = ground.database
        self._max_age_s = ground.settings.mqtt.command_max_age_s
        self._inside = inside
        self._below = f"{prefix}commands/"
        self._answers_below = f"{prefix}answers/"
        self._waiting: asyncio.Queue[Request | None] = asyncio.Queue(MOST_WAITING)
        self._answers: asyncio.Queue[tuple[Request, Answer]] = asyncio.Queue(MOST_WAITING)

    @property
    def topic(self) -> str:
        """What to subscribe to."""
        return f"{self._below}#"

    def received(self, message: aiomqtt.Message) -> None:
        """Queue a command, or refuse it: what is long or doesn't fit is not kept."""
        response_topic = getattr(message.properties, "ResponseTopic", "")
        correlation = getattr(message.properties, "CorrelationData", None)
        name = message.topic.value.removeprefix(self._below)[:LONGEST_NAME]
        try:
            if response_topic:
                check_answer_topic(response_topic, correlation, self._answers_below)
        except BadCommand as error:
            self._refuse(Request(name, b"", "", None), str(error))
            return
        request = Request(name, message.payload, response_topic, correlation)
        if len(message.payload) > MOST_BYTES:
            self._refuse(request, f"too long: {len(message.payload)} bytes, {MOST_BYTES} at most")
        elif self._waiting.full():
            self._refuse(request, f"{MOST_WAITING} commands wait already: send it again later")
        else:
            self._waiting.put_nowait(request)

    def stop(self) -> None:
        """Let `work` end after what is in hand. What waits is left: its sender gets no answer, and asks again."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def work(self) -> None:
        """Do one command after another until `stop`."""
        while (request := await self._waiting.get()) is not None:
            self._answer(request, await self._do(request))

    async def _do(self, request: Request) -> Answer:
        id_ = ""
        try:
            command = read_command(request.payload)
            id_ = command.id
            check_age(command, await self._database.now(), self._max_age_s)
            if self._inside.interventions is None:
                message = "this daemon stands by; send it again"
                return Answer(id_, request.intervention, Outcome.REFUSED, message)
            call = Call(id_, request.intervention, command.parameters, Source.MQTT, CALLER, dry_run=command.dry_run)
            return await self._inside.interventions.call(call)
        except BadCommand as error:
            return Answer(error.id, request.intervention, Outcome.REFUSED, str(error))
        except DatabaseUnavailable:
            message = "the database can't be reached; send the same again later, it is done once"
            return Answer(id_, request.intervention, Outcome.FAILED, message)
        except AxiomdError as error:
            return Answer(id_, request.intervention, Outcome.FAILED, str(error))
        except Exception as error:
            # A bug: the daemon goes on, and the sender learns no more than that.
            log.error("a command broke off", intervention=request.intervention, error=repr(error))
            log.debug("where the command broke off", exc_info=error)
            return Answer(id_, request.intervention, Outcome.FAILED, "it broke off; axiomd's log says more")

    def _refuse(self, request: Request, why: str) -> None:
        self._answer(request, Answer("", request.intervention, Outcome.REFUSED, why))

    def _answer(self, request: Request, answer: Answer) -> None:
        """Count an answer, and let it wait for a connection. In a flood some are dropped: nobody waits for so many."""
        metrics.MQTT_COMMANDS.labels(answer.outcome.value).inc()
        if request.response_topic and not self._answers.full():
            self._answers.put_nowait((request, answer))

    async def send_answers(self, connection: Connection, over: asyncio.Event) -> None:
        """Send answers as they come, until it is over."""
        while not over.is_set():
            request, answer = await self._answers.get()
            await self._send(connection, request, answer)

    async def send_last_answers(self, connection: Connection) -> None:
        """Send the answers that wait."""
        while not self._answers.empty():
            await self._send(connection, *self._answers.get_nowait())

    async def _send(self, connection: Connection, request: Request, answer: Answer) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if request.correlation is not None:
            properties.CorrelationData = request.correlation
        payload = json.dumps(asdict(answer)).encode()
        refusal = await connection.send(request.response_topic, payload, properties=properties)
        if refusal.is_failure:
            log.warning("the broker refuses an answer", topic=request.response_topic, reason=str(refusal))
        else:
            metrics.MQTT_PUBLISHED.labels("answers").inc()
