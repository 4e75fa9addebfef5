"""Experiments of volunteers' machines: each file asks one question, runs from one seed on one core, and gives numbers.

An experiment is a module with a docstring that says what it asks and how, a `METADATA`, and a `run`. Every module of
this folder is one, but for the programs named below. It is imported by `load` alone, so that listing experiments loads
no numerics.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.kit.device import Device
    from experiments.kit.encoder import Measured
    from experiments.kit.metadata import Metadata
    from experiments.kit.stages import Deadline

_PROGRAMS: Final = ("catalogue", "worker")

NAMES: Final = tuple(
    sorted(found.name for found in iter_modules(__path__) if not found.ispkg and found.name not in _PROGRAMS)
)
"""Every experiment there is."""


class Experiment(Protocol):
    """What every experiment's module has."""

    METADATA: Metadata

    def run(self, seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
        """Run from this seed and give what was measured, with `completed`, the share of its stages that was reached.

        budget: seconds, or a Deadline, which also reports every stage. At its end the run stops between two stages.
        scale: the share of the full length of training, above 0 and up to 1.
        """


class BatchExperiment(Experiment, Protocol):
    """What the module of an experiment has besides if its metadata say `gpu`."""

    def run_batch(self, seeds: Sequence[int], budget: Deadline | float, scale: float, device: Device) -> list[Measured]:
        """Run from several seeds side by side on a device; give for each of them what `run` gives.

        On the host the numbers are those of `run`, bit for bit; on a GPU, where sums are made in another order, they
        aren't.
        """


def load(name: str) -> Experiment:
    """Import the experiment of this name; raises KeyError for a name that is not in NAMES."""
    if name not in NAMES:
        raise KeyError(name)
    return cast("Experiment", import_module(f"experiments.{name}"))
