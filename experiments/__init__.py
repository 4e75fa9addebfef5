"""Experiments of volunteers' machines: each file asks one question, runs from one seed on one core, and gives numbers.

An experiment is a module with a docstring that says what it asks and how, a `METADATA`, and a `run`. It is imported
by `load` alone, so that listing experiments loads no numerics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from experiments.kit.deadline import Deadline
    from experiments.kit.encoder import Measured
    from experiments.kit.metadata import Metadata

NAMES: Final = ("memorization_dynamics", "micro_scaling_laws", "representation_alignment")
"""Every experiment there is; a new file is added here."""


class Experiment(Protocol):
    """What every experiment's module has."""

    METADATA: Metadata

    def run(self, seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
        """Run from this seed and give what was measured, with `completed`, the share of its stages that was reached.

        budget: seconds, or a Deadline, which also reports every stage. At its end the run stops between two stages.
        scale: the share of the full length of training, above 0 and up to 1.
        """


def load(name: str) -> Experiment:
    """Import the experiment of this name; raises KeyError for a name that is not in NAMES."""
    if name not in NAMES:
        raise KeyError(name)
    return cast("Experiment", import_module(f"experiments.{name}"))
