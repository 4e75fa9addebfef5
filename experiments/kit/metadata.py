"""What the server knows of an experiment without running it."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from experiments.kit.claims import Claim


@dataclass(frozen=True, slots=True)
class ResultKey:
    """One key of what an experiment measures.

    shape: () for a single number, (4,) for a list of four, and so on. A list is shorter when the run stopped early.
    """

    name: str
    shape: tuple[int, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """An experiment's name, needs, measured keys and claims. Raises ValueError if they don't fit together.

    version: counted up whenever the numbers of an equal seed change.
    budget_s: the seconds a full run may take on one core, about four times what it takes on a core of the year 2023.
    memory_bytes: the most memory that a run holds, with room to spare.
    gpu: whether a variant for a GPU exists.
    """

    name: str
    version: int
    category: str
    question: str
    budget_s: float
    memory_bytes: int
    result_keys: tuple[ResultKey, ...]
    claims: tuple[Claim, ...]
    gpu: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"an experiment is named in a-z, 0-9 and _, a letter first; not {self.name!r}")
        if self.version < 1 or self.memory_bytes <= 0 or not 0 < self.budget_s < math.inf:
            raise ValueError(f"{self.name}: version, budget and memory are above zero")
        for names in ([key.name for key in self.result_keys], [claim.name for claim in self.claims]):
            if len(set(names)) < len(names):
                raise ValueError(f"{self.name}: a key or a claim is declared twice: {names}")
        single = {key.name for key in self.result_keys if key.shape == ()}
        for claim in self.claims:
            unknown = {claim.quantity, claim.control} - single
            if unknown:
                raise ValueError(f"{self.name}: claim {claim.name} needs single numbers {sorted(unknown)}")

    def as_json(self) -> dict[str, Any]:
        """Give all of it as plain data, each claim with its hash."""
        return {**asdict(self), "claims": [{**asdict(claim), "hash": claim.hash} for claim in self.claims]}
