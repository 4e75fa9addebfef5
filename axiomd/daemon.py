"""The composition root: builds everything from the settings, starts it, and stops it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import structlog

from axiomd import metrics
from axiomd.boinc.project import Project
from axiomd.bus import Bus
from axiomd.errors import DatabaseUnavailable, Fenced
from axiomd.events import Event, StuckCase, StuckReason
from axiomd.gateways import http, report_file
from axiomd.gateways.inside import Inside
from axiomd.gateways.mqtt import Mqtt
from axiomd.handlers.abort import AbortHandler
from axiomd.handlers.assimilate import AssimilateHandler
from axiomd.handlers.audit import AuditHandler
from axiomd.handlers.breaker import BreakerHandler
from axiomd.handlers.cancel import EXPERIMENT_ENDED, EXPERIMENT_STOPPED, CancelHandler
from axiomd.handlers.cores import CoresHandler
from axiomd.handlers.credit import CreditHandler
from axiomd.handlers.exclude import ExcludeHandler
from axiomd.handlers.handler import Handler, Planned
from axiomd.handlers.harvest import HarvestHandler, announce_harvest
from axiomd.handlers.hosts import HostsHandler, NoticeHandler
from axiomd.handlers.prune import PruneHandler
from axiomd.handlers.repair import LOST_REPORT, RepairHandler, ReportsHandler
from axiomd.handlers.report import ReportHandler
from axiomd.handlers.retire import RetireHandler
from axiomd.handlers.sizing import SizingHandler
from axiomd.handlers.stop import StopHandler
from axiomd.handlers.topup import TopupHandler
from axiomd.handlers.verify import VerifyHandler
from axiomd.interventions import registry
from axiomd.interventions.intervention import Ground
from axiomd.interventions.registry import Interventions
from axiomd.opening import check_ready, give_back, open_database, read_project
from axiomd.policies.credit import Delay, Refusal
from axiomd.science.catalogue import CatalogueEntry, deployed, read_catalogue
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Contention, Database, LoginRefused
from axiomd.store.lease import Lease
from axiomd.views.kept import Kept
from axiomd.views.status import status
from axiomd.watchers.audit import Audits
from axiomd.watchers.completed_results import Backlog, CompletedResults
from axiomd.watchers.daemons import Daemons
from axiomd.watchers.disagreements import Disagreements
from axiomd.watchers.excluded_hosts import ExcludedHosts
from axiomd.watchers.experiments import Experiments
from axiomd.watchers.failing_experiments import FailingExperiments
from axiomd.watchers.failing_hosts import FailingHosts
from axiomd.watchers.findings import Findings
from axiomd.watchers.guard_rails import GuardRails
from axiomd.watchers.hosts import Hosts
from axiomd.watchers.idle_cores import IdleCores
from axiomd.watchers.limits import Limits
from axiomd.watchers.lost_reports import LostReports
from axiomd.watchers.old_entries import OldEntries
from axiomd.watchers.report import ReportFile
from axiomd.watchers.stuck_tasks import StuckTasks
from axiomd.watchers.stuck_workunits import StuckWorkunits
from axiomd.watchers.unwanted_jobs import UnwantedJobs
from axiomd.watchers.watcher import Freshness, Watcher, poll_once, sleep_until, watch

log = structlog.get_logger(__name__)


@dataclass
class Axiomd:
    """Everything that makes up the daemon, wired and not started."""

    settings: Settings
    database: Database
    project: Project
    watchers: list[Watcher]
    handlers: list[Handler]
    bus: Bus = field(default_factory=Bus)
    freshness: Freshness = field(default_factory=Freshness)

    def __post_init__(self) -> None:
        """Subscribe the handlers to their events."""
        for handler in self.handlers:
            self.bus.subscribe(
                handler.events,
                handler.handle,
                handler=handler.name,
                batch=handler.batch,
                limit=max(10_000, 4 * handler.most),
                workers=handler.workers,
            )

    async def once(self) -> int:
        """Look once and react until all is done; how many events there were."""
        try:
            async with asyncio.TaskGroup() as group:
                worker = group.create_task(self.bus.run(), name="bus")
                seen = 0
                for watcher in self.watchers:
                    seen += await poll_once(watcher, self.database, self.bus)
                    await self.bus.settle()
                await self.bus.stop()
                await worker
        finally:
            await self.close()
        return seen

    async def close(self) -> None:
        """Let go of what the handlers hold beside the database."""
        for handler in self.handlers:
            await handler.close()

    async def plan(self) -> list[Planned]:
        """Say what the daemon would change now, by the very code that would change it."""
        planned = []
        now = await self.database.now()
        by_type: dict[type[Event], list[Handler]] = {}
        for handler in self.handlers:
            for event_type in handler.events:
                by_type.setdefault(event_type, []).append(handler)
        for watcher in self.watchers:
            async for events in watcher.poll(now):
                for event_type, handlers in by_type.items():
                    same = [event for event in events if isinstance(event, event_type)]
                    for handler in handlers if same else ():
                        for start in range(0, len(same), handler.most):
                            planned += await handler.plan(same[start : start + handler.most])
        await self.close()
        return planned


def build(settings: Settings, database: Database, project: Project) -> Axiomd:
    """Wire watchers and handlers, as far as the settings enable them.

    Their order is that in which `once` asks: what one reaction leaves behind is seen by those after it.
    """
    axiomd = _Parts(settings, database, project, read_catalogue(settings.daemon.catalogue))
    axiomd.watchers += [
        Hosts(database, settings),
        Daemons(database, settings),
        Backlog(database, project, settings),
        GuardRails(database, settings),
        Experiments(database, settings, axiomd.catalogue),
    ]
    axiomd.handlers += [HostsHandler(database), NoticeHandler()]
    if settings.credit.enabled:
        _add_intake(axiomd)
    _add_judgement(axiomd)
    _add_upkeep(axiomd)
    _add_work(axiomd)
    _add_record(axiomd)
    return Axiomd(settings, database, project, axiomd.watchers, axiomd.handlers)


@dataclass
class _Parts:
    """What is being wired."""

    settings: Settings
    database: Database
    project: Project
    catalogue: dict[str, CatalogueEntry]
    watchers: list[Watcher] = field(default_factory=list)
    handlers: list[Handler] = field(default_factory=list)


def _add_intake(parts: _Parts) -> None:
    """Finished results: paid, harvested, assimilated."""
    settings, database, project = parts.settings, parts.database, parts.project
    parts.watchers.append(CompletedResults(database, project, settings))
    parts.handlers.append(CreditHandler(database, project, settings))
    if settings.harvests:
        parts.handlers.append(HarvestHandler(database, project, settings, parts.catalogue))
    if settings.intake.mode == "assimilator":
        parts.handlers.append(AssimilateHandler(database, settings))


def _add_judgement(parts: _Parts) -> None:
    """What the results say of experiments, hosts and claims."""
    settings, database = parts.settings, parts.database
    # The experiments before the hosts: a failing script condemns no host. Disputes before idle cores and exclusions.
    parts.watchers += [FailingExperiments(database, settings), FailingHosts(database, settings)]
    if settings.failures.enabled:
        parts.handlers += [StopHandler(database, parts.project, settings), BreakerHandler(database, settings)]
    if settings.verification.enabled and settings.harvests:
        made = settings.experiments if settings.topup.enabled else {}
        versions = {name: deployed(name, one, parts.catalogue).version for name, one in made.items()}
        parts.watchers.append(Disagreements(database, settings, versions))
        parts.handlers.append(VerifyHandler(database, settings, versions))
    # Before the jobs that nobody wants: an experiment that has its answer is retired in the same round.
    parts.watchers.append(Findings(database, settings, parts.catalogue))
    parts.handlers.append(RetireHandler(database, settings))


def _add_upkeep(parts: _Parts) -> None:
    """What is stuck, and who is excluded."""
    settings, database, project = parts.settings, parts.database, parts.project
    # What is stuck is looked for in any case, for the metrics; whether it is mended is another matter.
    parts.watchers.append(StuckTasks(database, project, settings))
    if settings.abort.enabled:
        parts.watchers.append(UnwantedJobs(database, project, settings))
        parts.handlers += [AbortHandler(database, settings), CancelHandler(database, settings)]
    if settings.repair.enabled:
        # Before the stuck workunits: one that waits for a lost report isn't stuck once that is back.
        parts.watchers.append(LostReports(database, project, settings))
        parts.handlers += [ReportsHandler(database, settings), RepairHandler(database, project, settings)]
    parts.watchers.append(StuckWorkunits(database, project, settings))
    if settings.hosts.exclusion_lowers_quota:
        parts.watchers.append(ExcludedHosts(database, project, settings))
        parts.handlers.append(ExcludeHandler(database, project, settings))


def _add_work(parts: _Parts) -> None:
    """New jobs for idle cores, and how large they are declared."""
    settings, database, project = parts.settings, parts.database, parts.project
    parts.watchers.append(IdleCores(database, project, settings))
    parts.handlers.append(CoresHandler(database, settings))
    if settings.topup.enabled and settings.experiments:
        parts.handlers.append(TopupHandler(database, project, settings, parts.catalogue))
        if settings.harvests and settings.sizing.enabled:
            parts.watchers.append(Limits(database, settings))
            parts.handlers.append(SizingHandler(database, settings))


def _add_record(parts: _Parts) -> None:
    """The report, the journal's age, the audit."""
    settings, database = parts.settings, parts.database
    if file := settings.report.file:
        parts.watchers.append(ReportFile(settings, file))
        parts.handlers.append(ReportHandler(settings, report_file.writer(settings, file)))
    if settings.journal.keep_s:
        parts.watchers.append(OldEntries(database, settings))
        parts.handlers.append(PruneHandler(database, settings))
    if settings.audit.interval_s:
        parts.watchers.append(Audits(database, settings))
        parts.handlers.append(AuditHandler(database, settings))


