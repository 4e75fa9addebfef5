"""Whether wider networks from different seeds represent alike, and whether training makes them.

Method. 6 networks of equal width and two hidden layers, different only in their initial weights and the order of their
batches, learn one task: 5 classes of 8 Gaussian clouds each in 20 dimensions, which no linear rule solves. Linear CKA
compares what each pair of them makes of 1,000 fresh points, at both hidden layers and at widths 32 to 256; the mean is
over the 15 pairs.

Control. The same networks before training. Random ReLU features approach one kernel as the width grows, so untrained
networks too are the more alike the wider they are; only what goes beyond that is learned.

Reference. Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", arXiv 1905.00414.

Logged. CKA .79, .88 to .91, .94, .965 at widths 32, 64, 128, 256, rising with width in every seed, and read as support
for the lazy regime; no untrained network was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.kit.batch import batches, networks_of_each_seed, one_stack
from experiments.kit.claims import Claim
from experiments.kit.data import GaussianMixture
from experiments.kit.device import HOST, Device
from experiments.kit.encoder import Measured
from experiments.kit.measures import linear_cka
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import Floats, Labels, Layer, accuracy, forward, new_networks, sgd_step
from experiments.kit.seeds import generator
from experiments.kit.stages import BatchStage, Deadline, follow_batch

NAME: Final = "representation_alignment"
CLASSES: Final = 5
CLOUDS: Final = 8
DIMENSIONS: Final = 20
SEPARATION: Final = 7.0  # the best possible classifier is right in about 97 % of the points
TRAIN: Final = 2000
FRESH: Final = 1000
WIDTHS: Final = (32, 64, 128, 256)
NETWORKS: Final = 6
STEPS: Final = 3000
BATCH: Final = 50
LEARNING_RATE: Final = 0.1

METADATA = Metadata(
    name=NAME,
    version=1,
    category="representations",
    question="Do wider networks from different seeds represent alike, and is it training that makes them?",
    budget_s=60,
    memory_bytes=256 * 2**20,
    tolerance=0.01,  # seed 101 differed by 0.00042 between two kernels of OpenBLAS
    gpu=True,
    result_keys=(
        ResultKey("bayes_accuracy", (), "accuracy of the best possible classifier on the fresh points"),
        ResultKey("test_accuracy", (4,), "accuracy on the fresh points after training, by width"),
        ResultKey("weight_movement", (4,), "|change| / |initial| of the second hidden layer's weights, by width"),
        ResultKey("cka_first_untrained", (4,), "CKA at the first hidden layer before training, by width"),
        ResultKey("cka_first_trained", (4,), "CKA at the first hidden layer after training, by width"),
        ResultKey("cka_last_untrained", (4,), "CKA at the last hidden layer before training, by width"),
        ResultKey("cka_last_trained", (4,), "CKA at the last hidden layer after training, by width"),
        ResultKey("cka_narrowest", (), "cka_last_trained at width 32"),
        ResultKey("cka_widest", (), "cka_last_trained at width 256"),
        ResultKey("cka_widest_untrained", (), "cka_last_untrained at width 256"),
        ResultKey("rise_trained", (), "cka_last_trained at width 256 less that at width 32"),
        ResultKey("rise_untrained", (), "cka_last_untrained at width 256 less that at width 32"),
    ),
    claims=(
        Claim(
            name="wider_is_more_alike",
            statement="After training, networks of width 256 are more alike across seeds than networks of width 32.",
            quantity="cka_widest",
            control="cka_narrowest",
            direction="greater",
            threshold=0.02,
            logged=".79 at width 32, .965 at 256",
        ),
        Claim(
            name="training_makes_wide_networks_alike",
            statement="Networks of width 256 are more alike across seeds after training than before it.",
            quantity="cka_widest",
            control="cka_widest_untrained",
            direction="greater",
            threshold=0.02,
        ),
        Claim(
            name="training_makes_the_rise_with_width",
            statement="From width 32 to 256, CKA across seeds rises further after training than it does before it.",
            quantity="rise_trained",
            control="rise_untrained",
            direction="greater",
            threshold=0.02,
            baseline=0,
            logged="a rise of .175",
        ),
    ),
    plots=(
        Plot(
            title="Alignment of networks from different seeds",
            x_label="width",
            x=WIDTHS,
            y_label="linear CKA",
            keys=("cka_last_untrained", "cka_last_trained"),
            log_x=True,
        ),
    ),
)


class Points(NamedTuple):
    """The points of one seed, (samples, inputs), to train on and fresh ones."""

    X: Floats
    y: Labels
    X_fresh: Floats
    y_fresh: Labels
    bayes_accuracy: NDArray[np.float64]


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure the alignment before and after training, a stage for each width; `scale` shortens the training."""
    return run_batch([seed], budget, scale)[0]


