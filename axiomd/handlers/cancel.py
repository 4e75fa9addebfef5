"""JobUnwanted -> cancelled, as BOINC's cancel_jobs does: unsent results withdrawn, error_mask 16, a transition now."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from axiomd import metrics
from axiomd.boinc import locks, tasks, workunits
from axiomd.events import JobUnwanted
from axiomd.handlers.handler import Cap, Handler, Planned
from axiomd.policies.cancel import Job, is_cancelled
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.guard import Kind, rails
from axiomd.store.tables import Change, Entry
from experiments.kit.naming import parse_workunit_name

log = structlog.get_logger(__name__)

EXPERIMENT_ENDED = "experiment_ended"


class CancelHandler(Handler):
    """Cancels jobs of experiments that were retired or aborted, within the cap of aborts."""

    name = "cancel"
    events = (JobUnwanted,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=settings.abort.batch)
        self._database = database
        self._cap = Cap(rails(settings)[Kind.ABORT])

    async def plan(self, events: Sequence[JobUnwanted]) -> list[Planned]:
        """Say which jobs would be cancelled."""
        async with self._database.session() as session:
            jobs = await self._decide(session, [e.workunit_id for e in events], await read_clock(session))
        return [Planned("abort", f"workunit {job.workunit_id}", "cancel: its experiment has ended") for job in jobs]

    async def act(self, events: Sequence[JobUnwanted]) -> None:
        """Cancel a batch of jobs."""
        ids = [event.workunit_id for event in events]

        async def cancel(session: Session) -> list[Job]:
            await locks.lock(session, ids)
            now = await read_clock(session)
            jobs = await self._decide(session, ids, now)
            if jobs:
                await _apply(session, jobs, now)
            return jobs

        jobs = await self._database.transaction(cancel, pace=self.pace, rows=len(ids))
        if jobs:
            metrics.TASKS_ABORTED.labels(EXPERIMENT_ENDED).inc(len(jobs))
            log.info("jobs cancelled: their experiments have ended", count=len(jobs))

    async def _decide(self, connection: Connection, ids: Sequence[int], now: float) -> list[Job]:
        endings = await tables.endings(connection)
        found = []
        for job in await workunits.jobs(connection, ids):
            name = parse_workunit_name(job.name)
            ending = endings.get((name.experiment, name.version)) if name else None
            if ending and is_cancelled(job, aborted=ending.aborted):
                found.append(job)
        return found[: int(await self._cap.left(connection, now))] if found else []


async def _apply(session: Session, jobs: Sequence[Job], now: float) -> None:
    ids = [job.workunit_id for job in jobs]
    unsent = sorted(id_ for job in jobs for id_ in job.unsent)
    after = {"error_mask": 16}
    changes = [Change("workunit", id_, f"abort:{EXPERIMENT_ENDED}", {"error_mask": 0}, after) for id_ in ids]
    changes += [
        Change("result", id_, f"abort:{EXPERIMENT_ENDED}", {"error_mask": 0}, after)
        for job in jobs
        for id_ in job.in_progress
    ]
    changes += [Change("result", id_, "abort:unsent", {"server_state": 2}, {"server_state": 5}) for id_ in unsent]
    await tables.write_journal(
        session, Entry(now, "abort", JobUnwanted.name, len(jobs), detail={EXPERIMENT_ENDED: len(jobs)}), changes
    )
    await tables.note_ended(session, ids)
    await tasks.cancel(session, ids, now)
    await tasks.withdraw(session, unsent)
