"""Whether neural scaling laws hold in tiny networks, and which part of them is data and which is training time.

Method. Networks of two hidden ReLU layers learn 5 classes of a 10-dimensional Gaussian mixture by SGD with a constant
rate. The test loss above that of the best possible classifier on the same points is fitted by a power law,
excess = a x^-exponent: in the data (5 % to 100 % of 5,000 points, width 64) and in the parameters (widths 8 to 256, all
the data). Every network is tested at 7 points of its course, so that one table of losses, data by steps, holds each way
of counting.

Control. More data at fixed epochs also means more steps. The table's diagonal is fixed epochs, its last column a fixed
number of steps, the least of each row the same stopped in time, its last row more steps alone; where two of them are
compared, both are stopped in time, so that overtraining counts for neither. Three mixtures:
separable and overlapping, both of one cloud a class, where the best rule is linear and needs little capacity; and
clustered, of 8.

Reference. Kaplan et al. 2020, arXiv 2001.08361; Hoffmann et al. 2022, arXiv 2203.15556.

Logged. Data: exponent .67 to .80, R2 .96 to .98. Parameters: weak, exponent .10 to .23, R2 .36 to .56. Left out of the
logged sweep (7 widths x 3 depths x 7 shares of the data, 300 epochs): width 512, depths 1 and 3, the inside of the
grid of widths and shares, and the epochs after the 60th.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.data import GaussianMixture
from experiments.kit.encoder import Measured
from experiments.kit.measures import fit_power_law
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import (
    Floats,
    Labels,
    cross_entropy,
    mean_loss,
    new_networks,
    parameter_count,
    sgd_step,
    stretches,
)
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

Points: TypeAlias = tuple[Floats, Labels]

NAME: Final = "micro_scaling_laws"
CLASSES: Final = 5
DIMENSIONS: Final = 10
MIXTURES: Final = {  # clouds a class, and the distance of two clouds in standard deviations
    "separable": (1, 6.0),  # the best possible classifier is right in about 98 % of the points
    "overlapping": (1, 3.0),  # about 78 %
    "clustered": (8, 7.0),  # about 95 %, by a rule that is far from linear
}
TRAIN: Final = 5000
TEST: Final = 5000
SHARES: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of the data, and of the steps
SIZES: Final = np.array([round(TRAIN * share) for share in SHARES])
WIDTHS: Final = (8, 16, 32, 64, 128, 256)
DATA_WIDTH: Final = 64
STEPS: Final = 3000  # 60 epochs of all the data
BATCH: Final = 100
LEARNING_RATE: Final = 0.1

FITS: Final = {
    "data_epochs": "in the data, at fixed epochs",
    "data_steps": "in the data, at a fixed number of steps",
    "data_best": "in the data, each network stopped at the best of its tested steps",
    "steps_best": "in the steps, with all the data, at the best tested step up to each",
    "parameters": "in the parameters, at the last step",
    "parameters_best": "in the parameters, each network stopped at the best of its tested steps",
}


def _result_keys() -> Iterator[ResultKey]:
    for mixture in MIXTURES:
        yield ResultKey(f"{mixture}_bayes_loss", (), "test loss of the best possible classifier, nats")
        yield ResultKey(f"{mixture}_data_losses", (7, 7), "test loss by share of the data and of the steps")
        yield ResultKey(f"{mixture}_width_losses", (6, 7), "test loss by width and share of the steps")
        yield ResultKey(f"{mixture}_data_excess", (7,), "loss above Bayes by share of the data, at fixed epochs, nats")
        yield ResultKey(f"{mixture}_width_excess", (6,), "loss above Bayes by width, at the last step, nats")
        for fit, meaning in FITS.items():
            yield ResultKey(f"{mixture}_{fit}_exponent", (), f"exponent of the excess loss {meaning}")
            yield ResultKey(f"{mixture}_{fit}_r2", (), f"R2 of the power law {meaning}")


def _claims() -> Iterator[Claim]:
    for mixture in MIXTURES:
        yield Claim(
            name=f"data_law_is_steeper_{mixture}",
            statement=f"In the {mixture} mixture the loss falls by a steeper power of the data, at fixed epochs, "
            "than of the parameters.",
            quantity=f"{mixture}_data_epochs_exponent",
            control=f"{mixture}_parameters_exponent",
            direction="greater",
            threshold=0.05,
            logged="data .67 to .80, parameters .10 to .23",
        )
        yield Claim(
            name=f"data_law_is_not_training_time_{mixture}",
            statement=f"In the {mixture} mixture the loss falls by a steeper power of the data at a fixed number of "
            "steps than of the steps at fixed data, each network stopped at its best.",
            quantity=f"{mixture}_data_best_exponent",
            control=f"{mixture}_steps_best_exponent",
            direction="greater",
            threshold=0.05,
            baseline=0,
        )
    yield Claim(
        name="parameter_law_needs_a_task_that_needs_capacity",
        statement="The loss falls by a steeper power of the parameters where classes are made of many clouds "
        "than where the best rule is linear.",
        quantity="clustered_parameters_exponent",
        control="overlapping_parameters_exponent",
        direction="greater",
        threshold=0.05,
    )


METADATA = Metadata(
    name=NAME,
    version=1,
    category="scaling",
    question="Do neural scaling laws hold in tiny networks, and which part is data and which is training time?",
    budget_s=120,
    memory_bytes=256 * 2**20,
    tolerance=0.1,  # seed 101 differed by 0.012 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=tuple(_claims()),
    plots=(
        Plot(
            title="Data, at fixed epochs",
            x_label="share of the data",
            x=SHARES,
            y_label="test loss above Bayes, nats",
            keys=tuple(f"{mixture}_data_excess" for mixture in MIXTURES),
            log_x=True,
            log_y=True,
        ),
        Plot(
            title="Parameters, at the last step",
            x_label="width",
            x=WIDTHS,
            y_label="test loss above Bayes, nats",
            keys=tuple(f"{mixture}_width_excess" for mixture in MIXTURES),
            log_x=True,
            log_y=True,
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure both laws in each mixture, a stage for the data and one for each width; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give, for each mixture, a stage for the data and one for each width."""
    steps = max(len(SHARES), round(STEPS * scale))
    stages: list[Stage] = []
    for name, (clouds, separation) in MIXTURES.items():
        rng = generator(seed, NAME, f"data/{name}")
        mixture = GaussianMixture.draw(rng, CLASSES, DIMENSIONS, separation, clouds)
        train, test = mixture.sample(rng, TRAIN), mixture.sample(rng, TEST)
        bayes = float(cross_entropy(mixture.bayes_logits(test[0]), test[1]))
        stages.append(partial(_by_data, seed, name, train, test, steps, bayes))
        stages += [partial(_by_width, seed, name, train, test, steps, width) for width in WIDTHS]
    return stages