def run_batch(
    seeds: Sequence[int], budget: Deadline | float, scale: float = 1.0, device: Device = HOST
) -> list[Measured]:
    """Do what `run` does for several seeds, their networks side by side on the device."""
    return follow_batch(stages(seeds, scale, device), [summary] * len(seeds), budget)


def stages(seeds: Sequence[int], scale: float, device: Device) -> list[BatchStage]:
    """Give a stage for each width; all of a seed's networks see the same points."""
    points = [draw(generator(seed, NAME, "data")) for seed in seeds]
    X, y, X_fresh, y_fresh = (device.put(np.stack([own[part] for own in points])) for part in range(4))
    owner = device.put(np.repeat(np.arange(len(seeds)), NETWORKS)[:, np.newaxis])
    steps = max(1, round(STEPS * scale))

    def measure(width: int) -> list[Measured]:
        sizes = (DIMENSIONS, width, width, CLASSES)
        fresh = [new_networks(generator(seed, NAME, f"weights/{width}"), NETWORKS, sizes) for seed in seeds]
        networks = one_stack(fresh, device)
        of_seeds = networks_of_each_seed(networks, len(seeds))
        initial = networks[1][0].copy().reshape(len(seeds), NETWORKS, width, width)
        untrained = [alignment(own, X) for own, X in zip(of_seeds, X_fresh, strict=True)]

        rngs = [generator(seed, NAME, f"batches/{width}") for seed in seeds]
        for batch in batches(rngs, TRAIN, (NETWORKS, BATCH), steps, device):
            sgd_step(networks, X[owner, batch], y[owner, batch], LEARNING_RATE)

        given: list[Measured] = []
        for seed, own in enumerate(of_seeds):
            first_untrained, last_untrained = untrained[seed]
            first, last = alignment(own, X_fresh[seed])
            logits = forward(own, X_fresh[seed][np.newaxis])[-1]
            movement = np.linalg.norm(own[1][0] - initial[seed]) / np.linalg.norm(initial[seed])
            given.append(
                {
                    "bayes_accuracy": points[seed].bayes_accuracy,
                    "cka_first_untrained": [first_untrained],
                    "cka_last_untrained": [last_untrained],
                    "cka_first_trained": [first],
                    "cka_last_trained": [last],
                    "test_accuracy": [device.get(accuracy(logits, y_fresh[seed])).mean()],
                    "weight_movement": [float(movement)],
                }
            )
        return given

    return [partial(measure, width) for width in WIDTHS]


def draw(rng: np.random.Generator) -> Points:
    """Draw the points of one seed, and with them the accuracy of the best possible classifier on the fresh ones."""
    mixture = GaussianMixture.draw(rng, CLASSES, DIMENSIONS, SEPARATION, CLOUDS)
    X, y = mixture.sample(rng, TRAIN)
    X_fresh, y_fresh = mixture.sample(rng, FRESH)
    return Points(X, y, X_fresh, y_fresh, accuracy(mixture.bayes_logits(X_fresh), y_fresh))


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: the widest networks, the narrowest, and the rise between them."""
    trained, untrained = measured["cka_last_trained"], measured["cka_last_untrained"]
    return {
        "cka_narrowest": trained[0],
        "cka_widest": trained[-1],
        "cka_widest_untrained": untrained[-1],
        "rise_trained": trained[-1] - trained[0],
        "rise_untrained": untrained[-1] - untrained[0],
    }


def alignment(networks: list[Layer], X: Floats) -> tuple[float, float]:
    """Give the mean linear CKA over all pairs of networks, at the first and at the last hidden layer.

    X is (samples, inputs), the same points for all networks.
    """
    first, last, _ = forward(networks, X[np.newaxis])
    pairs = list(combinations(range(len(first)), 2))
    return (
        float(np.mean([linear_cka(first[i], first[j]) for i, j in pairs])),
        float(np.mean([linear_cka(last[i], last[j]) for i, j in pairs])),
    )
