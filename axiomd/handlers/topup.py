"""CoresIdle -> new work for idle cores.

create_work runs outside our transaction, so an intent with the workunits' names is written first. What was intended
and isn't there under its name is made, at this or any later time; what is there is never made again.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from axiomd import metrics
from axiomd.boinc import fleet
from axiomd.boinc.fleet import Workload
from axiomd.boinc.programs import CreateWork, Job
from axiomd.boinc.project import Project
from axiomd.events import CoresIdle
from axiomd.handlers.handler import Cap, Handler, Planned
from axiomd.policies.topup import Experiment, Host, Order, decide_topup
from axiomd.science.catalogue import CatalogueEntry, deployed
from axiomd.settings import DAY_S, Settings
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.guard import Kind, rails
from axiomd.store.tables import Ending, Entry, IntendedJob, JobState
from experiments.kit.naming import WorkunitName

log = structlog.get_logger(__name__)

MOST_TRIES = 5
"""A job that create_work stopped at so often is given up, and said so."""


@dataclass(frozen=True)
class _Loaded:
    now: float
    hosts: list[Host]
    experiments: list[Experiment]
    limit: int


class TopupHandler(Handler):
    """Makes jobs for hosts with idle cores."""

    name = "topup"
    events = (CoresIdle,)

    def __init__(
        self, database: Database, project: Project, settings: Settings, catalogue: dict[str, CatalogueEntry]
    ) -> None:
        super().__init__(dry_run=settings.daemon.dry_run)
        self._database = database
        self._project = project
        self._settings = settings
        self._topup = settings.topup
        self._entries = {
            name: deployed(name, experiment, catalogue) for name, experiment in settings.experiments.items()
        }
        self._create_work = CreateWork(
            settings.project.dir,
            settings.topup.create_work,
            settings.topup.timeout_s,
            settings.topup.wu_template,
            settings.topup.result_template,
        )
        self._cap = Cap(rails(settings)[Kind.TOPUP])

    async def plan(self, events: Sequence[CoresIdle]) -> list[Planned]:
        """Say which jobs would be made."""
        if not events:
            return []
        async with self._database.session() as session:
            orders = self._decide(await self._load(session))
        where = "host {}" if self._topup.targeted else "any host"
        return [
            Planned("deploy", where.format(order.host_id), f"{order.jobs} x {order.experiment}") for order in orders
        ]

    async def act(self, events: Sequence[CoresIdle]) -> None:  # noqa: ARG002 - it says only that it is time
        """Make what was intended before, then decide anew and make that."""
        if not await self._make_intended():
            return
        async with self._database.session() as session:
            loaded = await self._load(session)
        async with self._database.calm:
            orders = self._decide(loaded)
        jobs = _singles(orders)
        for start in range(0, len(jobs), self._topup.batch):
            part = jobs[start : start + self._topup.batch]
            await self._database.transaction(partial(self._intend, jobs=part, now=loaded.now))
            if not await self._make_intended():
                return

    async def _load(self, connection: Connection) -> _Loaded:
        now = await read_clock(connection)
        live_since = now - self._settings.hosts.live_after_contact_s
        workload = await fleet.workload(connection, self._project.app_ids)
        quotas = await fleet.quotas(connection, self._project.app_ids, live_since)
        excluded = await tables.excluded_hosts(connection, self._settings.hosts)
        hosts = [
            self._host(host, workload, quotas.get(host.host_id), now)
            for host in await fleet.live_hosts(connection, live_since)
            if host.host_id not in excluded
        ]
        limit = int(await self._cap.left(connection, now))
        if not self._topup.targeted:
            # Jobs for any host wait unsent until somebody asks: they fill idle cores already.
            limit = max(0, min(limit, sum(host.ncpus for host in hosts)) - sum(workload.unsent.values()))
        return _Loaded(now, hosts, await self._experiments(connection, workload), limit)

    def _host(self, host: fleet.LiveHost, workload: Workload, quota: tuple[int, int] | None, now: float) -> Host:
        by_experiment = workload.of_host(host.host_id)
        gpu_jobs = sum(n for name, n in by_experiment.items() if name in self._entries and self._entries[name].gpu)
        sizes: Counter[float] = Counter()
        for name, count in by_experiment.items():
            if name in self._entries:
                sizes[self._entries[name].memory] += count
        daily = self._project.config.daily_result_quota
        left = math.inf
        if quota is not None:
            # BOINC counts anew at a host's first contact of a day.
            sent_today = quota[1] if host.last_contact_at // DAY_S == now // DAY_S else 0
            left = quota[0] * max(host.ncpus, 1) - sent_today
        elif daily:
            left = daily * max(host.ncpus, 1)
        return Host(
            host.host_id,
            host.ncpus,
            host.ngpus,
            host.memory,
            jobs=sum(by_experiment.values()) - gpu_jobs,
            gpu_jobs=gpu_jobs,
            job_sizes=tuple(sizes.items()),
            quota_left=left,
        )

    async def _experiments(self, connection: Connection, workload: Workload) -> list[Experiment]:
        done = await tables.independent_results(connection)
        under_way = workload.of_experiments()
        ended = await tables.endings(connection)
        experiments = []
        for name, settings in self._settings.experiments.items():
            entry = self._entries[name]
            if (name, entry.version) in ended:
                continue
            have = done.get((name, entry.version), 0) + under_way.get(name, 0)
            experiments.append(
                Experiment(
                    name,
                    settings.weight,
                    max(0, settings.target - have),
                    entry.memory,
                    gpu=entry.gpu,
                    pilot=settings.pilot,
                    pilot_hosts=settings.pilot_hosts,
                )
            )
        return experiments

    def _decide(self, loaded: _Loaded) -> list[Order]:
        most = self._project.config.max_wus_in_progress
        return decide_topup(
            loaded.hosts,
            loaded.experiments,
            self._topup,
            limit=loaded.limit,
            max_in_progress_per_core=most or math.inf,
        )

    async def _intend(self, session: Session, jobs: Sequence[tuple[int, str]], now: float) -> None:
        counts = Counter(experiment for _, experiment in jobs)
        journal_id = await tables.write_journal(session, Entry(now, "topup", CoresIdle.name, len(jobs), detail=counts))
        # Experiments in one order, so that two daemons can't lock each other's rows crosswise.
        seeds = {
            name: iter(await tables.take_seeds(session, name, self._entries[name].version, counts[name]))
            for name in sorted(counts)
        }
        intended = []
        for host_id, name in jobs:
            seed = next(seeds[name])
            workunit = WorkunitName(name, self._entries[name].version, f"b{journal_id}", seed)
            app = self._settings.experiments[name].app or self._settings.project.apps[0]
            intended.append(
                IntendedJob(str(workunit), journal_id, app, name, seed, host_id if self._topup.targeted else 0)
            )
        await tables.write_intent(session, intended)

    async def _make_intended(self) -> bool:
        """Make every job that was intended and isn't there, looking by name before and after.

        False if create_work has trouble: more intents wouldn't help then, and would use up the cap.
        """
        while jobs := await self._intended():
            missing = await self._look(jobs)
            async with self._database.session() as session:
                ended = await tables.endings(session)
            given_up = [job.name for job in missing if self._is_unwanted(job, ended)]
            if given_up:
                await self._database.transaction(partial(_give_up, names=given_up))
                log.warning("jobs given up: their experiment has ended", count=len(given_up), first=given_up[0])
            hopeless = [job.name for job in missing if job.name not in given_up and job.tries >= MOST_TRIES]
            if hopeless:
                await self._database.transaction(partial(_give_up, names=hopeless))
                log.error("jobs given up: create_work didn't make them", count=len(hopeless), first=hopeless[0])
            missing = [job for job in missing if job.name not in {*given_up, *hopeless}]
            if not missing:
                continue
            for app in sorted({job.app for job in missing}):
                self._create_work.check(app)
            # The look right before it was a transaction: only who holds the lease makes jobs.
            complaints = await self._call_create_work(missing)
            still_missing = await self._look(missing)
            if still_missing:
                # create_work stops at the first job that it can't make: the others are not to blame, and wait for it.
                to_blame = {job.app: job.name for job in reversed(still_missing)}
                await self._database.transaction(partial(_count_try, names=sorted(to_blame.values())))
                log.error(
                    "create_work did not make all jobs; they are tried again later",
                    missing=len(still_missing),
                    complaint="; ".join(complaints) or "none",
                )
                return False
        return True

    def _is_unwanted(self, job: IntendedJob, ended: Mapping[tuple[str, int], Ending]) -> bool:
        """Whether a job's experiment was retired or aborted, or taken out of the settings."""
        if job.experiment not in self._settings.experiments:
            return True
        return (job.experiment, self._entries[job.experiment].version) in ended

    async def _intended(self) -> list[IntendedJob]:
        async with self._database.session() as session:
            return await tables.intended_jobs(session, self._topup.batch)

    async def _look(self, jobs: Sequence[IntendedJob]) -> list[IntendedJob]:
        """Note those that exist as made; the others."""
        names = [job.name for job in jobs]

        async def note(session: Session) -> tuple[set[str], int]:
            there = await fleet.workunits_named(session, names)
            return there, await tables.set_job_state(session, sorted(there), JobState.MADE)

        there, made = await self._database.transaction(note)
        if made:
            metrics.WORKUNITS_DEPLOYED.inc(made)
            log.info("workunits deployed", count=made)
        return [job for job in jobs if job.name not in there]

    async def _call_create_work(self, jobs: Sequence[IntendedJob]) -> list[str]:
        by_app: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            experiment = self._settings.experiments[job.experiment]
            by_app[job.app].append(Job(job.name, job.host_id, experiment.inputs, experiment.command_line))
        complaints = [await self._create_work.make(app, made) for app, made in by_app.items()]
        return [complaint for complaint in complaints if complaint]


async def _give_up(session: Session, names: Sequence[str]) -> None:
    await tables.set_job_state(session, names, JobState.GIVEN_UP)


async def _count_try(session: Session, names: Sequence[str]) -> None:
    await tables.count_try(session, names)


def _singles(orders: Sequence[Order]) -> list[tuple[int, str]]:
    """One (host id, experiment) a job."""
    return [(order.host_id, order.experiment) for order in orders for _ in range(order.jobs)]
