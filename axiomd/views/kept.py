"""A reading that costs something is kept for a while, so that asking often can't load the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT_TIMES = 20
"""A reading is kept so many times as long as it took: all askers together keep one connection busy 5 % of the time."""


class Kept(Generic[T]):
    """One reading for all who ask; those who ask while it is made wait for the same one."""

    def __init__(self, read: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = asyncio.Lock()
        self._kept: tuple[float, T] | None = None

    async def get(self) -> T:
        """Give the reading, a new one if the last is too old. Raises what the reading raises."""
        async with self._lock:
            began = self._clock()
            if self._kept and began < self._kept[0]:
                return self._kept[1]
            value = await self._read()
            ended = self._clock()
            self._kept = (ended + KEPT_TIMES * (ended - began), value)
            return value
