"""A run as stages, one after the other, as long as there is time for the next one; what is done outlives a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from experiments.kit.encoder import Measured, plain_values

Stage: TypeAlias = Callable[[], Measured]
"""One part of a run, a function of the seed, the scale and the state alone.

It gives what it measured. A list goes to the end of what earlier stages measured under the same key, so a stage that
measures one width gives lists of one entry; a number stands for itself.
"""

BatchStage: TypeAlias = Callable[[], Sequence[Measured]]
"""A stage that several seeds go through side by side; gives what each of them measured."""

State: TypeAlias = dict[str, Any]
"""Arrays that a later stage needs of an earlier one, such as the masks of a pruning, by name."""


@dataclass
class Checkpoint:
    """How far a run came: the stages done of all, what they measured, and the arrays that the next one needs."""

    done: int = 0
    stages: int = 0
    measured: Measured = field(default_factory=dict)
    state: State = field(default_factory=dict)


class Deadline:
    """The seconds that a run may take, counted from the moment this is made.

    Time decides how many stages are run and never what is in them, so a slow machine gives fewer numbers and no other
    ones. checkpoint: where an earlier run of the same seed and scale came to; its stages aren't run again.
    on_stage(checkpoint) is called after every stage.
    """

    def __init__(
        self,
        seconds: float,
        *,
        checkpoint: Checkpoint | None = None,
        on_stage: Callable[[Checkpoint], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.checkpoint = checkpoint or Checkpoint()
        self._clock = clock
        self._end = clock() + seconds
        self._on_stage = on_stage

    def follow(self, stages: Sequence[Stage], state: State) -> bool:
        """Run the stages that aren't done yet into `checkpoint`; whether all are done.

        The first one is always begun; another one only if the longest so far would fit into the time left.
        """
        reached = self.checkpoint
        reached.stages = len(stages)
        state.update(reached.state)
        reached.state = state
        first, longest = reached.done, 0.0
        for stage in stages[first:]:
            begin = self._clock()
            if reached.done > first and begin + longest > self._end:
                return False
            reached.measured, reached.done = _joined(reached.measured, plain_values(stage())), reached.done + 1
            longest = max(longest, self._clock() - begin)
            if self._on_stage is not None:
                self._on_stage(reached)
        return True


def _joined(measured: Measured, more: Measured) -> Measured:
    lists = {key: [*measured.get(key, []), *value] for key, value in more.items() if isinstance(value, list)}
    return {**measured, **more, **lists}


def follow(
    stages: Sequence[Stage],
    summary: Callable[[Measured], Measured],
    budget: Deadline | float,
    state: State | None = None,
) -> Measured:
    """Run the stages within a budget, and give all that was measured with `completed`, the share of stages done.

    summary: from what all stages measured, what only all of them together can say; left out where one is missing.
    budget: a Deadline, or the seconds for a new one. state: the dictionary that the stages share, if they do.
    """
    deadline = budget if isinstance(budget, Deadline) else Deadline(budget)
    complete = deadline.follow(stages, {} if state is None else state)
    reached = deadline.checkpoint
    measured = dict(reached.measured)
    if complete:
        measured |= plain_values(summary(measured))
    return {**measured, "completed": reached.done / reached.stages}


def follow_batch(
    stages: Sequence[BatchStage], summaries: Sequence[Callable[[Measured], Measured]], budget: Deadline | float
) -> list[Measured]:
    """Run the stages of several seeds within a budget, and give for each what `follow` would give for it alone.

    summaries: one for each seed. A checkpoint holds all seeds: see `of_each_seed`.
    """

    def summary(measured: Measured) -> Measured:
        own = of_each_seed(measured, len(summaries))
        return _of_all_seeds([summary(part) for summary, part in zip(summaries, own, strict=True)])

    def together(stage: BatchStage) -> Measured:
        return _of_all_seeds(stage())

    measured = follow([partial(together, stage) for stage in stages], summary, budget)
    completed = measured.pop("completed")
    return [{**own, "completed": completed} for own in of_each_seed(measured, len(summaries))]


def of_each_seed(measured: Measured, seeds: int) -> list[Measured]:
    """Take apart what `seeds` seeds measured together, where the keys of the first one begin with "0/", and so on.

    The keys of a seed that runs alone are as it measured them.
    """
    if seeds == 1:
        return [dict(measured)]
    parts: list[Measured] = [{} for _ in range(seeds)]
    for key, value in measured.items():
        number, _, own = key.partition("/")
        parts[int(number)][own] = value
    return parts


def _of_all_seeds(parts: Sequence[Measured]) -> Measured:
    if len(parts) == 1:
        return dict(parts[0])
    return {f"{number}/{key}": value for number, part in enumerate(parts) for key, value in part.items()}
