"""`axiomd explain`: the story of one result, workunit or host, in words that can be shown to a volunteer.

Told from BOINC's row, from axiomd's own tables, and from the policies: what the daemon would decide now is asked of the
very handlers that decide, by their plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from axiomd.boinc import credit as boinc_credit
from axiomd.boinc import fleet, story, tasks, workunits
from axiomd.boinc.project import Project
from axiomd.boinc.states import Outcome, ServerState, ValidateState, ending
from axiomd.boinc.story import HostRow, ResultRow, WorkunitRow
from axiomd.boinc.workunits import TargetRules
from axiomd.errors import AxiomdError
from axiomd.events import ResultCompleted, StuckReason, TaskStuck, WuFlagsStuck
from axiomd.handlers.abort import AbortHandler
from axiomd.handlers.credit import CreditHandler
from axiomd.handlers.handler import Planned
from axiomd.handlers.repair import RepairHandler
from axiomd.policies.abort import stuck_reason, thresholds
from axiomd.policies.credit import Delay, Ending, Refusal, next_day
from axiomd.policies.hosts import is_live
from axiomd.policies.measurement import Outcome as Harvested
from axiomd.policies.repair import stuck_case
from axiomd.policies.topup import Host, idle_cores
from axiomd.settings import HOUR_S, Settings
from axiomd.sql import Connection
from axiomd.store import failures, guard, lease
from axiomd.store import story as own
from axiomd.store.database import Database, read_clock
from axiomd.store.guard import Kind
from axiomd.store.story import HarvestRow, MarkRow
from axiomd.store.tables import HarvestMark, JobState, Mark

KINDS = ("result", "workunit", "host")

REFUSALS: dict[str, str] = {
    Refusal.OTHER_APP: "axiomd doesn't look after its app",
    Refusal.ALREADY_GRANTED: "another program has granted credit for it already",
    Refusal.BEFORE_BASELINE: "it came in before axiomd's baseline; only `axiomd backfill` pays it",
    Refusal.NO_HOST: "its host has been deleted",
    Refusal.NO_USER: "its host belongs to no user",
    Refusal.INVALID: "it is invalid",
    Refusal.CANCELLED: "its workunit was cancelled, and not by axiomd",
    Refusal.NOT_NEEDED: "it was not needed any more",
    Refusal.FAILED: "it failed, and its exit status earns no consolation",
    Refusal.TOO_SHORT: "it failed too soon after it was sent to earn a consolation",
    Refusal.WORTH_NOTHING: "by the present rules it is worth nothing",
    Refusal.EMPTY_OUTPUT: "its output holds no measurement, and credit.empty_share is 0",
    Refusal.PARTIAL_OUTPUT: "it ended half way, and credit.partial_share is 0",
    "undone": "its credit was taken back; only `axiomd backfill --undone` pays it again",
}
"""Why a result isn't paid, by the reason at its mark."""

DELAYS: dict[str, str] = {
    Delay.NOT_FINAL: "it isn't final yet",
    Delay.CAP: "the cap on credit for a while is used up",
    Delay.HOST_DAY_CAP: "its host has reached its cap of the day",
    Delay.HARVEST: "its output is read first (credit.waits_for_harvest)",
}
"""Why a result is paid later."""


@dataclass(frozen=True)
class Happened:
    """Something that happened to the row; `at` is Unix seconds, 0 if nobody knows any more."""

    at: float
    words: str


@dataclass
class Story:
    """What there is to say of a row."""

    title: str
    row: dict[str, object]
    """As BOINC has it, by column."""
    is_now: list[str] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    """What axiomd's rules say of it now."""
    next: list[str] = field(default_factory=list)

    def add(self, at: float, words: str) -> None:
        """Add something that happened, if it did."""
        if at:
            self.happened.append(Happened(at, words))


