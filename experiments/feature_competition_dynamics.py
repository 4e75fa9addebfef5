"""Whether a strong feature starves a weak one.

Method. Points have two blocks of 10 inputs, each of which tells the class, one of 5, by a Gaussian cloud; in the strong
block the clouds lie twice as far apart as in the weak one. Networks of two hidden layers learn by SGD, one for each of
8 data sets, at widths 32 to 256. What a network learned of a block is its accuracy on fresh points whose other block is
set to zero, between chance (0) and the best possible classifier of that block (1). The gradient ratio is the length of
the gradient in the first weights of the strong block over that of the weak block; it and what is learned are taken at 6
points of the course.

Control. The same initial weights, labels, noise and batches in three more conditions: the weak block alone informative,
the strong block alone, and two blocks that are both weak. Strong first is no starvation, since alone too a strong
feature is learned first; starvation is that the weak feature is learned less in the strong one's presence than without
it. Trends in width are held against two equal blocks and against the spread between data sets.

Reference. Pezeshki et al. 2021, "Gradient Starvation: A Learning Proclivity in Neural Networks", arXiv 2011.09468.

Logged. Gradient ratio strong/weak 1.39 to 1.45 in the mean, 1.12, 1.41, 1.33, 1.71 at widths 32, 64, 128, 256, read as
wider networks suppressing weak features more; the strong feature first in every seed. No control was measured.
All logged widths are here; the logs tell nothing else of the design.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.kit.batch import batches, networks_of_each_seed, one_stack
from experiments.kit.claims import Claim
from experiments.kit.data import GaussianMixture
from experiments.kit.device import HOST, Device
from experiments.kit.encoder import Measured
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import (
    Floats,
    Labels,
    Layer,
    accuracy,
    forward,
    gradients,
    new_networks,
    sgd_step,
    stretches,
)
from experiments.kit.seeds import generator
from experiments.kit.stages import BatchStage, Deadline, follow_batch

NAME: Final = "feature_competition_dynamics"
CLASSES: Final = 5
BLOCK: Final = 10  # inputs of one feature
STRONG: Final = 6.0  # distance of two clouds in standard deviations; by itself good for an accuracy of about .97
WEAK: Final = 3.0  # about .78
CONDITIONS: Final = {  # the strength of the first block and of the second
    "together": (STRONG, WEAK),
    "weak alone": (0.0, WEAK),
    "strong alone": (STRONG, 0.0),
    "equal": (WEAK, WEAK),
}
STRENGTHS: Final = np.array(list(CONDITIONS.values()))
TOGETHER, WEAK_ALONE, STRONG_ALONE, EQUAL = range(len(CONDITIONS))
SETS: Final = 8
TRAIN: Final = 2000
FRESH: Final = 200
WIDTHS: Final = (32, 64, 128, 256)
STEPS: Final = 850
SHARES: Final = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # of the steps, after which is measured
BATCH: Final = 50
LEARNING_RATE: Final = 0.05

METADATA = Metadata(
    name=NAME,
    version=1,
    category="representations",
    question="Does a strong feature starve a weak one?",
    budget_s=100,
    memory_bytes=256 * 2**20,
    tolerance=0.01,  # seed 101 differed by 0.0021 between two kernels of OpenBLAS
    gpu=True,
    result_keys=(
        ResultKey("strong_bayes_accuracy", (), "best possible accuracy by the strong block alone"),
        ResultKey("weak_bayes_accuracy", (), "best possible accuracy by the weak block alone"),
        ResultKey(
            "ratios", (4, 8), "gradient ratio strong/weak, geometric mean over the course, by width and data set"
        ),
        ResultKey("ratios_equal", (4, 8), "the same with two weak blocks"),
        ResultKey("strong_course", (4, 4, 6), "learned of the first block, by width, condition and share of the steps"),
        ResultKey("weak_course", (4, 4, 6), "learned of the second block, by width, condition and share of the steps"),
        ResultKey("ratio_by_width", (4,), "ratios, geometric mean over the data sets"),
        ResultKey("ratio_equal_by_width", (4,), "ratios_equal, geometric mean over the data sets"),
        ResultKey("weak_together_by_width", (4,), "learned of the weak block at the end, beside the strong one"),
        ResultKey("weak_equal_by_width", (4,), "learned of a weak block at the end, beside another weak one"),
        ResultKey("weak_alone_by_width", (4,), "learned of the weak block at the end, the other one uninformative"),
        ResultKey("ratio", (), "geometric mean of ratio_by_width"),
        ResultKey("ratio_equal", (), "geometric mean of ratio_equal_by_width"),
        ResultKey("ratio_slope", (), "rise of the logarithm (base 2) of the ratio with each doubling of the width"),
        ResultKey("ratio_slope_equal", (), "the same with two weak blocks"),
        ResultKey("ratio_rise", (), "ratio at width 256 less that at width 32"),
        ResultKey("ratio_spread", (), "standard deviation of the ratio between data sets, mean over the widths"),
        ResultKey("lead_together", (), "learned of the strong block less of the weak one, mean over course and width"),
        ResultKey("lead_alone", (), "the same, each block being learned without the other"),
        ResultKey("lead_equal", (), "the same for the first of two weak blocks and the second"),
        ResultKey("weak_together", (), "mean of weak_together_by_width"),
        ResultKey("weak_equal", (), "mean of weak_equal_by_width"),
        ResultKey("weak_alone", (), "mean of weak_alone_by_width"),
        ResultKey("starvation_widest", (), "what the strong block costs the weak one at the end, at width 256"),
        ResultKey("starvation_narrowest", (), "the same at width 32"),
    ),
    claims=(
        Claim(
            name="strong_has_the_larger_gradient",
            statement="The ratio of the gradients of two blocks is larger when one is strong than when both are weak.",
            quantity="ratio",
            control="ratio_equal",
            direction="greater",
            threshold=0.1,
            baseline=1,
            logged="1.39 to 1.45",
        ),
        Claim(
            name="ratio_rises_with_width",
            statement="With width the gradient ratio strong/weak rises faster than the ratio of two weak blocks.",
            quantity="ratio_slope",
            control="ratio_slope_equal",
            direction="greater",
            threshold=0.05,  # a factor of 1.11 from width 32 to 256
            baseline=0,
            logged="1.12, 1.41, 1.33, 1.71 at widths 32 to 256, a slope of .18",
        ),
        Claim(
            name="rise_is_beyond_the_spread_of_data",
            statement="From width 32 to 256 the gradient ratio rises by more than it differs between data sets.",
            quantity="ratio_rise",
            control="ratio_spread",
            direction="greater",
            threshold=0,
            baseline=0,
            logged="a rise of .59",
        ),
        Claim(
            name="strong_is_learned_first",
            statement="The lead of the strong block over the weak one is larger than that of one weak block "
            "over another.",
            quantity="lead_together",
            control="lead_equal",
            direction="greater",
            threshold=0.05,
            baseline=0,
            logged="strong first in 100 % of seeds",
        ),
        Claim(
            name="competition_widens_the_lead",
            statement="The strong block leads the weak one by more when both are learned by one network "
            "than when each is learned without the other.",
            quantity="lead_together",
            control="lead_alone",
            direction="greater",
            threshold=0.05,
            baseline=0,
        ),
        Claim(
            name="strong_starves_weak",
            statement="After equal steps, less is learned of the weak block beside a strong one than alone.",
            quantity="weak_together",
            control="weak_alone",
            direction="less",
            threshold=0.05,
            logged="read from the gradient ratio",
        ),
        Claim(
            name="strength_starves",
            statement="After equal steps, less is learned of a weak block beside a strong one "
            "than beside another weak one.",
            quantity="weak_together",
            control="weak_equal",
            direction="less",
            threshold=0.05,
            baseline="weak_alone",
        ),
        Claim(
            name="wider_networks_starve_more",
            statement="What the strong block costs the weak one is more at width 256 than at width 32.",
            quantity="starvation_widest",
            control="starvation_narrowest",
            direction="greater",
            threshold=0.02,
            baseline=0,
            logged="wider networks show stronger suppression",
        ),
    ),
    plots=(
        Plot(
            title="Gradient ratio of two blocks",
            x_label="width",
            x=WIDTHS,
            y_label="first block / second",
            keys=("ratio_by_width", "ratio_equal_by_width"),
            log_x=True,
        ),
        Plot(
            title="What is learned of a weak feature",
            x_label="width",
            x=WIDTHS,
            y_label="share of the best possible",
            keys=("weak_alone_by_width", "weak_equal_by_width", "weak_together_by_width"),
            log_x=True,
        ),
    ),
)


class Points(NamedTuple):
    """What every stage trains and measures on; the first axis is condition and data set, condition slowest.

    strong, weak: the fresh points with the other block set to zero. bayes: the best possible accuracy on them,
    (blocks, conditions), the mean over the data sets.
    """

    X: Floats
    y: Labels
    strong: Floats
    weak: Floats
    y_fresh: Labels
    bayes: NDArray[np.float64]


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure the competition of two features, a stage for each width; `scale` shortens the training."""
    return run_batch([seed], budget, scale)[0]


