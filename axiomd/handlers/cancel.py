"""JobUnwanted -> cancelled, as BOINC's cancel_jobs does: unsent results withdrawn, error_mask 16, a transition now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from axiomd import metrics
from axiomd.boinc import locks, tasks, workunits
from axiomd.events import JobUnwanted, Platform
from axiomd.handlers.handler import Cap, Handler, Planned
from axiomd.policies.cancel import Job, is_cancelled, is_withdrawn
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import failures, tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.guard import Kind, rails
from axiomd.store.tables import Change, Entry
from experiments.kit.naming import parse_workunit_name

log = structlog.get_logger(__name__)

EXPERIMENT_ENDED = "experiment_ended"
EXPERIMENT_STOPPED = "experiment_stopped"

Unwanted = list[tuple[Job, str]]
"""Jobs, and why nobody wants them."""


class CancelHandler(Handler):
    """Cancels jobs of experiments that were retired, aborted or stopped because they fail, within the cap of aborts."""

    name = "cancel"
    events = (JobUnwanted,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=settings.abort.batch)
        self._database = database
        self._settings = settings
        self._cap = Cap(rails(settings)[Kind.ABORT])

    async def plan(self, events: Sequence[JobUnwanted]) -> list[Planned]:
        """Say which jobs would be cancelled."""
        async with self._database.session() as session:
            jobs = await self._decide(session, [e.workunit_id for e in events], await read_clock(session))
        why = {EXPERIMENT_ENDED: "its experiment has ended", EXPERIMENT_STOPPED: "its experiment fails and is stopped"}
        return [Planned("abort", f"workunit {job.workunit_id}", f"cancel: {why[reason]}") for job, reason in jobs]

    async def act(self, events: Sequence[JobUnwanted]) -> None:
        """Cancel a batch of jobs."""
        ids = [event.workunit_id for event in events]

        async def cancel(session: Session) -> Unwanted:
            await locks.lock(session, ids)
            now = await read_clock(session)
            jobs = await self._decide(session, ids, now)
            if jobs:
                await _apply(session, jobs, now)
            return jobs

        jobs = await self._database.transaction(cancel, pace=self.pace, rows=len(ids))
        for reason, count in Counter(reason for _, reason in jobs).items():
            metrics.TASKS_ABORTED.labels(reason).inc(count)
            log.info("jobs cancelled", count=count, reason=reason)

    async def _decide(self, connection: Connection, ids: Sequence[int], now: float) -> Unwanted:
        endings = await tables.endings(connection)
        stops = await self._stops(connection)
        on_platforms = any(platform is not None for where in stops.values() for platform in where)
        targets = await workunits.target_platforms(connection, ids) if on_platforms else {}
        found: Unwanted = []
        for job in await workunits.jobs(connection, ids):
            name = parse_workunit_name(job.name)
            of = (name.experiment, name.version) if name else ("", 0)
            ending = endings.get(of)
            if ending and is_cancelled(job, aborted=ending.aborted):
                found.append((job, EXPERIMENT_ENDED))
            elif is_withdrawn(job, stops.get(of, ()), targets.get(job.workunit_id, ())):
                found.append((job, EXPERIMENT_STOPPED))
        return found[: int(await self._cap.left(connection, now))] if found else []

    async def _stops(self, connection: Connection) -> Mapping[tuple[str, int], set[Platform | None]]:
        """Where experiments are stopped, those stops that are about the jobs that the settings have made of them."""
        found: dict[tuple[str, int], set[Platform | None]] = {}
        for experiment, version, gpu, platform in (
            await failures.stops(connection) if self._settings.failures.enabled else ()
        ):
            settings = self._settings.experiments.get(experiment)
            if gpu is bool(settings and settings.gpu):
                found.setdefault((experiment, version), set()).add(platform)
        return found


async def _apply(session: Session, jobs: Unwanted, now: float) -> None:
    ids = [job.workunit_id for job, _ in jobs]
    unsent = sorted(id_ for job, _ in jobs for id_ in job.unsent)
    after = {"error_mask": 16}
    change = partial(Change, before={"error_mask": 0}, after=after)
    changes = [change("workunit", job.workunit_id, f"abort:{reason}") for job, reason in jobs]
    changes += [change("result", id_, f"abort:{reason}") for job, reason in jobs for id_ in job.in_progress]
    changes += [Change("result", id_, "abort:unsent", {"server_state": 2}, {"server_state": 5}) for id_ in unsent]
    counts = Counter(reason for _, reason in jobs)
    await tables.write_journal(session, Entry(now, "abort", JobUnwanted.name, len(jobs), detail=counts), changes)
    await tables.note_ended(session, ids)
    await tasks.cancel(session, ids, now)
    await tasks.withdraw(session, unsent)
