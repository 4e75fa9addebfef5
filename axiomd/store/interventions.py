"""The record of calls: an id is begun once, by whoever inserts its row, and its answer is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.store", "interventions.sql")

LONGEST_ANSWER = 4000


class CallState(IntEnum):
    """axiomd_intervention.state."""

    BEGUN = 0
    DONE = 1
    FAILED = 2


@dataclass(frozen=True)
class CallRecord:
    """What is known of a call."""

    intervention: str
    parameters: Mapping[str, Any]
    source: str
    caller: str
    state: CallState
    begun_at: float
    answer: str
    changes: int
    journal_id: int


async def begin(
    connection: Connection,
    id_: str,
    *,
    intervention: str,
    parameters: Mapping[str, object],
    source: str,
    caller: str,
    now: float,
) -> bool:
    """Note that a call begins; False if its id was begun before."""
    what = {"id": id_, "intervention": intervention, "parameters": spelled(parameters)}
    return bool(await connection.execute(SQL["begin"], what | {"source": source, "caller": caller, "now": now}))


async def read(connection: Connection, id_: str) -> CallRecord | None:
    """Read what is known of a call."""
    rows = await connection.fetch(SQL["read"], {"id": id_})
    if not rows:
        return None
    intervention, parameters, source, caller, state, begun_at, answer, changes, journal_id = rows[0]
    return CallRecord(
        str(intervention),
        json.loads(parameters),
        str(source),
        str(caller),
        CallState(state),
        float(begun_at),
        str(answer),
        int(changes),
        int(journal_id),
    )


async def end(
    connection: Connection, id_: str, state: CallState, *, answer: str, changes: int, journal_id: int, now: float
) -> None:
    """Note what became of a call."""
    what = {"id": id_, "state": int(state), "answer": answer[:LONGEST_ANSWER], "changes": changes}
    await connection.execute(SQL["end"], what | {"journal_id": journal_id, "now": now})


async def forget(connection: Connection, before: float) -> int:
    """Delete the records of calls from before then, a thousand at most; how many there were."""
    return await connection.execute(SQL["forget"], {"before": before})


def spelled(parameters: Mapping[str, object]) -> str:
    """Spell parameters as the record keeps them: the same for the same ones."""
    return json.dumps(dict(parameters), sort_keys=True)
