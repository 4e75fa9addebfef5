"""What the server knows of an experiment without running it."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Final

from experiments.kit.claims import Claim

TOLERANCE: Final = 1e-6
"""How far two machines may differ where an experiment doesn't say."""
MOST_TOLERANCE: Final = 2.0
"""Relative to the larger one, no two numbers differ by more."""


@dataclass(frozen=True, slots=True)
class ResultKey:
    """One key of what an experiment measures.

    shape: () for a single number, (4,) for a list of four, and so on. A list is shorter when the run stopped early.
    """

    name: str
    shape: tuple[int, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What a figure of the experiment shows: measured lists over what was varied.

    x: what was varied, one number for each entry of the lists. keys: the lists to draw, each of len(x) numbers.
    """

    title: str
    x_label: str
    x: tuple[float, ...]
    y_label: str
    keys: tuple[str, ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """An experiment's name, needs, measured keys, claims and plots. Raises ValueError if they don't fit together.

    version: counted up whenever the numbers of an equal seed change.
    budget_s: the seconds a full run may take on one core, about four times what it takes on a core of the year 2023.
    memory_bytes: the most memory that a run holds, with room to spare.
    gpu: whether it has a `run_batch`, for several seeds side by side and for a GPU.
    variant_of: the experiment that this one is a slow variant of, run only where it is asked for by its name.
    tolerance: how far two machines' numbers of an equal seed may differ, relative to the larger one, or absolute where
    both are below 1: rounding differs from processor to processor, and training magnifies it.
    """

    name: str
    version: int
    category: str
    question: str
    budget_s: float
    memory_bytes: int
    result_keys: tuple[ResultKey, ...]
    claims: tuple[Claim, ...]
    plots: tuple[Plot, ...] = ()
    gpu: bool = False
    variant_of: str | None = None
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"an experiment is named in a-z, 0-9 and _, a letter first; not {self.name!r}")
        if self.version < 1 or self.memory_bytes <= 0 or not 0 < self.budget_s < math.inf:
            raise ValueError(f"{self.name}: version, budget and memory are above zero")
        if not 0 < self.tolerance <= MOST_TOLERANCE:
            raise ValueError(f"{self.name}: a tolerance is above 0 and up to {MOST_TOLERANCE}, not {self.tolerance}")
        for names in ([key.name for key in self.result_keys], [claim.name for claim in self.claims]):
            if len(set(names)) < len(names):
                raise ValueError(f"{self.name}: a key or a claim is declared twice: {names}")
        single = {key.name for key in self.result_keys if key.shape == ()}
        for claim in self.claims:
            baseline = {claim.baseline} if isinstance(claim.baseline, str) else set()
            unknown = {claim.quantity, claim.control} | baseline
            unknown -= single
            if unknown:
                raise ValueError(f"{self.name}: claim {claim.name} needs single numbers {sorted(unknown)}")
        lists = {key.name: key.shape for key in self.result_keys}
        for plot in self.plots:
            wrong = [key for key in plot.keys if lists.get(key) != (len(plot.x),)]
            if wrong:
                raise ValueError(f"{self.name}: plot {plot.title!r} needs lists of {len(plot.x)} numbers for {wrong}")

    def as_json(self) -> dict[str, Any]:
        """Give all of it as plain data, each claim with its hash."""
        return {**asdict(self), "claims": [{**asdict(claim), "hash": claim.hash} for claim in self.claims]}
