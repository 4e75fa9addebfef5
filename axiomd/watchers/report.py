"""Is the report's file missing, or older than it is to be? -> ReportDue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from axiomd.events import Event, ReportDue
from axiomd.settings import Settings

LONGEST_LOOK_S = 60.0
FIRST_AFTER_S = 60.0
"""A daemon that has just started has other things to do, and something to report only later."""


class ReportFile:
    """The watcher of the report's age. The file itself says how old it is: that outlives a restart."""

    name = "report_file"

    def __init__(self, settings: Settings, file: Path) -> None:
        self._file = file
        self._interval_s = settings.report.interval_s
        self._first_poll = time.monotonic()
        self.interval_s = min(LONGEST_LOOK_S, settings.report.interval_s)

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look at the file. Its age is told by this machine's clock, which dated it, and not by the database's."""
        del now
        age = await asyncio.to_thread(self._age)
        running = time.monotonic() - self._first_poll
        if age >= self._interval_s and running >= min(FIRST_AFTER_S, self._interval_s):
            yield [ReportDue()]

    def _age(self) -> float:
        """Seconds since it was written; one that can't be looked at is old, and one from the future too."""
        try:
            age = time.time() - self._file.stat().st_mtime
        except OSError:
            return float("inf")
        return age if age > -self._interval_s else float("inf")
