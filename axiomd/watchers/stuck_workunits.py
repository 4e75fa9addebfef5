"""Which workunits can't move? -> WuFlagsStuck."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.boinc import workunits
from axiomd.boinc.project import Project
from axiomd.boinc.workunits import TargetRules
from axiomd.events import Event, StuckCase, WuFlagsStuck
from axiomd.policies.repair import stuck_case
from axiomd.settings import Settings
from axiomd.store import failures
from axiomd.store.database import Database

PAGE = 1000


class StuckWorkunits:
    """The watcher of workunits that nobody will ever look at again."""

    name = "stuck_workunits"

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._settings = settings
        self.interval_s = settings.repair.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look at open workunits that are flagged or wait for a time far ahead."""
        repair, hosts = self._settings.repair, self._settings.hosts
        async with self._database.session() as session:
            rules = TargetRules.of(hosts, now, await failures.held_hosts(session, hosts))
        stuck: Counter[StuckCase] = Counter()
        for app_id in self._project.app_ids:
            after = 0
            while True:
                async with self._database.session() as session:
                    ids = await workunits.suspects(
                        session,
                        app_id,
                        rules,
                        touched_before=now - repair.min_age_s,
                        stalled_after=now + repair.stalled_after_s,
                        after=after,
                        limit=PAGE,
                    )
                    page = await workunits.open_workunits(session, ids, rules)
                events = []
                for workunit in page:
                    if case := stuck_case(workunit, repair, now):
                        events.append(WuFlagsStuck(workunit.workunit_id, case))
                        stuck[case] += 1
                yield events
                if len(ids) < PAGE:
                    break
                after = ids[-1]
            async with self._database.session() as session:
                late = await workunits.unjudged(
                    session,
                    app_id,
                    touched_before=now - repair.min_age_s,
                    stalled_after=now + repair.stalled_after_s,
                    limit=PAGE,
                )
            yield [WuFlagsStuck(workunit_id, StuckCase.STALLED) for workunit_id in late]
            stuck[StuckCase.STALLED] += len(late)
        # Only a look that came to its end counts.
        for case in StuckCase:
            metrics.WORKUNITS_STUCK.labels(case.value).set(stuck[case])
