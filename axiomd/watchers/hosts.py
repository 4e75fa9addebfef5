"""Which hosts fell silent or returned? -> HostStale, HostReturned; did most fall silent together? -> FleetSilent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.boinc import fleet
from axiomd.events import Event, FleetSilent, HostReturned, HostStale
from axiomd.policies.hosts import changed_hosts, fleet_is_silent
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database


class Hosts:
    """The watcher of hosts' contacts."""

    name = "hosts"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._hosts = settings.hosts
        self.interval_s = settings.hosts.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """While the whole fleet is silent no host is called stale, so that the fleet's size isn't forgotten."""
        async with self._database.session() as session:
            silence = await fleet.silence(session, now - self._hosts.fleet_silent_after_s)
            contacts = await fleet.changed_contacts(session, now - self._hosts.live_after_contact_s)
            live_hosts, stale_hosts = await tables.host_counts(session)
            excluded = await tables.excluded_hosts(session, self._hosts)
        metrics.HOSTS.labels("live").set(live_hosts)
        metrics.HOSTS.labels("stale").set(stale_hosts)
        metrics.HOSTS.labels("excluded").set(len(excluded))
        silent = fleet_is_silent(silence, self._hosts)
        metrics.FLEET_SILENT.set(silent)
        stale, returned = changed_hosts(contacts, self._hosts, now)
        if silent:
            yield [FleetSilent(silence.live, silence.silent)]
        else:
            yield [HostStale(host.host_id, host.last_contact_at) for host in stale]
        yield [HostReturned(host.host_id, host.last_contact_at) for host in returned]
