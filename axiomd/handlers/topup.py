"""CoresIdle -> new work for idle cores, and second copies of jobs for verification.

create_work runs outside our transaction, so an intent with the workunits' names is written first. What was intended
and isn't there under its name is made, at this or any later time; what is there is never made again.

Hosts whose breaker is open get nothing, those whose breaker is half open one job, their probe. Where an experiment is
stopped it gets no jobs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import structlog

from axiomd import metrics
from axiomd.boinc import fleet
from axiomd.boinc.fleet import Workload
from axiomd.boinc.programs import CreateWork, Job
from axiomd.boinc.project import Project
from axiomd.events import CoresIdle
from axiomd.handlers.handler import Cap, Handler, Planned
from axiomd.handlers.sizing import Sizing
from axiomd.policies.topup import Copies, Experiment, Host, Order, decide_topup, with_jobs
from axiomd.policies.verification import State, Verdict, is_sample
from axiomd.science.catalogue import CatalogueEntry, deployed
from axiomd.settings import DAY_S, Settings
from axiomd.sql import Connection
from axiomd.store import failures, findings, tables, verification
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.failures import Breaker
from axiomd.store.guard import Kind, rails
from axiomd.store.tables import Ending, Entry, IntendedJob, JobState
from axiomd.store.verification import Case, Standing
from experiments.kit.naming import WorkunitName

log = structlog.get_logger(__name__)

MOST_TRIES = 5
"""A job that create_work stopped at so often is given up, and said so."""

MOST_COPIES = 100
"""Disputed seeds that are sent again in one go at most."""


@dataclass(frozen=True)
class _Loaded:
    now: float
    hosts: list[Host]
    """Those that get jobs."""
    probed: frozenset[int]
    """Of these the ones that get a probe and nothing else."""
    experiments: list[Experiment]
    limit: int
    disputes: list[Case]
    """Seeds that are to be sent again."""


class _Again(NamedTuple):
    """A disputed seed that is sent again, and the host that it is for; 0: any."""

    case: Case
    host_id: int


@dataclass
class _Samples:
    """The jobs that are made twice, as far as the cap leaves room and a host of another user has it too."""

    copies: Copies | None = None
    """None: for any host."""
    left: int = 0
    users: Mapping[int, int] = field(default_factory=dict)
    """User of each host."""
    probed: frozenset[int] = frozenset()

    def host_for(self, experiment: str, first_host_id: int) -> int | None:
        """Which host gets the copy of a job, 0: any; None: there is none."""
        if self.left <= 0:
            return None
        host_id = 0
        if self.copies is not None:
            host_id = self.copies.host_for(experiment, {self.users.get(first_host_id, 0)})
            if not host_id:
                return None
        self.left -= 1
        return host_id


@dataclass(frozen=True)
class _Decided:
    again: list[_Again]
    orders: list[Order]
    samples: _Samples


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
        self._sizing = Sizing(project, settings)
        # What nobody harvests nobody compares.
        self._verifies = settings.verification.enabled and settings.harvests
        self._versions = {name: entry.version for name, entry in self._entries.items()}

    async def plan(self, events: Sequence[CoresIdle]) -> list[Planned]:
        """Say which jobs would be made."""
        if not events:
            return []
        async with self._database.session() as session:
            loaded = await self._load(session)
        decided = self._decide(loaded)
        where = "host {}" if self._topup.targeted else "any host"
        return [
            Planned(
                "deploy",
                f"host {again.host_id}" if again.host_id else "any host",
                f"{again.case.dispute.experiment}, seed {again.case.dispute.seed} again",
            )
            for again in decided.again
        ] + [
            Planned("deploy", where.format(order.host_id), f"{order.jobs} x {order.experiment}")
            for order in decided.orders
        ]

    async def act(self, events: Sequence[CoresIdle]) -> None:  # noqa: ARG002 - it says only that it is time
        """Make what was intended before, then decide anew and make that."""
        if not await self._make_intended():
            return
        async with self._database.session() as session:
            loaded = await self._load(session)
        async with self._database.calm:
            decided = self._decide(loaded)
        if decided.again:
            await self._database.transaction(partial(self._intend_again, again=decided.again, now=loaded.now))
            if not await self._make_intended():
                return
        jobs = _singles(decided.orders)
        for start in range(0, len(jobs), self._topup.batch):
            part = jobs[start : start + self._topup.batch]
            await self._database.transaction(partial(self._intend, jobs=part, now=loaded.now, samples=decided.samples))
            if not await self._make_intended():
                return

    async def _load(self, connection: Connection) -> _Loaded:
        now = await read_clock(connection)
        live_since = now - self._settings.hosts.live_after_contact_s
        workload = await fleet.workload(connection, self._project.app_ids)
        quotas = await fleet.quotas(connection, self._project.app_ids, live_since)
        excluded = await tables.excluded_hosts(connection, self._settings.hosts)
        breakers = await failures.breakers(connection) if self._settings.failures.enabled else {}
        # A job for any host is nobody's probe.
        probed = {id_ for id_, breaker in breakers.items() if self._topup.targeted and _wants_probe(breaker)}
        hosts = [
            self._host(host, workload, quotas.get(host.host_id), now, is_probed=host.host_id in probed)
            for host in await fleet.live_hosts(connection, live_since)
            if host.host_id not in excluded and (host.host_id not in breakers or host.host_id in probed)
        ]
        limit = int(await self._cap.left(connection, now))
        if not self._topup.targeted:
            # Jobs for any host wait unsent until somebody asks: they fill idle cores already.
            limit = max(0, min(limit, sum(host.ncpus for host in hosts)) - sum(workload.unsent.values()))
        experiments = await self._experiments(connection, workload)
        disputes = await self._disputes(connection, experiments)
        return _Loaded(now, hosts, frozenset(probed), experiments, limit, disputes)

    async def _disputes(self, connection: Connection, experiments: Iterable[Experiment]) -> list[Case]:
        """Read the disputed seeds that want one more copy."""
        if not self._verifies:
            return []
        gets_jobs = {experiment.name for experiment in experiments}
        return [
            case
            for case in await verification.cases(connection, self._versions, self._settings.verification.max_copies)
            if case.judgement.verdict is Verdict.OPEN
            and case.dispute.state is State.WANTS_COPY
            and case.dispute.experiment in gets_jobs
        ][:MOST_COPIES]

    def _host(
        self, host: fleet.LiveHost, workload: Workload, quota: tuple[int, int] | None, now: float, *, is_probed: bool
    ) -> Host:
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
            quota_left=min(left, 1.0) if is_probed else left,
            user_id=host.user_id,
            platform=host.platform,
        )

    async def _experiments(self, connection: Connection, workload: Workload) -> list[Experiment]:
        count = findings.independent_seeds if self._settings.harvests else tables.independent_results
        done = await count(connection)
        under_way = workload.of_experiments()
        ended = await tables.endings(connection)
        stops = await failures.stops(connection) if self._settings.failures.enabled else frozenset()
        experiments = []
        for name, settings in self._settings.experiments.items():
            entry = self._entries[name]
            stopped_on = {stop.platform for stop in stops if stop[:3] == (name, entry.version, entry.gpu)}
            # A job for any host may come to one of the platform.
            is_stopped = None in stopped_on or (stopped_on and not self._topup.targeted)
            if is_stopped or (name, entry.version) in ended:
                continue
            have = done.get((name, entry.version), 0) + under_way.get(name, 0) - workload.copies.get(name, 0)
            experiments.append(
                Experiment(
                    name,
                    settings.weight,
                    max(0, settings.target - have),
                    entry.memory,
                    gpu=entry.gpu,
                    pilot=settings.pilot,
                    pilot_hosts=settings.pilot_hosts,
                    stopped_on=frozenset(platform for platform in stopped_on if platform is not None),
                )
            )
        return experiments

    def _decide(self, loaded: _Loaded) -> _Decided:
        most = self._project.config.max_wus_in_progress or math.inf
        hosts = [host for host in loaded.hosts if host.host_id not in loaded.probed]
        again = self._decide_again(loaded, hosts, most)
        limit = loaded.limit - len(again)
        given = [Order(one.host_id, one.case.dispute.experiment, 1) for one in again if one.host_id]
        share = self._settings.verification.share if self._verifies else 0.0
        everywhere = with_jobs(loaded.hosts, loaded.experiments, given)
        orders = decide_topup(
            everywhere,
            loaded.experiments,
            self._topup,
            limit=limit - int(limit * share / (1 + share)),
            max_in_progress_per_core=most,
        )
        samples = _Samples(
            Copies(
                [host for host in everywhere if host.host_id not in loaded.probed],
                loaded.experiments,
                orders,
                self._topup,
                max_in_progress_per_core=most,
            )
            if self._topup.targeted and share and orders
            else None,
            left=limit - sum(order.jobs for order in orders) if share and orders else 0,
            users={host.host_id: host.user_id for host in loaded.hosts},
            probed=loaded.probed,
        )
        return _Decided(again, orders, samples)

    def _decide_again(self, loaded: _Loaded, hosts: Sequence[Host], most: float) -> list[_Again]:
        """Find a host for each disputed seed, of a user that sent no result of it."""
        disputes = loaded.disputes[: loaded.limit]
        if not disputes or not self._topup.targeted:
            return [_Again(case, 0) for case in disputes]
        copies = Copies(hosts, loaded.experiments, (), self._topup, max_in_progress_per_core=most)
        found = []
        for case in disputes:
            platforms = {platform for platform, _ in case.judgement.kinds}
            host_id = copies.host_for(case.dispute.experiment, case.dispute.users, platforms)
            if host_id:
                found.append(_Again(case, host_id))
        return found

    async def _intend(
        self,
        session: Session,
        jobs: Sequence[tuple[int, str]],
        now: float,
        samples: _Samples | None = None,
    ) -> None:
        """Write down jobs, as (host id, experiment), before they are made; the sampled ones twice."""
        counts = Counter(experiment for _, experiment in jobs)
        # Experiments in one order, so that two daemons can't lock each other's rows crosswise.
        seeds = {
            name: iter(await tables.take_seeds(session, name, self._entries[name].version, counts[name]))
            for name in sorted(counts)
        }
        made = [(host_id, name, next(seeds[name]), "") for host_id, name in jobs]
        if samples is not None and samples.left > 0:
            salt = await verification.salt(session)
            made += [
                (copy_host, name, seed, "v1")
                for host_id, name, seed, _ in made
                if self._is_sample(name, seed, salt) and (copy_host := samples.host_for(name, host_id)) is not None
            ]
        counts = Counter(name for _, name, _, _ in made)
        journal_id = await tables.write_journal(session, Entry(now, "topup", CoresIdle.name, len(made), detail=counts))
        intended = [self._job(journal_id, *one) for one in made]
        await tables.write_intent(session, intended)
        for job in intended:
            if samples is not None and job.host_id in samples.probed:
                await failures.set_probe(session, job.host_id, job.name)

    def _is_sample(self, name: str, seed: int, salt: float) -> bool:
        """Whether a job is made twice. A pilot isn't."""
        share = self._settings.verification.share
        return not self._settings.experiments[name].pilot and is_sample(name, self._versions[name], seed, share, salt)

    async def _intend_again(self, session: Session, again: Sequence[_Again], now: float) -> None:
        """Write down copies of disputed seeds before they are made, those that are still wanted."""
        await verification.lock(session)
        wanted = {
            dispute.about for dispute in await verification.disputes(session) if dispute.state is State.WANTS_COPY
        }
        again = [one for one in again if one.case.dispute.about in wanted]
        if not again:
            return
        counts = Counter(one.case.dispute.experiment for one in again)
        journal_id = await tables.write_journal(session, Entry(now, "topup", CoresIdle.name, len(again), detail=counts))
        intended, standings = [], []
        for case, host_id in again:
            dispute = case.dispute
            copies = dispute.copies + 1
            job = self._job(journal_id, host_id, dispute.experiment, dispute.seed, f"v{copies}")
            intended.append(job)
            standings.append(Standing(dispute, State.COPY_OUT, Verdict.OPEN, copies, job.name))
        await tables.write_intent(session, intended)
        await verification.put(session, standings, now)

    def _job(self, journal_id: int, host_id: int, name: str, seed: int, copy: str) -> IntendedJob:
        workunit = WorkunitName(name, self._entries[name].version, f"b{journal_id}{copy}", seed)
        app = self._settings.experiments[name].app or self._settings.project.apps[0]
        return IntendedJob(str(workunit), journal_id, app, name, seed, host_id if self._topup.targeted else 0)

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
        async with self._database.session() as session:
            templates = {
                (name, app): await self._sizing.template(session, name, self._entries[name], app)
                for name, app in sorted({(job.experiment, job.app) for job in jobs})
            }
        for job in jobs:
            experiment = self._settings.experiments[job.experiment]
            template = templates[job.experiment, job.app]
            by_app[job.app].append(
                Job(job.name, job.host_id, experiment.inputs, experiment.command_line, wu_template=template)
            )
        complaints = [await self._create_work.make(app, made) for app, made in by_app.items()]
        return [complaint for complaint in complaints if complaint]


async def _give_up(session: Session, names: Sequence[str]) -> None:
    await tables.set_job_state(session, names, JobState.GIVEN_UP)


async def _count_try(session: Session, names: Sequence[str]) -> None:
    await tables.count_try(session, names)


def _wants_probe(breaker: Breaker) -> bool:
    return not breaker.open and not breaker.probe


def _singles(orders: Sequence[Order]) -> list[tuple[int, str]]:
    """One (host id, experiment) a job."""
    return [(order.host_id, order.experiment) for order in orders for _ in range(order.jobs)]
