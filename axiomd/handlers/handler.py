"""What a handler is: load, decide (a policy), apply; and what it would do, said without doing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog

from axiomd import metrics
from axiomd.events import Event
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

    @abstractmethod
    async def plan(self, events: Sequence[Any]) -> list[Planned]:
        """Say what `act` would change now; loads without locks and changes nothing."""

    @abstractmethod
    async def act(self, events: Sequence[Any]) -> None:
        """Make the changes, in one transaction that checks again what the events said."""


class Cap:
    """A guard rail: at most so many changes of a kind in a rolling window."""

    def __init__(self, kind: str, most: float, window_s: float) -> None:
        self.kind = kind
        self.most = most
        self.window_s = window_s
        self._reached = False

    def left(self, used: float) -> float:
        """Changes still allowed; says once when the cap is reached and when there is room again."""
        metrics.CAP_USED.labels(self.kind).set(used / self.most if self.most else 1.0)
        left = max(self.most - used, 0.0)
        if left <= 0 and not self._reached:
            log.warning(
                "cap reached: this kind of change waits",
                kind=self.kind,
                cap=self.most,
                window_s=self.window_s,
            )
        elif left > 0 and self._reached:
            log.info("below the cap again", kind=self.kind)
        self._reached = left <= 0
        return left
