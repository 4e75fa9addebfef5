"""How many live hosts have only failures lately? For the metrics alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.boinc import fleet
from axiomd.boinc.project import Project
from axiomd.events import Event
from axiomd.policies.hosts import failing_quota
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database


class FailingHosts:
    """The watcher of hosts whose daily quota at BOINC their failures brought down."""

    name = "failing_hosts"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._hosts = settings.hosts
        self.interval_s = settings.hosts.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Set the gauge; there is no event. An excluded host is left out: axiomd itself brought its quota down."""
        failing = 0
        if most_jobs := failing_quota(self._project.config.daily_result_quota, self._hosts):
            async with self._database.session() as session:
                excluded = await tables.excluded_hosts(session, self._hosts)
                failing = await fleet.failing_hosts(
                    session,
                    self._project.app_ids,
                    live_since=now - self._hosts.live_after_contact_s,
                    most_jobs=most_jobs,
                    excluded=excluded,
                )
        metrics.HOSTS.labels("failing").set(failing)
        yield []
