"""The baseline, written at the first start: what finished before it is history, and is not paid.

What is in progress at the baseline is noted, so that it is paid when it comes in, in whatever mode of intake. So is the
total_credit of every host, user and team, which the audit goes out from.
"""

from __future__ import annotations

from dataclasses import dataclass

from axiomd.boinc import audit, credit
from axiomd.boinc.project import Project
from axiomd.store import tables
from axiomd.store.database import Database, Session


@dataclass(frozen=True)
class Baseline:
    """What was found at the baseline."""

    at: float
    under_way: int
    history: int
    """Finished workunits that wait for an assimilator: axiomd leaves them alone."""


async def write_baseline(database: Database, project: Project) -> Baseline | None:
    """Write the baseline, once; None if there is one already. The openings may still be missing then, and are noted."""

    async def write(session: Session) -> Baseline | None:
        state = await tables.get_state(session)
        now = await database.now()
        if tables.OPENINGS_AT not in state:
            await audit.write_openings(session)
            await tables.set_state(session, tables.OPENINGS_AT, now)
        if tables.BASELINE_AT in state:
            return None
        newest = await credit.newest_result(session)
        credited, completed = await credit.count_history(session, project.app_ids)
        under_way = await credit.take_in_unfinished(session, project.app_ids)
        history = await credit.note_history(session, project.app_ids)
        for name, value in {
            tables.CREDITED_BEFORE: credited,
            tables.COMPLETED_BEFORE: completed,
            tables.CREDITED_COUNT: 0,
            tables.COMPLETED_COUNT: 0,
            tables.ID_CURSOR: newest,
            tables.ID_CURSOR_NEXT: newest,
            tables.ID_CURSOR_AT: now,
            tables.BASELINE_AT: now,
        }.items():
            await tables.set_state(session, name, value)
        return Baseline(now, under_way, history)

    return await database.transaction(write)
