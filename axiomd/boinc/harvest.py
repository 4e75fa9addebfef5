"""Finished results as the harvest reads them: how each ended, whose it is, and where its output lies."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from axiomd.boinc.files import output_names
from axiomd.boinc.platforms import platform_of
from axiomd.boinc.states import ending
from axiomd.events import Platform
from axiomd.policies.credit import Ending
from axiomd.sql import Connection, Row, load_statements

SQL = load_statements("axiomd.boinc", "harvest.sql")

PAGE = 500
"""Results that one statement reads: what strangers wrote is bounded, and its sum must be."""


class Host(NamedTuple):
    """Whose machine a result came from."""

    id: int
    user_id: int
    fpops: float
    """Speed of one core that it claims (1/s)."""
    platform: Platform


class Finished(NamedTuple):
    """A result that is to be harvested. Times are Unix seconds."""

    result_id: int
    workunit_id: int
    app_id: int
    host: Host | None
    """None: it is no more."""
    ending: Ending
    exit_status: int
    elapsed_s: float
    sent_at: float
    received_at: float
    uses_gpu: bool
    workunit_name: str
    cancelled: bool
    ended_by_axiomd: bool
    output: str
    """Name of its output file; empty if its row names none. Of valid results only."""
    files_deleted: bool
    """BOINC's file_deleter was told to delete its files, or has."""
    stderr: str = ""
    """What the client and the program said of a failure: beginning and end of it. Of failed results only."""


async def finished(connection: Connection, ids: Sequence[int], gpu_app_versions: frozenset[int]) -> list[Finished]:
    """Read those of these results whose mark of the harvest is open, by ascending id."""
    found: list[Finished] = []
    for start in range(0, len(ids), PAGE):
        rows = await connection.fetch_packed(SQL["results"], {"ids": list(ids[start : start + PAGE])})
        hosts = await _hosts(connection, {row[3] for row in rows})
        async with connection.calm:
            page = [_finished(row, hosts, gpu_app_versions) for row in rows]
        failed = [one.result_id for one in page if one.ending is Ending.FAILED]
        said = await _errors(connection, failed) if failed else {}
        found += [one._replace(stderr=said[one.result_id]) if one.result_id in said else one for one in page]
    return sorted(found)


def _finished(row: Row, hosts: Mapping[int, Host], gpu_app_versions: frozenset[int]) -> Finished:
    output = ""
    if row[17]:
        said = base64.b64decode(row[17]).decode("utf-8", "replace")
        # BOINC names an output after its result. The column is what a client says: it may not name another's.
        output = next((name for name in output_names(said) if name.startswith(f"{row[13]}_")), "")
    return Finished(
        result_id=row[0],
        workunit_id=row[1],
        app_id=row[2],
        host=hosts.get(row[3]),
        ending=ending(row[4], row[5], row[6], row[7]),
        exit_status=row[7],
        elapsed_s=row[8],
        sent_at=row[9],
        received_at=row[10],
        uses_gpu=row[11] in gpu_app_versions,
        workunit_name=row[14],
        cancelled=bool(row[15]),
        ended_by_axiomd=bool(row[16]),
        output=output,
        files_deleted=bool(row[12]),
    )


async def _hosts(connection: Connection, host_ids: Iterable[int]) -> dict[int, Host]:
    """Hosts by id; a deleted one is left out."""
    ids = sorted(id_ for id_ in host_ids if id_)
    if not ids:
        return {}
    rows = await connection.fetch_packed(SQL["hosts"], {"ids": ids})
    return {id_: Host(id_, user_id, float(fpops), platform_of(os_name)) for id_, user_id, fpops, os_name in rows}


async def _errors(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Give what failed results left in stderr_out, beginning and end of it, by result id."""
    rows = await connection.fetch(SQL["errors"], {"ids": list(ids)})
    return {int(id_): bytes(text).decode("utf-8", "replace") for id_, text in rows}
