"""WuFlagsStuck, ReportLost -> repair: each stuck case as docs/boinc.md says, and lost reports brought back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from axiomd import metrics
from axiomd.boinc import fleet, locks, tasks, undo, workunits
from axiomd.boinc.project import Project
from axiomd.boinc.tasks import LostReport
from axiomd.boinc.workunits import TargetRules
from axiomd.events import ReportLost, StuckCase, WuFlagsStuck
from axiomd.handlers.handler import Cap, Handler, Planned
from axiomd.policies.hosts import fleet_is_silent
from axiomd.policies.repair import Candidate, OpenWorkunit, Remedy, Repair, decide_repairs, stuck_case
from axiomd.policies.topup import Host, idle_cores
from axiomd.policies.undo import OldAssignment
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import failures, tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.guard import Kind, rails
from axiomd.store.tables import Change, Entry

log = structlog.get_logger(__name__)

LOST_REPORT = "lost_report"


class RepairHandler(Handler):
    """Helps workunits that can't move."""

    name = "repair"
    events = (WuFlagsStuck,)

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=settings.repair.batch)
        self._database = database
        self._project = project
        self._settings = settings
        self._cap = Cap(rails(settings)[Kind.REPAIR])

    async def plan(self, events: Sequence[WuFlagsStuck]) -> list[Planned]:
        """Say which workunits would be helped, and how."""
        async with self._database.session() as session:
            now = await read_clock(session)
            candidates = await self._candidates(session, now)
            repairs = await self._decide(session, [e.workunit_id for e in events], candidates, now)
        return [
            Planned(
                "repair",
                f"workunit {repair.workunit.workunit_id}",
                f"{repair.case.value}: {repair.remedy.value}"
                + (f" to host {repair.host_id}" if repair.host_id else ""),
            )
            for repair in repairs
        ]

    async def act(self, events: Sequence[WuFlagsStuck]) -> None:
        """Help a batch of workunits."""
        ids = sorted(event.workunit_id for event in events)
        async with self._database.session() as session:
            # Whom a job may go to is read before anything is locked: it takes longer, and may be a little old.
            candidates = await self._candidates(session, await read_clock(session))

        async def help_them(session: Session) -> list[Repair]:
            await locks.lock(session, ids)
            now = await read_clock(session)
            repairs = await self._decide(session, ids, candidates, now)
            if repairs:
                await self._apply(session, repairs, now)
            return repairs

        repairs = await self._database.transaction(help_them, pace=self.pace, rows=len(ids))
        for case, count in Counter(repair.case.value for repair in repairs).items():
            metrics.FLAGS_REPAIRED.labels(case).inc(count)
            log.info("workunits repaired", count=count, case=case)

    async def _candidates(self, connection: Connection, now: float) -> list[Candidate]:
        if self._settings.repair.method == "free":
            return []
        hosts = self._settings.hosts
        live = await fleet.live_hosts(connection, now - hosts.live_after_contact_s)
        workload = await fleet.workload(connection, self._project.app_ids)
        # One whose breaker is half open has room for its probe alone.
        excluded = await tables.excluded_hosts(connection, hosts) | (await failures.breakers(connection)).keys()
        topup = self._settings.topup
        candidates = []
        for host in live:
            jobs = sum(workload.of_host(host.host_id).values())
            idle = idle_cores(Host(host.host_id, host.ncpus, host.ngpus, host.memory, jobs), topup)
            if idle and host.host_id not in excluded:
                candidates.append(Candidate(host.host_id, host.memory * topup.memory_share, idle))
        return candidates

    async def _decide(
        self, connection: Connection, ids: Sequence[int], candidates: Sequence[Candidate], now: float
    ) -> list[Repair]:
        repair = self._settings.repair
        hosts = self._settings.hosts
        rules = TargetRules.of(hosts, now, await failures.held_hosts(connection, hosts))
        stuck = []
        silence = await fleet.silence(connection, now - self._settings.hosts.fleet_silent_after_s)
        storm = fleet_is_silent(silence, self._settings.hosts)
        for workunit in await workunits.open_workunits(connection, ids, rules):
            case = stuck_case(workunit, repair, now)
            # While the whole fleet is silent no single host is dead: its jobs keep their target.
            if case and not (storm and case is StuckCase.DEAD_TARGET):
                stuck.append((workunit, case))
        if not stuck:
            return []
        return decide_repairs(stuck[: int(await self._cap.left(connection, now))], candidates, repair)

    async def _apply(self, session: Session, repairs: Sequence[Repair], now: float) -> None:
        counts = Counter(repair.case.value for repair in repairs)
        unsendable = [r.workunit.workunit_id for r in repairs if r.remedy is Remedy.RETARGET and r.workunit.unsent]
        unsent = await tasks.unsent_of(session, unsendable) if unsendable else []
        ids = [a.assignment_id for repair in repairs for a in repair.workunit.assignments]
        assignments = await undo.assignments_by_id(session, ids)
        changes = [
            Change(
                "workunit",
                repair.workunit.workunit_id,
                f"repair:{repair.case.value}",
                _before(repair.workunit, assignments),
                _after(repair),
            )
            for repair in repairs
        ]
        entry = Entry(now, "repair", WuFlagsStuck.name, len(repairs), detail=counts, actor=self.actor)
        await tables.write_journal(session, entry, changes)
        freed = [repair.workunit for repair in repairs if repair.remedy is Remedy.FREE]
        retargeted = [(repair.workunit, repair.host_id) for repair in repairs if repair.remedy is Remedy.RETARGET]
        woken = [repair.workunit.workunit_id for repair in repairs if repair.remedy is Remedy.WAKE]
        await tasks.withdraw(session, unsent)
        if freed:
            await workunits.free(session, freed, now)
        if retargeted:
            await workunits.retarget(session, retargeted, now)
        if woken:
            await locks.wake(session, woken, now)


