"""The journal by MQTT: every entry, in the order of its number, at least once.

An entry counts as delivered some time after the broker acknowledged it, on a connection that lives on. Brokers
acknowledge what they hold in memory only: mosquitto, when it is killed, loses what it took since its last autosave. So
after a connection is lost, and at each start, what was acknowledged lately is published again, under the same number.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import asdict

import structlog

from axiomd import metrics
from axiomd.errors import AxiomdError
from axiomd.gateways.mqtt_client import Connection, PublishRefused, Trouble
from axiomd.interventions.intervention import Ground
from axiomd.policies.reconnect import reconnect_delay
from axiomd.store import outbox
from axiomd.store.outbox import Entry, Page
from axiomd.watchers.watcher import sleep_until

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
"""Between two looks for new entries."""
MOST_A_SECOND = 500.0
"""For a subscriber that reads slower than they come they queue up at the broker, which drops what is too much
(mosquitto: max_queued_messages)."""
ACK_S = 30.0
"""A broker that takes longer to acknowledge counts as gone."""


class Journal:
    """Numbers the journal's entries, and publishes them under axiom/PROJECT/events/KIND."""

    def __init__(self, ground: Ground, prefix: str) -> None:
        """`prefix` is axiom/PROJECT/."""
        mqtt = ground.settings.mqtt
        self._database = ground.database
        self._settle_s = mqtt.settle_s
        self._retry_most_s = mqtt.reconnect_max_s
        self._numbering = outbox.Numbering(ground.database, ground.settings.intake.overlap_s)
        self._below = f"{prefix}events/"
        self._published = 0
        self._new = asyncio.Event()
        broker = f"{mqtt.host}:{mqtt.port}"
        self._unnumbered = Trouble("journal entries can't be numbered", broker)
        self._unpublished = Trouble("journal entries can't be published", broker)

    async def number(self, stop: asyncio.Event) -> None:
        """Give numbers until told to stop, with a broker or without one."""
        while not stop.is_set():
            found = 0
            try:
                found = await self._numbering.look()
                self._unnumbered.is_over()
            except AxiomdError as error:
                self._unnumbered.is_here(str(error))
            if found:
                self._new.set()
            self._show()
            # A full page: there is more.
            await sleep_until(stop, 0.0 if found == outbox.MOST else LOOK_EVERY_S)

    async def publish(self, connection: Connection, over: asyncio.Event) -> None:
        """Publish on this connection until it is over. Raises MqttError or TimeoutError when it is lost."""
        settling: deque[tuple[int, float]] = deque()
        position: int | None = None
        taken: set[str] = set()
        failures = 0
        while not over.is_set():
            try:
                async with self._database.session() as session:
                    if position is None:
                        position = await outbox.acknowledged(session)
                    self._new.clear()
                    page = await outbox.page(session, position, connection.window)
                page = _safe(page, taken)
                await self._send(connection, page.entries)
                await self._settle(connection, settling)
            except (AxiomdError, PublishRefused) as error:
                failures += 1
                taken.clear()
                self._unpublished.is_here(str(error))
                await sleep_until(over, reconnect_delay(failures, self._retry_most_s, random.random()))
                continue
            self._unpublished.is_over()
            failures = 0
            if page.through == position:
                await sleep_until(self._new, LOOK_EVERY_S)
                continue
            if page.pruned and page.through > self._published:
                log.warning("journal entries were pruned before they were published", entries=page.pruned)
            taken.update(entry.kind for entry in page.entries)
            position = page.through
            self._published = max(self._published, position)
            settling.append((position, connection.heard_at))
            self._show()

    async def _send(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Send entries one behind the other, and wait until the broker has taken all. Raises PublishRefused."""
        began = time.monotonic()
        topics = [self._below + _level(entry.kind) for entry in entries]
        answers = [
            connection.send(topic, json.dumps(asdict(entry)).encode())
            for topic, entry in zip(topics, entries, strict=True)
        ]
        async with asyncio.timeout(ACK_S):
            for topic, answer in zip(topics, answers, strict=True):
                reason = await answer
                if reason.is_failure:
                    raise PublishRefused(f"the broker refuses messages to {topic}: {reason}")
        metrics.MQTT_PUBLISHED.labels("journal").inc(len(entries))
        await asyncio.sleep(max(began + len(entries) / MOST_A_SECOND - time.monotonic(), 0.0))

    async def _settle(self, connection: Connection, settling: deque[tuple[int, float]]) -> None:
        """Note what was acknowledged long enough before the broker's last sign of life."""
        over = connection.heard_at - self._settle_s
        settled = 0
        for number, acknowledged_at in settling:
            if acknowledged_at > over:
                break
            settled = number
        if settled:
            await self._database.transaction(lambda session: outbox.acknowledge(session, settled))
            while settling and settling[0][0] <= settled:
                settling.popleft()

    def _show(self) -> None:
        published = max(self._published, self._numbering.acknowledged)
        metrics.OUTBOX_WAITING.set(max(self._numbering.last - published, 0))


def _safe(page: Page, taken: Collection[str]) -> Page:
    """Cut a page before a kind of which the broker has taken none on this connection; such a one goes alone.

    An ACL may refuse it, and what stands behind it must not arrive first.
    """
    length = next((place for place, entry in enumerate(page.entries) if entry.kind not in taken), len(page.entries))
    entries = page.entries[: max(length, 1)]
    if len(entries) == len(page.entries):
        return page
    through = entries[-1].number
    return Page(entries, through, through - page.after - len(entries), page.after)


def _level(kind: str) -> str:
    """Spell a kind as one level of a topic."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", kind)
