"""Whether the rank of the features falls in training, and more so in wider networks.

Method. Networks of two hidden layers, widths 32 to 256, learn 5 classes of a Gaussian mixture in 20 dimensions by SGD.
Five times, from the initial weights to long after most training points fit, the rank of the last hidden layer is taken
on 1,000 fresh points: the effective rank (the exponential of the entropy of the singular values, centred features) and
the participation ratio of its covariance, which gives the large directions more weight. Two mixtures: of 2 clouds a
class, and of 8, whose classes are further from linear.

Control. The same networks before training: the rank of random features grows with width anyway, so what is compared
between widths is the rank after training as a share of that before it, which is the same whether both are divided by
the width or not. Shuffled labels: a fall that they cause too is no sign of structure found. Wider networks fit sooner,
and true labels do, so both comparisons are made at equal training loss. A learning rate 5 times larger: wide networks
are unstable under it in the first steps.

Reference. Roy and Vetterli 2007, "The effective rank"; Huh et al. 2021, "The Low-Rank Simplicity Bias in Deep
Networks", arXiv 2103.10427; Lewkowycz et al. 2020, "The large learning rate phase of deep learning", arXiv 2003.02218.

Logged. Awaited: rank compression in wide networks was to explain their alike representations. The logs give no design
but "rank of representations over time, by width".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.data import GaussianMixture
from experiments.kit.encoder import Measured
from experiments.kit.measures import at_loss, effective_rank, participation_ratio
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import Floats, accuracy, forward, mean_loss, new_networks, sgd_step, stretches
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

NAME: Final = "feature_rank_dynamics"
CLASSES: Final = 5
DIMENSIONS: Final = 20
SEPARATION: Final = 7.0
MIXTURES: Final = {"few": 2, "many": 8}  # clouds a class; the best possible classifier is right in 96 to 99 %
RATES: Final = {"true": 0.02, "shuffled": 0.02, "fast": 0.1}  # fast: true labels
RUNS: Final = (("few", "true"), ("few", "shuffled"), ("many", "true"), ("many", "shuffled"), ("many", "fast"))
TRAIN: Final = 1000
FRESH: Final = 1000
NETWORKS: Final = {32: 4, 64: 4, 128: 2, 256: 2}  # by width; narrow ones differ more from each other
WIDTHS: Final = tuple(NETWORKS)
STEPS: Final = 2000
SHARES: Final = (0.0, 0.01, 0.1, 0.3, 1.0)  # of the steps, after which the rank is measured
BATCH: Final = 50
MEASURES: Final = {"effective_rank": "effective rank", "participation_ratio": "participation ratio"}
MATTERS: Final = {
    "effective_rank": 3.0,
    "participation_ratio": 1.0,
}  # at width 256: 2 % of the one, 3 to 5 % of the other


def _result_keys() -> Iterator[ResultKey]:
    for mixture in MIXTURES:
        yield ResultKey(f"{mixture}_bayes_accuracy", (), "accuracy of the best possible classifier on the fresh points")
    for mixture, kind in RUNS:
        run = f"{mixture}_{kind}"
        for measure, meaning in MEASURES.items():
            yield ResultKey(f"{run}_{measure}", (4, 5), f"{meaning} by width and share of the steps, {kind}")
            yield ResultKey(f"{run}_{measure}_kept", (4,), f"{meaning} after training over that before it, by width")
            yield ResultKey(f"{run}_{measure}_widest", (), f"{meaning} after training at width 256, {kind}")
        yield ResultKey(f"{run}_train_loss", (4, 5), f"training loss by width and share of the steps, {kind}")
        yield ResultKey(f"{run}_test_accuracy", (4,), f"accuracy on the fresh points by width, {kind}")
    for mixture in MIXTURES:
        for measure, meaning in MEASURES.items():
            single = f"{mixture}_{measure}"
            yield ResultKey(f"{single}_untrained", (), f"{meaning} before training at width 256")
            yield ResultKey(f"{single}_kept_narrowest", (), f"{meaning} over its first value, width 32, at one loss")
            yield ResultKey(f"{single}_kept_widest", (), f"{meaning} over its first value, width 256, at the same loss")
            yield ResultKey(f"{single}_kept_true", (), f"{meaning} over its first value, width 256, true labels")
            yield ResultKey(f"{single}_kept_shuffled", (), "the same with shuffled labels, at the same loss")


def _claims() -> Iterator[Claim]:
    for measure, meaning in MEASURES.items():
        for mixture, clouds in MIXTURES.items():
            key = f"{mixture}_{measure}"
            where = f"With {clouds} clouds a class, the {meaning} of the features"
            yield Claim(
                name=f"{measure}_falls_{mixture}",
                statement=f"{where} is lower after training than before it, at width 256.",
                quantity=f"{mixture}_true_{measure}_widest",
                control=f"{key}_untrained",
                direction="less",
                threshold=MATTERS[measure],
                logged="awaited",
            )
            yield Claim(
                name=f"{measure}_falls_more_in_wider_{mixture}",
                statement=f"{where} keeps a smaller share of its value before training at width 256 than at width 32, "
                "both at one training loss.",
                quantity=f"{key}_kept_widest",
                control=f"{key}_kept_narrowest",
                direction="less",
                threshold=0.03,
                baseline=1,
                logged="awaited",
            )
            yield Claim(
                name=f"{measure}_falls_by_structure_{mixture}",
                statement=f"{where} keeps a smaller share of its value before training with true labels than with "
                "shuffled ones, at width 256 and one training loss.",
                quantity=f"{key}_kept_true",
                control=f"{key}_kept_shuffled",
                direction="less",
                threshold=0.03,
                baseline=1,
            )
        yield Claim(
            name=f"{measure}_falls_at_a_large_rate",
            statement=f"With 8 clouds a class and a learning rate of 0.1 too, the {meaning} of the features is lower "
            "after training than before it, at width 256.",
            quantity=f"many_fast_{measure}_widest",
            control=f"many_{measure}_untrained",
            direction="less",
            threshold=MATTERS[measure],
        )


METADATA = Metadata(
    name=NAME,
    version=1,
    category="representations",
    question="Does the rank of the features fall in training, and more so in wider networks?",
    budget_s=100,
    memory_bytes=256 * 2**20,
    tolerance=0.01,  # seed 101 differed by 0.0025 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=tuple(_claims()),
    plots=tuple(
        Plot(
            title=f"What training leaves of the {meaning}",
            x_label="width",
            x=WIDTHS,
            y_label="after training / before it",
            keys=tuple(f"{mixture}_{kind}_{measure}_kept" for mixture, kind in RUNS),
            log_x=True,
        )
        for measure, meaning in MEASURES.items()
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure the ranks, a stage for each of the RUNS and width; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for each of the RUNS and width; those of one mixture see the same points."""
    steps = round(STEPS * scale)
    return [partial(_measure, seed, steps, mixture, kind, width) for mixture, kind in RUNS for width in WIDTHS]