async def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT, standing by while another one holds the lease.

    Waits for a database that can't be reached. Raises an AxiomdError where waiting won't help.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics.BUILD_INFO.labels(version("axiomd")).set(1)
    registry.check(settings)
    database, config = open_database(settings)
    health = Health(database)
    inside = Inside()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        address = ""
        if settings.http.enabled:
            address = await stack.enter_async_context(
                http.serve(settings.http, health.obstacles, inside, settings.alerts, settings.report.file)
            )
        if not await _wait_for(database, stop):
            return
        project = await read_project(database, config, settings)
        await check_ready(database, settings)
        ground = inside.ground = Ground(settings, database, project)
        lease = Lease(database, settings.daemon.lease_s)
        while await _stand_by(lease, health, stop):
            axiomd = health.axiomd = build(settings, database, project)
            announce(axiomd)
            inside.interventions = Interventions(ground)
            log.info(
                "axiomd runs",
                project=str(settings.project.dir),
                apps=list(project.apps),
                intake=settings.intake.mode,
                dry_run=settings.daemon.dry_run,
                metrics=f"{address}/metrics" if address else "off",
            )
            await _run_until(
                stop, axiomd, lease, Mqtt(ground, inside, _status(ground)) if settings.mqtt.enabled else None
            )
            await inside.interventions.close()
            inside.interventions = health.axiomd = None
        log.info("axiomd stopped")


