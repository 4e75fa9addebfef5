"""MQTT: events, the journal and the state go to a broker, commands come from it.

    axiom/PROJECT/events/TYPE              events as they are seen, and journal entries
    axiom/PROJECT/state/daemon, status     retained
    axiom/PROJECT/commands/INTERVENTION    answered below axiom/PROJECT/answers/

Without a broker the daemon runs on: events are dropped and counted, the journal waits, commands don't come in.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict

import aiomqtt
import structlog

from axiomd import events as all_events
from axiomd import metrics
from axiomd.errors import AxiomdError, SettingsError
from axiomd.events import Event
from axiomd.gateways.inside import Inside
from axiomd.gateways.mqtt_client import TROUBLES, Connection, PublishRefused, Trouble, end
from axiomd.gateways.mqtt_commands import Commands
from axiomd.gateways.mqtt_journal import Journal
from axiomd.interventions.intervention import Ground
from axiomd.policies.reconnect import reconnect_delay
from axiomd.settings import Settings
from axiomd.watchers.watcher import sleep_until

log = structlog.get_logger(__name__)

MOST_EVENTS = 1000
"""Events that wait for the broker at most."""
STEADY_S = 5.0
"""A connection that lasted so long was a good one: the next try comes soon."""
FAREWELL_S = 0.9
LAST_COMMAND_S = 0.4
"""What saying goodbye may take, and what of it is for the command in hand."""

Status = Callable[[], Awaitable[Mapping[str, object]]]
"""Gives what is published as state/status."""


class Mqtt:
    """The gateway, for as long as this daemon holds the lease."""

    def __init__(self, ground: Ground, inside: Inside, status: Status) -> None:
        """Raises SettingsError where the settings name no such event, or nothing that can stand in a topic."""
        self._settings = ground.settings.mqtt
        self._prefix = prefix(ground.settings)
        self._wanted = _wanted(self._settings.events)
        self._status = status
        self._commands = Commands(ground, inside, self._prefix)
        self._journal = Journal(ground, self._prefix)
        self._events: asyncio.Queue[tuple[Event, float]] = asyncio.Queue(MOST_EVENTS)
        self._connected = False
        self._broker = f"{self._settings.host}:{self._settings.port}"
        self._away = Trouble("no connection to the MQTT broker", self._broker)
        self._unknown = Trouble("the state can't be read", self._broker)

    def seen(self, events: Sequence[Event]) -> None:
        """Publish events as they are seen, at most once; never waits. To be called by the bus."""
        for event in events:
            if event.name not in self._wanted:
                continue
            if self._connected and not self._events.full():
                self._events.put_nowait((event, time.time()))
            else:
                metrics.MQTT_DROPPED.inc()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish and take commands until told to stop; then say goodbye within a second.

        A command in hand is finished, however long it takes, unless this is cancelled.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._journal.number(stop), name="mqtt numbering")
            working = group.create_task(self._commands.work(), name="mqtt commands")
            await self._stay_connected(stop, working)

    async def _stay_connected(self, stop: asyncio.Event, working: asyncio.Task[None]) -> None:
        stopping = asyncio.create_task(stop.wait(), name="mqtt stop")
        failures = 0
        try:
            while not stop.is_set():
                began = time.monotonic()
                session = asyncio.create_task(self._session(stopping, working), name="mqtt session")
                try:
                    await asyncio.wait((session, stopping), return_when=asyncio.FIRST_COMPLETED)
                    if stop.is_set() and self._connected:
                        self._commands.stop()
                        await asyncio.wait((session,), timeout=FAREWELL_S)
                finally:
                    await end((session,))
                    self._connected = False
                    metrics.MQTT_CONNECTED.set(0)
                    self._drop_events()
                if not session.cancelled() and (error := session.exception()):
                    if not isinstance(error, TROUBLES):
                        raise error
                    if not stop.is_set():
                        self._away.is_here(_why(error))
                failures = 1 if time.monotonic() - began > STEADY_S else failures + 1
                await sleep_until(stop, reconnect_delay(failures, self._settings.reconnect_max_s, random.random()))
        finally:
            stopping.cancel()
            self._commands.stop()

    async def _session(self, stopping: asyncio.Task[bool], working: asyncio.Task[None]) -> None:
        """Live through one connection. Raises one of TROUBLES."""
        will = aiomqtt.Will(f"{self._prefix}state/daemon", b"offline", qos=1, retain=True)
        async with Connection(self._settings, will) as connection:
            await self._say(connection, b"online")
            if self._settings.commands:
                granted = await connection.subscribe(self._commands.topic, qos=1)
                if any(getattr(code, "is_failure", False) for code in granted):
                    raise PublishRefused(f"the broker refuses a subscription to {self._commands.topic}")
            self._connected = True
            metrics.MQTT_CONNECTED.set(1)
            self._away.is_over()
            log.info("connected to the MQTT broker", broker=self._broker, topics=f"{self._prefix}#")
            await self._work(connection, stopping, working)

    async def _work(self, connection: Connection, stopping: asyncio.Task[bool], working: asyncio.Task[None]) -> None:
        over = asyncio.Event()
        tasks = [
            asyncio.create_task(self._receive(connection), name="mqtt receive"),
            asyncio.create_task(self._publish_events(connection, over), name="mqtt events"),
            asyncio.create_task(self._publish_state(connection, over), name="mqtt state"),
            asyncio.create_task(self._journal.publish(connection, over), name="mqtt journal"),
            asyncio.create_task(self._commands.send_answers(connection, over), name="mqtt answers"),
        ]
        try:
            ended, _ = await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
            await asyncio.wait((working,), timeout=LAST_COMMAND_S)
            await self._commands.send_last_answers(connection)
            await self._say(connection, b"offline")
        finally:
            over.set()
            await end(tasks)

    async def _receive(self, connection: Connection) -> None:
        async for message in connection.messages:
            self._commands.received(message)

    async def _publish_events(self, connection: Connection, over: asyncio.Event) -> None:
        while not over.is_set():
            event, at = await self._events.get()
            payload = json.dumps({"event": event.name, "at": round(at, 3), **asdict(event)})
            # Waits until it is written, so that a slow network fills the queue here and no memory.
            await connection.publish(f"{self._prefix}events/{event.name}", payload, timeout=float("inf"))
            metrics.MQTT_PUBLISHED.labels("events").inc()

    async def _publish_state(self, connection: Connection, over: asyncio.Event) -> None:
        """Publish the status when it has changed, and a sign of life each time.

        That sign also takes back what the will of a daemon says that hung, and is given up by the broker only after
        another has taken over.
        """
        published = b""
        while not over.is_set():
            try:
                status = json.dumps(dict(await self._status()), sort_keys=True).encode()
                self._unknown.is_over()
            except AxiomdError as error:
                self._unknown.is_here(str(error))
            else:
                if status != published:
                    await connection.deliver(f"{self._prefix}state/status", status, retain=True)
                    metrics.MQTT_PUBLISHED.labels("state").inc()
                    published = status
            await sleep_until(over, self._settings.state_interval_s)
            await self._say(connection, b"online")

    async def _say(self, connection: Connection, word: bytes) -> None:
        await connection.deliver(f"{self._prefix}state/daemon", word, retain=True)
        metrics.MQTT_PUBLISHED.labels("state").inc()

    def _drop_events(self) -> None:
        while not self._events.empty():
            self._events.get_nowait()
            metrics.MQTT_DROPPED.inc()


def prefix(settings: Settings) -> str:
    """Give what all topics begin with, axiom/PROJECT/. Raises SettingsError where the name can't stand in a topic."""
    name = settings.mqtt.project or settings.project.dir.resolve().name
    if not re.fullmatch(r"[\w.-]{1,64}", name):
        raise SettingsError(
            f"mqtt.project: '{name}' can't stand in a topic: letters, digits, '_', '.' and '-' only, 64 at most"
        )
    return f"axiom/{name}/"


def _why(error: BaseException) -> str:
    """Say what went wrong with a connection, in a line."""
    if error.__cause__ is not None:
        return f"the connection was lost: {error.__cause__}"
    return str(error) or "no answer in time"


def _wanted(names: Sequence[str]) -> frozenset[str]:
    """Check the names of events."""
    known = {
        found.name
        for found in vars(all_events).values()
        if isinstance(found, type) and issubclass(found, Event) and hasattr(found, "name")
    }
    if unknown := sorted(set(names) - known):
        raise SettingsError(f"mqtt.events: there is no event '{unknown[0]}', but {', '.join(sorted(known))}")
    return frozenset(names)