def _measure(seed: int, steps: int, mixture: str, kind: str, width: int) -> Measured:
    rng = generator(seed, NAME, f"data/{mixture}")
    clouds = GaussianMixture.draw(rng, CLASSES, DIMENSIONS, SEPARATION, MIXTURES[mixture])
    X, y = clouds.sample(rng, TRAIN)
    X_fresh, y_fresh = clouds.sample(rng, FRESH)
    if kind == "shuffled":
        y = rng.permutation(y)

    name, count = f"{mixture}_{kind}", NETWORKS[width]
    rng = generator(seed, NAME, f"weights/{mixture}/{width}")  # the same for all kinds
    networks = new_networks(rng, count, (DIMENSIONS, width, width, CLASSES))
    rng = generator(seed, NAME, f"batches/{name}/{width}")
    rows: dict[str, list[float]] = {"effective_rank": [], "participation_ratio": [], "train_loss": []}
    for stretch in stretches(steps, SHARES):
        for _ in stretch:
            batch = rng.integers(TRAIN, size=(count, BATCH))
            sgd_step(networks, X[batch], y[batch], RATES[kind])
        _, features, logits = forward(networks, X_fresh[np.newaxis])
        spectra = [spectrum(features_of_one) for features_of_one in features]
        rows["effective_rank"].append(float(np.mean([effective_rank(np.sqrt(values)) for values in spectra])))
        rows["participation_ratio"].append(float(np.mean([participation_ratio(values) for values in spectra])))
        rows["train_loss"].append(float(mean_loss(networks, X, y).mean()))
    return {
        f"{mixture}_bayes_accuracy": accuracy(clouds.bayes_logits(X_fresh), y_fresh),
        f"{name}_test_accuracy": [accuracy(logits, y_fresh).mean()],
        **{f"{name}_{key}": [row] for key, row in rows.items()},
    }


def summary(measured: Measured) -> Measured:
    """Give what training leaves of the rank, at its end and at equal training loss."""
    compared: Measured = {}
    for (mixture, kind), measure in product(RUNS, MEASURES):
        key = f"{mixture}_{kind}_{measure}"
        ranks = np.array(measured[key])
        compared |= {f"{key}_kept": ranks[:, -1] / ranks[:, 0], f"{key}_widest": ranks[-1, -1]}
    for mixture in MIXTURES:
        true_losses, shuffled_losses = (
            np.array(measured[f"{mixture}_{kind}_train_loss"]) for kind in ("true", "shuffled")
        )
        of_all_widths = true_losses[:, -1].max()
        of_both_labels = max(true_losses[-1, -1], shuffled_losses[-1, -1])
        for measure in MEASURES:
            true, shuffled = (np.array(measured[f"{mixture}_{kind}_{measure}"]) for kind in ("true", "shuffled"))
            key = f"{mixture}_{measure}"
            compared |= {
                f"{key}_untrained": true[-1, 0],
                f"{key}_kept_narrowest": kept_at_loss(of_all_widths, true_losses[0], true[0]),
                f"{key}_kept_widest": kept_at_loss(of_all_widths, true_losses[-1], true[-1]),
                f"{key}_kept_true": kept_at_loss(of_both_labels, true_losses[-1], true[-1]),
                f"{key}_kept_shuffled": kept_at_loss(of_both_labels, shuffled_losses[-1], shuffled[-1]),
            }
    return compared


def spectrum(features: Floats) -> NDArray[np.float64]:
    """Give the squared singular values of the centred features, which are (samples, features)."""
    centred = features - features.mean(axis=0, dtype=np.float64)
    values: NDArray[np.float64] = np.linalg.eigvalsh(centred.T @ centred).clip(min=0)
    return values


def kept_at_loss(level: float, losses: NDArray[np.float64], ranks: NDArray[np.float64]) -> float:
    """Give the share of the first rank that is left where training passes this loss."""
    return at_loss(level, losses, ranks) / float(ranks[0])