def announce(axiomd: Axiomd) -> None:
    """Begin the counters at 0: Prometheus doesn't see the first change of one that isn't there before."""
    for reason in StuckReason:
        metrics.TASKS_ABORTED.labels(reason.value)
    metrics.TASKS_ABORTED.labels(EXPERIMENT_ENDED)
    metrics.TASKS_ABORTED.labels(EXPERIMENT_STOPPED)
    for case in (*StuckCase, LOST_REPORT):
        metrics.FLAGS_REPAIRED.labels(str(case))
    for experiment in (*axiomd.settings.experiments, metrics.OTHER):
        for outcome in ("valid", "failed"):
            metrics.EXPERIMENT_RESULTS.labels(experiment, outcome)
    for handler in axiomd.handlers:
        metrics.HANDLER_FAILURES.labels(handler.name)
    for watcher in axiomd.watchers:
        metrics.POLL_FAILURES.labels(watcher.name)
    for stream in ("events", "journal", "state", "answers"):
        metrics.MQTT_PUBLISHED.labels(stream)
    announce_harvest()
    for refusal in Refusal:
        metrics.RESULTS_REFUSED.labels(refusal.value)
    for delay in Delay:
        metrics.RESULTS_WAITING.labels(delay.value)


def _status(ground: Ground) -> Callable[[], Awaitable[dict[str, object]]]:
    """Give what is published as the state."""
    kept = Kept(lambda: status(ground.database, ground.project, ground.settings))

    async def read() -> dict[str, object]:
        return (await kept.get()).model_dump(mode="json")

    return read


@dataclass
class Health:
    """What /readyz asks: whether anything keeps this daemon from its work."""

    database: Database
    axiomd: Axiomd | None = None
    waits_for: str = ""
    """Who holds the lease, while this daemon stands by."""

    async def obstacles(self) -> list[str]:
        """Say what keeps the daemon from being ready."""
        try:
            async with asyncio.timeout(3.0):
                await self.database.now()
        except (DatabaseUnavailable, TimeoutError):
            metrics.DATABASE_UP.set(0)
            return ["the database can't be reached"]
        metrics.DATABASE_UP.set(1)
        if self.waits_for:
            return [f"standing by: {self.waits_for} holds the lease"]
        if self.axiomd is None:
            return ["starting"]
        stale: Sequence[str] = self.axiomd.freshness.stale()
        return [f"watcher {name} has not polled lately" for name in stale]


