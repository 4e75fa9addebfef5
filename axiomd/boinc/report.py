"""What a report needs of BOINC's tables: a user's public name, a host's size, what BOINC called a success.

Nothing else that names a volunteer.
"""

from __future__ import annotations

from collections.abc import Sequence

from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "report.sql")


async def user_names(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Public names of users, as they chose them: a stranger's text. Those that are gone are left out."""
    if not ids:
        return {}
    return {int(id_): str(name) for id_, name in await connection.fetch_packed(SQL["users"], {"ids": list(ids)})}


async def host_sizes(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Cores and GPUs of hosts, as their clients claim. Those that are gone are left out."""
    if not ids:
        return {}
    rows = await connection.fetch_packed(SQL["hosts"], {"ids": list(ids)})
    return {int(id_): (int(cores), int(gpus)) for id_, cores, gpus in rows}


async def silent_errors(connection: Connection, *, since: float, until: float) -> dict[tuple[str, int, bool], int]:
    """Count results that BOINC calls a success and whose output tells of an error, by experiment, version and GPU.

    Those that db_purge took since are not known any more.
    """
    rows = await connection.fetch(SQL["silent_errors"], {"since": since, "until": until})
    return {(str(name), int(version), bool(gpu)): int(count) for name, version, gpu, count in rows}
