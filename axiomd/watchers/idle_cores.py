"""Has the fleet idle cores? -> CoresIdle, one event for the fleet; now and then CoresCounted. Its jobs, as metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.boinc import fleet
from axiomd.boinc.fleet import Workload
from axiomd.boinc.project import Project
from axiomd.events import CoresCounted, CoresIdle, Event
from axiomd.policies.topup import Host, idle_cores, usable_cores
from axiomd.settings import Settings
from axiomd.store import failures, tables, verification
from axiomd.store.database import Database


class IdleCores:
    """The watcher of cores without work. Jobs that are wanted or decided on, and not made yet, are an event too."""

    name = "idle_cores"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._settings = settings
        self._verifies = settings.verification.enabled and settings.harvests
        self._counted_at = 0.0
        self.interval_s = settings.topup.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Compare the usable cores of the live hosts with the jobs that they have.

        Excluded hosts don't count, nor do those whose breaker isn't closed; but one that is due for a probe is idle by
        that one job.
        """
        live_since = now - self._settings.hosts.live_after_contact_s
        async with self._database.session() as session:
            hosts = await fleet.live_hosts(session, live_since)
            workload = await fleet.workload(session, self._project.app_ids)
            excluded = await tables.excluded_hosts(session, self._settings.hosts)
            breakers = await failures.breakers(session) if self._settings.failures.enabled else {}
            unmade = bool(await tables.intended_jobs(session, 1))
            unmade = unmade or (self._verifies and await verification.wants_copy(session))
        topup = self._settings.topup
        idle = []
        counted = total = without_job = 0
        for host in hosts:
            if host.host_id in excluded:
                continue
            jobs = sum(workload.of_host(host.host_id).values())
            cores = idle_cores(Host(host.host_id, host.ncpus, host.ngpus, host.memory, jobs), topup)
            if breaker := breakers.get(host.host_id):
                if cores and topup.targeted and not breaker.open and not breaker.probe:
                    idle.append((host.host_id, 1))
                continue
            usable = usable_cores(host.ncpus, topup)
            counted += 1
            total += usable
            # Of the event's idle cores there may be more: those where a core is to have several jobs.
            without_job += max(0, usable - jobs)
            if cores:
                idle.append((host.host_id, cores))
        metrics.CORES.set(total)
        metrics.CORES_IDLE.set(without_job)
        metrics.CORES_BUSY.set(total - without_job)
        self._show_jobs(workload)
        if not 0 <= now - self._counted_at < self._settings.report.sample_interval_s:
            self._counted_at = now
            yield [CoresCounted(counted, total, without_job)]
        if idle or unmade:
            yield [CoresIdle(total, sum(cores for _, cores in idle), tuple(idle))]

    def _show_jobs(self, workload: Workload) -> None:
        """Set the jobs under way of each experiment of the settings, and of all others together."""
        jobs = dict.fromkeys([*self._settings.experiments, metrics.OTHER], 0)
        for experiment, count in workload.of_experiments().items():
            jobs[experiment if experiment in self._settings.experiments else metrics.OTHER] += count
        for experiment, count in jobs.items():
            metrics.EXPERIMENT_JOBS.labels(experiment).set(count)
