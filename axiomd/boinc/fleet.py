"""Apps, hosts, and the work that hosts have, as BOINC's tables tell it. Sums and counts are made in SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from axiomd.boinc.platforms import platform_of
from axiomd.errors import ProjectError
from axiomd.events import Platform
from axiomd.policies.hosts import FleetSilence, HostContact
from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "fleet.sql")


async def app_ids(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Ids of apps by name, in the order of the names. Raises ProjectError naming an app that isn't there."""
    rows = await connection.fetch(SQL["apps"], {"names": list(names)})
    found = {str(name): int(id_) for id_, name in rows}
    for name in names:
        if name not in found:
            raise ProjectError(f"project.apps: the project has no app '{name}' (table app)")
    return {name: found[name] for name in names}


async def changed_contacts(connection: Connection, live_since: float) -> list[HostContact]:
    """Hosts whose stored state and last contact disagree."""
    rows = await connection.fetch(SQL["changed_contacts"], {"live_since": live_since})
    return [HostContact(int(i), float(at), None if live is None else bool(live)) for i, at, live in rows]


async def silence(connection: Connection, silent_since: float) -> FleetSilence:
    """How many of the hosts that axiomd calls live are silent; before it knows any, of all hosts."""
    live, silent = (
        int(number) for number in (await connection.fetch(SQL["silence"], {"silent_since": silent_since}))[0]
    )
    if live:
        return FleetSilence(live, silent)
    hosts, latest = (await connection.fetch(SQL["latest_contact"]))[0]
    return FleetSilence(int(hosts), int(hosts) if latest < silent_since else 0)


@dataclass(frozen=True, slots=True)
class LiveHost:
    """A host in contact. Memory in bytes, contact in Unix seconds."""

    host_id: int
    ncpus: int
    ngpus: int
    memory: float
    last_contact_at: float
    user_id: int
    platform: Platform


async def live_hosts(connection: Connection, live_since: float) -> list[LiveHost]:
    """Hosts in contact since then that have a user, by ascending id."""
    rows = await connection.fetch(SQL["live_hosts"], {"live_since": live_since})
    return [
        LiveHost(int(i), int(c), int(g), float(m), float(at), int(user), platform_of(str(os)))
        for i, c, g, m, at, user, os in rows
    ]


async def quotas(connection: Connection, app_ids: Sequence[int], live_since: float) -> dict[int, tuple[int, int]]:
    """By host: jobs a core and day that BOINC would send it, and jobs sent today. New hosts are left out."""
    rows = await connection.fetch(SQL["quotas"], {"app_ids": app_ids, "live_since": live_since})
    return {int(host_id): (int(most), int(today)) for host_id, most, today in rows}


@dataclass(slots=True)
class Workload:
    """Jobs under way: by host and experiment (the part of the workunit's name before `-v`), and for nobody yet."""

    by_host: dict[int, dict[str, int]] = field(default_factory=dict)
    in_progress: int = 0
    unsent: dict[str, int] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    """Of all these the second copies for verification, by experiment."""

    def of_host(self, host_id: int) -> dict[str, int]:
        """Jobs of a host by experiment."""
        return self.by_host.get(host_id, {})

    def of_experiments(self) -> dict[str, int]:
        """Jobs under way by experiment."""
        totals: dict[str, int] = defaultdict(int, self.unsent)
        for jobs in self.by_host.values():
            for experiment, count in jobs.items():
                totals[experiment] += count
        return dict(totals)


async def workload(connection: Connection, app_ids: Sequence[int]) -> Workload:
    """Count the jobs under way: in progress, waiting for their target host, unsent or not yet looked at."""
    by_host: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    unsent: dict[str, int] = defaultdict(int)
    in_progress = 0
    parameters = {"app_ids": app_ids}
    copies: dict[str, int] = defaultdict(int)
    for host_id, experiment, count, again in await connection.fetch(SQL["jobs_in_progress"], parameters):
        by_host[int(host_id)][str(experiment)] += int(count)
        in_progress += int(count)
        copies[str(experiment)] += int(again)
    for host_id, experiment, count, again in await connection.fetch(SQL["jobs_waiting"], parameters):
        by_host[int(host_id)][str(experiment)] += int(count)
        copies[str(experiment)] += int(again)
    for statement in ("jobs_unsent", "jobs_untouched"):
        for experiment, count, again in await connection.fetch(SQL[statement], parameters):
            unsent[str(experiment)] += int(count)
            copies[str(experiment)] += int(again)
    by_experiment = {host: dict(jobs) for host, jobs in by_host.items()}
    return Workload(by_experiment, in_progress, dict(unsent), dict(copies))


async def workunits_named(connection: Connection, names: Sequence[str]) -> set[str]:
    """Those of these names that workunits have."""
    if not names:
        return set()
    return {str(row[0]) for row in await connection.fetch(SQL["workunits_named"], {"names": list(names)})}


async def workunits_out(connection: Connection, names: Sequence[str]) -> set[str]:
    """Those of these workunits that may still bring a result that the harvest hasn't seen."""
    if not names:
        return set()
    return {str(row[0]) for row in await connection.fetch(SQL["workunits_out"], {"names": list(names)})}


async def results_by_state(connection: Connection, app_ids: Sequence[int]) -> dict[int, int]:
    """Results that are unsent or in progress, by server_state."""
    rows = await connection.fetch(SQL["results_by_state"], {"app_ids": app_ids})
    return {int(state): int(count) for state, count in rows}


async def waiting_workunits(connection: Connection, app_ids: Sequence[int]) -> tuple[int, int]:
    """Workunits that wait for BOINC's validator, and those that wait for their assimilator."""
    parameters = {"app_ids": app_ids}
    to_validate = await connection.fetch(SQL["workunits_to_validate"], parameters)
    to_assimilate = await connection.fetch(SQL["workunits_to_assimilate"], parameters)
    return int(to_validate[0][0]), int(to_assimilate[0][0])


async def backlog(connection: Connection, app_ids: Sequence[int], *, assimilates: bool) -> tuple[int, float]:
    """Finished results that wait for axiomd, and when the oldest came in (Unix seconds, 0: none)."""
    statement = SQL["backlog" if assimilates else "backlog_of_marks"]
    rows = await connection.fetch(statement, {"app_ids": app_ids})
    return int(rows[0][0]), float(rows[0][1] or 0)
