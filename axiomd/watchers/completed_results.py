"""Which results are finished and not dealt with? -> ResultCompleted; which workunits are done with? -> WorkunitSettled.

Three ways to know, by setting intake.mode, none of which looks at history. A result has an open mark as long as axiomd
hasn't paid or refused it, and another one as long as its output is to be read; both stay open across restarts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from axiomd import metrics
from axiomd.boinc import credit, fleet
from axiomd.boinc.project import Project
from axiomd.events import Event, ResultCompleted, WorkunitSettled
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database, Session

Look = Callable[..., Awaitable[list[tuple[int, int]]]]
"""Reads a page of results with an open mark."""

FORGET_INTERVAL_S = 3600.0
"""Seconds between two looks for open marks whose results BOINC has purged."""


class CompletedResults:
    """The watcher of finished results."""

    name = "completed_results"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._intake = settings.intake
        self._harvests = settings.harvests
        self._late_look_at = 0.0
        self._forget_at = 0.0
        self.interval_s = settings.intake.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Yield a page of events at a time, so that a long backlog never lies in memory."""
        if self._intake.mode == "assimilator":
            for app_id in self._project.app_ids:
                async for events in self._ready(app_id, now):
                    yield events
            if not self._late_look_is_due():
                return
        elif self._intake.mode == "mod_time":
            await self._database.transaction(self._take_in_changed)
        else:
            await self._database.transaction(lambda session: self._take_in_new(session, now))
        looks: list[Look] = [credit.open_results]
        if self._harvests:
            looks.append(credit.open_harvests)
        for look in looks:
            async for events in self._open(look, now):
                yield events
        if now >= self._forget_at:
            self._forget_at = now + FORGET_INTERVAL_S
            await self._database.transaction(lambda session: credit.forget_purged(session, self._intake.page))

    def _late_look_is_due(self) -> bool:
        due = time.monotonic() >= self._late_look_at
        if due:
            self._late_look_at = time.monotonic() + self._intake.late_interval_s
        return due

    async def _ready(self, app_id: int, now: float) -> AsyncIterator[Sequence[Event]]:
        after = 0
        while True:
            async with self._database.session() as session:
                page = await credit.ready_workunits(
                    session, app_id, after=after, limit=self._intake.page, now=now, harvest=self._harvests
                )
            yield [ResultCompleted(result_id, workunit_id) for workunit_id, result_id in page.due]
            yield [WorkunitSettled(workunit_id) for workunit_id in page.settled]
            after = page.last_id
            if not after:
                return

    async def _open(self, look: Look, now: float) -> AsyncIterator[Sequence[Event]]:
        after = 0
        while True:
            async with self._database.session() as session:
                page = await look(session, after=after, limit=self._intake.page, now=now)
            yield [ResultCompleted(result_id, workunit_id) for result_id, workunit_id in page]
            if len(page) < self._intake.page:
                return
            after = page[-1][0]

    async def _take_in_changed(self, session: Session) -> None:
        state = await tables.get_state(session)
        baseline = state[tables.BASELINE_AT]
        # The cursor is a mod_time, and reaches back, for rows become visible later than they were stamped.
        newest = await credit.newest_mod_time(session)
        since = state.get(tables.MOD_TIME_CURSOR, baseline) - self._intake.overlap_s
        await credit.take_in_changed(
            session, self._project.app_ids, since=since, baseline=baseline, harvest=self._harvests
        )
        if newest > state.get(tables.MOD_TIME_CURSOR, 0.0):
            await tables.set_state(session, tables.MOD_TIME_CURSOR, newest)

    async def _take_in_new(self, session: Session, now: float) -> None:
        state = await tables.get_state(session)
        newest = await credit.newest_result(session)
        after = int(state.get(tables.ID_CURSOR, 0))
        await credit.take_in_new(session, self._project.app_ids, after=after, harvest=self._harvests)
        # Ids become visible out of order, so the cursor follows one overlap behind.
        if now - state.get(tables.ID_CURSOR_AT, 0.0) > self._intake.overlap_s:
            await tables.set_state(
                session, tables.ID_CURSOR, state.get(tables.ID_CURSOR_NEXT, state.get(tables.ID_CURSOR, 0.0))
            )
            await tables.set_state(session, tables.ID_CURSOR_NEXT, newest)
            await tables.set_state(session, tables.ID_CURSOR_AT, now)


class Backlog:
    """How much finished work waits, and how much is under way? For the metrics alone."""

    name = "backlog"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._assimilates = settings.intake.mode == "assimilator"
        self.interval_s = settings.daemon.status_interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Set the gauges; there is no event."""
        async with self._database.session() as session:
            waiting, oldest = await fleet.backlog(session, self._project.app_ids, assimilates=self._assimilates)
            states = await fleet.results_by_state(session, self._project.app_ids)
            to_validate, to_assimilate = await fleet.waiting_workunits(session, self._project.app_ids)
        metrics.BACKLOG.set(waiting)
        metrics.BACKLOG_AGE.set(max(now - oldest, 0.0) if oldest else 0.0)
        for state, label in ((2, "unsent"), (4, "in_progress")):
            metrics.RESULTS.labels(label).set(states.get(state, 0))
        metrics.WORKUNITS.labels("needs_validation").set(to_validate)
        metrics.WORKUNITS.labels("needs_assimilation").set(to_assimilate)
        metrics.DATABASE_UP.set(1)
        yield []
