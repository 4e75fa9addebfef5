"""What a watcher is, and the loop that polls one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from axiomd import metrics
from axiomd.bus import Bus
from axiomd.errors import AxiomdError
from axiomd.events import Event
from axiomd.store.database import Database

log = structlog.get_logger(__name__)

SLOWEST_RETRY_S = 30.0


class Watcher(Protocol):
    """Asks one question of the tables, again and again."""

    @property
    def name(self) -> str:
        """Name for logs and metrics."""
        ...

    @property
    def interval_s(self) -> float:
        """Seconds between the end of a poll and the next."""
        ...

    def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look once; yields events page by page. `now` is the database's clock, Unix seconds."""
        ...


@dataclass
class Freshness:
    """When each watcher last polled with success (monotonic seconds): what /readyz asks."""

    intervals: dict[str, float] = field(default_factory=dict)
    polled_at: dict[str, float] = field(default_factory=dict)

    def stale(self) -> list[str]:
        """Watchers whose last good poll is too long ago, or hasn't come yet."""
        now = time.monotonic()
        return [
            name
            for name, interval in self.intervals.items()
            if now - self.polled_at.get(name, -1e9) > max(3 * interval, 15.0) + interval
        ]


async def watch(watcher: Watcher, database: Database, bus: Bus, freshness: Freshness, stop: asyncio.Event) -> None:
    """Poll until told to stop. A poll that fails is tried again later; what holds then is seen then."""
    freshness.intervals[watcher.name] = watcher.interval_s
    metrics.POLL_INTERVAL.labels(watcher.name).set(watcher.interval_s)
    failures = 0
    while not stop.is_set():
        try:
            await poll_once(watcher, database, bus)
        except AxiomdError as error:
            metrics.POLL_FAILURES.labels(watcher.name).inc()
            failures += 1
            if failures == 1:
                log.error("poll failed; it is tried again", watcher=watcher.name, error=str(error))
            await sleep_until(stop, min(watcher.interval_s * 2 ** min(failures, 10), SLOWEST_RETRY_S))
            continue
        if failures:
            log.info("poll works again", watcher=watcher.name, failures=failures)
        failures = 0
        freshness.polled_at[watcher.name] = time.monotonic()
        await sleep_until(stop, watcher.interval_s)


async def sleep_until(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but wake up when told to stop."""
    sleeping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([sleeping], timeout=seconds)
    sleeping.cancel()


async def poll_once(watcher: Watcher, database: Database, bus: Bus) -> int:
    """Look once and publish what was seen; how many events."""
    started = time.monotonic()
    seen = 0
    async for events in watcher.poll(await database.now()):
        seen += len(events)
        async with database.calm:
            pass  # a long page is not queued while rows of BOINC are held
        await bus.publish(events)
    metrics.POLL_SECONDS.labels(watcher.name).observe(time.monotonic() - started)
    metrics.POLL_AT.labels(watcher.name).set_to_current_time()
    return seen
