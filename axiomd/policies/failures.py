"""Whether failures are more than chance, and where a failing experiment is to be stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from axiomd.events import Platform
from axiomd.settings import FailureSettings

EXACT_UP_TO: Final = 400
"""Results up to which the tail is summed; beyond, Chernoff's bound stands for it."""


def tail(k: int, n: int, p: float) -> float:
    """Chance of `k` failures or more among `n` results that fail with chance `p` each; above 400 results, at most that.

    Up to there the binomial tail itself, summed in logarithms. Beyond, exp(-n KL(k/n || p)), which is never less than
    the tail: Chernoff, Ann. Math. Statist. 23 (1952) 493, in Hoeffding's form, J. Amer. Statist. Assoc. 58 (1963) 13,
    theorem 1. It holds as well where the results' chances differ and `p` is their mean.

    The chance is that of one look. Who looks after each of `n` results is deceived at some look with at most `n` times
    that chance, and only if the share of failures lies at `p`; below it far less often.
    """
    if k <= n * p:
        return 1.0
    if k > n or p <= 0.0:
        return 0.0
    if n > EXACT_UP_TO:
        share = k / n
        rest = (1 - share) * math.log((1 - share) / (1 - p)) if k < n else 0.0
        return math.exp(-n * (share * math.log(share / p) + rest))
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k, n + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


class Cell(NamedTuple):
    """How the results of an experiment ended on one platform, CPU or GPU."""

    platform: Platform
    hosts: int
    counted: int
    """Results that count: no host counts for many more than the others do, so that one broken host is no evidence."""
    counted_failures: int
    results: int
    """All of them."""
    failures: int
    first_hour: int
    """Hour of the first (since 1970)."""


Of = tuple[str, int, bool]
"""An experiment, its version, and whether its GPU jobs are meant."""


def as_deployed(tallies: Mapping[Of, list[Cell]], gpu: Mapping[str, bool]) -> dict[Of, list[Cell]]:
    """Name tallies by what the jobs are, where all results of an experiment were of the other kind.

    CPU or GPU is what the app version says that a result was computed with; an app whose versions don't tell would keep
    a GPU experiment from being stopped.

    Args:
        tallies: cells by experiment, version, GPU or CPU.
        gpu: whether the settings make GPU jobs of an experiment.

    """
    found = {}
    for of, cells in tallies.items():
        experiment, version, _ = of
        deployed = (experiment, version, gpu.get(experiment, of[2]))
        found[of if deployed in tallies else deployed] = cells
    return found


class Place(NamedTuple):
    """Where an experiment fails: a platform, or wherever it runs (None); and how often."""

    platform: Platform | None
    results: int
    failures: int


def failing_places(cells: Sequence[Cell], settings: FailureSettings, hour: int) -> list[Place]:
    """Where an experiment fails more often than it may, beyond chance; `cells` are those of its CPU or of its GPU jobs.

    Where only some platforms fail and the others are known to do better, those; else everywhere, for a platform on
    which hardly any result has come in says nothing in its favour.

    Args:
        cells: one a platform.
        settings: the bar, and what passes for chance.
        hour: the present one. An experiment that only one host has run fails if it does so over more than an hour:
            before, it may well be the host.

    """
    if sum(cell.hosts for cell in cells) == 1 and cells[0].first_hour < hour:
        cells = [cell._replace(counted=cell.results, counted_failures=cell.failures) for cell in cells]
    failing = [cell for cell in cells if _fails([cell], settings)]
    if not failing and not _fails(cells, settings):
        return []
    others = [cell for cell in cells if cell not in failing]
    known = sum(cell.counted for cell in others)
    if failing and known >= 2 * settings.min_failures and _failures(others) < settings.bar * known:
        return [Place(cell.platform, cell.results, cell.failures) for cell in failing]
    return [Place(None, sum(cell.results for cell in cells), sum(cell.failures for cell in cells))]


def _failures(cells: Sequence[Cell]) -> int:
    return sum(cell.counted_failures for cell in cells)


def _fails(cells: Sequence[Cell], settings: FailureSettings) -> bool:
    failures = _failures(cells)
    if failures < settings.min_failures:
        return False
    return tail(failures, sum(cell.counted for cell in cells), settings.bar) <= settings.chance
