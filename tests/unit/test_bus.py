"""The internal bus: coalescing, bounded queues, handlers that fail, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from axiomd.bus import HANDLER_TRIES, Bus, Subscription
from axiomd.events import Event, HostReturned, HostStale, ReportLost, ResultCompleted

Handle = Callable[[Sequence[Event]], Awaitable[None]]


def completed(*ids: int) -> list[ResultCompleted]:
    return [ResultCompleted(id_, workunit_id=id_) for id_ in ids]


class Recorder:
    """A handler that notes what it is given, and waits at a gate while that is shut."""

    def __init__(self, *, shut: bool = False) -> None:
        self.batches: list[list[Event]] = []
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        if not shut:
            self.gate.set()

    async def __call__(self, events: Sequence[Event]) -> None:
        self.batches.append(list(events))
        self.began.set()
        await self.gate.wait()

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]


@asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(bus.run())
    try:
        yield task
    finally:
        await bus.stop()
        await asyncio.wait_for(task, 5)


async def turns(count: int = 20) -> None:
    """Let every other task go on until it has to wait."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settled(bus: Bus) -> None:
    await asyncio.wait_for(bus.settle(), 10)


async def test_events_come_in_batches_in_the_order_of_their_first_arrival() -> None:
    bus, recorder = Bus(), Recorder()
    bus.subscribe([ResultCompleted], recorder, handler="test", batch=2)
    await bus.publish(completed(3, 1, 2))
    async with running(bus):
        await settled(bus)
    assert recorder.batches == [completed(3, 1), completed(2)]


async def test_an_event_goes_to_everyone_who_subscribed_to_its_type_and_to_nobody_else() -> None:
    bus, first, second, other = Bus(), Recorder(), Recorder(), Recorder()
    bus.subscribe([ResultCompleted, ReportLost], first, handler="first")
    bus.subscribe([ResultCompleted], second, handler="second")
    bus.subscribe([HostStale], other, handler="other")
    async with running(bus):
        await bus.publish([*completed(1), ReportLost(1, 1), HostReturned(9, 0.0)])
        await settled(bus)
    assert first.events == [*completed(1), ReportLost(1, 1)]
    assert second.events == completed(1)
    assert other.events == []


async def test_what_is_queued_is_replaced_by_the_newer_event_and_keeps_its_place() -> None:
    bus, recorder = Bus(), Recorder()
    bus.subscribe([HostStale], recorder, handler="test", batch=10)
    await bus.publish([HostStale(1, 10.0), HostStale(2, 10.0)])
    await bus.publish([HostStale(1, 20.0)])
    async with running(bus):
        await settled(bus)
    assert recorder.batches == [[HostStale(1, 20.0), HostStale(2, 10.0)]]


async def test_events_of_different_types_on_the_same_id_are_not_the_same() -> None:
    bus, recorder = Bus(), Recorder()
    bus.subscribe([HostStale, HostReturned], recorder, handler="test", batch=10)
    await bus.publish([HostStale(1, 10.0), HostReturned(1, 20.0)])
    async with running(bus):
        await settled(bus)
    assert recorder.events == [HostStale(1, 10.0), HostReturned(1, 20.0)]


async def test_an_event_that_is_in_hand_is_dropped_and_comes_again_only_when_it_is_seen_again() -> None:
    bus, recorder = Bus(), Recorder(shut=True)
    bus.subscribe([ResultCompleted], recorder, handler="test")
    async with running(bus):
        await bus.publish(completed(1))
        await recorder.began.wait()
        await bus.publish(completed(1))
        recorder.gate.set()
        await settled(bus)
        assert recorder.events == completed(1)
        await bus.publish(completed(1))
        await settled(bus)
    assert recorder.events == completed(1, 1)


async def test_workers_share_the_queue_and_never_hold_the_same_key_at_once() -> None:
    in_hand: set[object] = set()
    most = 0

    async def handle(events: Sequence[Event]) -> None:
        nonlocal most
        keys = {event.key for event in events}
        assert not keys & in_hand
        in_hand.update(keys)
        most = max(most, len(in_hand))
        await turns(3)
        in_hand.difference_update(keys)

    bus = Bus()
    subscription = bus.subscribe([ResultCompleted], handle, handler="workers", workers=3)
    async with running(bus):
        for _ in range(5):
            await bus.publish(completed(*range(10)))
            await turns(7)
        await settled(bus)
    assert most == 3
    assert not subscription.failing


async def test_publishing_waits_while_the_queue_is_full() -> None:
    bus, recorder = Bus(), Recorder(shut=True)
    subscription = bus.subscribe([ResultCompleted], recorder, handler="test", limit=3)
    async with running(bus):
        publishing = asyncio.create_task(bus.publish(completed(*range(10))))
        await recorder.began.wait()
        await turns()
        assert not publishing.done()
        assert len(subscription.queued) == 3
        recorder.gate.set()
        await asyncio.wait_for(publishing, 5)
        await settled(bus)
    assert recorder.events == completed(*range(10))


async def test_a_full_queue_does_not_hold_up_an_event_that_is_in_it() -> None:
    bus = Bus()
    subscription = bus.subscribe([HostStale], Recorder(), handler="test", limit=1)
    await bus.publish([HostStale(1, 10.0)])
    await asyncio.wait_for(bus.publish([HostStale(1, 20.0)]), 5)
    assert list(subscription.queued.values()) == [HostStale(1, 20.0)]


