"""Does a host fail beyond what others do with the same work, or did its probe? -> HostFailing, HostRecovered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import structlog

from axiomd import metrics
from axiomd.boinc import fleet, hosts
from axiomd.events import Event, HostFailing, HostRecovered
from axiomd.policies.breaker import BreakerRow, State, Verdict, failing_hosts, is_storm, judge
from axiomd.policies.hosts import fleet_is_silent
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import failures, tables
from axiomd.store.database import Database

log = structlog.get_logger(__name__)


class FailingHosts:
    """The watcher of hosts' failures, and of the probes of those whose breaker is half open."""

    name = "failing_hosts"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._stormy = False
        self.interval_s = settings.failures.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look at the tally of the hosts with some failures, and at the probes. In a storm no breaker opens."""
        settings = self._settings
        async with self._database.session() as session:
            rows = await failures.breaker_rows(session)
            metrics.HOSTS.labels("failing").set(len(rows))
            yield await self._probed(session, rows, now)
            done, others = await failures.work_of_hosts(session, settings.failures, settings.hosts, now)
            stopped = {stop[:3] for stop in await failures.stops(session)} if done else set()
            failing = failing_hosts(done, others, stopped, settings.failures)
            if not failing:
                self._stormy = False
                return
            live, _ = await tables.host_counts(session)
            silence = await fleet.silence(session, now - settings.hosts.fleet_silent_after_s)
        lately = sum(row.trips == 1 and row.since >= now - settings.failures.window_s for row in rows)
        stormy = is_storm(len(failing) + lately, live) or fleet_is_silent(silence, settings.hosts)
        if stormy and not self._stormy:
            log.warning(
                "hosts fail together: no breaker opens. Look at the server: input files, uploads, an app version",
                failing=len(failing),
                opened_lately=lately,
                live=live,
            )
        self._stormy = stormy
        if not stormy:
            yield [HostFailing(*host) for host in failing]

    async def _probed(self, connection: Connection, rows: Sequence[BreakerRow], now: float) -> list[Event]:
        names = {row.host_id: row.probe for row in rows if row.state is State.HALF_OPEN and row.probe}
        found = await hosts.probes(connection, names)
        intended = await failures.intended(connection, names.values())
        events: list[Event] = []
        for host_id, probe in found.items():
            verdict = judge(probe._replace(intended=names[host_id] in intended), now)
            if verdict is Verdict.GOOD:
                events.append(HostRecovered(host_id))
            elif verdict is not None:
                events.append(HostFailing(host_id, 1, int(verdict is Verdict.BAD)))
        if not self._settings.topup.targeted:
            # Nobody can send a probe then: the pause is all there is.
            events += [HostRecovered(row.host_id) for row in rows if not row.probe and row.until_at <= now]
        return events
