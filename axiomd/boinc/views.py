"""Hosts and jobs as the API shows them. Nothing that names a volunteer or a machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from axiomd.sql import Connection, load_statements, render

SQL = load_statements("axiomd.boinc", "views.sql")

LATEST_RESULTS = 1000
"""Results of a host among which those in progress are counted."""


class HostRow(NamedTuple):
    """A host. Memory in bytes, contact in Unix seconds, credit that axiomd granted."""

    id: int
    ncpus: int
    ngpus: int
    memory: float
    last_contact_at: float
    live: bool
    credit: float


async def host_ids(connection: Connection, after: int, limit: int) -> list[int]:
    """The next hosts by id, without those that were merged into others."""
    return [int(row[0]) for row in await connection.fetch(SQL["host_ids"], {"after": after, "limit": limit})]


async def judged_ids(connection: Connection, after: int, limit: int, *, live: bool) -> list[int]:
    """The next hosts by id that axiomd last judged live, or stale."""
    what = {"after": after, "limit": limit, "live": int(live)}
    return [int(row[0]) for row in await connection.fetch(SQL["judged_ids"], what)]


async def hosts(connection: Connection, ids: Sequence[int]) -> list[HostRow]:
    """Read hosts, by id; those that aren't there are left out."""
    if not ids:
        return []
    rows = await connection.fetch(SQL["hosts"], {"ids": list(ids)})
    return [
        HostRow(int(i), int(c), int(g), float(m), float(at), bool(live), float(n)) for i, c, g, m, at, live, n in rows
    ]


async def jobs_in_progress(connection: Connection, ids: Sequence[int], app_ids: Sequence[int]) -> dict[int, int]:
    """Count the results in progress of each of these hosts, among its LATEST_RESULTS latest."""
    if not ids:
        return {}
    one_by_one = [
        render(SQL["jobs_in_progress"], {"id": id_, "app_ids": list(app_ids), "latest": LATEST_RESULTS}) for id_ in ids
    ]
    return {int(host): int(jobs) for host, jobs in await connection.fetch(" UNION ALL ".join(one_by_one))}


async def jobs_of_experiments(connection: Connection, app_ids: Sequence[int]) -> dict[str, int]:
    """Count the jobs under way by experiment. Its cost grows with work in flight, as that of a poll."""
    rows = await connection.fetch(SQL["jobs_of_experiments"], {"app_ids": app_ids})
    return {str(experiment): int(jobs) for experiment, jobs in rows}
