"""How fast the fleet's hosts say that they are."""

from __future__ import annotations

from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "speeds.sql")


async def speed_at(connection: Connection, share: float, *, live_since: float) -> float:
    """Speed of one core (1/s) that this share of the hosts in contact since then stays below; 0 without a host.

    It is what their clients' benchmarks claim: below a share of 1 the fastest of several is never the one.
    """
    parameters = {"live_since": live_since}
    hosts = int((await connection.fetch(SQL["live_speeds"], parameters))[0][0])
    rows = await connection.fetch(SQL["speed_at"], parameters | {"rank": max(0, int(share * (hosts - 1)))})
    return float(rows[0][0]) if rows else 0.0
