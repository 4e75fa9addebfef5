"""Sealing: old journal entries are summed up, then deleted with all that hangs on them.

What was deleted stays in axiomd_sealed as sums: by kind of entry, by host, user and team, by reason of a change. Status
and audit add them to what is still there, so that both say the same before and after.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from axiomd.errors import Conflict
from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.store", "seal.sql")

MOST_ENTRIES = 50
MOST_ROWS = 10_000
"""Entries, and rows that hang on them, that one transaction seals at most; one entry is sealed whatever its size."""

_SUMS = ("seal_journal", "seal_ledger", "seal_postings", "seal_changes", "seal_jobs")
_DELETIONS = ("delete_changes", "delete_jobs", "delete_postings", "delete_ledger", "delete_journal")


@dataclass(frozen=True)
class SealedTotal:
    """What was deleted of one kind."""

    rows: int
    changes: int
    credit: float


async def oldest_entry_at(connection: Connection, *, after: int) -> float | None:
    """When the oldest journal entry after this one was written; None if there is none."""
    rows = await connection.fetch(SQL["oldest_entries"], {"after": after, "limit": 1})
    return float(rows[0][1]) if rows else None


async def count_older(connection: Connection, before: float) -> int:
    """Journal entries from before then."""
    return int((await connection.fetch(SQL["count_older"], {"before": before}))[0][0])


async def aged_entries(connection: Connection, before: float, *, after: int) -> list[int]:
    """Ids of the next journal entries, as many as one transaction seals, none of them from `before` or later.

    They are taken in the order of their ids, without a gap; one whose jobs aren't made yet ends the row.
    """
    waiting = (await connection.fetch(SQL["first_intended"]))[0][0]
    ids: list[int] = []
    room = MOST_ROWS
    for id_, at, changes in await connection.fetch(SQL["oldest_entries"], {"after": after, "limit": MOST_ENTRIES}):
        room -= changes
        if at >= before or id_ == waiting or (ids and room < 0):
            break
        ids.append(int(id_))
    return ids


async def seal(connection: Connection, ids: Sequence[int], purged: Collection[int]) -> None:
    """Sum up these journal entries and delete them, in the caller's transaction.

    The mark of a paid result stays, as sealed, for as long as BOINC has the result: it must not be paid again. Those of
    `purged` results go.
    """
    where = {"ids": ids}
    if len(await connection.fetch(SQL["lock_entries"], where)) != len(ids):
        raise Conflict("journal entries were sealed by another meanwhile")
    done: list[Any] = await connection.fetch_packed(SQL["last_of_their_result"], where)
    for statement in _SUMS:
        await connection.execute(SQL[statement], where)
    for statement, result_ids in (
        ("mark_sealed", [id_ for id_ in done if id_ not in purged]),
        ("delete_marks", [id_ for id_ in done if id_ in purged]),
    ):
        if result_ids:
            await connection.execute(SQL[statement], {"result_ids": sorted(result_ids)})
    for statement in _DELETIONS:
        await connection.execute(SQL[statement], where)


async def sealed_totals(connection: Connection) -> dict[str, SealedTotal]:
    """What was sealed, by name (`ledger`, `journal:KIND`, `change:TABLE:REASON`, `job:STATE`); accounts left out."""
    rows = await connection.fetch(SQL["sealed_totals"])
    return {str(name): SealedTotal(int(count), int(changes), float(credit)) for name, count, changes, credit in rows}
