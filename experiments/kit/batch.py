"""The networks of several seeds in one stack, those of a seed side by side, trained together on one device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from experiments.kit.device import Device
from experiments.kit.networks import Labels, Layer

STEPS_AT_ONCE: Final = 50
"""The steps whose batches are drawn and put on the device together."""


def one_stack(stacks: Sequence[list[Layer]], device: Device) -> list[Layer]:
    """Put each seed's networks, all of one shape, on the device as one stack."""
    layers = zip(*stacks, strict=True)
    return [
        (device.put(np.concatenate([W for W, _ in layer])), device.put(np.concatenate([b for _, b in layer])))
        for layer in layers
    ]


def by_seed(networks: list[Layer], seeds: int) -> list[Layer]:
    """View a stack with the seed as an axis before the network; good for `forward`, and it follows the training."""
    return [(W.reshape(seeds, -1, *W.shape[1:]), b.reshape(seeds, -1, *b.shape[1:])) for W, b in networks]


def networks_of_each_seed(networks: list[Layer], seeds: int) -> list[list[Layer]]:
    """View each seed's part of a stack as a stack."""
    return [[(W[seed], b[seed]) for W, b in by_seed(networks, seeds)] for seed in range(seeds)]


def batches(
    rngs: Sequence[np.random.Generator],
    samples: int,
    shape: tuple[int, int],
    steps: int,
    device: Device,
    copies: int = 1,
) -> Iterator[Labels]:
    """Give for every step which samples, 0 to samples - 1, each network of the stack sees: (networks, batch).

    rngs: one for each seed, from which it draws (networks of a seed, batch), `shape`, as it would step by step without
    the others. copies: how often a seed's draw is repeated, where it has that many networks for each one in `shape`.
    """
    for start in range(0, steps, STEPS_AT_ONCE):
        count = min(STEPS_AT_ONCE, steps - start)
        drawn = [np.tile(rng.integers(samples, size=(count, *shape)), (1, copies, 1)) for rng in rngs]
        on_device = device.put(np.concatenate(drawn, axis=1))
        for step in range(count):
            yield on_device[step]
