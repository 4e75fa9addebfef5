"""Has the fleet idle cores? -> CoresIdle, one event for the fleet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.boinc import fleet
from axiomd.boinc.project import Project
from axiomd.events import CoresIdle, Event
from axiomd.policies.topup import Host, idle_cores, usable_cores
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database


class IdleCores:
    """The watcher of cores without work. Jobs that were decided on and not made yet count as idle cores too."""

    name = "idle_cores"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._settings = settings
        self.interval_s = settings.topup.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Compare the usable cores of the live hosts with the jobs that they have."""
        live_since = now - self._settings.hosts.live_after_contact_s
        async with self._database.session() as session:
            hosts = await fleet.live_hosts(session, live_since)
            workload = await fleet.workload(session, self._project.app_ids)
            unmade = await tables.intended_jobs(session, 1)
        topup = self._settings.topup
        idle = []
        for host in hosts:
            if host.host_id in self._settings.hosts.exclude:
                continue
            jobs = sum(workload.of_host(host.host_id).values())
            if cores := idle_cores(Host(host.host_id, host.ncpus, host.ngpus, host.memory, jobs), topup):
                idle.append((host.host_id, cores))
        total = sum(usable_cores(host.ncpus, topup) for host in hosts)
        metrics.CORES.set(total)
        metrics.CORES_IDLE.set(sum(cores for _, cores in idle))
        if idle or unmade:
            yield [CoresIdle(total, sum(cores for _, cores in idle), tuple(idle))]
