"""Are jobs of experiments that have ended still open? -> JobUnwanted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd.boinc import workunits
from axiomd.boinc.project import Project
from axiomd.events import Event, JobUnwanted
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database

PAGE = 1000


class UnwantedJobs:
    """The watcher of jobs that nobody wants any more. Without an ending it asks nothing of BOINC's tables."""

    name = "unwanted_jobs"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self.interval_s = settings.abort.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:  # noqa: ARG002 - it needs no clock
        """Look through the open jobs, a page at a time; what volunteers may finish is left out by the handler."""
        async with self._database.session() as session:
            prefixes = [f"{name}-v{version}" for name, version in await tables.endings(session)]
        after = 0
        while prefixes:
            async with self._database.session() as session:
                page = await workunits.jobs_of(session, self._project.app_ids, prefixes, after=after, limit=PAGE)
            yield [JobUnwanted(workunit_id) for workunit_id, _ in page]
            if len(page) < PAGE:
                return
            after = page[-1][0]
