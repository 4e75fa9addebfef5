"""One host: whether it is there, its daily quota at BOINC, which an exclusion brings down, and its probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from axiomd.boinc import locks
from axiomd.policies.breaker import Probe
from axiomd.policies.measurement import Outcome
from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "hosts.sql")

LOWEST_QUOTA = 1
"""Jobs a core and day that BOINC leaves a host at least. 0 would mean a new host, with the full quota."""

ANONYMOUS = 1_000_000
"""BOINC's host_app_version of an anonymous platform's version has the id app * ANONYMOUS + 2, 3, ... (sched_util.h)."""


class Quota(NamedTuple):
    """Jobs a core and day that BOINC would send a host of an app version."""

    host_id: int
    app_version_id: int
    jobs: int


async def is_there(connection: Connection, host_id: int) -> bool:
    """Whether BOINC has such a host, one that wasn't merged into another."""
    return bool(await connection.fetch(SQL["host"], {"id": host_id}))


async def quotas(connection: Connection, host_ids: Sequence[int], app_ids: Sequence[int]) -> list[Quota]:
    """Read the quotas of hosts for all versions of these apps, by host and version."""
    if not host_ids:
        return []
    rows = await connection.fetch(SQL["quotas"], _of(host_ids, app_ids))
    return [Quota(int(host), int(version), int(jobs)) for host, version, jobs in rows]


async def set_quotas(connection: Connection, quotas_: Sequence[Quota], jobs: int) -> None:
    """Set these quotas, row by row in the order of the key: the scheduler writes the same rows."""
    await locks.lock(connection, ())
    for quota in sorted(quotas_):
        await connection.execute(SQL["set_quota"], quota._asdict() | {"jobs": jobs})


def is_regrown(quota: Quota) -> bool:
    """Whether BOINC would send more than the least; 0 is BOINC's mark of a new host, which gets the full quota."""
    return quota.jobs > LOWEST_QUOTA or quota.jobs == 0


async def probes(connection: Connection, names: Mapping[int, str]) -> dict[int, Probe]:
    """What became of the probes, that is workunits by name, of these hosts; one whose workunit isn't there as such."""
    if not names:
        return {}
    host_of = {name: host_id for host_id, name in names.items()}
    found = {host_id: Probe(there=False) for host_id in names}
    for name, cancelled, end, host_id, deadline, outcome in await connection.fetch(
        SQL["probes"], {"names": sorted(host_of)}
    ):
        probe = found[host_of[name]]
        if not probe.there:
            probe = Probe(there=True, cancelled=bool(cancelled), deadline=float(end))
        if host_id == host_of[name]:
            probe = probe._replace(deadline=float(deadline or end))
            if outcome is not None:
                probe = probe._replace(good=Outcome(outcome).is_good)
        found[host_of[name]] = probe
    return found


def _of(host_ids: Sequence[int], app_ids: Sequence[int]) -> dict[str, object]:
    return {"host_ids": sorted(host_ids), "app_ids": sorted(app_ids), "anonymous": ANONYMOUS}
