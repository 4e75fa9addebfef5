"""The report of a period: what came in, was paid, failed and was found, and what to look at next.

All of it is read at one moment of the database, so that its sums agree. The cost grows with what the period holds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from axiomd.boinc import fleet
from axiomd.boinc import report as of_boinc
from axiomd.boinc.project import Project
from axiomd.events import Platform
from axiomd.policies import advice
from axiomd.policies.measurement import Outcome
from axiomd.science.catalogue import read_catalogue
from axiomd.settings import DAY_S, HOUR_S, Settings
from axiomd.sql import Connection
from axiomd.store import guard, tables
from axiomd.store import report as stored
from axiomd.store.database import Database, read_clock
from axiomd.store.failures import failures as failures_of
from axiomd.store.report import Died, Ended, Independent, Period, Stopped
from axiomd.store.tables import JobState
from axiomd.views.failures import FailureLine
from axiomd.views.findings import gather, ranked
from axiomd.views.report_parts import (
    Amount,
    CleanUp,
    CoresPoint,
    CreditPart,
    DayCredit,
    Deployment,
    DisputedSeed,
    EndedExperiment,
    ExperimentResults,
    FindingPart,
    HeldHost,
    HostCredit,
    IndependencePart,
    Interventions,
    Next,
    Point,
    Report,
    SharePoint,
    StoppedExperiment,
    Summary,
    UserCredit,
    VerificationPart,
)

MOST_AMOUNTS: Final = 12
MOST_ACCOUNTS: Final = 20
MOST_FAILURES: Final = 30
MOST_ROWS: Final = 50
"""Rows of a table at most; where more would stand there, the report says so."""
MOST_POINTS: Final = 300
"""Points of a curve at most."""
DAILY_FROM_S: Final = 4 * DAY_S
"""The failure share of a longer period is told by day, of a shorter one by hour."""
PLATFORMS: Final = {
    Platform.OTHER: "other",
    Platform.WINDOWS: "Windows",
    Platform.LINUX: "Linux",
    Platform.MAC: "macOS",
}
SILENT: Final = (Outcome.PARTIAL, Outcome.EMPTY, Outcome.REFUSED)
"""Failures that BOINC calls a success; beside them are those whose output tells of an error."""


async def report(
    database: Database, project: Project, settings: Settings, *, since: float, until: float = math.inf
) -> Report:
    """Gather the report of a period (Unix seconds), which ends now at the latest."""
    async with database.snapshot() as session:
        now = await read_clock(session)
        period = Period(since, min(until, now))
        return await _gather(session, project, settings, period, now)


async def _gather(session: Connection, project: Project, settings: Settings, period: Period, now: float) -> Report:
    state = await tables.get_state(session)
    oldest = await stored.oldest_entry_at(session)
    is_sealed = tables.SEALED_THROUGH in state and (oldest is None or oldest > period.since)
    by_case = await stored.counts_by_case(session, period)
    independence = await stored.independence(session, period)
    stops = await stored.stops(session, MOST_ROWS)
    failures, fingerprints, _ = await failures_of(session, experiment="", limit=MOST_FAILURES, **period._asdict())
    experiments = _experiments(
        await stored.outcomes(session, period),
        await stored.limits(session, period),
        await of_boinc.silent_errors(session, **period._asdict()),
    )
    credit = await _credit(session, period)
    deployments, deployed_hosts = await _deployments(session, period)
    findings = await _findings(session, settings)
    cores = [
        CoresPoint(**point._asdict())
        for point in await stored.cores(session, period, max(1.0, (period.until - period.since) / MOST_POINTS))
    ]
    step_h = 24 if period.until - period.since > DAILY_FROM_S else 1
    shares = await stored.tally(session, period, step_h)
    hosts = [
        HeldHost(id=host.host_id, **{k: v for k, v in host._asdict().items() if k != "host_id"})
        for host in await stored.held_hosts(session, MOST_ROWS)
    ]
    verification = await _verification(session, period)
    facts = advice.Facts(
        work=[_work(one, stops) for one in experiments],
        evidence=[_evidence(one) for one in independence],
        claims=[advice.OpenClaim(one.experiment, one.claim, one.seeds, one.missing) for one in findings],
        disputed=[(one.experiment, one.version, one.seed, one.verdict) for one in verification.disputed],
        held_hosts=len(hosts),
        idle_share=_idle_share(cores),
        bar=settings.failures.bar,
        service=await _service(session, project, settings, state, now),
    )
    return Report(
        project=project.config.db_name,
        since=period.since,
        until=period.until,
        written_at=now,
        sealed_before=(oldest or now) if is_sealed else None,
        summary=await _summary(session, period, experiments, by_case, deployments),
        next=[
            Next(urgency=one.urgency.name.lower(), subject=one.subject, words=one.words) for one in advice.advise(facts)
        ],
        credit=credit,
        clean_up=CleanUp(
            aborted=by_case["abort"],
            repaired=by_case["repair"],
            interventions=[Interventions(**one._asdict()) for one in await stored.interventions(session, period)],
        ),
        experiments=experiments,
        failures=[FailureLine(**one._asdict()) for one in failures],
        other_failures=max(fingerprints - len(failures), 0),
        findings=findings,
        independence=[_independence(one) for one in independence],
        verification=verification,
        stopped=[_stopped(one) for one in stops],
        ended=[
            EndedExperiment(
                experiment=one.experiment,
                version=one.version,
                how="aborted" if one.aborted else "retired",
                since=one.since,
                actor=one.actor,
            )
            for one in await stored.endings(session, period, MOST_ROWS)
        ],
        deployments=deployments,
        deployed_hosts=deployed_hosts,
        hosts=hosts,
        failure_share=[SharePoint(**one._asdict()) for one in shares],
        failure_step_s=step_h * HOUR_S,
        cores=cores,
    )


async def _summary(
    session: Connection,
    period: Period,
    experiments: Sequence[ExperimentResults],
    by_case: Mapping[str, Mapping[str, int]],
    deployments: Sequence[Deployment],
) -> Summary:
    sums = await stored.credit(session, period)
    refused = await stored.refusals(session, period)
    _, hosts, users = await stored.measured(session, period)
    undecided = refused.pop("", 0)
    results = sum(one.results for one in experiments)
    good = sum(one.good for one in experiments)
    return Summary(
        results=results,
        good=good,
        failed=results - good,
        silent=sum(one.silent for one in experiments),
        hosts=hosts,
        users=users,
        credited=sums.results,
        credit=sums.credit,
        refused=refused,
        undecided=undecided,
        aborted=sum(by_case["abort"].values()),
        repaired=sum(by_case["repair"].values()),
        deployed=sum(one.made for one in deployments),
    )


async def _credit(session: Connection, period: Period) -> CreditPart:
    sums = await stored.credit(session, period)
    amounts = await stored.credit_by_amount(session, period, MOST_AMOUNTS)
    users = await stored.credit_by_user(session, period, MOST_ACCOUNTS)
    hosts = await stored.credit_by_host(session, period, MOST_ACCOUNTS)
    names = await of_boinc.user_names(session, [int(user.key) for user in users])
    sizes = await of_boinc.host_sizes(session, [int(host.key) for host in hosts])
    return CreditPart(
        by_amount=[
            Amount(credit=one.key, results=one.results, total=one.credit)
            for one in sorted(amounts, key=lambda one: -one.key)
        ],
        other_amounts=Amount(
            credit=0.0,
            results=sums.results - sum(one.results for one in amounts),
            total=sums.credit - sum(one.credit for one in amounts),
        ),
        by_user=[
            UserCredit(
                id=int(one.key),
                name=names.get(int(one.key), ""),
                results=one.results,
                hosts=one.hosts,
                credit=one.credit,
            )
            for one in users
        ],
        other_users=max(sums.users - len(users), 0),
        by_host=[
            HostCredit(
                id=int(one.key),
                ncpus=sizes.get(int(one.key), (0, 0))[0],
                ngpus=sizes.get(int(one.key), (0, 0))[1],
                results=one.results,
                credit=one.credit,
            )
            for one in hosts
        ],
        other_hosts=max(sums.hosts - len(hosts), 0),
        by_day=[DayCredit(at=at, credit=credit) for at, credit in await stored.credit_by_day(session, period)],
    )


async def _deployments(session: Connection, period: Period) -> tuple[list[Deployment], int]:
    jobs, hosts = await stored.deployed(session, period)
    counts: dict[tuple[str, int], dict[int, int]] = defaultdict(dict)
    for one in jobs:
        counts[one.experiment, one.day][one.state] = one.jobs
    deployments = [
        Deployment(
            experiment=experiment,
            at=day * DAY_S,
            made=by_state.get(JobState.MADE, 0),
            waiting=by_state.get(JobState.INTENDED, 0),
            given_up=by_state.get(JobState.GIVEN_UP, 0),
        )
        for (experiment, day), by_state in sorted(counts.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
    return deployments, hosts


async def _verification(session: Connection, period: Period) -> VerificationPart:
    agreed, disagreed = await stored.comparisons(session, period)
    disputed = [DisputedSeed(**one._asdict()) for one in await stored.disputed(session, MOST_ROWS)]
    return VerificationPart(agreed=agreed, disagreed=disagreed, disputed=disputed)


async def _findings(session: Connection, settings: Settings) -> list[FindingPart]:
    """Give what all evidence up to now says of the claims that have any, settled ones first."""
    found = await gather(session, settings, read_catalogue(settings.daemon.catalogue), courses=True)
    courses = {(one.experiment, one.claim): course for one, course in found}
    return [
        FindingPart(
            experiment=one.experiment,
            version=one.version,
            claim=one.claim,
            statement=one.statement,
            verdict=one.verdict,
            level=one.level,
            settled_at=one.settled_at,
            seeds=one.seeds,
            hosts=one.hosts,
            supported=one.supported,
            contradicted=one.contradicted,
            effect=one.effect,
            interval=one.interval or (None, None),
            bound=one.threshold if one.direction == "greater" else -one.threshold,
            e_value=max(one.e_value, one.e_value_against),
            bar=one.bar,
            missing=one.more_seeds or 0,
            course=[Point(**point._asdict()) for point in courses[one.experiment, one.claim]],
        )
        for one in ranked([one for one, _ in found if one.seeds])
    ]


async def _service(
    session: Connection, project: Project, settings: Settings, state: Mapping[str, float], now: float
) -> advice.Service:
    waiting, oldest = await fleet.backlog(session, project.app_ids, assimilates=settings.intake.mode == "assimilator")
    uses = [await guard.use(session, rail, now) for rail in guard.rails(settings).values()]
    return advice.Service(
        audit_problems=int(state.get(tables.AUDIT_PROBLEMS, 0)),
        waiting=waiting,
        waiting_s=max(now - oldest, 0.0) if oldest else 0.0,
        paused=[(use.rail.kind.value, use.stopped) for use in uses if use.stopped],
    )


def _experiments(
    ended: Iterable[Ended], died: Iterable[Died], silent_errors: Mapping[tuple[str, int, bool], int]
) -> list[ExperimentResults]:
    """One row for each experiment, CPU or GPU; those with most results first."""
    of: dict[tuple[str, int, bool], dict[Outcome, Ended]] = defaultdict(dict)
    for one in ended:
        of[one.experiment, one.version, one.gpu][one.outcome] = one
    limits = {(one.experiment, one.version, one.gpu): one.died for one in died}
    rows = [
        _experiment(key, by_outcome, limits.get(key, 0), silent_errors.get(key, 0)) for key, by_outcome in of.items()
    ]
    return sorted(rows, key=lambda row: (-row.results, row.experiment, row.version))


def _experiment(
    key: tuple[str, int, bool], of: Mapping[Outcome, Ended], died: int, silent_errors: int
) -> ExperimentResults:
    counts = {outcome: of[outcome].results if outcome in of else 0 for outcome in Outcome}
    good = sum(count for outcome, count in counts.items() if outcome.is_good)
    good_s = sum(one.seconds for outcome, one in of.items() if outcome.is_good)
    results = sum(counts.values())
    return ExperimentResults(
        experiment=key[0],
        version=key[1],
        gpu=key[2],
        results=results,
        good=good,
        partial=counts[Outcome.PARTIAL],
        empty=counts[Outcome.EMPTY],
        refused=counts[Outcome.REFUSED],
        failed=counts[Outcome.FAILED],
        silent=sum(counts[outcome] for outcome in SILENT) + silent_errors,
        died=died,
        mean_s=good_s / good if good else None,
        mean_all_s=sum(one.seconds for one in of.values()) / results,
    )


def _independence(one: Independent) -> IndependencePart:
    return IndependencePart(
        experiment=one.experiment,
        version=one.version,
        results=one.results,
        seeds=one.seeds,
        fresh=one.fresh,
        discounted=one.results - one.fresh,
        hosts=one.hosts,
        users=one.users,
        platforms=[PLATFORMS[Platform(code)] for code in one.platforms],
        status=advice.independence(_evidence(one)),
    )


def _evidence(one: Independent) -> advice.Evidence:
    return advice.Evidence(
        one.experiment, one.version, one.results, one.fresh, one.seeds, one.different, one.hosts, one.different > 0
    )


def _work(one: ExperimentResults, stops: Iterable[Stopped]) -> advice.Work:
    key = one.experiment, one.version, one.gpu
    stopped = any((stop.experiment, stop.version, stop.gpu) == key for stop in stops)
    return advice.Work(*key, one.results, one.results - one.good, one.silent, one.died, stopped)


def _stopped(one: Stopped) -> StoppedExperiment:
    where = "GPU jobs" if one.gpu else "CPU jobs"
    if one.platform >= 0:
        where += f" on {PLATFORMS[Platform(one.platform)]}"
    return StoppedExperiment(
        experiment=one.experiment, version=one.version, where=where, since=one.since, reason=one.reason
    )


def _idle_share(cores: Sequence[CoresPoint]) -> float | None:
    total = sum(point.cores for point in cores)
    return sum(point.idle for point in cores) / total if total else None
