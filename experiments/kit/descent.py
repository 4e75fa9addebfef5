"""Training until each network of a stack has reached given losses, to compare networks that fit equally well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.kit.measures import at_loss
from experiments.kit.networks import Layer, copy


class Descent(NamedTuple):
    """The networks on their way down.

    fixed: after the fixed number of steps. held: for each of the losses the networks, each as it was when its loss was
    first seen below it, or at the end if it never was. reached: which of them were seen below the last loss, (count,).
    """

    fixed: list[Layer]
    held: list[list[Layer]]
    reached: NDArray[np.bool_]


def descend(
    networks: list[Layer],
    step: Callable[[], None],
    loss: Callable[[], NDArray[np.float64]],
    levels: Sequence[float],
    *,
    fixed: int,
    longest: int,
    every: int,
) -> Descent:
    """Train `fixed` steps, and on until each network's loss was below each of the levels, or for `longest` steps.

    step: takes a step, changing the networks in place. loss: gives each network's loss, (count,), looked at after every
    so many steps. levels: falling.
    """
    after_fixed = copy(networks)
    held = [copy(networks) for _ in levels]
    below = np.zeros((len(levels), len(networks[0][0])), dtype=bool)
    taken = 0
    while taken < fixed or (taken < longest and not below.all()):
        step()
        taken += 1
        if taken == fixed:
            after_fixed = copy(networks)
        if taken % every == 0 and not below.all():
            now = loss()
            for level, snapshot, seen in zip(levels, held, below, strict=True):
                _hold(snapshot, networks, ~seen & (now < level))
                seen[now < level] = True
    for snapshot, seen in zip(held, below, strict=True):
        _hold(snapshot, networks, ~seen)
    return Descent(after_fixed, held, below[-1])


def mean_at_loss(level: float, losses: list[NDArray[np.float64]], values: list[NDArray[np.float64]]) -> float:
    """Give the mean over the networks of a value at this loss; both are lists, an entry (count,) for each of `held`."""
    by_network = zip(np.transpose(losses), np.transpose(values), strict=True)
    return float(np.mean([at_loss(level, loss, value) for loss, value in by_network]))


def _hold(snapshot: list[Layer], networks: list[Layer], which: NDArray[np.bool_]) -> None:
    for (W_held, b_held), (W, b) in zip(snapshot, networks, strict=True):
        W_held[which], b_held[which] = W[which], b[which]
