"""Whether the neurons of wider networks are less selective for features, and whether training makes the difference.

Method. 20 normal features come in 4 groups of 5. A direction in group 0 and one in group 1 are drawn; the label says
whether a point lies on the positive side of exactly one of them (XOR), and the other two groups are noise. Networks of
one hidden ReLU layer, widths 32 to 256, learn it by SGD; there are as many of them as make 1,024 neurons at each width.
Per neuron: selectivity, 1 less the share of the features that its squared weights are spread over (their participation
ratio); the part of them in its strongest group, and in the two groups that matter; the largest |correlation| of its
activation with a feature. Per network: the mean |cosine| of two neurons' weights (redundancy), the mean of each
neuron's largest one, and the participation ratio of the covariance of the weights (dimensionality).

Control. The same networks before training, of the same width; dimensionality divided by the width and not. The mean
over neurons falls too where a wide network needs only some of them, or moves each less. So selectivity is taken again
weighted by what a neuron contributes to the output, |weights in| |weights out|; and in networks that start from the
same weights made 4 times smaller, in which less of the start is left.

Reference. Morcos et al. 2018, "On the importance of single directions for generalization", arXiv 1803.06959; Chizat et
al. 2019, "On Lazy Training in Differentiable Programming", arXiv 1812.07956.

Logged. A prediction only: selectivity falls and redundancy rises with width, as the reason why wide networks
generalise worse to new combinations. The logged 3 trials a width are here 4 to 32 networks; nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.encoder import Measured
from experiments.kit.measures import participation_ratio
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import Floats, Labels, Layer, accuracy, forward, new_networks, sgd_step
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

NAME: Final = "neuron_specialization"
GROUPS: Final = 4
GROUP_SIZE: Final = 5
FEATURES: Final = GROUPS * GROUP_SIZE
CLASSES: Final = 2
TRAIN: Final = 2000
FRESH: Final = 1000
WIDTHS: Final = (32, 64, 128, 256)
NEURONS: Final = 1024  # at each width, over all networks
SMALL: Final = 0.25
STEPS: Final = 4000
BATCH: Final = 50
LEARNING_RATE: Final = 0.2

CONDITIONS: Final = {
    "untrained": "before training",
    "trained": "after training",
    "small": "after training from initial weights 4 times smaller",
}
MEASURES: Final = {
    "selectivity": "1 - the share of the features that a neuron's squared weights are spread over",
    "weighted_selectivity": "the same, neurons weighted by what they contribute",
    "group_alignment": "part of a neuron's squared weights in its strongest group",
    "relevance": "part of a neuron's squared weights in the two groups that the label depends on",
    "redundancy": "mean |cosine| of two neurons' weights",
    "nearest_similarity": "mean over neurons of the largest |cosine| with another one",
    "dimensionality": "participation ratio of the covariance of the neurons' weights",
    "relative_dimensionality": "the same over the width",
    "activation_selectivity": "largest |correlation| of a neuron's activation with a feature",
}
COMPARED: Final = ("selectivity", "weighted_selectivity", "relevance", "redundancy", "nearest_similarity")


def _result_keys() -> Iterator[ResultKey]:
    for condition, when in CONDITIONS.items():
        for measure, meaning in MEASURES.items():
            yield ResultKey(f"{condition}_{measure}", (4,), f"{meaning}, {when}, by width")
        for measure in COMPARED:
            yield ResultKey(f"{condition}_{measure}_narrowest", (), f"{condition}_{measure} at width 32")
            yield ResultKey(f"{condition}_{measure}_widest", (), f"{condition}_{measure} at width 256")
            yield ResultKey(f"{condition}_{measure}_rise", (), f"{condition}_{measure} at width 256 less that at 32")
    for condition in ("trained", "small"):
        when = CONDITIONS[condition]
        yield ResultKey(f"{condition}_test_accuracy", (4,), f"accuracy on the fresh points, {when}, by width")
        yield ResultKey(f"{condition}_movement", (4,), f"|change| / |initial| of the weights in, {when}, by width")
        yield ResultKey(f"{condition}_dead_neurons", (4,), f"share of neurons no fresh point activates, {when}")


METADATA = Metadata(
    name=NAME,
    version=1,
    category="representations",
    question="Do wider networks have less selective neurons, and is it training that makes the difference?",
    budget_s=75,
    memory_bytes=256 * 2**20,
    tolerance=1e-3,  # seed 101 differed by 0.00025 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=(
        Claim(
            name="wider_is_less_selective",
            statement="After training, the neurons of networks of width 256 are less selective for features than "
            "those of networks of width 32.",
            quantity="trained_selectivity_widest",
            control="trained_selectivity_narrowest",
            direction="less",
            threshold=0.01,  # a fifth of one feature
            logged="predicted",
        ),
        Claim(
            name="training_makes_the_fall_with_width",
            statement="From width 32 to 256, selectivity falls further after training than it does before it.",
            quantity="trained_selectivity_rise",
            control="untrained_selectivity_rise",
            direction="less",
            threshold=0.01,
            baseline=0,
        ),
        Claim(
            name="training_makes_wide_networks_selective",
            statement="The neurons of networks of width 256 are more selective after training than before it.",
            quantity="trained_selectivity_widest",
            control="untrained_selectivity_widest",
            direction="greater",
            threshold=0.01,
        ),
        Claim(
            name="wider_is_less_selective_where_it_counts",
            statement="Weighted by what each neuron contributes to the output, selectivity after training is lower "
            "at width 256 than at width 32.",
            quantity="trained_weighted_selectivity_widest",
            control="trained_weighted_selectivity_narrowest",
            direction="less",
            threshold=0.01,
        ),
        Claim(
            name="wider_is_less_selective_from_small_weights",
            statement="After training from small initial weights too, the neurons of networks of width 256 are less "
            "selective than those of networks of width 32.",
            quantity="small_selectivity_widest",
            control="small_selectivity_narrowest",
            direction="less",
            threshold=0.01,
        ),
        Claim(
            name="wider_turns_less_to_what_matters",
            statement="After training, the neurons of networks of width 256 have a smaller part of their weights in "
            "the groups that the label depends on than those of networks of width 32.",
            quantity="trained_relevance_widest",
            control="trained_relevance_narrowest",
            direction="less",
            threshold=0.02,
        ),
        Claim(
            name="redundancy_rises_with_width",
            statement="From width 32 to 256, the mean |cosine| of two neurons' weights rises further after training "
            "than it does before it.",
            quantity="trained_redundancy_rise",
            control="untrained_redundancy_rise",
            direction="greater",
            threshold=0.005,
            baseline=0,
            logged="predicted",
        ),
        Claim(
            name="nearest_neurons_are_more_alike_in_wider_networks",
            statement="From width 32 to 256, the |cosine| of a neuron's weights with the most similar other neuron's "
            "rises further after training than it does before it.",
            quantity="trained_nearest_similarity_rise",
            control="untrained_nearest_similarity_rise",
            direction="greater",
            threshold=0.01,
            baseline=0,
        ),
    ),
    plots=(
        Plot(
            title="Selectivity of neurons",
            x_label="width",
            x=WIDTHS,
            y_label="selectivity",
            keys=("untrained_selectivity", "trained_selectivity", "small_selectivity"),
            log_x=True,
        ),
        Plot(
            title="Redundancy of neurons",
            x_label="width",
            x=WIDTHS,
            y_label="|cosine| of weights",
            keys=(
                "untrained_redundancy",
                "trained_redundancy",
                "untrained_nearest_similarity",
                "trained_nearest_similarity",
            ),
            log_x=True,
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure the neurons before and after training, a stage for each width; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for each width and size of the initial weights; all of them see the same points."""
    rng = generator(seed, NAME, "data")
    X, y = grouped_xor(rng, TRAIN + FRESH)
    X, X_fresh, y, y_fresh = X[:TRAIN], X[TRAIN:], y[:TRAIN], y[TRAIN:]
    steps = max(1, round(STEPS * scale))

    def measure(condition: str, width: int) -> Measured:
        count = NEURONS // width
        networks = new_networks(generator(seed, NAME, f"weights/{width}"), count, (FEATURES, width, CLASSES))
        measured: Measured = {}
        if condition == "trained":
            measured = {f"untrained_{key}": [value] for key, value in specialisation(networks, X_fresh).items()}
        else:
            networks = [(W * np.float32(SMALL), b) for W, b in networks]
        initial = networks[0][0].copy()

        rng = generator(seed, NAME, f"batches/{condition}/{width}")
        for _ in range(steps):
            batch = rng.integers(TRAIN, size=(count, BATCH))
            sgd_step(networks, X[batch], y[batch], LEARNING_RATE)

        hidden, logits = forward(networks, X_fresh[np.newaxis])
        after = {
            "test_accuracy": accuracy(logits, y_fresh).mean(),
            "movement": np.linalg.norm(networks[0][0] - initial) / np.linalg.norm(initial),
            "dead_neurons": (hidden <= 0).all(axis=1).mean(),
        }
        after |= specialisation(networks, X_fresh)
        return measured | {f"{condition}_{key}": [value] for key, value in after.items()}

    return [partial(measure, condition, width) for condition in ("trained", "small") for width in WIDTHS]


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: the widest networks, the narrowest, and what lies between them."""
    compared: Measured = {}
    for condition, measure in product(CONDITIONS, COMPARED):
        key = f"{condition}_{measure}"
        narrowest, *_, widest = measured[key]
        compared |= {f"{key}_narrowest": narrowest, f"{key}_widest": widest, f"{key}_rise": widest - narrowest}
    return compared


def grouped_xor(rng: np.random.Generator, samples: int) -> tuple[Floats, Labels]:
    """Draw normal features and whether exactly one of two directions, in groups 0 and 1, is positive."""
    X = rng.standard_normal((samples, GROUPS, GROUP_SIZE), dtype=np.float32)
    directions = rng.standard_normal((2, GROUP_SIZE), dtype=np.float32)
    sides = np.einsum("ngf,gf->ng", X[:, :2], directions) > 0
    y: Labels = (sides[:, 0] ^ sides[:, 1]).astype(np.int64)
    return X.reshape(samples, FEATURES), y


def specialisation(networks: list[Layer], X: Floats) -> dict[str, float]:
    """Give every one of the MEASURES, the mean over the neurons and networks."""
    (W, _), (W_out, _) = networks
    selective = selectivity(W)
    contribution = np.linalg.norm(W, axis=1) * np.linalg.norm(W_out, axis=2)
    groups = (W**2).reshape(len(W), GROUPS, GROUP_SIZE, -1).sum(axis=2)
    groups /= groups.sum(axis=1, keepdims=True)
    mean_cosine, nearest = similarities(W)
    dimensionality = np.mean([participation_ratio(spectrum(weights)) for weights in W])
    return {
        "selectivity": selective.mean(),
        "weighted_selectivity": np.average(selective, weights=contribution),
        "group_alignment": groups.max(axis=1).mean(),
        "relevance": groups[:, :2].sum(axis=1).mean(),
        "redundancy": mean_cosine,
        "nearest_similarity": nearest,
        "dimensionality": float(dimensionality),
        "relative_dimensionality": float(dimensionality) / W.shape[2],
        "activation_selectivity": activation_selectivity(forward(networks, X[np.newaxis])[0], X),
    }


def selectivity(W: Floats) -> NDArray[np.float64]:
    """Give 1 - participation ratio / features of each neuron's squared weights, (networks, neurons).

    W is (networks, features, neurons). 0 where all features weigh alike, 1 - 1 / features where all but one are zero.
    """
    squares = W.astype(np.float64) ** 2
    selective: NDArray[np.float64] = 1 - squares.sum(axis=1) ** 2 / (squares**2).sum(axis=1) / W.shape[1]
    return selective


def similarities(W: Floats) -> tuple[float, float]:
    """Give the mean |cosine| of two neurons of one network, and the mean over neurons of the largest one."""
    units = W / np.linalg.norm(W, axis=1, keepdims=True)
    cosines = np.abs(units.swapaxes(1, 2) @ units)
    neurons = np.arange(W.shape[2])
    cosines[:, neurons, neurons] = 0
    return float(cosines.sum(axis=2).mean() / (len(neurons) - 1)), float(cosines.max(axis=2).mean())


def spectrum(weights: Floats) -> NDArray[np.float64]:
    """Give the eigenvalues of the covariance of the neurons' weights, which are (features, neurons)."""
    values: NDArray[np.float64] = np.linalg.eigvalsh(np.cov(weights.astype(np.float64))).clip(min=0)
    return values


def activation_selectivity(hidden: Floats, X: Floats) -> float:
    """Give each neuron's largest |correlation| with a feature, the mean over neurons that aren't dead."""
    centred = hidden - hidden.mean(axis=1, keepdims=True)
    features = (X - X.mean(axis=0)) / X.std(axis=0)
    deviations = centred.std(axis=1)
    covariances = np.abs(features.T @ centred).max(axis=1) / len(X)
    alive = deviations > 0
    return float((covariances[alive] / deviations[alive]).mean())
