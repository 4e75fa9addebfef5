"""Claims: what an experiment says about the world, as data that each result can be held against."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeGuard

Verdict: TypeAlias = Literal["supports", "contradicts", "silent"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One measured number is greater, or less, than another one that was measured as its control.

    quantity, control: keys of single numbers in what the experiment measures.
    threshold: the smallest difference that counts in the claim's favour, in the unit of both; not negative.
    baseline: what the logs held the quantity against, or would have, having no control: a number such as no change (0)
    or chance, or the key of a measured one. With it a claim that fails is told apart: the logs' effect isn't there
    at all, or it is there and the control has it too. None where the control is what the logs compared with.
    logged: what the logs report of it, for people to compare with; no part of the claim.
    """

    name: str
    statement: str
    quantity: str
    control: str
    direction: Literal["greater", "less"]
    threshold: float
    baseline: float | str | None = None
    logged: str = ""

    def __post_init__(self) -> None:
        if self.direction not in {"greater", "less"}:
            raise ValueError(f"claim {self.name}: the direction is 'greater' or 'less', not {self.direction!r}")
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise ValueError(f"claim {self.name}: the threshold is 0 or more, not {self.threshold}")

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the claim: another wording or test is another claim."""
        parts = [self.name, self.statement, self.quantity, self.control, self.direction, float(self.threshold)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def effect(claim: Claim, measured: Mapping[str, object]) -> float | None:
    """Give quantity - control in one result; None where either is missing or isn't a finite number."""
    quantity, control = measured.get(claim.quantity), measured.get(claim.control)
    if not (is_number(quantity) and is_number(control)):
        return None
    return float(quantity) - float(control)


def evaluate(claim: Claim, measured: Mapping[str, object]) -> Verdict:
    """Say what one result says of a claim.

    The margin is the effect, with its sign turned for "less". Above the threshold the result supports the
    claim; at or below zero it contradicts it; between them the effect is too small to count, and the result is silent.
    It is silent too where there is no effect to see, as after a stop half way.
    """
    margin = effect(claim, measured)
    if margin is None:
        return "silent"
    if claim.direction == "less":
        margin = -margin
    if margin > claim.threshold:
        return "supports"
    return "contradicts" if margin <= 0 else "silent"


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value of a result is a measurement: one finite number."""
    # An integer too large for a float is no measurement either; NaN is between no two numbers.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300
