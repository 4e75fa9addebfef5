"""The journal as an outbox: each entry gets a number after its commit, and is published in the order of the numbers.

An auto-increment id is given at the INSERT, not at the commit: an entry may become visible after one with a higher id.
So one publisher, the holder of the lease, numbers what it sees, and looks again at lower ids for as long as a
transaction may last. Below the floor all is dealt with: numbered, or rolled back. A look costs what is new, not what
there is.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from axiomd.sql import Connection, load_statements, values
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock

SQL = load_statements("axiomd.store", "outbox.sql")

OUTBOX_FLOOR = "outbox_floor"
"""Journal ids up to this one are dealt with."""
OUTBOX_LAST = "outbox_last"
"""The last number that was given. Kept here, for the rows of pruned entries go."""
MQTT_ACKNOWLEDGED = "mqtt_acknowledged"
"""Up to this number all was published, and need not be published again."""

MOST = 500
"""Entries numbered in one transaction at most."""
EVERYTHING = 2**62
MARKS = 8
"""Marks that are kept for one overlap: the floor moves in steps of so much of it."""


@dataclass(frozen=True)
class Entry:
    """A journal entry to be published; `number` is its identity and its place."""

    number: int
    id: int
    at: float
    kind: str
    cause: str
    actor: str
    changes: int
    credit: float
    detail: Any


@dataclass(frozen=True)
class Page:
    """The next entries to publish."""

    entries: Sequence[Entry]
    through: int
    """Number up to which this page reaches."""
    pruned: int
    """Entries of it that were deleted from the journal before they were published."""
    after: int
    """Number behind which it begins."""


class Numbering:
    """Gives the numbers. One for as long as the lease is held."""

    def __init__(self, database: Database, overlap_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`overlap_s` is longer than any transaction."""
        self._database = database
        self._overlap_s = overlap_s
        self._clock = clock
        # (newest id, when it was seen): lower ids were given out before, and appear within the overlap or never.
        self._marks: deque[tuple[int, float]] = deque()
        self.last = 0
        self.acknowledged = 0
        """The last number that was given, and the one up to which all was published, at the last look."""

    async def look(self) -> int:
        """Number what has no number yet, some of it at a time; how many entries that were."""
        async with self._database.session() as session:
            state = await tables.get_state(session)
            self.last = int(state.get(OUTBOX_LAST, 0))
            self.acknowledged = int(state.get(MQTT_ACKNOWLEDGED, 0))
            begun = OUTBOX_FLOOR in state
            if begun:
                self._mark(await tables.newest_entry(session))
                found = await _unnumbered(session, state, limit=1)
        if not begun:
            await self._database.transaction(self._begin)
            return 0
        if not found and self._over() <= state[OUTBOX_FLOOR]:
            return 0
        numbered = await self._database.transaction(self._number)
        self.last += numbered
        return numbered

    async def _begin(self, session: Session) -> None:
        """What is in the journal before the first look is history.

        What a transaction under way adds to it is not, though its id may be lower. So the floor lies below all that may
        be under way, and what is visible above gets numbers that are never published.
        """
        if OUTBOX_FLOOR in await tables.get_state(session):
            return
        # A transaction reads the clock, then inserts: its id is given out at most an overlap after the entry's time.
        before = await read_clock(session) - 2 * self._overlap_s
        rows = await session.fetch(SQL["last_before"], {"before": before})
        floor = int(rows[0][0]) if rows else 0
        history = await _unnumbered(session, {OUTBOX_FLOOR: floor}, limit=EVERYTHING)
        if history:
            numbered = ((-place, id_) for place, id_ in enumerate(history))
            await session.execute(SQL["insert_numbers"].format(rows=values(numbered)))
        for name, value in ((OUTBOX_FLOOR, floor), (OUTBOX_LAST, 0), (MQTT_ACKNOWLEDGED, 0)):
            await tables.set_state(session, name, value)

    async def _number(self, session: Session) -> int:
        await tables.lock_state(session, OUTBOX_LAST)
        state = await tables.get_state(session)
        ids = await _unnumbered(session, state, limit=MOST)
        if ids:
            last = int(state[OUTBOX_LAST])
            await session.execute(SQL["insert_numbers"].format(rows=values(enumerate(ids, last + 1))))
            await tables.set_state(session, OUTBOX_LAST, last + len(ids))
        floor = self._over()
        # Only where this look saw all there is: the others up to the floor might have no number.
        if len(ids) < MOST and floor > state[OUTBOX_FLOOR]:
            await tables.set_state(session, OUTBOX_FLOOR, floor)
        return len(ids)

    def _mark(self, newest: int) -> None:
        now = self._clock()
        if not self._marks or (newest > self._marks[-1][0] and now > self._marks[-1][1] + self._overlap_s / MARKS):
            self._marks.append((newest, now))

    def _over(self) -> int:
        """Id up to which no entry can appear any more; 0 while that isn't known of any."""
        over = self._clock() - self._overlap_s
        while len(self._marks) > 1 and self._marks[1][1] < over:
            self._marks.popleft()
        return self._marks[0][0] if self._marks and self._marks[0][1] < over else 0


async def _unnumbered(session: Session, state: dict[str, float], *, limit: int) -> list[int]:
    rows = await session.fetch(SQL["unnumbered"], {"floor": int(state[OUTBOX_FLOOR]), "limit": limit})
    return [int(row[0]) for row in rows]


async def acknowledged(connection: Connection) -> int:
    """Give the number from which on publishing continues; 0 before the first."""
    return int((await tables.get_state(connection)).get(MQTT_ACKNOWLEDGED, 0))


async def acknowledge(session: Session, number: int) -> None:
    """Note that all up to this number need not be published again."""
    await tables.set_state(session, MQTT_ACKNOWLEDGED, number)


async def page(connection: Connection, after: int, limit: int) -> Page:
    """Read the next entries behind a number, in order."""
    # Before the rows: all up to there are committed with it.
    last = int((await tables.get_state(connection)).get(OUTBOX_LAST, 0))
    rows = await connection.fetch(SQL["page"], {"after": after, "last": last, "limit": limit})
    entries = [Entry(*(*row[:-1], _parsed(row[-1]))) for row in rows]
    through = entries[-1].number if len(entries) == limit else max(last, after)
    return Page(entries, through, through - after - len(entries), after)


async def forget(connection: Connection, journal_ids: Sequence[int]) -> None:
    """Delete the numbers of journal entries that are deleted in the same transaction."""
    await connection.execute(SQL["forget"], {"ids": list(journal_ids)})


def _parsed(detail: str) -> Any:
    """The detail of an entry; as text where it isn't JSON, which only a person can have written."""
    try:
        return json.loads(detail)
    except ValueError:
        return detail
