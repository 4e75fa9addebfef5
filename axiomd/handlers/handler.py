"""What a handler is: load, decide (a policy), apply; and what it would do, said without doing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog

from axiomd.events import Event
from axiomd.sql import Connection
from axiomd.store import guard
from axiomd.store.guard import Rail, Use
from axiomd.store.pace import Pace

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Planned:
    """A change that a handler would make."""

    action: str
    subject: str
    detail: str


class Handler(ABC):
    """A reaction to events of certain types. `plan` and `act` share their loading and their policy."""

    name: ClassVar[str]
    events: ClassVar[tuple[type[Event], ...]]
    workers: int = 1
    actor: str = "axiomd"
    """Who acts, for the journal."""

    def __init__(self, *, dry_run: bool, most: int = 1) -> None:
        """Take `most` events at a time at most, and fewer where their changes hold BOINC's rows for too long."""
        self._dry_run = dry_run
        self.most = most
        self.pace = Pace(most)

    def batch(self) -> int:
        """Events that `handle` should be given now at most."""
        return self.pace.size

    async def handle(self, events: Sequence[Any]) -> None:
        """React to a batch of events: by changes, or in a dry run by saying which there would be."""
        if not self._dry_run:
            await self.act(events)
            return
        for planned in await self.plan(events):
            log.info("dry run: would act", action=planned.action, subject=planned.subject, detail=planned.detail)

    async def close(self) -> None:
        """Let go of what it holds beside the database; it may be used again."""
        return

    @abstractmethod
    async def plan(self, events: Sequence[Any]) -> list[Planned]:
        """Say what `act` would change now; loads without locks and changes nothing."""

    @abstractmethod
    async def act(self, events: Sequence[Any]) -> None:
        """Make the changes, in one transaction that checks again what the events said."""


class Cap:
    """A guard rail as a handler asks for it. Says once when its kind of change stops, and when it goes on."""

    def __init__(self, rail: Rail) -> None:
        self._rail = rail
        self._stopped = ""

    async def left(self, connection: Connection, now: float) -> float:
        """How much is allowed now."""
        return (await self.use(connection, now)).left

    async def use(self, connection: Connection, now: float) -> Use:
        """How the rail stands."""
        use = await guard.use(connection, self._rail, now)
        if use.stopped and not self._stopped:
            log.warning("this kind of change waits", kind=self._rail.kind.value, cap=self._rail.cap, why=use.stopped)
        elif self._stopped and not use.stopped:
            log.info("this kind of change goes on", kind=self._rail.kind.value)
        self._stopped = use.stopped
        return use
