"""The findings: what the independent results say of each claim of the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from pydantic import Field

from axiomd.science import findings
from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.findings import ClaimFinding, Level, Point, Verdict
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import findings as store
from axiomd.store.database import Database
from axiomd.views.view import View


class Finding(View):
    """A claim, and what the independent results together say of it."""

    experiment: str
    version: int
    claim: str = Field(description="the claim's name")
    claim_hash: str = Field(description="of the claim's text: another wording or test is another claim")
    statement: str = Field(description="the claim in words")
    verdict: Verdict = Field(description="what came of it; open: the results don't say yet")
    settled_at: float | None = Field(description="when the verdict was settled for good (Unix seconds); null: it isn't")
    settled_seeds: int | None = Field(description="after how many seeds it was")
    level: Level = Field(description="how widely it was replicated, by the lesser number of seeds and hosts")
    seeds: int = Field(description="independent results with all numbers that the claim needs")
    incomplete: int = Field(description="independent results that lack one")
    hosts: int = Field(description="hosts that the seeds came from")
    users: int = Field(description="volunteers that the seeds came from")
    platforms: tuple[str, ...] = Field(description="operating systems that the seeds came from")
    supported: int = Field(description="results whose margin is above the threshold")
    contradicted: int = Field(description="results whose margin is not above 0")
    silent: int = Field(description="results between")
    consistency: float | None = Field(description="share of the effects whose sign is that of their median")
    effect: float | None = Field(description="median of quantity - control over the seeds")
    interval: tuple[float | None, float | None] | None = Field(
        description="95 % confidence sequence for the median effect, of this claim by itself; null for an open end"
    )
    quantity: float | None = Field(description="median of the quantity")
    control: float | None = Field(description="median of its control")
    control_effect: float | None = Field(description="median of control - baseline")
    e_value: float = Field(description="evidence against: the median margin is not above the threshold")
    e_value_against: float = Field(description="evidence against: the median margin is above 0")
    bar: float = Field(description="what an e-value must reach for a verdict, after the correction for all claims")
    more_seeds: int | None = Field(
        description="about so many more would settle it if they went on as so far; null: none would, or it is settled"
    )
    direction: str = Field(description="greater or less: which side of the control the claim says")
    threshold: float = Field(description="the smallest difference that counts in the claim's favour")
    logged: str = Field(description="what was reported of it before")


class FindingPage(View):
    """Findings in the catalogue's order."""

    findings: list[Finding]
    next: int | None = Field(description="`after` of the next page; null: there is none")


async def read(
    database: Database,
    settings: Settings,
    catalogue: Mapping[str, CatalogueEntry],
    experiments: Collection[str] | None = None,
) -> list[ClaimFinding]:
    """Give the finding of each claim of the catalogue, in its order; of these experiments only."""
    async with database.session() as session:
        return [finding for finding, _ in await gather(session, settings, catalogue, experiments)]


async def gather(
    connection: Connection,
    settings: Settings,
    catalogue: Mapping[str, CatalogueEntry],
    experiments: Collection[str] | None = None,
    *,
    courses: bool = False,
) -> list[tuple[ClaimFinding, list[Point]]]:
    """Give the findings, and with `courses` how each came about."""
    bar = findings.bar(catalogue, settings.replication.error_rate)
    found: list[tuple[ClaimFinding, list[Point]]] = []
    distrusted = await store.distrusted_hosts(connection)
    kept = await store.kept_findings(connection)
    for entry in catalogue.values():
        if experiments is not None and entry.name not in experiments:
            continue
        evidence = await findings.read(connection, entry, distrusted)
        # In a thread: with a hundred thousand results it takes seconds, in which other work goes on.
        described = await asyncio.to_thread(findings.describe, entry, evidence, bar, kept)
        points = await asyncio.to_thread(_courses, entry, evidence) if courses else [[] for _ in described]
        found += zip(described, points, strict=True)
    return found


def _courses(entry: CatalogueEntry, evidence: findings.Evidence) -> list[list[Point]]:
    return [findings.course(claim, evidence) for claim in entry.claims]


def finding(found: ClaimFinding) -> Finding:
    """Give a finding as the API shows it."""
    return Finding(**asdict(found))


def page(
    found: Sequence[ClaimFinding],
    *,
    after: int,
    limit: int,
    experiment: str | None = None,
    verdict: Verdict | None = None,
) -> FindingPage:
    """Give the findings that fit, from behind the first so many of them on."""
    fitting = [
        one
        for one in found
        if (experiment is None or one.experiment == experiment) and (verdict is None or one.verdict == verdict)
    ]
    shown = [finding(one) for one in fitting[after : after + limit]]
    return FindingPage(findings=shown, next=after + limit if len(fitting) > after + limit else None)


def ranked(found: Sequence[ClaimFinding]) -> list[ClaimFinding]:
    """Order findings: settled ones first, then by evidence, then as the catalogue has them."""
    return sorted(found, key=lambda one: (one.verdict == "open", -max(one.e_value, one.e_value_against), -one.seeds))
