"""What finished before the baseline: found for a backfill, and handed to the daemon once it is paid."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "history.sql")

RANGE = 20_000
"""Ids that one read goes through."""


async def unpaid(
    connection: Connection, app_ids: Sequence[int], *, since: float, until: float
) -> AsyncIterator[list[int]]:
    """Ids of final results received in a time that nobody paid or refused for another reason than their age."""
    last = int((await connection.fetch(SQL["last_result"]))[0][0])
    # received_time is in whole seconds, and 0 where nothing came in.
    times = {"since": max(since, 1.0), "until": until}
    for after in range(0, last, RANGE):
        rows = await connection.fetch(
            SQL["unpaid"], {"after": after, "upto": after + RANGE, "app_ids": app_ids} | times
        )
        if rows:
            yield [int(row[0]) for row in rows]


async def dealt_with(connection: Connection, workunit_ids: Sequence[int]) -> list[int]:
    """Those of these workunits that were left alone as history, and have nothing left that could be paid."""
    if not workunit_ids:
        return []
    rows = await connection.fetch(SQL["dealt_with"], {"workunit_ids": sorted(set(workunit_ids))})
    return sorted(int(row[0]) for row in rows)
