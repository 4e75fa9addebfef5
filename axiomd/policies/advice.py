"""What a person should look at next, from what a report found. Each line names the thing and the next step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

MIN_RESULTS: Final = 3
"""Fewer results than this say nothing of an experiment's seeds."""
MANY: Final = 10
COPIED_SHARE: Final = 0.5
SILENT_SHARE: Final = 0.05
DIED_SHARE: Final = 0.05
IDLE_SHARE: Final = 0.3
WAITING_S: Final = 3600.0
FEWEST_SEEDS: Final = 4
NEAR: Final = 50
"""A claim with the former many seeds that the latter would settle is near its bar."""
MOST_OF_A_KIND: Final = 8
"""So many lines of one kind at most; the rest is one line."""


class Urgency(IntEnum):
    """How soon somebody should look."""

    NOW = 1
    SOON = 2
    NOTE = 3


class Advice(NamedTuple):
    """Something to look at."""

    urgency: Urgency
    subject: str
    words: str


@dataclass(frozen=True)
class Work:
    """How an experiment's version went. fresh: results that brought evidence that was not there before."""

    experiment: str
    version: int
    gpu: bool = False
    results: int = 0
    failed: int = 0
    silent: int = 0
    """Of the failed: those that BOINC calls a success."""
    died: int = 0
    """Of the failed: those that a limit of time, memory or disk ended."""
    stopped: bool = False

    @property
    def title(self) -> str:
        """Its name."""
        return f"{self.experiment} v{self.version}{' (GPU)' if self.gpu else ''}"


@dataclass(frozen=True)
class Evidence:
    """How independent an experiment's good results are."""

    experiment: str
    version: int
    results: int
    fresh: int
    seeds: int
    different: int
    hosts: int
    numbered: bool = True
    """Whether its numbers are known: those of experiments that the catalogue doesn't have aren't."""


@dataclass(frozen=True)
class OpenClaim:
    """A claim that is not settled. missing: seeds that would settle it if all go on as most did; 0: can't be said."""

    experiment: str
    claim: str
    seeds: int
    missing: int


@dataclass(frozen=True)
class Service:
    """How axiomd itself stands."""

    audit_problems: int = 0
    waiting: int = 0
    """Finished results that wait; waiting_s: the age of the oldest, in seconds."""
    waiting_s: float = 0.0
    paused: Sequence[tuple[str, str]] = ()
    """Kinds of change that are stopped, and why."""


@dataclass(frozen=True)
class Facts:
    """What is known at the end of a period. idle_share: of the live hosts' cores; None: not noted."""

    service: Service = Service()
    work: Sequence[Work] = ()
    evidence: Sequence[Evidence] = ()
    claims: Sequence[OpenClaim] = ()
    disputed: Sequence[tuple[str, int, int, str]] = ()
    """(experiment, version, seed, verdict) of seeds whose results disagree."""
    held_hosts: int = 0
    idle_share: float | None = None
    bar: float = 0.3
    """An experiment may fail as often as this."""


def advise(facts: Facts) -> list[Advice]:
    """Give what is to be looked at, the most urgent first."""
    found = [*_of_the_service(facts.service), *_of_experiments(facts), *_of_evidence(facts), *_of_the_fleet(facts)]
    return sorted(found, key=lambda advice: advice.urgency)


def _of_the_service(service: Service) -> Iterator[Advice]:
    if service.audit_problems:
        words = f"the last audit found {service.audit_problems} problems: `axiomd audit` lists them"
        yield Advice(Urgency.NOW, "credit", words)
    for kind, why in service.paused:
        yield Advice(Urgency.NOW, kind, f"stopped: {why}. `axiomd status` shows the caps; raise the cap or resume it")
    if service.waiting and service.waiting_s > WAITING_S:
        words = f"{service.waiting} finished results wait, the oldest for {service.waiting_s / 3600:.1f} hours: "
        yield Advice(Urgency.NOW, "intake", words + "`axiomd doctor` says what is in the way")


