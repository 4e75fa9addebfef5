"""How the singular values of a weight matrix grow in training, and what the learning rate has to do with it.

Method. Networks of two hidden layers of 64 units learn 5 classes of 4 Gaussian clouds each in 20 dimensions by SGD at
rates .01 to .7, all rates from the same 6 initial weights. Between the hidden layers lies a square matrix; its top
singular value over that before training is the growth, the exponential of its spectrum's entropy the effective rank.
Initial weights are half of He's: at He's full size the random bulk of the spectrum hides most of what training adds.

Control. A higher rate gets further in the same number of epochs, so networks are compared also where their training
loss reaches .1: each is held when its loss first falls below .2 and below .1, and what is measured is interpolated to
.1 in the log loss. The same networks before training; the Frobenius norm, which tells growth at the top from growth of
all; and the same labels shuffled over the points, fitted down to the same loss, where there is no rule to learn.

Reference. Saxe et al. 2014, arXiv 1312.6120; Martin and Mahoney 2021, arXiv 1810.01075; Roy and Vetterli 2007, "The
effective rank".

Logged. A KeyError after training lost the first batch; later "confirmed", without figures: growth of the top singular
value and rank, by learning rate. No control is mentioned.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.data import GaussianMixture
from experiments.kit.descent import descend, mean_at_loss
from experiments.kit.encoder import Measured
from experiments.kit.measures import effective_rank
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import Floats, Labels, Layer, accuracy, forward, mean_loss, new_networks, sgd_step
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

Points: TypeAlias = tuple[Floats, Labels]
Values: TypeAlias = NDArray[np.float64]

NAME: Final = "spectral_dynamics"
CLASSES: Final = 5
CLOUDS: Final = 4
DIMENSIONS: Final = 20
SEPARATION: Final = 6.0  # the best possible classifier is right in about 95 % of the points
TRAIN: Final = 500
TEST: Final = 2000
NETWORKS: Final = 6
WIDTH: Final = 64
INITIAL: Final = 0.5  # of He's initial weights
RATES: Final = (0.01, 0.03, 0.1, 0.3, 0.7)  # from 1.25 on, networks fail to fit shuffled labels
BATCH: Final = 50
STEPS: Final = 1000  # 100 epochs, the fixed number of them
CHECK: Final = 10  # steps between two looks at the training loss
LOSSES: Final = (0.2, 0.1)  # where a network is held; the last one is the loss that is matched
LONGEST: Final = {"real": 80.0, "shuffled": 200.0}  # most steps for it, times the rate; about twice the need

SPECTRUM: Final = {
    "growth": "top singular value over that before training",
    "norm_growth": "Frobenius norm over that before training",
    "rank": "effective rank of the matrix",
    "update_rank": "effective rank of what training added to the matrix",
}


def _result_keys() -> Iterator[ResultKey]:
    yield ResultKey("bayes_accuracy", (), "accuracy of the best possible classifier on the test points")
    yield ResultKey("rank_untrained", (), "effective rank of the matrix before training")
    for labels in LONGEST:
        yield ResultKey(f"{labels}_loss_fixed", (5,), f"training loss after 100 epochs, {labels} labels, by rate")
        yield ResultKey(f"{labels}_test_accuracy", (5,), f"test accuracy after 100 epochs, {labels} labels, by rate")
        yield ResultKey(f"{labels}_reached", (5,), f"share of networks that reached loss .1, {labels} labels, by rate")
        for key, meaning in SPECTRUM.items():
            yield ResultKey(f"{labels}_{key}_fixed", (5,), f"{meaning}; after 100 epochs, {labels} labels, by rate")
            yield ResultKey(f"{labels}_{key}_matched", (5,), f"{meaning}; at loss .1, {labels} labels, by rate")
    for when, at in (("fixed", "after 100 epochs"), ("matched", "at loss .1")):
        for key, meaning in (("growth", SPECTRUM["growth"]), ("rank", SPECTRUM["rank"])):
            yield ResultKey(f"{key}_{when}_slow", (), f"{meaning}; {at}, lowest rate")
            yield ResultKey(f"{key}_{when}_fast", (), f"{meaning}; {at}, highest rate")
    for labels in LONGEST:
        for key in ("growth", "norm_growth", "update_rank"):
            yield ResultKey(f"{labels}_{key}", (), f"{SPECTRUM[key]}; at loss .1, {labels} labels, mean over rates")


METADATA = Metadata(
    name=NAME,
    version=1,
    category="representations",
    question="How do singular values grow in training, by learning rate, and does it take structure in the labels?",
    budget_s=80,
    memory_bytes=256 * 2**20,
    tolerance=0.1,  # seed 101 differed by 0.0095 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=(
        Claim(
            name="top_grows_more_at_fixed_epochs",
            statement="After 100 epochs the top singular value has grown more at the highest learning rate "
            "than at the lowest.",
            quantity="growth_fixed_fast",
            control="growth_fixed_slow",
            direction="greater",
            threshold=0.1,  # a tenth of the value before training
            logged="growth by learning rate confirmed, no figure",
        ),
        Claim(
            name="top_grows_more_at_matched_loss",
            statement="At an equal training loss too the top singular value has grown more at the highest learning "
            "rate than at the lowest.",
            quantity="growth_matched_fast",
            control="growth_matched_slow",
            direction="greater",
            threshold=0.1,
            baseline="growth_fixed_slow",
        ),
        Claim(
            name="top_grows_more_than_the_norm",
            statement="At an equal training loss the top singular value has grown by a larger factor than the norm "
            "of the whole matrix.",
            quantity="real_growth",
            control="real_norm_growth",
            direction="greater",
            threshold=0.1,
            baseline=1,
        ),
        Claim(
            name="growth_takes_structure",
            statement="At an equal training loss the top singular value has grown more with real labels "
            "than with shuffled ones.",
            quantity="real_growth",
            control="shuffled_growth",
            direction="greater",
            threshold=0.1,
            baseline=1,
        ),
        Claim(
            name="rank_falls_in_training",
            statement="At the highest learning rate, after 100 epochs, the effective rank of the matrix is lower "
            "than before training.",
            quantity="rank_fixed_fast",
            control="rank_untrained",
            direction="less",
            threshold=0.5,  # half of one direction of 64
            logged="rank by learning rate confirmed, no figure",
        ),
        Claim(
            name="rank_falls_more_at_fixed_epochs",
            statement="After 100 epochs the effective rank is lower at the highest learning rate than at the lowest.",
            quantity="rank_fixed_fast",
            control="rank_fixed_slow",
            direction="less",
            threshold=0.5,
            baseline="rank_untrained",
            logged="rank by learning rate confirmed, no figure",
        ),
        Claim(
            name="rank_falls_more_at_matched_loss",
            statement="At an equal training loss too the effective rank is lower at the highest learning rate "
            "than at the lowest.",
            quantity="rank_matched_fast",
            control="rank_matched_slow",
            direction="less",
            threshold=0.5,
            baseline="rank_untrained",
        ),
        Claim(
            name="structure_is_learned_in_fewer_directions",
            statement="At an equal training loss, what training added to the matrix has a lower effective rank "
            "with real labels than with shuffled ones.",
            quantity="real_update_rank",
            control="shuffled_update_rank",
            direction="less",
            threshold=1.0,
        ),
    ),
    plots=(
        Plot(
            title="Growth of the top singular value",
            x_label="learning rate",
            x=RATES,
            y_label="top singular value over that before training",
            keys=("real_growth_fixed", "real_growth_matched", "shuffled_growth_matched"),
            log_x=True,
        ),
        Plot(
            title="Effective rank",
            x_label="learning rate",
            x=RATES,
            y_label="effective rank",
            keys=("real_rank_fixed", "real_rank_matched", "shuffled_rank_matched"),
            log_x=True,
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure the spectrum at every rate, with real and with shuffled labels; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for each rate, with real labels and then with shuffled ones, over the same points."""
    rng = generator(seed, NAME, "data")
    mixture = GaussianMixture.draw(rng, CLASSES, DIMENSIONS, SEPARATION, CLOUDS)
    (X, y), (X_test, y_test) = mixture.sample(rng, TRAIN), mixture.sample(rng, TEST)
    given = {"real": y, "shuffled": generator(seed, NAME, "data/shuffled").permutation(y)}
    bayes_accuracy = accuracy(mixture.bayes_logits(X_test), y_test)
    initial = initial_networks(seed)
    steps = max(1, round(STEPS * scale))

    def measure_untrained() -> Measured:
        ranks = [effective_rank(values) for values in np.linalg.svd(initial[1][0], compute_uv=False)]
        return {"bayes_accuracy": bayes_accuracy, "rank_untrained": np.mean(ranks)}

    def measure(labels: str, rate: float) -> Measured:
        train = X, given[labels]
        networks = initial_networks(seed)
        rng = generator(seed, NAME, f"batches/{labels}/{rate}")

        def step() -> None:
            batch = rng.integers(TRAIN, size=(NETWORKS, BATCH))
            sgd_step(networks, train[0][batch], train[1][batch], rate)

        longest = max(1, round(LONGEST[labels] / rate * scale))
        fixed, held, reached = descend(
            networks, step, lambda: mean_loss(networks, *train), LOSSES, fixed=steps, longest=longest, every=CHECK
        )
        losses = [mean_loss(networks, *train) for networks in held]
        spectra = [spectrum(networks[1][0], initial[1][0]) for networks in held]
        measured = {
            f"{labels}_loss_fixed": [mean_loss(fixed, *train).mean()],
            f"{labels}_test_accuracy": [accuracy(forward(fixed, X_test[np.newaxis])[-1], y_test).mean()],
            f"{labels}_reached": [reached.mean()],
        }
        for key, values in spectrum(fixed[1][0], initial[1][0]).items():
            at_last = mean_at_loss(LOSSES[-1], losses, [by_key[key] for by_key in spectra])
            measured |= {f"{labels}_{key}_fixed": [values.mean()], f"{labels}_{key}_matched": [at_last]}
        return measured

    return [measure_untrained, *(partial(measure, labels, rate) for labels in LONGEST for rate in RATES)]


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: the lowest rate and the highest, real labels and shuffled ones."""
    ends: Measured = {}
    for key in ("growth", "rank"):
        for when in ("fixed", "matched"):
            by_rate = measured[f"real_{key}_{when}"]
            ends |= {f"{key}_{when}_slow": by_rate[0], f"{key}_{when}_fast": by_rate[-1]}
    for labels in LONGEST:
        for key in ("growth", "norm_growth", "update_rank"):
            ends[f"{labels}_{key}"] = np.mean(measured[f"{labels}_{key}_matched"])
    return ends


def initial_networks(seed: int) -> list[Layer]:
    """Give the networks before training, the same for every rate and for both kinds of labels."""
    networks = new_networks(generator(seed, NAME, "weights"), NETWORKS, (DIMENSIONS, WIDTH, WIDTH, CLASSES))
    return [(W * np.float32(INITIAL), b) for W, b in networks]


def spectrum(W: Floats, W_initial: Floats) -> dict[str, Values]:
    """Give what SPECTRUM names for each network; both are (count, inputs, outputs)."""
    now, initial = (np.linalg.svd(weights, compute_uv=False) for weights in (W, W_initial))
    update = np.linalg.svd(W - W_initial, compute_uv=False)
    return {
        "growth": np.divide(now[:, 0], initial[:, 0], dtype=np.float64),
        "norm_growth": np.divide(np.linalg.norm(now, axis=1), np.linalg.norm(initial, axis=1), dtype=np.float64),
        "rank": np.array([effective_rank(values) for values in now]),
        "update_rank": np.array([effective_rank(values) for values in update]),
    }
