"""Locking workunits and results, and waking the transitioner: what every change of them begins and ends with.

The order is one for all: workunits, results, assignments, hosts, users, teams, each by ascending primary key. BOINC's
programs commit each statement by itself and never retry a deadlock, so nobody may ever meet them crosswise.
"""

from __future__ import annotations

from collections.abc import Iterable

from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "locks.sql")


async def lock(connection: Connection, workunit_ids: Iterable[int], result_ids: Iterable[int] = ()) -> None:
    """Lock these workunits and results until the transaction ends."""
    await connection.holding()
    if ids := sorted(set(workunit_ids)):
        await connection.fetch(SQL["lock_workunits"], {"ids": ids})
    if ids := sorted(set(result_ids)):
        await connection.fetch(SQL["lock_results"], {"ids": ids})


async def wake(connection: Connection, workunit_ids: Iterable[int], now: float) -> None:
    """Have the transitioner look at these workunits."""
    await connection.execute(SQL["wake"], {"ids": sorted(set(workunit_ids)), "now": int(now)})
