"""The parts of a report, as plain data. docs/report.md tells what each means."""

from __future__ import annotations

from pydantic import Field

from axiomd.views.failures import FailureLine
from axiomd.views.view import View


class Summary(View):
    """The period at a glance."""

    results: int = Field(description="results that came in and were harvested")
    good: int = Field(description="those of them with all that their experiment declares")
    failed: int = Field(description="those that failed, silent failures among them")
    silent: int = Field(description="those that BOINC calls a success and that are empty, partial, or hold an error")
    hosts: int = Field(description="hosts that they came from")
    users: int = Field(description="users whose hosts these are")
    credited: int = Field(description="results that were paid, less those that were undone")
    credit: float = Field(description="credit granted (cobblestones), less what was undone")
    refused: dict[str, int] = Field(description="results that came in and are never paid, by reason")
    undecided: int = Field(description="results that came in and whose credit is still open")
    aborted: int = Field(description="tasks and jobs that were ended")
    repaired: int = Field(description="workunits and reports that were repaired")
    deployed: int = Field(description="jobs that were made")


class Amount(View):
    """What a result was paid."""

    credit: float = Field(description="credit a result (cobblestones)")
    results: int
    total: float = Field(description="credit together")


class UserCredit(View):
    """What a user got."""

    id: int
    name: str = Field(description="public name, as the user chose it")
    results: int
    hosts: int
    credit: float


class HostCredit(View):
    """What a host got."""

    id: int
    ncpus: int = Field(description="cores, as its client claims; 0: not known")
    ngpus: int
    results: int
    credit: float


class DayCredit(View):
    """What was granted on a day (UTC)."""

    at: float = Field(description="when the day begins (Unix seconds)")
    credit: float


class CreditPart(View):
    """Credit, less what was undone."""

    by_amount: list[Amount] = Field(description="by credit a result, the most frequent amounts, largest first")
    other_amounts: Amount = Field(description="all other amounts together; credit 0")
    by_user: list[UserCredit]
    other_users: int = Field(description="users who got credit and aren't listed")
    by_host: list[HostCredit]
    other_hosts: int = Field(description="hosts that got credit and aren't listed")
    by_day: list[DayCredit]


class Interventions(View):
    """Interventions of a kind."""

    intervention: str
    source: str = Field(description="cli, http, mqtt or alert")
    calls: int
    changes: int


class CleanUp(View):
    """What was ended, mended, and asked for from outside."""

    aborted: dict[str, int] = Field(description="by reason")
    repaired: dict[str, int] = Field(description="by case")
    interventions: list[Interventions]


class ExperimentResults(View):
    """How the results of an experiment's version ended."""

    experiment: str
    version: int
    gpu: bool
    results: int
    good: int
    partial: int = Field(description="ended half way")
    empty: int = Field(description="a success for BOINC, without an output file or a number in it")
    refused: int = Field(description="an output that isn't what was asked for")
    failed: int = Field(description="ended by an error")
    silent: int = Field(
        description="failures that BOINC calls a success: partial, empty, refused, or telling of an error"
    )
    died: int = Field(description="of all: those that a limit of time, memory or disk ended; by whole hours")
    mean_s: float | None = Field(description="mean elapsed time of the good ones, in seconds; null: there is none")
    mean_all_s: float = Field(description="mean elapsed time of all, in seconds")


class SharePoint(View):
    """How often an experiment failed in one step of time."""

    at: float = Field(description="when the step begins (Unix seconds)")
    experiment: str
    version: int
    results: int
    failures: int


class CoresPoint(View):
    """Live hosts and their cores, the mean of one step of time."""

    at: float = Field(description="when the step begins (Unix seconds)")
    hosts: float
    cores: float
    idle: float = Field(description="cores without a job")


class HeldHost(View):
    """A host that gets no work, as of the writing."""

    id: int
    state: str = Field(description="excluded; paused by its circuit breaker; on trial with a single job")
    since: float
    until: float = Field(description="end of its pause (Unix seconds); 0: none")
    reason: str
    actor: str


class Deployment(View):
    """Jobs of an experiment that were decided on, on a day (UTC)."""

    experiment: str
    at: float = Field(description="when the day begins (Unix seconds)")
    made: int
    waiting: int
    given_up: int


class IndependencePart(View):
    """How many of an experiment's good results are independent."""

    experiment: str
    version: int
    results: int = Field(description="good results that came in")
    seeds: int = Field(description="different seeds among them")
    fresh: int = Field(description="those that brought evidence: a new seed, and numbers that weren't there before")
    discounted: int = Field(description="the others: copies of a seed or of numbers")
    hosts: int
    users: int
    platforms: list[str] = Field(description="operating systems")
    status: str = Field(description="in words")


class Point(View):
    """An effect as it stood after so many seeds."""

    at: float = Field(description="when (Unix seconds)")
    seeds: int
    effect: float
    low: float | None = Field(description="lower end of the interval; null: it is open")
    high: float | None = Field(description="upper end of the interval; null: it is open")


class FindingPart(View):
    """A claim, and what is known of it."""

    experiment: str
    version: int
    claim: str
    statement: str
    verdict: str
    level: str = Field(description="awaiting, moderate, strong or definitive, by hosts and seeds")
    settled_at: float | None = Field(description="when it was settled (Unix seconds)")
    seeds: int
    hosts: int
    supported: int
    contradicted: int
    effect: float | None = Field(description="median of quantity - control over the seeds")
    interval: tuple[float | None, float | None] = Field(description="of that median; null: open")
    bound: float = Field(description="the effect beyond which it counts, with the sign of the claim's direction")
    e_value: float = Field(description="evidence for a verdict: the larger of the two sides")
    bar: float = Field(description="what it must reach, after the correction for all claims")
    missing: int = Field(description="about so many more seeds would settle it; 0: it is settled, or none would")
    course: list[Point] = Field(description="the effect as evidence came in")


class DisputedSeed(View):
    """A seed whose results disagree."""

    experiment: str
    version: int
    seed: int
    verdict: str
    copies: int
    since: float
    detail: str


class VerificationPart(View):
    """Results of the same seed from two hosts, compared."""

    agreed: int
    disagreed: int
    disputed: list[DisputedSeed] = Field(description="as of the writing")


class StoppedExperiment(View):
    """Where an experiment gets no new jobs because it fails, as of the writing."""

    experiment: str
    version: int
    where: str
    since: float
    reason: str


class EndedExperiment(View):
    """An experiment that was retired or aborted in the period."""

    experiment: str
    version: int
    how: str
    since: float
    actor: str


class Next(View):
    """Something to look at."""

    urgency: str = Field(description="now, soon, note")
    subject: str
    words: str


class Report(View):
    """What a period held."""

    project: str
    since: float = Field(description="from then (Unix seconds, by the database's clock)")
    until: float = Field(description="to before then")
    written_at: float
    sealed_before: float | None = Field(
        description="entries of the journal from before then were summed up and deleted: credit, clean-up and "
        "deployments of the time before are missing here; null: the period is whole"
    )
    summary: Summary
    next: list[Next]
    credit: CreditPart
    clean_up: CleanUp
    experiments: list[ExperimentResults]
    failures: list[FailureLine]
    other_failures: int = Field(description="fingerprints that aren't listed")
    findings: list[FindingPart]
    independence: list[IndependencePart]
    verification: VerificationPart
    stopped: list[StoppedExperiment]
    ended: list[EndedExperiment]
    deployments: list[Deployment]
    deployed_hosts: int
    hosts: list[HeldHost]
    failure_share: list[SharePoint]
    failure_step_s: float
    cores: list[CoresPoint]
