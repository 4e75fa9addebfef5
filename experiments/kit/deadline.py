"""A run's time: stages one after the other, as long as there is time for the next one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TypeAlias

from experiments.kit.encoder import Measured, plain

Stages: TypeAlias = Generator[Measured, None, Measured]
"""An experiment's course: yields what each stage measured, and returns what only all stages together can say."""


class Deadline:
    """The seconds that a run may take, counted from the moment this is made.

    Time decides how many stages are run and never what is in them, so a slow machine gives fewer numbers and no other
    ones. on_stage(completed, measured) is called after every stage, with the share of stages done and all that was
    measured.
    """

    def __init__(
        self,
        seconds: float,
        *,
        on_stage: Callable[[float, Measured], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._on_stage = on_stage

    def follow(self, stages: Stages, total: int) -> Measured:
        """Run the stages, `total` of them, and give all that was measured with `completed`, the share of stages done.

        The first stage is always run; another one only if the longest so far would fit into the time left.
        """
        measured: Measured = {}
        longest = 0.0
        for done in range(1, total + 1):
            begin = self._clock()
            if done > 1 and begin + longest > self._end:
                return {**measured, "completed": (done - 1) / total}
            measured |= {key: plain(value) for key, value in next(stages).items()}
            longest = max(longest, self._clock() - begin)
            if self._on_stage is not None:
                self._on_stage(done / total, dict(measured))
        try:
            next(stages)
        except StopIteration as end:
            return {**measured, **{key: plain(value) for key, value in end.value.items()}, "completed": 1.0}
        raise RuntimeError(f"the experiment has more than the {total} stages that it names")


def follow(stages: Stages, total: int, budget: Deadline | float) -> Measured:
    """Run the stages within a budget: a Deadline, or the seconds for a new one."""
    deadline = budget if isinstance(budget, Deadline) else Deadline(budget)
    return deadline.follow(stages, total)
