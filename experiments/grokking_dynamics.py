"""Whether small networks grok: fit all training pairs at once, and come right in the unseen ones only long after.

Method. Networks of one hidden layer learn a + b modulo p from a random share of all p * p pairs, by AdamW in full
batches: x squared with squared error (p 97, hidden 256, 20 % and 30 % of the pairs) and ReLU with cross-entropy (p 59,
hidden 128, half of the pairs). Memorised is the first step with 99 % of the training pairs right, generalised the first
with 95 % of the unseen ones; both are found between checks, and are the last step, a lower bound, if it never comes to
that. How often the checks after it are over 95 % too is a number of its own. The delay in the claims doesn't depend on
such marks: it is the mean over pairs of the logarithm of the step at which a pair comes right.

Control. The same network without weight decay, and with the classes of all pairs shuffled, where nothing can be
generalised. a + b is b + a, so unseen are only pairs whose mirror image (b, a) isn't trained on either; those with a
seen mirror image are scored apart. Chance is 1 / p. The ReLU network learns also with a third of the rate for three
times as many steps. Last, the logs' own sizes (p 23, hidden 64, 30 %) with x squared, under a range of weight decays.

Reference. Power et al. 2022, arXiv 2201.02177; Gromov 2023, arXiv 2301.02679, for x squared; Nanda et al. 2023,
arXiv 2301.05217.

Logged. p 97, rate .001: 49 % after 100,000 steps; p 53, rate .003: 3 % after 300,000, blamed on the rate. Both with
weight decay 1 and hidden 128; activation, loss and share of the pairs aren't told. No control was measured. Their third
run, p 23, is grokking_dynamics_v4. Left out are the sizes of the first two, over 20 minutes of the logs' machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.encoder import Measured
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.modular import AdamW, FullBatch, Kind, Networks, Split, sums
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

NAME: Final = "grokking_dynamics"
SCALES: Final = (0.1, 0.1)  # standard deviations of the initial weights, first and second layer


@dataclass(frozen=True)
class Training:
    """One network on one share of the pairs; trainings that differ in neither start from the same pairs and weights."""

    kind: Kind
    p: int
    hidden: int
    share: float
    rate: float
    decay: float
    steps: int
    shuffled: bool = False


_QUADRATIC: Final = Training("quadratic", p=97, hidden=256, share=0.2, rate=0.01, decay=2, steps=800)
_MORE_DATA: Final = replace(_QUADRATIC, share=0.3, steps=320)
_RELU: Final = Training("relu", p=59, hidden=128, share=0.5, rate=0.01, decay=1, steps=2400)
TRAININGS: Final = {
    "quadratic": _QUADRATIC,
    "quadratic_no_decay": replace(_QUADRATIC, decay=0),
    "quadratic_shuffled": replace(_QUADRATIC, shuffled=True),
    "more_data": _MORE_DATA,
    "more_data_no_decay": replace(_MORE_DATA, decay=0),
    "relu": _RELU,
    "relu_no_decay": replace(_RELU, decay=0),
    "relu_shuffled": replace(_RELU, shuffled=True),
    "relu_low_rate": replace(_RELU, rate=_RELU.rate / 3, steps=_RELU.steps * 3),
}
CHECKS: Final = (*(k / 100 for k in range(1, 6)), *(k / 20 for k in range(2, 21)))  # shares of the steps
MEMORISED: Final = 0.99
GENERALISED: Final = 0.95

SMALL_P: Final = 23
SMALL_HIDDEN: Final = 64
SMALL_SHARE: Final = 0.3
SMALL_RATE: Final = 0.01
SMALL_DECAYS: Final = (0.0, 1.0, 2.0, 3.0, 3.25, 3.5, 3.75, 4.0, 5.0)
SMALL_STEPS: Final = 15_000
SMALL_CHECKS: Final = 40
LOGGED_DECAY: Final = 1.0
WINDOW_DECAY: Final = 3.5

COURSES: Final = {
    "train": "share of the training pairs that are right, by check",
    "unseen": "share of the unseen pairs that are right, by check",
    "norm": "norm of the weights, by check",
}
FIGURES: Final = {
    "unseen_pairs": "number of the unseen pairs",
    "memorised": "first step with 99 % of the training pairs right",
    "generalised": "first step with 95 % of the unseen pairs right",
    "stays": "share of the checks after the first one with 95 % right that have it too, 0 if there is none",
    "final": "share of the unseen pairs that are right after the last step",
    "log_train": "mean over the training pairs of the log10 of the step at which a pair comes right",
    "log_unseen": "the same over the unseen pairs; the last step for those that never come right",
    "mean_unseen": "share of the unseen pairs that are right, mean over the checks",
    "mean_mirrored": "the same over held-out pairs whose mirror image is trained on",
}
SMALL_COURSES: Final = {
    "small_train": "share of the training pairs that are right after the last step, p 23, by weight decay",
    "small_first": "first step with 95 % of the unseen pairs right, p 23, by weight decay",
    "small_stays": "share of the checks after the first one with 95 % right that have it too, p 23, by weight decay",
    "small_late": "share of the unseen pairs that are right, mean over the last quarter of the checks, by weight decay",
}


def _result_keys() -> Iterator[ResultKey]:
    for name in TRAININGS:
        for course, meaning in COURSES.items():
            yield ResultKey(f"{name}_{course}", (len(CHECKS),), f"{meaning}; {name}")
        for figure, meaning in FIGURES.items():
            yield ResultKey(f"{name}_{figure}", (), f"{meaning}; {name}")
    for course, meaning in SMALL_COURSES.items():
        yield ResultKey(course, (len(SMALL_DECAYS),), meaning)
    yield ResultKey("small_late_window", (), "small_late at weight decay 3.5")
    yield ResultKey("small_late_logged", (), "small_late at weight decay 1")


def _claims() -> Iterator[Claim]:
    for name, words in (("quadratic", "A network of squares"), ("relu", "A ReLU network")):
        yield Claim(
            name=f"{name}_generalises",
            statement=f"{words} gets more of the unseen pairs right than one that learns shuffled classes.",
            quantity=f"{name}_final",
            control=f"{name}_shuffled_final",
            direction="greater",
            threshold=0.5,
            baseline=1 / TRAININGS[name].p,
            logged="49 % at p 97, 3 % at p 53",
        )
        yield Claim(
            name=f"{name}_generalises_late",
            statement=f"{words} comes right in an unseen pair, in the geometric mean, after three times as many steps "
            "as in a training pair.",
            quantity=f"{name}_log_unseen",
            control=f"{name}_log_train",
            direction="greater",
            threshold=0.5,
            logged="100 % of the training pairs at step 500, unseen ones not by step 300,000",
        )
        yield Claim(
            name=f"{name}_mirror_images_leak",
            statement=f"{words} gets more of the held-out pairs right, over the whole training, if it is trained on "
            "their mirror images.",
            quantity=f"{name}_mean_mirrored",
            control=f"{name}_mean_unseen",
            direction="greater",
            threshold=0.02,
        )
    for name, words in (
        ("quadratic", "A network of squares with 20 % of the pairs"),
        ("more_data", "A network of squares with 30 % of the pairs"),
        ("relu", "A ReLU network"),
    ):
        yield Claim(
            name=f"{name}_needs_decay",
            statement=f"{words} gets more of the unseen pairs right with weight decay than in as many steps without.",
            quantity=f"{name}_final",
            control=f"{name}_no_decay_final",
            direction="greater",
            threshold=0.5,
            logged="weight decay must compress the memorised solution",
        )
    yield Claim(
        name="low_rate_generalises_better",
        statement="A ReLU network gets more of the unseen pairs right with a third of the learning rate "
        "for three times as many steps.",
        quantity="relu_low_rate_final",
        control="relu_final",
        direction="greater",
        threshold=0.05,
        logged="49 % at rate .001, 3 % at .003 and another p",
    )
    yield Claim(
        name="logged_sizes_have_a_window_of_decay",
        statement="At the logs' sizes a network of squares gets more of the unseen pairs right at weight decay 3.5 "
        "than at the logs' 1.",
        quantity="small_late_window",
        control="small_late_logged",
        direction="greater",
        threshold=0.5,
        baseline=1 / SMALL_P,
    )


METADATA = Metadata(
    name=NAME,
    version=1,
    category="grokking",
    question="Do small networks grok: fit all training pairs at once, and come right in unseen ones only long after?",
    budget_s=360,
    memory_bytes=256 * 2**20,
    # the step at which a network groks is chance: seed 101 differed by 0.38 between two kernels of OpenBLAS
    tolerance=1.0,
    result_keys=tuple(_result_keys()),
    claims=tuple(_claims()),
    plots=(
        Plot(
            title="x squared, p 97, 20 % of the pairs",
            x_label="step",
            x=tuple(share * _QUADRATIC.steps for share in CHECKS),
            y_label="share of the pairs that are right",
            keys=("quadratic_train", "quadratic_unseen", "quadratic_no_decay_unseen", "quadratic_shuffled_unseen"),
            log_x=True,
        ),
        Plot(
            title="ReLU, p 59, half of the pairs",
            x_label="step",
            x=tuple(share * _RELU.steps for share in CHECKS),
            y_label="share of the pairs that are right",
            keys=("relu_train", "relu_unseen", "relu_no_decay_unseen", "relu_shuffled_unseen"),
            log_x=True,
        ),
        Plot(
            title="x squared at the logs' sizes",
            x_label="weight decay",
            x=SMALL_DECAYS,
            y_label="share of the pairs that are right",
            keys=("small_train", "small_late"),
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Train each of the networks, a stage for each; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for each training, and one for all weight decays at the logs' sizes."""
    return [
        *(partial(measure, seed, name, training, scale) for name, training in TRAININGS.items()),
        partial(measure_small, seed, scale),
    ]