async def _stand_by(lease: Lease, health: Health, stop: asyncio.Event) -> bool:
    """Wait for the lease; False if the daemon is to stop before."""
    metrics.LEASE_HELD.set(0)
    troubled = False
    while not stop.is_set():
        try:
            async with asyncio.timeout(lease.lease_s):
                holder = await lease.take()
            metrics.DATABASE_UP.set(1)
        except (DatabaseUnavailable, Contention, TimeoutError) as error:
            metrics.DATABASE_UP.set(isinstance(error, Contention))
            if not troubled:
                log.warning("the lease can't be read; it is tried again", error=str(error) or "no answer in time")
            troubled = True
            await sleep_until(stop, lease.look_every_s)
            continue
        if holder is None:
            health.waits_for = ""
            metrics.LEASE_HELD.set(1)
            return True
        troubled = False
        if health.waits_for != holder.holder:
            health.waits_for = holder.holder
            log.info("standing by: another daemon holds the lease", holder=holder.holder)
        await sleep_until(stop, lease.look_every_s)
    return False


async def _keep(lease: Lease, stop: asyncio.Event) -> bool:
    """Renew the lease until told to stop (True), or until it is lost (False)."""
    while not stop.is_set():
        try:
            async with asyncio.timeout(lease.renew_every_s * 2):
                await lease.renew()
            metrics.DATABASE_UP.set(1)
        except Fenced as error:
            log.warning("the lease is lost; standing by", error=str(error))
            return False
        except (DatabaseUnavailable, Contention, TimeoutError) as error:
            metrics.DATABASE_UP.set(isinstance(error, Contention))
            if not lease.fresh:
                log.warning("the lease could not be renewed in time; standing by")
                return False
        await sleep_until(stop, lease.renew_every_s)
    return True


async def _wait_for(database: Database, stop: asyncio.Event) -> bool:
    """Wait until the database answers; False if the daemon is to stop before."""
    told = False
    while not stop.is_set():
        try:
            await database.now()
        except LoginRefused:
            raise
        except DatabaseUnavailable as error:
            metrics.DATABASE_UP.set(0)
            if not told:
                log.warning("the database is not there yet; waiting for it", error=str(error))
                told = True
            await sleep_until(stop, 2.0)
        else:
            metrics.DATABASE_UP.set(1)
            return True
    return False


async def _run_until(stop: asyncio.Event, axiomd: Axiomd, lease: Lease, mqtt: Mqtt | None) -> None:
    """Work until told to stop or until the lease is lost. If a task ends by an error, all stop and it is raised."""
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(axiomd.bus.run(), name="bus")]
        for watcher in axiomd.watchers:
            watching = watch(watcher, axiomd.database, axiomd.bus, axiomd.freshness, ended)
            tasks.append(group.create_task(watching, name=f"watcher {watcher.name}"))
        if mqtt is not None:
            axiomd.bus.observe(mqtt.seen)
            tasks.append(group.create_task(mqtt.run(ended), name="mqtt"))
        if path := axiomd.settings.daemon.counters_file:
            tasks.append(group.create_task(_write_counters(axiomd, path, ended), name="counters"))
        held = await _keep(lease, stop)
        ended.set()
        log.info("stopping: no new events; what is in hand is finished")
        await axiomd.bus.stop()
        _, unfinished = await asyncio.wait(tasks, timeout=axiomd.settings.daemon.stop_timeout_s)
        if unfinished:
            log.warning("work in hand took too long and was broken off; the next start sees to it")
        while unfinished:
            # Again and again, for in Python 3.11 wait_for can swallow a cancellation that comes as it ends.
            for task in unfinished:
                task.cancel()
            _, unfinished = await asyncio.wait(unfinished, timeout=0.2)
        await axiomd.close()
    if held:
        await give_back(lease)


async def _write_counters(axiomd: Axiomd, path: Path, stop: asyncio.Event) -> None:
    """Write the web site's counters now and then, replacing the file in one step."""
    while not stop.is_set():
        try:
            async with axiomd.database.session() as session:
                state = await tables.get_state(session)
            write_counters(path, state)
        except (DatabaseUnavailable, OSError) as error:
            log.error("the counters could not be written", file=str(path), error=str(error))
        await sleep_until(stop, axiomd.settings.daemon.counters_interval_s)


def write_counters(path: Path, state: dict[str, float]) -> None:
    """Write credited_count and total_results_count as JSON; a reader sees the old file or the new one."""
    counters = {
        "credited_count": int(state[tables.CREDITED_BEFORE] + state[tables.CREDITED_COUNT]),
        "total_results_count": int(state[tables.COMPLETED_BEFORE] + state[tables.COMPLETED_COUNT]),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(counters) + "\n", encoding="utf-8")
    temporary.replace(path)
