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
    """

    name: str
    statement: str
    quantity: str
    control: str
    direction: Literal["greater", "less"]
    threshold: float

    def __post_init__(self) -> None:
        if self.direction not in {"greater", "less"}:
            raise ValueError(f"claim {self.name}: the direction is 'greater' or 'less', not {self.direction!r}")
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise ValueError(f"claim {self.name}: the threshold is 0 or more, not {self.threshold}")

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the claim: another wording is another claim."""
        text = json.dumps(
            [self.name, self.statement, self.quantity, self.control, self.direction, float(self.threshold)]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def evaluate(claim: Claim, measured: Mapping[str, object]) -> Verdict:
    """Say what one result says of a claim.

    The margin is quantity - control, with its sign turned for "less". Above the threshold the result supports the
    claim; at or below zero it contradicts it; between them the effect is too small to count, and the result is silent.
    It is silent too where either number is missing or isn't a finite number, as after a stop half way.
    """
    quantity, control = measured.get(claim.quantity), measured.get(claim.control)
    if not (_is_number(quantity) and _is_number(control)):
        return "silent"
    margin = float(quantity) - float(control)
    if claim.direction == "less":
        margin = -margin
    if margin > claim.threshold:
        return "supports"
    return "contradicts" if margin <= 0 else "silent"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