def summary(measured: Measured) -> Measured:
    """Give what the claim about the logs' sizes compares."""
    late = dict(zip(SMALL_DECAYS, measured["small_late"], strict=True))
    return {"small_late_window": late[WINDOW_DECAY], "small_late_logged": late[LOGGED_DECAY]}


def measure(seed: int, name: str, training: Training, scale: float) -> Measured:
    """Train one network; give its course, and when it memorised and generalised."""
    planned = [max(1, round(share * training.steps * scale)) for share in CHECKS]
    steps, places = np.unique(planned, return_inverse=True)  # in a shortened training several fall on one step
    split = Split.draw(generator(seed, NAME, f"data/{training.p}/{training.share}"), training.p, training.share, 1)
    y = sums(training.p)[np.newaxis]
    if training.shuffled:
        y = generator(seed, NAME, f"data/shuffled/{training.p}").permuted(y, axis=1)
    rng = generator(seed, NAME, f"weights/{training.kind}/{training.p}")
    networks = Networks.draw(rng, 1, training.p, training.hidden, SCALES)
    batch = FullBatch(training.kind, networks, split.train, y)
    optimiser = AdamW(networks.weights, training.rate, training.decay)
    groups = (~split.held_out, split.mirror_unseen, split.held_out & ~split.mirror_unseen)

    right, norms = np.empty((3, len(steps))), np.empty(len(steps))
    for check, step in enumerate(steps):
        while optimiser.steps < step:
            optimiser.step(batch.gradient())
        correct = networks.answers(training.kind).argmax(axis=-1) == y
        right[:, check] = [correct[group].mean() for group in groups]
        norms[check] = networks.norms()[0]

    train, unseen, mirrored = right
    measured = {
        "unseen_pairs": groups[1].sum(),
        "train": train[places],
        "unseen": unseen[places],
        "norm": norms[places],
        "memorised": first_step(steps, train, MEMORISED),
        "generalised": first_step(steps, unseen, GENERALISED),
        "stays": share_after(unseen, GENERALISED),
        "final": unseen[-1],
        "log_train": mean_log_step(steps, train),
        "log_unseen": mean_log_step(steps, unseen),
        "mean_unseen": unseen[places].mean(),
        "mean_mirrored": mirrored[places].mean(),
    }
    return {f"{name}_{key}": value for key, value in measured.items()}


