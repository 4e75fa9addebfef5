"""The findings: what came of each claim of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import Field

from axiomd.science.findings import ClaimFinding, Verdict
from axiomd.views.view import View


class Finding(View):
    """A claim, and what several seeds together say of it."""

    experiment: str
    version: int
    claim: str = Field(description="the claim's name")
    statement: str = Field(description="the claim in words")
    verdict: Verdict = Field(description="what came of it; open: nothing yet")
    seeds: int = Field(description="results that were looked at")
    supported: int = Field(description="results that support it")
    contradicted: int = Field(description="results that contradict it")
    effect: float | None = Field(description="mean of quantity - control over the seeds")
    interval: tuple[float, float] | None = Field(description="95 % interval of that mean")
    quantity: float | None = Field(description="mean of the quantity")
    control: float | None = Field(description="mean of its control")
    control_effect: float | None = Field(description="mean of control - baseline")


class FindingPage(View):
    """Findings in the catalogue's order."""

    findings: list[Finding]
    next: int | None = Field(description="`after` of the next page; null: there is none")


def page(
    findings: Sequence[ClaimFinding],
    *,
    after: int,
    limit: int,
    experiment: str | None = None,
    verdict: Verdict | None = None,
) -> FindingPage:
    """Give the findings that fit, from behind the first so many of them on."""
    fitting = [
        found
        for found in findings
        if (experiment is None or found.experiment == experiment) and (verdict is None or found.verdict == verdict)
    ]
    shown = [Finding(**asdict(found)) for found in fitting[after : after + limit]]
    return FindingPage(findings=shown, next=after + limit if len(fitting) > after + limit else None)