def _by_data(seed: int, mixture: str, train: Points, test: Points, steps: int, bayes: float) -> Measured:
    rng = generator(seed, NAME, f"{mixture}/data")
    table = losses(rng, train, test, DATA_WIDTH, SIZES, steps)
    return {f"{mixture}_bayes_loss": bayes, f"{mixture}_data_losses": table}


def _by_width(seed: int, mixture: str, train: Points, test: Points, steps: int, width: int) -> Measured:
    rng = generator(seed, NAME, f"{mixture}/width/{width}")
    return {f"{mixture}_width_losses": losses(rng, train, test, width, SIZES[-1:], steps)}


def summary(measured: Measured) -> Measured:
    """Give the fits of every mixture."""
    laws: Measured = {}
    for name in MIXTURES:
        bayes = measured[f"{name}_bayes_loss"]
        data, by_width = (np.array(measured[f"{name}_{table}_losses"]) - bayes for table in ("data", "width"))
        laws |= {f"{name}_data_excess": data.diagonal(), f"{name}_width_excess": by_width[:, -1]}
        laws |= fits(name, data, by_width)
    return laws


def losses(
    rng: np.random.Generator,
    train: Points,
    test: Points,
    width: int,
    sizes: NDArray[np.int64],
    steps: int,
) -> NDArray[np.float64]:
    """Train a network on the first of each of these sizes of the training points, and give the test losses in nats.

    The losses are (sizes, shares of the steps). A batch is drawn with replacement, so that all networks, whatever their
    data, take their steps together.
    """
    (X, y), (X_test, y_test) = train, test
    networks = new_networks(rng, len(sizes), (DIMENSIONS, width, width, CLASSES))
    table = np.empty((len(sizes), len(SHARES)))
    for column, stretch in enumerate(stretches(steps, SHARES)):
        for _ in stretch:
            batch = rng.integers(sizes[:, np.newaxis], size=(len(sizes), BATCH))
            sgd_step(networks, X[batch], y[batch], LEARNING_RATE)
        table[:, column] = mean_loss(networks, X_test, y_test)
    return table


def fits(mixture: str, data: NDArray[np.float64], by_width: NDArray[np.float64]) -> Measured:
    """Fit a power law to every cut through the tables of excess losses, (sizes, steps) and (widths, steps)."""
    parameters = np.array([parameter_count((DIMENSIONS, width, width, CLASSES)) for width in WIDTHS], dtype=float)
    cuts = {
        "data_epochs": (SIZES, data.diagonal()),
        "data_steps": (SIZES, data[:, -1]),
        "data_best": (SIZES, data.min(axis=1)),
        "steps_best": (np.array(SHARES), np.minimum.accumulate(data[-1])),
        "parameters": (parameters, by_width[:, -1]),
        "parameters_best": (parameters, by_width.min(axis=1)),
    }
    measured: Measured = {}
    for cut, (x, excess) in cuts.items():
        law = fit_power_law(x, excess)
        measured |= {f"{mixture}_{cut}_exponent": law.exponent, f"{mixture}_{cut}_r2": law.r2}
    return measured
