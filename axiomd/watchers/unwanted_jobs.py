"""Are jobs of experiments that have ended, or that fail and were stopped, still open? -> JobUnwanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence

from axiomd.boinc import workunits
from axiomd.boinc.project import Project
from axiomd.events import Event, JobUnwanted, Platform
from axiomd.settings import Settings
from axiomd.store import failures, tables
from axiomd.store.database import Database

PAGE = 1000


class UnwantedJobs:
    """The watcher of jobs that nobody wants any more. Without an ending or a stop it asks nothing of BOINC's tables."""

    name = "unwanted_jobs"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._settings = settings
        self.interval_s = settings.abort.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:  # noqa: ARG002 - it needs no clock
        """Look through the open jobs, a page at a time; what volunteers may finish is left out by the handler."""
        async with self._database.session() as session:
            anywhere = {f"{name}-v{version}" for name, version in await tables.endings(session)}
            somewhere: dict[str, set[Platform]] = defaultdict(set)
            experiments = self._settings.experiments
            for name, version, gpu, platform in (
                await failures.stops(session) if self._settings.failures.enabled else ()
            ):
                if gpu is not (name in experiments and experiments[name].gpu):
                    continue
                if platform is None:
                    anywhere.add(f"{name}-v{version}")
                else:
                    somewhere[f"{name}-v{version}"].add(platform)
        async for events in self._of_any_host(sorted(anywhere)):
            yield events
        async for events in self._of_hosts({prefix: on for prefix, on in somewhere.items() if prefix not in anywhere}):
            yield events

    async def _of_any_host(self, prefixes: Sequence[str]) -> AsyncIterator[Sequence[Event]]:
        after = 0
        while prefixes:
            async with self._database.session() as session:
                page = await workunits.jobs_of(session, self._project.app_ids, prefixes, after=after, limit=PAGE)
            yield [JobUnwanted(workunit_id) for workunit_id, _ in page]
            if len(page) < PAGE:
                return
            after = page[-1][0]

    async def _of_hosts(self, platforms: Mapping[str, set[Platform]]) -> AsyncIterator[Sequence[Event]]:
        """Those that wait for a host of a platform on which their experiment is stopped."""
        after = 0
        while platforms:
            async with self._database.session() as session:
                page = await workunits.jobs_waiting_for(
                    session, self._project.app_ids, sorted(platforms), after=after, limit=PAGE
                )
            yield [
                JobUnwanted(job.workunit_id)
                for job in page
                if job.platform in platforms["-".join(job.name.split("-", 2)[:2])]
            ]
            if len(page) < PAGE:
                return
            after = page[-1].assignment_id
