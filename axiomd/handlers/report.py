"""ReportDue -> the report's file, written by a process of its own: nothing of the daemon waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from axiomd.events import ReportDue
from axiomd.handlers.handler import Handler, Planned
from axiomd.settings import Settings

log = structlog.get_logger(__name__)

Write = Callable[[], Awaitable[str]]
"""Has the file written; gives what went wrong, for a person, or nothing."""


class ReportHandler(Handler):
    """Writes a file and nothing else, so that a dry run does it too."""

    name = "report"
    events = (ReportDue,)

    def __init__(self, settings: Settings, write: Write) -> None:
        super().__init__(dry_run=False)
        self._file = settings.report.file
        self._write = write
        self._said = ""

    async def plan(self, events: Sequence[ReportDue]) -> list[Planned]:
        """Say that it would be written."""
        return [Planned("write", "the report", str(self._file)) for _ in events[:1]]

    async def act(self, events: Sequence[ReportDue]) -> None:
        """Have the file written. What goes wrong is said once, and tried again at the next look."""
        del events
        trouble = await self._write()
        if trouble and trouble != self._said:
            log.error("report.file could not be written; the old one stays", file=str(self._file), error=trouble)
        elif not trouble:
            log.info("report written", file=str(self._file))
        self._said = trouble
