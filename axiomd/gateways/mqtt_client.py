"""A connection to the broker, by MQTT 5: aiomqtt's client, and what a publisher that loses nothing needs beside it.

aiomqtt does not reconnect by itself; gateways/mqtt.py does. One connection is one client, never used again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttCodeError, MqttError
from paho.mqtt.client import MQTT_ERR_SUCCESS, ConnectFlags
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from axiomd.errors import SettingsError
from axiomd.settings import MqttSettings

log = structlog.get_logger(__name__)

CREDENTIAL = "axiomd_mqtt_password"
CONNECT_S = 10.0
"""A broker that takes longer counts as unreachable."""
LARGEST_PACKET = 1_048_576
"""Bytes: what is larger the broker doesn't even send us."""
MOST_IN_FLIGHT = 20
OTHERS_IN_FLIGHT = 4
"""Messages that the broker has not acknowledged at most, and how many of them are the state and answers."""

TROUBLES = (MqttError, OSError, TimeoutError, ValueError, SettingsError)
"""What can go wrong with a broker: refusals, the network, TLS, names that are none (ValueError), unreadable files."""

# The libraries' own remarks: what matters of them comes as an exception, and is said by us.
_silent = logging.getLogger("axiomd.mqtt")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class PublishRefused(MqttError):  # noqa: N818 - the broker's answer, not an error of ours
    """The broker answered that it does not take a message."""


class Trouble:
    """Something that may go wrong for hours: said once, and once more when it is over."""

    def __init__(self, what: str, broker: str) -> None:
        self._here = f"{what}; it is tried again"
        self._over = f"over: {what}"
        self._broker = broker
        self._said: set[str] = set()

    def is_here(self, why: str) -> None:
        """Say so, each cause once."""
        if why not in self._said:
            self._said.add(why)
            log.warning(self._here, broker=self._broker, error=why)

    def is_over(self) -> None:
        """Say so, if it was there."""
        if self._said:
            self._said.clear()
            log.info(self._over, broker=self._broker)


class Connection(aiomqtt.Client):
    """A client that says of each message what the broker answered.

    aiomqtt counts a message as published whatever the reason code of its PUBACK: one that the broker's ACL refuses
    would be lost without a word.
    """

    def __init__(self, settings: MqttSettings, will: aiomqtt.Will) -> None:
        """Raises SettingsError where the password or a certificate can't be read."""
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.MaximumPacketSize = LARGEST_PACKET
        self._tls = tls_context(settings)
        super().__init__(
            settings.host,
            settings.port,
            username=settings.user or None,
            password=password(settings),
            # Never the same twice: two daemons with one identifier would throw each other out for ever.
            identifier=f"axiomd-{secrets.token_hex(8)}",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            will=will,
            keepalive=settings.keepalive_s,
            timeout=CONNECT_S,
            max_inflight_messages=MOST_IN_FLIGHT,
            properties=connect,
            tls_context=self._tls,
            logger=_silent,
        )
        self._acks: dict[int, asyncio.Future[ReasonCode]] = {}
        self.window = 1
        """How many messages of a stream may be sent before the first is acknowledged."""
        self.heard_at = 0.0
        """When the broker last acknowledged something, by the monotonic clock."""

    async def __aenter__(self) -> Self:
        """Connect. Raises one of TROUBLES."""
        # aiomqtt connects in a thread that can't be interrupted, and the end of the process would wait for it. So this
        # asks first whether somebody is there and speaks TLS.
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(self._hostname, self._port, ssl=self._tls)
        writer.close()
        try:
            await super().__aenter__()
        except BaseException:
            self._abandon()
            raise
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - aiomqtt's are narrower
        """Say goodbye, or at least hang up."""
        self.timeout = 0.5
        try:
            await super().__aexit__(*error)
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Hang up, so that nothing of this client goes on in the loop, whatever state it is in."""
        if isinstance(connected := self._client.socket(), socket.socket):
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                connected.close()  # it was not connected any more
        ends: list[asyncio.Future[Any]] = [self._connected, self._disconnected, *self._acks.values()]
        for ended in ends:
            if not ended.done():
                ended.cancel()
            elif not ended.cancelled():
                ended.exception()  # looked at, so that asyncio doesn't complain of it

    async def deliver(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1 and wait for the PUBACK. Raises PublishRefused, or MqttError without a connection."""
        refusal = await self.send(topic, payload, retain=retain)
        if refusal.is_failure:
            raise PublishRefused(f"the broker refuses messages to {topic}: {refusal}")

    def send(
        self, topic: str, payload: bytes, *, retain: bool = False, properties: Properties | None = None
    ) -> asyncio.Future[ReasonCode]:
        """Publish with QoS 1, behind all that was sent before; what the broker answers. Raises MqttError."""
        info = self._client.publish(topic, payload, 1, retain, properties)
        if info.rc != MQTT_ERR_SUCCESS:
            raise MqttCodeError(info.rc, "not connected")
        answer: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._acks[info.mid] = answer
        return answer

    def _on_publish(
        self, client: PahoClient, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        self.heard_at = time.monotonic()
        answer = self._acks.pop(mid, None)
        if answer is None:
            super()._on_publish(client, userdata, mid, reason_code, properties)
        elif not answer.done():
            answer.set_result(reason_code)

    def _on_connect(
        self,
        client: PahoClient,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        # paho does not heed how many unacknowledged messages the broker takes, which would hang up on one more.
        most = getattr(properties, "ReceiveMaximum", MOST_IN_FLIGHT)
        self.window = max(min(most, MOST_IN_FLIGHT) - OTHERS_IN_FLIGHT, 1)
        super()._on_connect(client, userdata, flags, reason_code, properties)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended."""
    unfinished = set(tasks)
    while unfinished:
        # Again and again, for in Python 3.11 wait_for can swallow a cancellation that comes as it ends.
        for task in unfinished:
            task.cancel()
        _, unfinished = await asyncio.wait(unfinished, timeout=0.2)


def password(settings: MqttSettings) -> str | None:
    """Give the password, from its file or systemd's credential. Raises SettingsError if it can't be read."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = settings.password_file or (Path(folder) / CREDENTIAL if folder else None)
    if path is None or (settings.password_file is None and not path.exists()):
        return None
    try:
        return path.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError):
        raise SettingsError(f"mqtt.password_file: {path} can't be read, or is empty") from None


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """Give what a connection with TLS is checked by; None without. Raises SettingsError if a file can't be read."""
    if not settings.tls:
        return None
    name, path = "ca_file", settings.ca_file
    try:
        context = ssl.create_default_context(cafile=path)
        if settings.cert_file:
            name, path = "cert_file or mqtt.key_file", settings.cert_file
            # An encrypted key is refused: nobody is there to type its password.
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"mqtt.{name}: {path}: {error.strerror or error}") from None
    return context
