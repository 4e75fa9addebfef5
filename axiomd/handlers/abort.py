"""TaskStuck -> abort: by the deadline on a host that went away, by cancelling past the ceiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import structlog

from axiomd import metrics
from axiomd.boinc import fleet, locks, tasks
from axiomd.events import StuckReason, TaskStuck
from axiomd.handlers.handler import Cap, Handler, Planned
from axiomd.policies.abort import Task, stuck_reason
from axiomd.policies.hosts import fleet_is_silent
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.guard import Kind, rails
from axiomd.store.tables import Change, Entry

log = structlog.get_logger(__name__)
Stuck = list[tuple[Task, StuckReason]]


class AbortHandler(Handler):
    """Ends tasks that hang, unless the whole fleet is silent."""

    name = "abort"
    events = (TaskStuck,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=settings.abort.batch)
        self._database = database
        self._abort = settings.abort
        self._hosts = settings.hosts
        self._cap = Cap(rails(settings)[Kind.ABORT])

    async def plan(self, events: Sequence[TaskStuck]) -> list[Planned]:
        """Say which tasks would be ended, and how."""
        async with self._database.session() as session:
            stuck = await self._decide(session, [e.result_id for e in events], await read_clock(session))
        how = {StuckReason.HOST_SILENT: "deadline into the past", StuckReason.CEILING: "cancel"}
        return [
            Planned("abort", f"result {task.result_id} on host {task.host_id}", f"{reason.value}: {how[reason]}")
            for task, reason in stuck
        ]

    async def act(self, events: Sequence[TaskStuck]) -> None:
        """End a batch of tasks."""

        async def end(session: Session) -> Stuck:
            await locks.lock(session, (e.workunit_id for e in events), (e.result_id for e in events))
            now = await read_clock(session)
            stuck = await self._decide(session, [e.result_id for e in events], now)
            if stuck:
                await self._apply(session, stuck, now)
            return stuck

        stuck = await self._database.transaction(end, pace=self.pace, rows=len(events))
        for reason, count in Counter(reason.value for _, reason in stuck).items():
            metrics.TASKS_ABORTED.labels(reason).inc(count)
            log.info("tasks aborted", count=count, reason=reason)

    async def _decide(self, connection: Connection, result_ids: Sequence[int], now: float) -> Stuck:
        silence = await fleet.silence(connection, now - self._hosts.fleet_silent_after_s)
        if fleet_is_silent(silence, self._hosts):
            return []
        silent_before = (await tables.get_state(connection)).get(tables.FLEET_SILENT_AT, 0.0)
        stuck = []
        for task in await tasks.tasks(connection, result_ids):
            # After a storm hosts come back one by one: each gets its full time anew.
            heard = replace(task, last_contact_at=max(task.last_contact_at, silent_before))
            if reason := stuck_reason(heard, self._abort, now):
                stuck.append((task, reason))
        return stuck[: int(await self._cap.left(connection, now))] if stuck else []

    async def _apply(self, session: Session, stuck: Stuck, now: float) -> None:
        silent = [task for task, reason in stuck if reason is StuckReason.HOST_SILENT]
        overdue = sorted({task.workunit_id for task, reason in stuck if reason is StuckReason.CEILING})
        changes = [
            Change(
                "result",
                task.result_id,
                f"abort:{reason.value}",
                {"report_deadline": task.report_deadline, "transition_time": task.transition_at},
                {"report_deadline": int(now) - 1} if reason is StuckReason.HOST_SILENT else {"error_mask": 16},
            )
            for task, reason in stuck
        ]
        unsent = await tasks.unsent_of(session, overdue) if overdue else []
        changes += [Change("result", id_, "abort:unsent", {"server_state": 2}, {"server_state": 5}) for id_ in unsent]
        counts = Counter(reason.value for _, reason in stuck)
        await tables.write_journal(session, Entry(now, "abort", TaskStuck.name, len(stuck), detail=counts), changes)
        if silent:
            await tasks.end_by_deadline(session, silent, now)
        if overdue:
            await tables.note_ended(session, overdue)
            await tasks.cancel(session, overdue, now)
            await tasks.withdraw(session, unsent)
