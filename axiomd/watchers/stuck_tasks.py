"""Which tasks hang? -> TaskStuck."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.boinc import tasks
from axiomd.boinc.project import Project
from axiomd.boinc.tasks import SentBefore
from axiomd.events import Event, StuckReason, TaskStuck
from axiomd.policies.abort import stuck_reason
from axiomd.settings import Settings
from axiomd.store.database import Database

PAGE = 1000


class StuckTasks:
    """The watcher of tasks on hosts that went away, and of tasks that are out too long."""

    name = "stuck_tasks"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._abort = settings.abort
        self.interval_s = settings.abort.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Ask for tasks over the least thresholds; each task's own may be longer."""
        before = SentBefore(
            ceiling=now - self._abort.ceiling_s,
            stuck=now - self._abort.stuck_after_s,
            silent=now - self._abort.silent_after_s,
        )
        stuck: Counter[StuckReason] = Counter()
        for app_id in self._project.app_ids:
            after = 0
            while True:
                async with self._database.session() as session:
                    page = await tasks.tasks_out(session, app_id, before, after=after, limit=PAGE)
                events = []
                for task in page:
                    if reason := stuck_reason(task, self._abort, now):
                        events.append(TaskStuck(task.result_id, task.workunit_id, task.host_id, reason))
                        stuck[reason] += 1
                yield events
                if len(page) < PAGE:
                    break
                after = page[-1].result_id
        # Only a look that came to its end counts.
        for reason in StuckReason:
            metrics.TASKS_STUCK.labels(reason.value).set(stuck[reason])
