"""What a run is told to do: an experiment, a seed, and how much of it, from options, input file and workunit's name."""

from __future__ import annotations

import contextlib
import math
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from experiments.kit.naming import MAX_SEED, WorkunitName

MAX_BUDGET_S: Final = 86_400.0
MAX_SEEDS: Final = 1024


class OrderError(Exception):
    """What the worker was told to do can't be done; `word` says in one word what is wrong, the message in a line."""

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self.word = word


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. seed_source: "input", "name" or "random"; budget_s: None for the experiment's own.

    gpu: whether on a GPU. seeds: how many, from `seed` on.
    """

    experiment: str
    seed: int
    seed_source: str
    scale: float
    budget_s: float | None
    gpu: bool = False
    seeds: int = 1

    @property
    def is_batch(self) -> bool:
        """Whether it takes an experiment's batch variant: a GPU, or several seeds side by side."""
        return self.gpu or self.seeds > 1


def read_order(
    options: Mapping[str, Any], given: Mapping[str, Any], workunit: WorkunitName | None, names: Collection[str]
) -> Order:
    """Decide what to run from the options, the input file and the workunit's name, in this order.

    names: the experiments there are; where there is but one, it needn't be named. Without a seed in any of the three
    the system's randomness gives one. Raises OrderError for an unknown experiment, a seed that isn't an integer from 0
    to MAX_SEED, a scale outside (0, 1], a budget outside (0, MAX_BUDGET_S] seconds, a `gpu` that isn't true or false,
    or a number of seeds that isn't an integer from 1 to MAX_SEEDS.
    """
    wanted = {**given, **options}
    only = next(iter(names)) if len(names) == 1 else None
    experiment = wanted.get("experiment", workunit.experiment if workunit else only)
    if experiment is None:
        raise OrderError("NoExperiment", f"no experiment is named; choose one by --experiment: {', '.join(names)}")
    if experiment not in names:
        raise OrderError(
            "UnknownExperiment", f"unknown experiment {str(experiment)[:40]!r}; --help names all there are"
        )
    if "seed" in wanted:
        seed, seed_source = _integer("BadSeed", "seed", wanted["seed"], 0, MAX_SEED), "input"
    elif workunit:
        seed, seed_source = workunit.seed, "name"
    else:
        seed, seed_source = secrets.randbelow(MAX_SEED + 1), "random"
    scale = _positive("BadScale", "scale", wanted.get("scale", 1.0), 1.0)
    budget_s = _positive("BadBudget", "budget", wanted["budget_s"], MAX_BUDGET_S) if "budget_s" in wanted else None
    gpu = wanted.get("gpu", False)
    if not isinstance(gpu, bool):
        raise OrderError("BadGpu", f"gpu is true or false, not {str(gpu)[:40]!r}")
    seeds = _integer("BadSeeds", "number of seeds", wanted.get("seeds", 1), 1, MAX_SEEDS)
    return Order(experiment, seed, seed_source, scale, budget_s, gpu, seeds)


def _integer(word: str, name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise OrderError(word, f"the {name} is an integer from {least} to {most}, not {str(value)[:40]!r}")
    return value


def _positive(word: str, name: str, value: object, most: float) -> float:
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
    if not 0 < number <= most:  # false for NaN too
        raise OrderError(word, f"the {name} is a number above 0 and up to {most:g}, not {str(value)[:40]!r}")
    return number