async def test_a_publisher_that_waits_is_let_go_when_the_bus_stops() -> None:
    bus, recorder = Bus(), Recorder(shut=True)
    bus.subscribe([ResultCompleted], recorder, handler="test", limit=1)
    task = asyncio.create_task(bus.run())
    publishing = asyncio.create_task(bus.publish(completed(*range(10))))
    await recorder.began.wait()
    await turns()
    await bus.stop()
    await asyncio.wait_for(publishing, 5)
    recorder.gate.set()
    await asyncio.wait_for(task, 5)
    assert recorder.events == completed(0)


def failures(handler: str) -> float:
    return REGISTRY.get_sample_value("axiomd_handler_failures_total", {"handler": handler}) or 0.0


async def test_a_handler_that_raises_is_tried_again_then_left_and_the_others_go_on() -> None:
    tries: list[object] = []

    async def fail(events: Sequence[Event]) -> None:
        tries.extend(event.key for event in events)
        raise ValueError("no such thing")

    bus, other = Bus(), Recorder()
    bus.subscribe([ResultCompleted], fail, handler="failing")
    bus.subscribe([ResultCompleted], other, handler="other")
    with capture_logs() as logged:
        async with running(bus):
            await bus.publish(completed(1, 2))
            await settled(bus)
    assert tries == [1] * HANDLER_TRIES + [2] * HANDLER_TRIES
    assert failures("failing") == 2
    assert other.events == completed(1, 2)
    # Told once, not once an event.
    assert [entry["error"] for entry in logged if entry["log_level"] == "error"] == ["no such thing"]


async def test_a_handler_that_raises_once_is_not_a_failure() -> None:
    seen: list[int] = []

    async def stumble(events: Sequence[Event]) -> None:
        seen.append(len(events))
        if len(seen) == 1:
            raise ConnectionError

    bus = Bus()
    subscription = bus.subscribe([ResultCompleted], stumble, handler="stumbling", batch=10)
    async with running(bus):
        await bus.publish(completed(1, 2))
        await settled(bus)
    assert seen == [2, 2]
    assert failures("stumbling") == 0
    assert not subscription.failing


async def test_events_left_by_a_failing_handler_are_handled_when_they_are_seen_again() -> None:
    broken = True
    done: list[Event] = []

    async def handle(events: Sequence[Event]) -> None:
        if broken:
            raise OSError
        done.extend(events)

    bus = Bus()
    subscription = bus.subscribe([ResultCompleted], handle, handler="broken")
    async with running(bus):
        await bus.publish(completed(1))
        await settled(bus)
        assert subscription.failing
        broken = False
        await bus.publish(completed(1))
        await settled(bus)
    assert done == completed(1)
    assert not subscription.failing


async def test_stop_lets_what_is_in_hand_end_and_leaves_what_is_queued() -> None:
    bus, recorder = Bus(), Recorder(shut=True)
    subscription = bus.subscribe([ResultCompleted], recorder, handler="test", batch=2)
    task = asyncio.create_task(bus.run())
    await bus.publish(completed(1, 2, 3))
    await recorder.began.wait()
    await bus.stop()
    await turns()
    assert not task.done()
    recorder.gate.set()
    await asyncio.wait_for(task, 5)
    assert recorder.batches == [completed(1, 2)]
    assert subscription.idle


async def test_a_stop_that_comes_before_the_start_is_heeded() -> None:
    bus = Bus()
    bus.subscribe([ResultCompleted], Recorder(), handler="test")
    task = asyncio.create_task(bus.run())
    await bus.stop()
    await asyncio.wait_for(task, 5)


async def test_a_bus_that_was_stopped_can_be_run_again() -> None:
    bus, recorder = Bus(), Recorder()
    bus.subscribe([ResultCompleted], recorder, handler="test")
    for _ in range(2):
        async with running(bus):
            await bus.publish(completed(1))
            await settled(bus)
    assert recorder.events == completed(1, 1)


async def test_settle_waits_for_what_is_in_hand() -> None:
    bus, recorder = Bus(), Recorder(shut=True)
    bus.subscribe([ResultCompleted], recorder, handler="test")
    async with running(bus):
        await bus.publish(completed(1))
        await recorder.began.wait()
        settling = asyncio.create_task(bus.settle())
        await turns()
        assert not settling.done()
        recorder.gate.set()
        await asyncio.wait_for(settling, 5)


async def test_no_task_is_left_running() -> None:
    before = asyncio.all_tasks()
    bus, recorder = Bus(), Recorder()
    bus.subscribe([ResultCompleted], recorder, handler="test", workers=3)
    bus.subscribe([HostStale], recorder, handler="other")
    async with running(bus):
        await bus.publish(completed(1, 2, 3))
        await settled(bus)
        assert len(asyncio.all_tasks() - before) == 5
    assert asyncio.all_tasks() == before


async def test_cancelled_in_the_middle_it_ends_with_all_its_workers() -> None:
    before = asyncio.all_tasks()
    bus, recorder = Bus(), Recorder(shut=True)
    bus.subscribe([ResultCompleted], recorder, handler="test", workers=2)
    task = asyncio.create_task(bus.run())
    await bus.publish(completed(1, 2))
    await recorder.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert asyncio.all_tasks() == before


def test_a_handler_of_several_types_has_one_queue() -> None:
    bus = Bus()
    one: Subscription = bus.subscribe([ResultCompleted, ReportLost], Recorder(), handler="one")
    two = bus.subscribe([ResultCompleted], Recorder(), handler="two")
    assert bus.subscriptions == [one, two]


async def test_an_observer_sees_all_that_is_published_whoever_subscribed() -> None:
    bus = Bus()
    seen: list[Sequence[Event]] = []
    bus.observe(seen.append)
    await bus.publish([*completed(1, 2), HostStale(9, 0.0)])
    assert seen == [completed(1, 2), [HostStale(9, 0.0)]]
