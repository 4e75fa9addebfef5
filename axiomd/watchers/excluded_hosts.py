"""Would BOINC send excluded hosts more than one job a core and day? -> QuotaRegrown: each success doubles a quota."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd.boinc import hosts
from axiomd.boinc.project import Project
from axiomd.events import Event, QuotaRegrown
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database


class ExcludedHosts:
    """The watcher of the quotas of excluded hosts."""

    name = "excluded_hosts"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._hosts = settings.hosts
        self.interval_s = settings.hosts.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:  # noqa: ARG002 - it needs no clock
        """Look at the quotas of the excluded hosts, which are few."""
        async with self._database.session() as session:
            excluded = await tables.excluded_hosts(session, self._hosts)
            quotas = await hosts.quotas(session, sorted(excluded), self._project.app_ids)
        regrown = sorted({quota.host_id for quota in quotas if hosts.is_regrown(quota)})
        if regrown:
            yield [QuotaRegrown(tuple(regrown))]
