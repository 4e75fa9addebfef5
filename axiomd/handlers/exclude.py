"""QuotaRegrown -> the daily quota of excluded hosts comes down to one job a core, where the settings want that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from axiomd.boinc import hosts
from axiomd.boinc.hosts import Quota
from axiomd.boinc.project import Project
from axiomd.events import QuotaRegrown
from axiomd.handlers.handler import Handler, Planned
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.tables import Change, Entry

log = structlog.get_logger(__name__)


class ExcludeHandler(Handler):
    """Keeps excluded hosts excluded."""

    name = "exclude"
    events = (QuotaRegrown,)

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run)
        self._database = database
        self._project = project
        self._hosts = settings.hosts

    async def plan(self, events: Sequence[QuotaRegrown]) -> list[Planned]:
        """Say whose quota would be brought down."""
        async with self._database.session() as session:
            regrown = await self._regrown(session, events)
        return [Planned("exclude", f"host {quota.host_id}", f"daily quota {quota.jobs} -> 1") for quota in regrown]

    async def act(self, events: Sequence[QuotaRegrown]) -> None:
        """Bring the quotas down."""

        async def lower(session: Session) -> list[Quota]:
            regrown = await self._regrown(session, events)
            if regrown:
                now = await read_clock(session)
                count = len({quota.host_id for quota in regrown})
                entry = Entry(now, "exclude", QuotaRegrown.name, count)
                await tables.write_journal(session, entry, quota_changes(regrown, hosts.LOWEST_QUOTA))
                await hosts.set_quotas(session, regrown, hosts.LOWEST_QUOTA)
            return regrown

        regrown = await self._database.transaction(lower)
        if regrown:
            log.info("quotas of excluded hosts brought down", hosts=sorted({quota.host_id for quota in regrown}))

    async def _regrown(self, connection: Connection, events: Iterable[QuotaRegrown]) -> list[Quota]:
        excluded = await tables.excluded_hosts(connection, self._hosts)
        ids = sorted(excluded.intersection(*(event.hosts for event in events)))
        return [q for q in await hosts.quotas(connection, ids, self._project.app_ids) if hosts.is_regrown(q)]


def quota_changes(quotas: Sequence[Quota], jobs: int) -> list[Change]:
    """Spell out for the journal what becomes of quotas, a row a host."""
    by_host: dict[int, dict[str, object]] = {}
    for quota in quotas:
        by_host.setdefault(quota.host_id, {})[str(quota.app_version_id)] = quota.jobs
    return [
        Change("host", host_id, "quota", {"max_jobs_per_day": before}, {"max_jobs_per_day": jobs})
        for host_id, before in sorted(by_host.items())
    ]
