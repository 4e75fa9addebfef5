"""Which reports did the transitioner overwrite? -> ReportLost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd.boinc import tasks
from axiomd.boinc.project import Project
from axiomd.events import Event, ReportLost
from axiomd.settings import Settings
from axiomd.store.database import Database


class LostReports:
    """The watcher of reports that came in and were overwritten."""

    name = "lost_reports"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._repair = settings.repair
        self.interval_s = settings.repair.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look at open workunits, and at results that may still come in late."""
        async with self._database.session() as session:
            lost = await tasks.lost_reports(
                session, self._project.app_ids, before=now - self._repair.min_age_s, limit=self._repair.batch
            )
        yield [ReportLost(result_id, workunit_id) for result_id, workunit_id in lost]