def measure_small(seed: int, scale: float) -> Measured:
    """Train a network of squares at the logs' sizes under each weight decay, all on the same pairs."""
    steps = np.unique(np.linspace(0, max(2, round(SMALL_STEPS * scale)), SMALL_CHECKS + 1).round().astype(int))[1:]
    count = len(SMALL_DECAYS)
    split = Split.draw(generator(seed, NAME, "data/small"), SMALL_P, SMALL_SHARE, 1)
    y = sums(SMALL_P)[np.newaxis]
    networks = Networks.draw(generator(seed, NAME, "weights/small"), count, SMALL_P, SMALL_HIDDEN, SCALES)
    batch = FullBatch("quadratic", networks, split.train, y)
    optimiser = AdamW(networks.weights, SMALL_RATE, networks.for_each_weight(SMALL_DECAYS))
    unseen = np.empty((len(steps), count))
    for check, step in enumerate(steps):
        while optimiser.steps < step:
            optimiser.step(batch.gradient())
        correct = networks.answers("quadratic").argmax(axis=-1) == y
        unseen[check] = correct[:, split.mirror_unseen[0]].mean(axis=1)
    return {
        "small_train": correct[:, ~split.held_out[0]].mean(axis=1),
        "small_first": [first_step(steps, course, GENERALISED) for course in unseen.T],
        "small_stays": [share_after(course, GENERALISED) for course in unseen.T],
        "small_late": unseen[-max(1, len(steps) // 4) :].mean(axis=0),
    }


def first_step(steps: NDArray[np.int64], accuracy: NDArray[np.float64], level: float) -> float:
    """Give the step at which the accuracy first reaches a level, on the line between checks; the last step if never.

    steps, accuracy: (checks,). Before the first step, at 0, the accuracy counts as 0.
    """
    reached = np.flatnonzero(accuracy >= level)
    if not reached.size:
        return float(steps[-1])
    check = reached[0]
    before, below = (steps[check - 1], accuracy[check - 1]) if check else (0, 0.0)
    return float(before + (steps[check] - before) * (level - below) / (accuracy[check] - below))


def share_after(accuracy: NDArray[np.float64], level: float) -> float:
    """Give the share of the checks after the first one at a level that reach it too; 0 where there is none."""
    reached = accuracy >= level
    later = reached[reached.argmax() + 1 :] if reached.any() else reached[:0]
    return float(later.mean()) if later.size else 0.0


def mean_log_step(steps: NDArray[np.int64], accuracy: NDArray[np.float64]) -> float:
    """Give the mean over pairs of log10 of the first checked step at which a pair is right, if none is lost again.

    steps, accuracy: (checks,). A pair that is wrong at a check adds the stretch up to the next one. One that is never
    right counts as right at the last step.
    """
    return float(np.log10(steps[0]) + ((1 - accuracy[:-1]) * np.diff(np.log10(steps))).sum())