def utc(at: float) -> str:
    """Spell a time."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC" if at else "at an unknown time"


def _hours(seconds: float) -> str:
    return f"{seconds / HOUR_S:g} h"


class Teller:
    """Tells stories."""

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        self._database = database
        self._project = project
        self._settings = settings

    async def find(self, words: Sequence[str]) -> tuple[str, int]:
        """What is meant: (`result`, `workunit` or `host`; its id). Raises AxiomdError if that isn't clear."""
        kind, what = words if len(words) == 2 else ("", words[0])
        if kind and kind not in KINDS:
            raise AxiomdError(f"'{kind}' is nothing to explain: say result, workunit or host, and its id or name")
        async with self._database.session() as session:
            if not what.isdigit():
                found = [
                    (k, id_) for k in KINDS[:2] if kind in ("", k) and (id_ := await story.id_of(session, k, what))
                ]
            elif kind:
                found = [(kind, int(what))]
            else:
                found = [(k, int(what)) for k in await story.kinds_of(session, int(what))]
        if not found:
            raise LookupError(f"there is no {kind or 'result, workunit or host'} {what}")
        if len(found) > 1:
            several = ", ".join(f"`axiomd explain {k} {what}`" for k, _ in found)
            raise AxiomdError(f"{what} may be more than one thing: say {several}")
        return found[0]

    async def tell(self, kind: str, id_: int) -> Story:
        """Tell the story of a row. Raises LookupError if there is none."""
        async with self._database.session() as session:
            now = await read_clock(session)
            match kind:
                case "result":
                    told = await self._result(session, id_, now)
                case "workunit":
                    told = await self._workunit(session, id_, now)
                case _:
                    told = await self._host(session, id_, now)
            if told is None:
                raise LookupError(f"there is no {kind} {id_}: BOINC may have purged it")
            if self._settings.daemon.dry_run:
                told.next.append("axiomd runs dry (daemon.dry_run): it changes nothing")
            elif not await lease.daemon_there(session):
                told.next.append("no daemon runs now: nothing happens before `axiomd run` is started")
        told.happened.sort(key=lambda happened: happened.at)
        return told

    # Results.

    async def _result(self, session: Connection, id_: int, now: float) -> Story | None:
        row = await story.result(session, id_)
        if row is None:
            return None
        app = await story.app_name(session, row.app_id)
        told = Story(f"result {row.id}, {row.name}, of workunit {row.workunit_id}, app {app}", row._asdict())
        told.is_now = [story.result_in_words(row)]
        if row.granted_credit:
            told.is_now.append(f"its granted_credit is {row.granted_credit:g}")
        told.add(row.created_at, "made")
        told.add(row.sent_at, f"sent to host {row.host_id}, due by {utc(row.report_deadline)}")
        told.add(
            row.received_at, f"reported by host {row.host_id}, after {row.elapsed_s:g} s of computing by its claim"
        )
        await self._payments(session, told, id_)
        await self._changes(session, told, "result", id_)
        if row.app_id not in self._project.app_ids:
            told.decided.append(f"axiomd doesn't look after the app {app}")
        elif row.server_state == ServerState.IN_PROGRESS:
            await self._task(session, told, row, now)
        elif row.server_state == ServerState.OVER:
            await self._finished(session, told, row, now)
        else:
            told.next.append("BOINC's scheduler gives it to a host that asks for work")
        return told

    async def _payments(self, session: Connection, told: Story, result_id: int) -> None:
        for paid in await own.ledger(session, result_id):
            to = f"host {paid.host_id}, user {paid.user_id}" + (f", team {paid.team_id}" if paid.team_id else "")
            done = f"taken back from {to}" if paid.generation % 2 else f"granted to {to}"
            words = f"{abs(paid.credit):g} credit {done} (entry {paid.journal_id}, {paid.kind}, by {paid.actor})"
            told.happened.append(Happened(paid.at, words))

    async def _changes(self, session: Connection, told: Story, subject: str, id_: int) -> None:
        for change in await own.changes(session, subject, id_):
            before = ", ".join(f"{name} {value}" for name, value in change.before.items())
            after = ", ".join(f"{name} {value}" for name, value in change.after.items())
            words = (
                f"{change.reason} (entry {change.journal_id}, {change.cause}, by {change.actor}): {before} -> {after}"
            )
            told.happened.append(Happened(change.at, words))

    async def _task(self, session: Connection, told: Story, row: ResultRow, now: float) -> None:
        """Tell when a task in progress would be ended."""
        told.is_now.append(
            f"it has been there for {_hours(round(now - row.sent_at, -2))}, due by {utc(row.report_deadline)}"
        )
        found = await tasks.tasks(session, [row.id])
        if not found:
            return
        task = found[0]
        limits = thresholds(task.delay_bound, self._settings.abort)
        planned = await self._abort_plan(row)
        if task.spared:
            told.decided.append("a person undid its abort: axiomd doesn't end it again")
        elif task.has_canonical:
            told.decided.append("its workunit has its canonical result already: axiomd leaves it alone")
        elif task.cancelled:
            told.decided.append("its workunit is cancelled: the volunteer's machine is told at its next contact")
        elif planned:
            told.decided.append(f"it is stuck: {planned[0].detail}")
            told.next.append("axiomd ends it at its next look")
        elif reason := stuck_reason(task, self._settings.abort, now):
            told.decided.append(f"it is stuck: {reason.value}")
            use = await guard.use(session, guard.rails(self._settings)[Kind.ABORT], now)
            told.next.append(f"its end waits: {use.stopped or 'the whole fleet is silent, or was lately'}")
        else:
            told.decided.append("it isn't stuck")
            stuck_at, ceiling_at = utc(task.sent_at + limits.stuck_s), utc(task.sent_at + limits.ceiling_s)
            silence = f"{_hours(limits.silent_s)} then (its last contact was {utc(task.last_contact_at)})"
            told.next.append(f"counts as stuck from {stuck_at} on, if host {task.host_id} is silent for {silence}")
            told.next.append(f"is cancelled in any case from {ceiling_at} on")
            if not self._settings.abort.enabled:
                told.next = ["axiomd ends no tasks (abort.enabled is false)"]
        told.next.append("when it is reported and found valid, it is paid")

    async def _abort_plan(self, row: ResultRow) -> list[Planned]:
        event = TaskStuck(row.id, row.workunit_id, row.host_id, StuckReason.HOST_SILENT)
        return await AbortHandler(self._database, self._settings).plan([event])

    async def _finished(self, session: Connection, told: Story, row: ResultRow, now: float) -> None:
        """Tell what a result that is over measured; and what it is worth, or why nothing."""
        mark = await own.mark(session, row.id)
        await self._harvest(session, told, row, mark)
        if mark and mark.mark is Mark.PAID:
            told.decided.append("it is paid")
            return
        if mark and mark.mark is Mark.REFUSED:
            told.decided.append(f"it is not paid: {REFUSALS.get(mark.reason, mark.reason)}")
            return
        how = ending(row.server_state, row.outcome, row.validate_state, row.exit_status)
        if how is Ending.NOT_FINAL:
            told.decided.append("it isn't final, and so neither paid nor refused yet")
            told.next.append(_until_final(row))
            return
        history, _ = await own.notes(session, row.workunit_id)
        if mark is None and history:
            told.decided.append(f"it is not paid: {REFUSALS[Refusal.BEFORE_BASELINE]}")
            return
        event = ResultCompleted(row.id, row.workunit_id)
        for planned in await CreditHandler(self._database, self._project, self._settings).plan([event]):
            told.decided.append(_payment_in_words(planned))
            if planned.action == "wait":
                told.next.append(await self._room(session, planned.detail, now))
            elif mark is None and not await self._is_looked_at(session, row):
                told.next.append("axiomd deals with it once its workunit is finished")
            else:
                told.next.append("axiomd deals with it at its next look")
        if not self._settings.credit.enabled:
            told.next = ["axiomd pays nothing (credit.enabled is false)"]

    async def _harvest(self, session: Connection, told: Story, row: ResultRow, mark: MarkRow | None) -> None:
        found = await own.harvest(session, row.id)
        if found is not None:
            told.decided.append(_measured_in_words(found, row.id))
        elif mark and mark.harvest is HarvestMark.REFUSED:
            told.decided.append("its output says nothing of an experiment: it was not harvested")
        elif mark and mark.harvest is HarvestMark.OPEN and self._settings.harvests:
            told.next.append("its output is read once it is final")

    async def _is_looked_at(self, session: Connection, row: ResultRow) -> bool:
        """Whether intake finds a result without a mark at its next look."""
        if self._settings.intake.mode != "assimilator":
            return True
        workunit = await story.workunit(session, row.workunit_id)
        return workunit is not None and workunit.assimilate_state == 1

    async def _room(self, session: Connection, why: str, now: float) -> str:
        if why == Delay.HOST_DAY_CAP:
            return f"there is room again from {utc(next_day(now))} on"
        use = await guard.use(session, guard.rails(self._settings)[Kind.CREDIT], now)
        return f"credit: {use.stopped or 'its cap is nearly used up; there is room again as its window moves on'}"

    # Workunits.

    async def _workunit(self, session: Connection, id_: int, now: float) -> Story | None:
        row = await story.workunit(session, id_)
        if row is None:
            return None
        app = await story.app_name(session, row.app_id)
        told = Story(f"workunit {row.id}, {row.name}, app {app}", row._asdict())
        told.is_now = story.workunit_in_words(row)
        results = [found for one in await story.results_of(session, id_) if (found := await story.result(session, one))]
        told.is_now += [f"result {r.id}: {story.result_in_words(r)}" for r in results]
        told.is_now += [] if results else ["no result was made of it yet"]
        told.add(row.created_at, "made")
        for result in results:
            told.add(result.sent_at, f"result {result.id} sent to host {result.host_id}")
            told.add(result.received_at, f"result {result.id} reported")
            await self._payments(session, told, result.id)
            await self._changes(session, told, "result", result.id)
        await self._changes(session, told, "workunit", id_)
        if job := await own.job(session, row.name):
            state = {JobState.INTENDED: "not made yet", JobState.MADE: "made", JobState.GIVEN_UP: "given up"}[job.state]
            to = f"for host {job.host_id}" if job.host_id else "for any host"
            words = f"decided on for idle cores, {to}, seed {job.seed} (entry {job.journal_id}): {state}"
            told.happened.append(Happened(job.at, words))
        history, ended = await own.notes(session, id_)
        if history:
            told.decided.append("it was finished before axiomd's baseline, and is left alone until `axiomd backfill`")
        if ended:
            told.decided.append("axiomd cancelled it: what still comes back good is paid")
        if row.app_id not in self._project.app_ids:
            told.decided.append(f"axiomd doesn't look after the app {app}")
        elif row.assimilate_state == 1 and not history:
            await self._settled(session, told, row)
        elif row.assimilate_state == 0:
            await self._open_workunit(session, told, row, now)
        return told

    async def _settled(self, session: Connection, told: Story, row: WorkunitRow) -> None:
        if self._settings.intake.mode != "assimilator":
            told.next.append("the project's own assimilator sees to its end")
        elif await boinc_credit.settled_among(session, [row.id], harvest=self._settings.harvests):
            told.decided.append("axiomd has dealt with each of its final results")
            told.next.append("is marked as assimilated at axiomd's next look")
        else:
            told.decided.append("axiomd hasn't dealt with each of its final results yet")
            told.next.append(
                "is marked as assimilated after that; `axiomd explain result ID` tells what a result waits for"
            )

    async def _open_workunit(self, session: Connection, told: Story, row: WorkunitRow, now: float) -> None:
        """Tell whether a workunit can move."""
        hosts = self._settings.hosts
        rules = TargetRules.of(hosts, now, await failures.held_hosts(session, hosts))
        found = await workunits.open_workunits(session, [row.id], rules)
        workunit = found[0]
        for assignment in workunit.assignments:
            able = "can fetch it" if assignment.target_ok else "can't fetch it any more"
            told.is_now.append(
                f"assigned to host {assignment.host_id}, which {able}"
                if assignment.host_id
                else "assigned to a user or team"
            )
        case = stuck_case(workunit, self._settings.repair, now)
        if case is None:
            told.decided.append("it isn't stuck")
            if workunit.spared:
                told.decided.append(
                    f"a person undid its repair ({', '.join(sorted(workunit.spared))}): it stays as it is"
                )
            if now - workunit.touched_at < self._settings.repair.min_age_s:
                told.decided.append("it was touched too lately to be called stuck")
            if row.transition_time < 2**31 - 1:
                told.next.append(
                    f"BOINC's transitioner looks at it at {utc(row.transition_time)}, or when a result comes in"
                )
            return
        handler = RepairHandler(self._database, self._project, self._settings)
        planned = await handler.plan([WuFlagsStuck(row.id, case)])
        told.decided.append(f"it can't move: {case.value.replace('_', ' ')}")
        told.next += [f"axiomd repairs it at its next look ({one.detail})" for one in planned]
        if not planned:
            use = await guard.use(session, guard.rails(self._settings)[Kind.REPAIR], now)
            told.next.append(f"repairs wait: {use.stopped or 'the whole fleet is silent'}")

    # Hosts.

    async def _host(self, session: Connection, id_: int, now: float) -> Story | None:
        row = await story.host(session, id_)
        if row is None:
            return None
        told = Story(f"host {row.id} of user {row.user_id}", row._asdict())
        hosts = self._settings.hosts
        if not row.user_id and row.rpc_seqno:
            told.is_now.append(f"it was merged into host {row.rpc_seqno}")
        live = is_live(row.contact_at, hosts, now)
        told.is_now.append(f"its last contact was {utc(row.contact_at)}: it is {'live' if live else 'silent'}")
        told.is_now.append(f"it has {row.ncpus} cores, {row.ngpus} GPUs and {row.memory / 1e9:.3g} GB of memory")
        average = f"its average (RAC) {row.expavg_credit:.6g} as of {utc(row.expavg_time)}"
        told.is_now.append(f"its total credit is {row.total_credit:.12g}, {average}")
        if judged := await own.host(session, id_):
            told.add(judged[1], f"judged {'live' if judged[0] else 'stale'} by axiomd")
        for paid in await own.postings(session, id_):
            done = "granted" if paid.credit >= 0 else "taken back"
            words = f"{abs(paid.credit):g} credit {done} (entry {paid.journal_id}, {paid.kind}, by {paid.actor})"
            told.happened.append(Happened(paid.at, words))
        await self._changes(session, told, "host", id_)
        await self._hosts_credit(session, told, id_, now)
        await self._hosts_work(session, told, row, now, live=live)
        return told

    async def _hosts_credit(self, session: Connection, told: Story, host_id: int, now: float) -> None:
        opening, granted, today = await own.account(session, host_id, now)
        cap = self._settings.credit.host_day_cap
        told.decided.append(f"axiomd granted it {granted:g} credit in all; it had {opening:g} before")
        told.decided.append(f"granted today: {today:g} of at most {cap:g}")
        if today >= cap:
            told.next.append(f"its results wait: there is room again from {utc(next_day(now))} on")

    async def _hosts_work(self, session: Connection, told: Story, row: HostRow, now: float, *, live: bool) -> None:
        under_way = await story.tasks_of(session, row.id)
        waiting = await story.waiting_for(session, row.id)
        told.is_now += [f"result {id_} is in progress there since {utc(sent)}" for id_, sent in under_way]
        told.is_now.append(f"{len(under_way)} results in progress, {waiting} jobs wait for it to fetch them")
        if exclusion := await own.exclusion(session, row.id):
            why = f": {exclusion.reason}" if exclusion.reason else ""
            told.decided.append(f"it is excluded, by {exclusion.actor} since {utc(exclusion.since)}{why}")
            told.next.append(f"gets jobs again after `axiomd intervene release_host host={row.id}`")
        elif row.id in self._settings.hosts.exclude:
            told.decided.append("it is excluded: axiomd gives it no work (hosts.exclude)")
        elif breaker := (await failures.breakers(session)).get(row.id):
            await self._breaker(session, told, breaker)
        elif not live:
            told.decided.append("it is silent: axiomd gives it no work")
            dead_at = row.contact_at + self._settings.hosts.dead_after_s
            told.next.append(f"its targeted jobs go to others from {utc(dead_at)} on, if it stays silent")
        else:
            jobs = len(under_way) + waiting
            idle = idle_cores(Host(row.id, row.ncpus, row.ngpus, row.memory, jobs), self._settings.topup)
            told.decided.append(f"{idle} of its cores are idle")
            if idle and not self._settings.topup.enabled:
                told.next.append("axiomd makes no jobs (topup.enabled is false)")
            elif idle:
                told.next.append("gets jobs at axiomd's next look, as experiments, caps and its quota allow")
        silence = await fleet.silence(session, now - self._settings.hosts.fleet_silent_after_s)
        if silence.live and silence.silent == silence.live:
            told.decided.append("the whole fleet is silent: aborts wait")

    async def _breaker(self, session: Connection, told: Story, breaker: failures.Breaker) -> None:
        """Tell why a failing host gets no jobs, and when it gets one again."""
        row = next(row for row in await failures.breaker_rows(session) if row.host_id == breaker.host_id)
        told.decided.append(
            f"it fails more often than others: {row.reason or 'no reason noted'}, since {utc(row.since)}"
        )
        if breaker.open:
            told.next.append(
                f"gets a single job, as a probe, from {utc(row.until_at)} on; more once that comes back good"
            )
        else:
            told.next.append(f"gets jobs again once its probe comes back good ({row.probe or 'not made yet'})")