def _before(workunit: OpenWorkunit, assignments: Mapping[int, OldAssignment]) -> dict[str, object]:
    """What an undo needs to know of a workunit."""
    old = [assignments[a.assignment_id] for a in workunit.assignments if a.assignment_id in assignments]
    return {
        "transitioner_flags": workunit.flags,
        "transition_time": workunit.transition_at,
        "targets": [a.host_id for a in workunit.assignments][: undo.MOST_ASSIGNMENTS],
        "assignments": undo.kept(old),
        "results": workunit.total,
    }


def _after(repair: Repair) -> dict[str, object]:
    after: dict[str, object] = {"remedy": repair.remedy.value, "host": repair.host_id}
    if repair.remedy is Remedy.RETARGET and repair.workunit.unsent:
        after["withdrawn"] = repair.workunit.unsent
    return after


class ReportsHandler(Handler):
    """Brings lost reports back."""

    name = "reports"
    events = (ReportLost,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=settings.repair.batch)
        self._database = database
        self._cap = Cap(rails(settings)[Kind.REPAIR])

    async def plan(self, events: Sequence[ReportLost]) -> list[Planned]:
        """Say which reports would be brought back, as what."""
        async with self._database.session() as session:
            lost = await self._decide(session, events, await read_clock(session))
        return [
            Planned(
                "repair",
                f"result {report.result_id}",
                f"lost {'success' if report.success else 'error'} report",
            )
            for report in lost
        ]

    async def act(self, events: Sequence[ReportLost]) -> None:
        """Bring a batch of reports back."""

        async def bring_back(session: Session) -> list[LostReport]:
            await locks.lock(session, (e.workunit_id for e in events), (e.result_id for e in events))
            now = await read_clock(session)
            lost = await self._decide(session, events, now)
            if lost:
                changes = [
                    Change(
                        "result",
                        report.result_id,
                        f"repair:{LOST_REPORT}",
                        {"outcome": 4, "validate_state": report.validate_state},
                        {"outcome": 1, "validate_state": 0} if report.success else {"outcome": 3, "validate_state": 2},
                    )
                    for report in lost
                ]
                counts = {LOST_REPORT: len(lost)}
                entry = Entry(now, "repair", ReportLost.name, len(lost), detail=counts, actor=self.actor)
                await tables.write_journal(session, entry, changes)
                await tasks.restore(session, lost, now)
            return lost

        lost = await self._database.transaction(bring_back, pace=self.pace, rows=len(events))
        if lost:
            metrics.FLAGS_REPAIRED.labels(LOST_REPORT).inc(len(lost))
            log.info("lost reports brought back", count=len(lost))

    async def _decide(self, connection: Connection, events: Sequence[ReportLost], now: float) -> list[LostReport]:
        lost = await tasks.reports(connection, [event.result_id for event in events])
        return lost[: int(await self._cap.left(connection, now))] if lost else []
