"""The findings: what the independent results say of each claim of the catalogue, at whatever time one looks.

science/evidence.py has the statistics. What is tested is the margin, quantity - control, with its sign turned where
the claim says "less": whether its median over runs of the experiment lies above the claim's threshold, between that and
0, or not above 0.

Correction. All claims of the catalogue together are one family. It has a confidence sequence for each claim's margin,
and one more for quantity - baseline where the claim has a baseline; each is made at the error rate of the settings
divided by their number (Bonferroni), and holds at all times at once (Ville). So the chance that any verdict is ever
wrong is at most the error rate. The interval that is shown is another: 95 % for this one claim by itself, at all times.

science/verdicts.py is for `axiomd experiments replicate`: a sample of fixed size, and Student's t.
"""

from __future__ import annotations

import asyncio
import math
import operator
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import median
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, get_args

from axiomd.events import Platform
from axiomd.science import evidence
from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.layout import Layout
from axiomd.sql import Connection, Row
from axiomd.store import findings as store
from axiomd.store.findings import KeptFinding
from experiments.kit.claims import Claim

T = TypeVar("T")

Verdict: TypeAlias = Literal["reproduced", "direction only", "explained by the control", "not reproduced", "open"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
"""reproduced: the median margin is above the threshold. direction only: it is above 0, and not above the threshold.
Otherwise it is not above 0, and explained by the control: the quantity is beyond the claim's baseline all the same, or
not reproduced: it isn't, or there is none. open: the results don't say yet."""

Level: TypeAlias = Literal["awaiting", "moderate", "strong", "definitive"]
LEVELS: Final[tuple[tuple[int, Level], ...]] = ((10, "definitive"), (4, "strong"), (2, "moderate"), (0, "awaiting"))
"""How widely a claim was replicated: at least so many seeds, and at least so many hosts."""

LEAST_USERS: Final = 2
"""Volunteers whose results a verdict needs: nobody's machines settle a claim by themselves."""
SHOWN_ERROR: Final = 0.05
"""Of the interval that is shown."""
MOST_POINTS: Final = 60
"""Of a course."""
MOST_SEEDS: Final = 1000
"""That are said to be wanting; beyond, nobody waits for them."""
LARGEST: Final = 1e300
"""Numbers from here on are no measurement (experiments/kit/claims.py)."""


@dataclass(frozen=True, slots=True)
class ClaimFinding:
    """A claim of the catalogue and what came of it.

    settled_at, settled_seeds: when the verdict was settled, and after how many seeds; None where it isn't.
    seeds: independent results with all numbers that the claim needs; incomplete: those that lack one. hosts, users,
    platforms: of the former. supported: margin above the threshold; contradicted: not above 0; silent: between.
    consistency: the share of effects whose sign is that of their median. effect: the median of quantity - control;
    interval: its 95 % confidence sequence, None for an end that is still infinite. quantity, control: their medians;
    control_effect: the median of control - baseline (0 where the claim has none). None without numbers.
    e_value: evidence against "the median margin is not above the threshold"; e_value_against: against "it is above 0".
    bar: what an e-value must reach for a verdict, after the correction. more_seeds: about so many more would bring the
    larger of the two there, if results went on as so far; None: none would, or the claim is settled.
    """

    experiment: str
    version: int
    claim: str
    claim_hash: str
    statement: str
    verdict: Verdict
    settled_at: float | None = None
    settled_seeds: int | None = None
    level: Level = "awaiting"
    seeds: int = 0
    incomplete: int = 0
    hosts: int = 0
    users: int = 0
    platforms: tuple[str, ...] = ()
    supported: int = 0
    contradicted: int = 0
    silent: int = 0
    consistency: float | None = None
    effect: float | None = None
    interval: tuple[float | None, float | None] | None = None
    quantity: float | None = None
    control: float | None = None
    control_effect: float | None = None
    e_value: float = 1.0
    e_value_against: float = 1.0
    bar: float = 0.0
    more_seeds: int | None = None
    direction: Literal["greater", "less"] = "greater"
    threshold: float = 0.0
    logged: str = ""


class Point(NamedTuple):
    """A finding as it stood at some time: after so many seeds, the median effect and its interval."""

    at: float
    seeds: int
    effect: float
    low: float | None
    high: float | None


@dataclass(slots=True)
class Evidence:
    """The independent results of an experiment's version, in the order in which they came in."""

    hosts: list[int] = field(default_factory=list)
    users: list[int] = field(default_factory=list)
    platforms: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    columns: dict[str, array[float]] = field(default_factory=dict)
    """What was measured of each quantity; NaN where it wasn't."""

    def __len__(self) -> int:
        """Count the results."""
        return len(self.hosts)

    @classmethod
    def of(cls, keys: Iterable[str], layouts: Mapping[int, Layout], rows: Sequence[Row]) -> Evidence:
        """Unpack rows as store.findings.replicates gives them; those whose layout isn't known are left out."""
        found = cls(columns={key: array("d") for key in keys})
        for layout_id, group in groupby(sorted(rows), key=lambda row: int(row[1])):
            if (layout := layouts.get(layout_id)) is not None:
                found._add(layout, list(group))
        return found

    def _add(self, layout: Layout, rows: Sequence[Row]) -> None:
        width = len(layout.quantities)
        rows = [row for row in rows if len(row[6]) == 16 * width]
        self.hosts += [row[2] for row in rows]
        self.users += [row[3] for row in rows]
        self.platforms += [row[4] for row in rows]
        self.at += [row[5] for row in rows]
        packed = array("d", bytes.fromhex("".join([row[6] for row in rows])))
        if sys.byteorder == "big":
            packed.byteswap()
        places = {key: place for place, key in enumerate(layout.quantities)}
        missing = array("d", [math.nan]) * len(rows)
        for key, column in self.columns.items():
            there = packed[places[key] :: width] if key in places else missing
            column.extend([number if -LARGEST < number < LARGEST else math.nan for number in there])


class Counts(NamedTuple):
    """How many of a claim's margins lie where."""

    results: int
    above_threshold: int
    above_zero: int
    beyond_baseline: int | None
    """Results whose quantity is beyond the baseline, on the claim's side; None: the claim has no baseline."""


def family_size(catalogue: Mapping[str, CatalogueEntry]) -> int:
    """Count the confidence sequences that all claims of the catalogue need together."""
    return sum(1 + (claim.baseline is not None) for entry in catalogue.values() for claim in entry.claims) or 1


def bar(catalogue: Mapping[str, CatalogueEntry], error_rate: float) -> float:
    """Give what an e-value must reach: each sequence has two sides."""
    return 2 * family_size(catalogue) / error_rate


def judge(counts: Counts, bar: float) -> Verdict:
    """Give the verdict by the ends of the corrected confidence sequences, which are order statistics.

    Each end lies beyond a bound if and only if so many margins do that a sign e-process reaches the bar.
    """
    results, needed = counts.results, evidence.fewest_successes(counts.results, math.log(bar))
    if counts.above_threshold >= needed:
        return "reproduced"
    if counts.above_zero >= needed and results - counts.above_threshold >= needed:
        return "direction only"
    if results - counts.above_zero >= needed:
        if counts.beyond_baseline is None:
            return "not reproduced"
        if counts.beyond_baseline >= needed:
            return "explained by the control"
        if results - counts.beyond_baseline >= needed:
            return "not reproduced"
    return "open"


def count(claim: Claim, found: Evidence) -> Counts:
    """Count a claim's margins."""
    return _count(claim, _measured(claim, found))


def verdicts(entry: CatalogueEntry, found: Evidence, bar: float) -> dict[str, tuple[Verdict, int]]:
    """Give the verdict on each claim of an experiment, by its name, and on how many seeds it stands."""
    given: dict[str, tuple[Verdict, int]] = {}
    for claim in entry.claims:
        measured = _measured(claim, found)
        counts = _count(claim, measured)
        given[claim.name] = (_verdict(counts, measured.of(found.users), bar), counts.results)
    return given


def _verdict(counts: Counts, users: Sequence[int], bar: float) -> Verdict:
    return judge(counts, bar) if len(set(users)) >= LEAST_USERS else "open"


def describe(entry: CatalogueEntry, found: Evidence, bar: float, kept: Sequence[KeptFinding]) -> list[ClaimFinding]:
    """Give all there is to say of each claim of an experiment. kept: claims that are settled, of any experiment."""
    settled = {(one.experiment, one.version, one.claim, one.claim_hash): one for one in kept}
    return [
        _describe(entry, claim, found, bar, settled.get((entry.name, entry.version, claim.name, claim.hash)))
        for claim in entry.claims
    ]


def _describe(
    entry: CatalogueEntry, claim: Claim, found: Evidence, bar: float, kept: KeptFinding | None
) -> ClaimFinding:
    measured = _measured(claim, found)
    counts = _count(claim, measured)
    results, supported = counts.results, counts.above_threshold
    contradicted = results - counts.above_zero
    users = measured.of(found.users)
    verdict = next((verdict for verdict in VERDICTS if kept and verdict == kept.verdict), _verdict(counts, users, bar))
    finding = ClaimFinding(
        experiment=entry.name,
        version=entry.version,
        claim=claim.name,
        claim_hash=claim.hash,
        statement=claim.statement,
        verdict=verdict,
        settled_at=kept.at if kept else None,
        settled_seeds=kept.seeds if kept else None,
        seeds=results,
        incomplete=len(found) - results,
        supported=supported,
        contradicted=contradicted,
        silent=results - supported - contradicted,
        e_value=min(evidence.e_value(supported, results), LARGEST),
        e_value_against=min(evidence.e_value(contradicted, results), LARGEST),
        bar=bar,
        more_seeds=(more_seeds(max(supported, contradicted), results, bar) or None) if verdict == "open" else None,
        direction=claim.direction,
        threshold=claim.threshold,
        logged=claim.logged,
    )
    if not results:
        return finding
    effects = sorted(measured.effects)
    effect = median(effects)
    hosts = len(set(measured.of(found.hosts)))
    platforms = set(measured.of(found.platforms))
    return replace(
        finding,
        level=level(hosts, results),
        hosts=hosts,
        users=len(set(users)),
        platforms=tuple(platform.name.lower() for platform in Platform if platform in platforms),
        consistency=_same_sign(effects, effect) / results,
        effect=effect,
        interval=_finite(evidence.median_interval(effects, SHOWN_ERROR)),
        quantity=median(measured.quantities),
        control=median(measured.controls),
        control_effect=median(map(operator.sub, measured.controls, measured.baselines)),
    )


def more_seeds(successes: int, results: int, bar: float) -> int | None:
    """Say how many more results bring the e-process to the bar if successes stay as frequent; None: not a thousand."""
    if 2 * successes <= results:
        return None

    def log_e_value(more: int) -> float:
        return evidence.log_e_value(successes + round(more * successes / results), results + more)

    more = bisect_left(range(MOST_SEEDS + 1), math.log(bar), key=log_e_value)
    return more if more <= MOST_SEEDS else None


def level(hosts: int, seeds: int) -> Level:
    """Say how widely a claim was replicated."""
    return next(name for least, name in LEVELS if min(hosts, seeds) >= least)


def course(claim: Claim, found: Evidence) -> list[Point]:
    """Give the median effect with its 95 % confidence sequence as evidence came in, at a few dozen points."""
    measured = _measured(claim, found)
    effects, at = measured.effects, measured.of(found.at)
    points, ascending, done = [], list[float](), 0
    for step in range(1, MOST_POINTS + 1):
        upto = -(-len(effects) * step // MOST_POINTS)
        if upto == done:
            continue
        ascending += effects[done:upto]
        ascending.sort()
        done = upto
        low, high = _finite(evidence.median_interval(ascending, SHOWN_ERROR))
        points.append(Point(at[done - 1], done, median(ascending), low, high))
    return points


async def read(connection: Connection, entry: CatalogueEntry, distrusted: frozenset[int]) -> Evidence:
    """Read the evidence of an experiment in the catalogue's version, but for what distrusted hosts sent."""
    run = entry.name, entry.version
    layouts = {
        id_: Layout.from_json(entry.name, entry.version, text)
        for id_, text in (await store.layouts(connection, run)).items()
    }
    rows: list[Row] = []
    async for page in store.replicates(connection, run):
        rows += [row for row in page if row[2] not in distrusted] if distrusted else page
    # In a thread: a hundred thousand results take most of a second, in which other work goes on.
    return await asyncio.to_thread(Evidence.of, Layout.of(entry).quantities, layouts, rows)


class _Measured(NamedTuple):
    """What a claim needs of the results that have it all."""

    places: Sequence[int] | None
    """Of these results; None: all have it."""
    quantities: Sequence[float]
    controls: Sequence[float]
    baselines: Sequence[float]

    @property
    def effects(self) -> list[float]:
        return list(map(operator.sub, self.quantities, self.controls))

    def of(self, column: list[T]) -> list[T]:
        """Give what a column of the evidence has of these results."""
        return column if self.places is None else [column[place] for place in self.places]


def _measured(claim: Claim, found: Evidence) -> _Measured:
    base = claim.baseline
    columns = [found.columns[key] for key in (claim.quantity, claim.control, base) if isinstance(key, str)]
    places = None
    if any(math.isnan(sum(column)) for column in columns):
        places = [place for place, row in enumerate(zip(*columns, strict=True)) if not math.isnan(sum(row))]
        columns = [array("d", [column[place] for place in places]) for column in columns]
    quantities, controls, *rest = columns
    # A baseline that is a number stands for itself in each result.
    baselines = rest[0] if rest else array("d", [0.0 if base is None else float(base)]) * len(quantities)
    return _Measured(places, quantities, controls, baselines)


def _count(claim: Claim, measured: _Measured) -> Counts:
    effects, bound = measured.effects, claim.threshold
    if claim.direction == "greater":
        above, positive = sum([effect > bound for effect in effects]), sum([effect > 0 for effect in effects])
    else:
        above, positive = sum([effect < -bound for effect in effects]), sum([effect < 0 for effect in effects])
    if claim.baseline is None:
        return Counts(len(effects), above, positive, None)
    farther = operator.gt if claim.direction == "greater" else operator.lt
    return Counts(len(effects), above, positive, sum(map(farther, measured.quantities, measured.baselines)))


def _same_sign(ascending: Sequence[float], middle: float) -> int:
    """Count the values whose sign is that of the middle one."""
    negative, up_to_zero = bisect_left(ascending, 0.0), bisect_right(ascending, 0.0)
    if middle > 0:
        return len(ascending) - up_to_zero
    return negative if middle < 0 else up_to_zero - negative


def _finite(interval: evidence.Interval) -> tuple[float | None, float | None]:
    low, high = interval
    return (low if math.isfinite(low) else None), (high if math.isfinite(high) else None)


def tally(findings: Iterable[Verdict]) -> dict[Verdict, int]:
    """Count verdicts; each is there, if only with 0."""
    counted = Counter(findings)
    return {verdict: counted[verdict] for verdict in VERDICTS}
