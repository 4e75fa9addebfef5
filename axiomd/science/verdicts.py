"""What several seeds together say of a claim: how large the effect is, and whether its control has it too.

This is for `axiomd experiments replicate`: a sample whose size was fixed before, and Student's t. What the volunteers
send comes in one by one, and is looked at all the time: science/findings.py is for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final, Literal, TypeAlias

from scipy import stats

from experiments.kit.claims import Claim, effect, evaluate

CONFIDENCE: Final = 0.95

Conclusion: TypeAlias = Literal[
    "reproduced", "direction only", "explained by the control", "not reproduced", "too few seeds"
]
Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim over several seeds.

    seeds: results that were looked at; where neither supported nor contradicted, the effect was too small, or missing.
    effect: the mean of quantity - control over the seeds; interval: 95 % for that mean. Both None without numbers.
    quantity, control: their means. control_effect: the mean of control - baseline, what the control shows of the
    effect; the baseline is 0 where the claim has none.
    """

    experiment: str
    claim: str
    seeds: int
    supported: int
    contradicted: int
    effect: float | None
    interval: Interval | None
    quantity: float | None
    control: float | None
    control_effect: float | None
    logged: str
    verdict: Conclusion


def conclude(experiment: str, claim: Claim, results: Sequence[Mapping[str, Any]]) -> Finding:
    """Hold a claim against what each result measured, one result a seed.

    reproduced: the interval lies on the claim's side, the mean effect beyond the threshold, and most seeds support it.
    direction only: the interval lies on the claim's side, but the effect is too small or too rarely large enough.
    explained by the control: neither, but the quantity lies beyond the claim's baseline, interval and all: what the
    logs saw is there, and no more of it than the control has. not reproduced: not that either.
    """
    verdicts = Counter(evaluate(claim, measured) for measured in results)
    whole = [measured for measured in results if effect(claim, measured) is not None]
    quantities = [float(measured[claim.quantity]) for measured in whole]
    controls = [float(measured[claim.control]) for measured in whole]
    baselines = [_baseline(claim, measured) for measured in whole]
    effects = [quantity - control for quantity, control in zip(quantities, controls, strict=True)]
    interval = mean_interval(effects)
    beyond = mean_interval([q - b for q, b in zip(quantities, baselines, strict=True)])
    verdict: Conclusion
    if interval is None or beyond is None:
        verdict = "too few seeds"
    elif _is_beyond_zero(interval, claim.direction):
        is_large = abs(fmean(effects)) > claim.threshold and 2 * verdicts["supports"] > len(results)
        verdict = "reproduced" if is_large else "direction only"
    elif claim.baseline is not None and _is_beyond_zero(beyond, claim.direction):
        verdict = "explained by the control"
    else:
        verdict = "not reproduced"
    return Finding(
        experiment=experiment,
        claim=claim.name,
        seeds=len(results),
        supported=verdicts["supports"],
        contradicted=verdicts["contradicts"],
        effect=fmean(effects) if effects else None,
        interval=interval,
        quantity=fmean(quantities) if effects else None,
        control=fmean(controls) if effects else None,
        control_effect=fmean(controls) - fmean(baselines) if effects else None,
        logged=claim.logged,
        verdict=verdict,
    )


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Give the 95 % interval of the mean by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean, deviation = fmean(values), stdev(values)
    if deviation == 0:
        return mean, mean
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=mean, scale=deviation / len(values) ** 0.5)
    return float(low), float(high)


def _baseline(claim: Claim, measured: Mapping[str, Any]) -> float:
    return float(measured[claim.baseline]) if isinstance(claim.baseline, str) else float(claim.baseline or 0)


def _is_beyond_zero(interval: Interval, direction: str) -> bool:
    return interval[0] > 0 if direction == "greater" else interval[1] < 0
