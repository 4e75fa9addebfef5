"""The internal bus: typed subscriptions, bounded queues, batches, coalescing.

Publishing waits while a handler's queue is full, so a slow handler slows its watchers down and never fills memory. An
event whose key is queued already replaces the queued one; one whose key is being handled is dropped, for a condition
that still holds is seen again at the next poll. A handler that raises is tried again with backoff, then its events are
left to the next poll, counted and logged once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from tenacity import AsyncRetrying, stop_after_attempt, wait_random_exponential

from axiomd import metrics
from axiomd.events import Event

log = structlog.get_logger(__name__)
E = TypeVar("E", bound=Event)

HANDLER_TRIES = 3


@dataclass
class Subscription:
    """A handler's queue of events, in the order of their keys' first arrival."""

    handler: str
    handle: Callable[[Sequence[Any]], Awaitable[None]]
    batch: Callable[[], int]
    limit: int
    workers: int
    queued: dict[object, Event] = field(default_factory=dict)
    in_hand: set[object] = field(default_factory=set)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    failing: bool = False

    @property
    def idle(self) -> bool:
        """Nothing is queued and nothing in hand."""
        return not self.queued and not self.in_hand


class Bus:
    """Brings events from watchers to handlers. `subscribe` first, then `run`; `publish` from anywhere."""

    def __init__(self) -> None:
        self._subscriptions: dict[type[Event], list[Subscription]] = {}
        self._stopping = False
        self._observers: list[Callable[[Sequence[Event]], None]] = []

    def observe(self, seen: Callable[[Sequence[Event]], None]) -> None:
        """Call `seen` with all events that are published, of one type at a time. It must be quick, and never raise."""
        self._observers.append(seen)

    def subscribe(
        self,
        event_types: Sequence[type[Event]],
        handle: Callable[[Sequence[Any]], Awaitable[None]],
        *,
        handler: str,
        batch: int | Callable[[], int] = 1,
        limit: int = 10_000,
        workers: int = 1,
    ) -> Subscription:
        """Call `handle` with batches of events of these types.

        Args:
            handler: name for logs and metrics.
            batch: events in one call at most; a function where that changes.
            limit: events queued at most before publishing waits.
            workers: calls that may run at the same time, on different keys.

        """
        size = batch if callable(batch) else lambda: batch
        subscription = Subscription(handler, handle, size, limit, workers)
        for event_type in event_types:
            self._subscriptions.setdefault(event_type, []).append(subscription)
        return subscription

    @property
    def subscriptions(self) -> list[Subscription]:
        """Every subscription once."""
        unique: dict[int, Subscription] = {}
        for subscriptions in self._subscriptions.values():
            unique.update({id(subscription): subscription for subscription in subscriptions})
        return list(unique.values())

    async def publish(self, events: Iterable[Event]) -> None:
        """Queue events with whoever subscribed to their type; waits while a queue is full."""
        by_type: dict[type[Event], list[Event]] = {}
        for event in events:
            by_type.setdefault(type(event), []).append(event)
        for event_type, same in by_type.items():
            metrics.EVENTS.labels(event_type.name).inc(len(same))
            for seen in self._observers:
                seen(same)
            for subscription in self._subscriptions.get(event_type, ()):
                await self._enqueue(subscription, event_type, same)

    async def _enqueue(self, subscription: Subscription, event_type: type[Event], events: list[Event]) -> None:
        coalesced = 0
        async with subscription.changed:
            for event in events:
                key = (event_type, event.key)
                if key in subscription.in_hand:
                    coalesced += 1
                    continue
                if key in subscription.queued:
                    coalesced += 1
                else:
                    while len(subscription.queued) >= subscription.limit and not self._stopping:
                        subscription.changed.notify_all()
                        await subscription.changed.wait()
                    if self._stopping:
                        return
                subscription.queued[key] = event
            metrics.QUEUE_DEPTH.labels(subscription.handler).set(len(subscription.queued))
            subscription.changed.notify_all()
        if coalesced:
            metrics.EVENTS_COALESCED.labels(event_type.name).inc(coalesced)

    async def run(self) -> None:
        """Work until cancelled, or until `stop` was called and what was in hand is done."""
        try:
            async with asyncio.TaskGroup() as group:
                for subscription in self.subscriptions:
                    for number in range(subscription.workers):
                        group.create_task(self._work(subscription), name=f"handler {subscription.handler} {number}")
        finally:
            self._stopping = False

    async def stop(self) -> None:
        """Take no more events; `run` ends once what is in hand is done. What is queued is left to the next start."""
        self._stopping = True
        for subscription in self.subscriptions:
            async with subscription.changed:
                subscription.queued.clear()
                subscription.changed.notify_all()

    async def settle(self) -> None:
        """Wait until every queue is empty and nothing is in hand."""
        for subscription in self.subscriptions:
            async with subscription.changed:
                await subscription.changed.wait_for(lambda s=subscription: s.idle)  # type: ignore[misc]

    async def _work(self, subscription: Subscription) -> None:
        while True:
            async with subscription.changed:
                await subscription.changed.wait_for(lambda: subscription.queued or self._stopping)
                if self._stopping:
                    return
                keys = list(subscription.queued)[: subscription.batch()]
                events = [subscription.queued.pop(key) for key in keys]
                subscription.in_hand.update(keys)
                metrics.QUEUE_DEPTH.labels(subscription.handler).set(len(subscription.queued))
                subscription.changed.notify_all()
            try:
                await self._call(subscription, events)
            finally:
                async with subscription.changed:
                    subscription.in_hand.difference_update(keys)
                    subscription.changed.notify_all()

    async def _call(self, subscription: Subscription, events: list[Event]) -> None:
        started = time.monotonic()
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(HANDLER_TRIES),
                wait=wait_random_exponential(multiplier=0.1, max=2.0),
                reraise=True,
            ):
                with attempt:
                    await subscription.handle(events)
            if subscription.failing:
                log.info("handler works again", handler=subscription.handler)
                subscription.failing = False
        except Exception as error:
            metrics.HANDLER_FAILURES.labels(subscription.handler).inc()
            if not subscription.failing:
                subscription.failing = True
                log.error(
                    "handler failed; its events are left to the next poll",
                    handler=subscription.handler,
                    events=len(events),
                    error=str(error) or repr(error),
                )
                log.debug("where the handler failed", handler=subscription.handler, exc_info=error)
        metrics.HANDLER_SECONDS.labels(subscription.handler).observe(time.monotonic() - started)