def _of_experiments(facts: Facts) -> Iterator[Advice]:
    for work in facts.work:
        share = work.failed / work.results if work.results else 0.0
        if work.stopped:
            words = f"stopped after {work.failed} of {work.results} results failed: mend it and count up its version"
            yield Advice(Urgency.NOW, work.title, words)
        elif work.results >= MANY and share > facts.bar:
            words = f"{work.failed} of {work.results} results failed: `axiomd failures {work.experiment}` says of what"
            yield Advice(Urgency.SOON, work.title, words)
        if work.silent >= MIN_RESULTS and work.silent > SILENT_SHARE * work.results:
            words = f"{work.silent} results that BOINC calls a success hold an error, or nothing: "
            yield Advice(Urgency.SOON, work.title, words + f"`axiomd failures {work.experiment}`")
        if work.died >= MIN_RESULTS and work.died > DIED_SHARE * work.results:
            words = f"{work.died} of {work.results} results died of a limit of time, memory or disk: "
            yield Advice(
                Urgency.SOON, work.title, words + "its bounds are too tight, or it is too large for most hosts"
            )
    lines = [
        Advice(Urgency.NOW if verdict == "platform" else Urgency.SOON, f"{name} v{version}", _DISPUTES[verdict] % seed)
        for name, version, seed, verdict in facts.disputed
        if verdict in _DISPUTES
    ]
    yield from _first(lines, "seeds whose results disagree")
    if settled := sum(verdict == "host" for *_, verdict in facts.disputed):
        words = f"{settled} seeds were disputed by a host that disagreed with several that agree; it is excluded: "
        yield Advice(Urgency.NOTE, "verification", words + "`axiomd hosts --state excluded` says which")
    if under_way := sum(verdict not in {*_DISPUTES, "host"} for *_, verdict in facts.disputed):
        words = f"{under_way} seeds have results that disagree; further copies are to tell who is right"
        yield Advice(Urgency.NOTE, "verification", words)


_DISPUTES: Final = {
    "platform": "seed %d gives other numbers on other operating systems: find out why before you believe either",
    "unclear": "seed %d: results disagree, and further copies didn't tell who is right",
}
"""Verdicts that leave something to find out, a line a seed."""


def _of_evidence(facts: Facts) -> Iterator[Advice]:
    for one in facts.evidence:
        title = f"{one.experiment} v{one.version}"
        if one.results >= MIN_RESULTS and one.seeds == 1:
            words = (
                f"all {one.results} good results have one seed: one replicate, however many hosts ({one.hosts}) ran it"
            )
            yield Advice(Urgency.NOW, title, words + ". Give each job a seed of its own")
        elif one.results >= MIN_RESULTS and one.numbered and one.different == 1:
            words = f"all {one.results} good results have the same numbers in spite of {one.seeds} seeds"
            yield Advice(Urgency.NOW, title, words + ": it doesn't use its seed")
        elif one.results >= MANY and one.fresh < (1 - COPIED_SHARE) * one.results:
            words = (
                f"only {one.fresh} of {one.results} good results are independent; the others repeat a seed or numbers"
            )
            yield Advice(Urgency.SOON, title, words)
    close = sorted(
        (claim for claim in facts.claims if claim.seeds >= FEWEST_SEEDS and 0 < claim.missing <= NEAR),
        key=lambda claim: (claim.experiment, claim.missing),
    )
    for experiment, claims in groupby(close, key=attrgetter("experiment")):
        nearest, *others = claims
        words = f"about {nearest.missing} more seeds like the {nearest.seeds} so far would settle {nearest.claim}"
        more = f", and {others[-1].missing} all of {len(others) + 1} claims that are near their bar" if others else ""
        yield Advice(Urgency.NOTE, experiment, words + more)


def _of_the_fleet(facts: Facts) -> Iterator[Advice]:
    if facts.held_hosts:
        words = f"{facts.held_hosts} of them get no work: `axiomd hosts --state excluded` and `--state failing` say why"
        yield Advice(Urgency.NOTE, "hosts", words)
    if facts.idle_share is not None and facts.idle_share > IDLE_SHARE:
        words = f"{facts.idle_share:.0%} of the live hosts' cores had no job: more experiments, or higher targets"
        yield Advice(Urgency.SOON, "fleet", words)


def _first(lines: Sequence[Advice], what: str) -> Iterator[Advice]:
    yield from lines[:MOST_OF_A_KIND]
    if len(lines) > MOST_OF_A_KIND:
        yield Advice(Urgency.NOTE, what, f"{len(lines) - MOST_OF_A_KIND} more")


def independence(one: Evidence) -> str:
    """Say in words what an experiment's good results are worth as replicates."""
    if one.results > 1 and one.seeds == 1:
        return f"one seed: {one.results} results are one replicate"
    if one.results > 1 and one.numbered and one.different == 1:
        return f"the same numbers for {one.seeds} seeds: one replicate"
    if one.fresh < one.results:
        return f"{one.fresh} of {one.results} independent"
    return "independent"
