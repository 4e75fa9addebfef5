"""Whether a result file is what its experiment declares: a volunteer's file is a claim about numbers, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from axiomd.science.catalogue import CatalogueEntry
from experiments.kit.claims import is_number
from experiments.kit.naming import MAX_SEED
from experiments.kit.order import MAX_SEEDS

LONGEST_LIST: Final = 100_000
"""The most numbers that a result may hold under one key; no declared shape is larger."""


def problems(result: object, entry: CatalogueEntry) -> list[str]:
    """Say what is wrong with a result of this experiment; an empty list if nothing is.

    A run that ended early lacks keys, and its lists are shorter in their first axis. Only a complete one needs all. The
    result of several seeds has `runs` instead of `measured`: a list of objects, each with a seed and what it measured.
    """
    if not isinstance(result, dict):
        return ["the result is no JSON object"]
    found = []
    if (result.get("experiment"), result.get("version")) != (entry.name, entry.version):
        found.append(f"it is not of {entry.name} version {entry.version}")
    if not is_number(result.get("completed")) or not 0 <= result["completed"] <= 1:
        found.append("completed is no share from 0 to 1")
    is_complete = result.get("ended") == "complete" and not result.get("omitted")
    if "runs" not in result:
        return found + _problems_of_measured(result.get("measured"), entry, is_complete=is_complete)
    if "measured" in result:
        found.append("it has both measured and runs")
    return found + _problems_of_runs(result["runs"], entry, is_complete=is_complete)


def _problems_of_runs(runs: object, entry: CatalogueEntry, *, is_complete: bool) -> list[str]:
    if not isinstance(runs, list) or not 1 <= len(runs) <= MAX_SEEDS:
        return [f"runs is no list of 1 to {MAX_SEEDS} runs"]
    found: dict[str, None] = {}  # each said once, however many runs have it
    seeds = set()
    for run in runs:
        seed = run.get("seed") if isinstance(run, dict) else None
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
            found["a run has no seed"] = None
            continue
        if seed in seeds:
            found[f"seed {seed} is there twice"] = None
        seeds.add(seed)
        found |= dict.fromkeys(_problems_of_measured(run.get("measured"), entry, is_complete=is_complete))
    return list(found)


def _problems_of_measured(measured: object, entry: CatalogueEntry, *, is_complete: bool) -> list[str]:
    if not isinstance(measured, dict):
        return ["measured is no JSON object"]
    return _problems_of_keys(measured, entry.shapes, is_complete=is_complete)


def _problems_of_keys(
    measured: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], *, is_complete: bool
) -> list[str]:
    found = [f"{str(key)[:40]!r} is not declared" for key in measured if key not in shapes]
    for key, shape in shapes.items():
        if key not in measured:
            if is_complete:
                found.append(f"{key} is missing")
        elif not _fits(measured[key], shape, is_complete=is_complete):
            wanted = "a finite number" if shape == () else f"finite numbers of shape {shape}"
            found.append(f"{key} is not {wanted}")
    return found


def _fits(value: object, shape: tuple[int, ...], *, is_complete: bool) -> bool:
    if shape == ():
        return is_number(value)
    if not isinstance(value, list) or len(value) > LONGEST_LIST:
        return False
    is_long_enough = len(value) == shape[0] or (not is_complete and len(value) < shape[0])
    return is_long_enough and all(_fits(part, shape[1:], is_complete=True) for part in value)