def _payment_in_words(planned: Planned) -> str:
    if planned.action == "credit":
        return f"by the present rules it is worth {planned.detail}"
    if planned.action == "refuse":
        return f"it is not paid: {REFUSALS.get(planned.detail, planned.detail)}"
    return f"it is paid later: {DELAYS.get(planned.detail, planned.detail)}"


def _measured_in_words(found: HarvestRow, result_id: int) -> str:
    """Say what the harvest found, and whether it is evidence."""
    words = f"harvested: {found.experiment} version {found.version}, seed {found.seed}: {found.outcome.name.lower()}"
    failure = " ".join(part for part in found.failure if part)
    if failure:
        words += f" ({failure})"
    if found.outcome not in (Harvested.COMPLETE, Harvested.UNDECLARED):
        return f"{words}, which counts as a failure of the experiment"
    if result_id in (found.same_seed, found.same_numbers):
        return f"{words}, and independent"
    if found.same_seed:
        return f"{words}, and no new evidence: result {found.same_seed} has the same seed"
    return f"{words}, and no new evidence: result {found.same_numbers} has the same numbers"


def _until_final(row: ResultRow) -> str:
    """Say what a result that isn't final waits for."""
    if row.outcome == Outcome.NO_REPLY:
        return "a late report is still accepted, and paid if it is found valid"
    if row.validate_state == ValidateState.INCONCLUSIVE:
        return "waits for another instance, to be compared with"
    if row.validate_state == ValidateState.NO_CHECK:
        return "may still be validated, and is paid then"
    return "waits for BOINC's validator"