def run_batch(
    seeds: Sequence[int], budget: Deadline | float, scale: float = 1.0, device: Device = HOST
) -> list[Measured]:
    """Do what `run` does for several seeds, their networks side by side on the device."""
    return follow_batch(stages(seeds, scale, device), [summary] * len(seeds), budget)


def stages(seeds: Sequence[int], scale: float, device: Device) -> list[BatchStage]:
    """Give a stage for each width; all of them see the same points."""
    points = [_on(device, draw(generator(seed, NAME, "data"))) for seed in seeds]
    X, y = np.concatenate([own.X for own in points]), np.concatenate([own.y for own in points])
    network = device.put(np.arange(len(y))[:, np.newaxis])
    steps = max(1, round(STEPS * scale))

    def measure(width: int) -> list[Measured]:
        sizes = (2 * BLOCK, width, width, CLASSES)
        fresh = [new_networks(generator(seed, NAME, f"weights/{width}"), SETS, sizes) for seed in seeds]
        networks = one_stack(
            [[(_in_each_condition(W), _in_each_condition(b)) for W, b in own] for own in fresh], device
        )
        of_seeds = networks_of_each_seed(networks, len(seeds))
        rngs = [generator(seed, NAME, f"batches/{width}") for seed in seeds]
        drawn = batches(rngs, TRAIN, (SETS, BATCH), steps, device, copies=len(CONDITIONS))
        courses: list[list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = [[] for _ in seeds]
        for stretch in stretches(steps, SHARES):
            for batch in islice(drawn, len(stretch)):
                sgd_step(networks, X[network, batch], y[network, batch], LEARNING_RATE)
            for course, own, seen in zip(courses, of_seeds, points, strict=True):
                course.append((learned(own, seen, device), log_ratio(own, seen, device)))
        return [_measured(course, own.bayes) for course, own in zip(courses, points, strict=True)]

    return [partial(measure, width) for width in WIDTHS]


def _measured(courses: list[tuple[NDArray[np.float64], NDArray[np.float64]]], bayes: NDArray[np.float64]) -> Measured:
    course = np.stack([both for both, _ in courses], axis=-1)  # (blocks, conditions, shares)
    ratios = np.exp(np.mean([ratio for _, ratio in courses], axis=0))
    return {
        "strong_bayes_accuracy": bayes[0, TOGETHER],
        "weak_bayes_accuracy": bayes[1, TOGETHER],
        "ratios": [ratios[TOGETHER]],
        "ratios_equal": [ratios[EQUAL]],
        "strong_course": [course[0]],
        "weak_course": [course[1]],
    }


def draw(rng: np.random.Generator) -> Points:
    """Draw the data sets, each with clouds of its own, in all conditions."""
    means = rng.standard_normal((SETS, CLASSES, 2, BLOCK)) / np.sqrt(2 * BLOCK)  # about one standard deviation apart
    y = rng.integers(CLASSES, size=(SETS, TRAIN + FRESH))
    noise = rng.standard_normal((SETS, TRAIN + FRESH, 2, BLOCK))
    scaled = STRENGTHS[:, np.newaxis, np.newaxis, :, np.newaxis] * means  # (conditions, sets, classes, blocks, inputs)
    X = (noise + scaled[:, np.arange(SETS)[:, np.newaxis], y]).astype(np.float32)
    X_fresh, y_fresh = X[:, :, TRAIN:], y[:, TRAIN:]
    bayes = np.empty((2, len(CONDITIONS), SETS))
    for block, condition, s in np.ndindex(bayes.shape):
        mixture = GaussianMixture(scaled[condition, s, :, block][np.newaxis])
        bayes[block, condition, s] = accuracy(mixture.bayes_logits(X_fresh[condition, s, :, block]), y_fresh[s])
    one_block = np.eye(2, dtype=np.float32)[:, :, np.newaxis]
    return Points(
        X[:, :, :TRAIN].reshape(-1, TRAIN, 2 * BLOCK),
        _in_each_condition(y[:, :TRAIN]),
        (X_fresh * one_block[0]).reshape(-1, FRESH, 2 * BLOCK),
        (X_fresh * one_block[1]).reshape(-1, FRESH, 2 * BLOCK),
        _in_each_condition(y_fresh),
        bayes.mean(axis=-1),
    )


def learned(networks: list[Layer], points: Points, device: Device = HOST) -> NDArray[np.float64]:
    """Give what is learned of each block in each condition, (blocks, conditions): 0 at chance, 1 at the best possible.

    Of a block that says nothing of the class nothing can be learned: 0.
    """
    right = [device.get(accuracy(forward(networks, X)[-1], points.y_fresh)) for X in (points.strong, points.weak)]
    above_chance = np.reshape(right, (2, len(CONDITIONS), SETS)).mean(axis=-1) - 1 / CLASSES
    tells = STRENGTHS.T > 0
    share: NDArray[np.float64] = tells * above_chance / np.where(tells, points.bayes - 1 / CLASSES, 1)
    return share


def log_ratio(networks: list[Layer], points: Points, device: Device = HOST) -> NDArray[np.float64]:
    """Give the logarithm of the gradient ratio of the two blocks, on the first training points; (conditions, sets)."""
    gradient = device.get(gradients(networks, points.X[:, :FRESH], points.y[:, :FRESH])[0][0])
    squares = (gradient.astype(np.float64) ** 2).sum(axis=-1).reshape(len(CONDITIONS), SETS, 2, BLOCK).sum(axis=-1)
    ratio: NDArray[np.float64] = np.log(squares[..., 0] / squares[..., 1]) / 2
    return ratio


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: means over the widths, and trends with it."""
    ratios = {name: np.array(measured[name]) for name in ("ratios", "ratios_equal")}
    logs = {name: np.log2(values).mean(axis=1) for name, values in ratios.items()}
    slopes = {name: np.polyfit(np.log2(WIDTHS), values, 1)[0] for name, values in logs.items()}
    strong, weak = np.array(measured["strong_course"]), np.array(measured["weak_course"])
    alone, together, equal = (weak[:, condition, -1] for condition in (WEAK_ALONE, TOGETHER, EQUAL))
    starvation = alone - together
    return {
        "ratio_by_width": 2 ** logs["ratios"],
        "ratio_equal_by_width": 2 ** logs["ratios_equal"],
        "weak_together_by_width": together,
        "weak_equal_by_width": equal,
        "weak_alone_by_width": alone,
        "ratio": 2 ** logs["ratios"].mean(),
        "ratio_equal": 2 ** logs["ratios_equal"].mean(),
        "ratio_slope": slopes["ratios"],
        "ratio_slope_equal": slopes["ratios_equal"],
        "ratio_rise": ratios["ratios"][-1].mean() - ratios["ratios"][0].mean(),
        "ratio_spread": ratios["ratios"].std(axis=1, ddof=1).mean(),
        "lead_together": (strong[:, TOGETHER] - weak[:, TOGETHER]).mean(),
        "lead_alone": (strong[:, STRONG_ALONE] - weak[:, WEAK_ALONE]).mean(),
        "lead_equal": (strong[:, EQUAL] - weak[:, EQUAL]).mean(),
        "weak_together": together.mean(),
        "weak_equal": equal.mean(),
        "weak_alone": alone.mean(),
        "starvation_widest": starvation[-1],
        "starvation_narrowest": starvation[0],
    }


def _on(device: Device, points: Points) -> Points:
    put = device.put
    return Points(put(points.X), put(points.y), put(points.strong), put(points.weak), put(points.y_fresh), points.bayes)


def _in_each_condition(of_sets: NDArray[Any]) -> NDArray[Any]:
    # So that the conditions differ in nothing but the data they see.
    return np.concatenate([of_sets] * len(CONDITIONS))
