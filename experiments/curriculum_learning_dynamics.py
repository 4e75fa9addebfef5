"""Whether an order from easy to hard helps learning.

Method. 5 classes of 4 Gaussian clouds each in 20 dimensions; a point's difficulty is the standard deviation of its
noise, .4, .7, 1, 1.5 or 2.2. Networks of two hidden layers learn 2,000 points by SGD: easy first or hard first, where
each fifth of the steps adds the next level to those that batches are drawn from, or shuffled, all points from the
start. Widths 32, 64, 128 and rates .005, .01, .05; accuracy is on fresh points of all levels, after a tenth and a third
of the steps and at the end; each figure is the mean over 5 data sets, with a network each. All orders and rates start
from the same weights.

Control. Random pacing adds as many points in each fifth of the steps, whatever their difficulty: it tells what seeing
few points at first does. What comes first is also drawn more often in all, the easiest level in 46 % of the draws and
the hardest in 4 %; "easy weighted" draws the levels with these shares from start to end, so that easy first differs
from it in nothing but the order. In another family of data, at width 64, all points are equally noisy and difficulty is
the share of false labels, 0 to 60 %, so that easy is clean. The benefit of easy first is held against what other data
and other weights change.

Reference. Bengio et al. 2009, "Curriculum Learning"; Wu et al. 2021, "When Do Curricula Work?", arXiv 2012.03107.

Logged. No result. Predicted: little benefit of easy first, as SGD learns easy examples first by itself, and perhaps
one of hard first. The logs name neither the four orders nor the pacing; nothing of the sweep is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.encoder import Measured
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import Floats, Labels, accuracy, forward, new_networks, sgd_step
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

NAME: Final = "curriculum_learning_dynamics"
CLASSES: Final = 5
CLOUDS: Final = 4
DIMENSIONS: Final = 20
SEPARATION: Final = 7.0  # of two clouds; the noise is about 1
LEVELS: Final = 5
DEVIATIONS: Final = np.array([0.4, 0.7, 1.0, 1.5, 2.2])  # of the noise, by level
FALSE_LABELS: Final = np.array([0.0, 0.15, 0.3, 0.45, 0.6])  # by level, in the other family of data
TRAIN: Final = 2000
FRESH: Final = 500
SETS: Final = 5
ORDERS: Final = ("easy_first", "hard_first", "random_pacing", "easy_weighted", "shuffled")
SHUFFLED: Final = ORDERS.index("shuffled")
RATES: Final = (0.005, 0.01, 0.05)
WIDTHS: Final = (32, 64, 128)
LABELS_WIDTH: Final = 64
STEPS: Final = 1300
CHECKS: Final = {"tenth": 0.1, "third": 1 / 3, "end": 1.0}  # shares of the steps after which is measured
BATCH: Final = 32


def _result_keys() -> Iterator[ResultKey]:
    yield ResultKey("bayes_accuracy", (), "accuracy of the best possible classifier on the fresh points")
    yield ResultKey("labels_bayes_accuracy", (), "the same where labels are false")
    for check in CHECKS:
        yield ResultKey(f"{check}_accuracy", (3, 5, 3), f"accuracy, by width, order and rate; {check}")
        yield ResultKey(f"labels_{check}_accuracy", (5, 3), f"the same where labels are false; {check}")
    yield ResultKey("spread_by_width", (3,), "standard deviation of shuffled's final accuracy between data sets")
    for order in ORDERS:
        yield ResultKey(f"{order}_by_rate", (3,), "final accuracy, mean over the widths, by rate")
        yield ResultKey(f"{order}_course", (3,), "accuracy at the three checks, mean over widths and rates")
        yield ResultKey(f"{order}_labels_course", (3,), "the same where labels are false")
        yield ResultKey(f"{order}_end", (), "final accuracy, mean over widths and rates")
        yield ResultKey(f"{order}_third", (), "accuracy after a third of the steps, mean over widths and rates")
        yield ResultKey(f"{order}_labels_end", (), "final accuracy where labels are false, mean over the rates")
    yield ResultKey("benefit", (), "final accuracy of easy first less that of shuffled")
    yield ResultKey("spread", (), "mean of spread_by_width")


def _claims() -> Iterator[Claim]:
    yield Claim(
        name="benefit_is_small",
        statement="At the end, easy first gains less over shuffled points than other data and weights change.",
        quantity="benefit",
        control="spread",
        direction="less",
        threshold=0.005,
        logged="predicted: minimal benefit",
    )
    for order, check, when in (
        ("easy_first", "end", "At the end"),
        ("easy_first", "third", "After a third of the steps"),
        ("hard_first", "end", "At the end"),
        ("easy_first", "labels_end", "At the end, where hard means falsely labelled"),
    ):
        yield Claim(
            name=f"{order}_beats_random_pacing_{check}",
            statement=f"{when}, networks that saw the points {order.replace('_', ' ')} are right more often "
            "than networks to which as many were added at random.",
            quantity=f"{order}_{check}",
            control=f"random_pacing_{check}",
            direction="greater",
            threshold=0.005,
            baseline=f"shuffled_{check}",
            logged="predicted: may help" if order == "hard_first" else "predicted: minimal benefit",
        )
    for check, where in (("end", ""), ("labels_end", ", where hard means falsely labelled")):
        yield Claim(
            name=f"order_matters_{check}",
            statement=f"At the end{where}, networks that saw the easy points first are right more often "
            "than networks to which easy points came as often but at all times.",
            quantity=f"easy_first_{check}",
            control=f"easy_weighted_{check}",
            direction="greater",
            threshold=0.005,
            baseline=f"shuffled_{check}",
        )


METADATA = Metadata(
    name=NAME,
    version=1,
    category="curriculum",
    question="Does an order from easy to hard help learning?",
    budget_s=100,
    memory_bytes=256 * 2**20,
    tolerance=0.01,  # seed 101 differed by 0.002 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=tuple(_claims()),
    plots=(
        Plot(
            title="Accuracy by order",
            x_label="share of the steps",
            x=tuple(CHECKS.values()),
            y_label="accuracy",
            keys=tuple(f"{order}_course" for order in ORDERS),
            log_x=True,
        ),
        Plot(
            title="Accuracy by order, where hard means falsely labelled",
            x_label="share of the steps",
            x=tuple(CHECKS.values()),
            y_label="accuracy",
            keys=tuple(f"{order}_labels_course" for order in ORDERS),
            log_x=True,
        ),
        Plot(
            title="Final accuracy",
            x_label="learning rate",
            x=RATES,
            y_label="accuracy",
            keys=tuple(f"{order}_by_rate" for order in ORDERS),
            log_x=True,
        ),
    ),
)


class Points(NamedTuple):
    """Data sets on the first axis; the points to train on stand by level, the easiest first."""

    X: Floats
    y: Labels
    X_fresh: Floats
    y_fresh: Labels
    bayes_accuracy: float


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure all orders, a stage for each width and one for the false labels; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for each width on noisy points, and one on falsely labelled ones."""
    steps = max(LEVELS, round(STEPS * scale))
    noisy = draw(generator(seed, NAME, "data"), DEVIATIONS, np.zeros(LEVELS))
    false = draw(generator(seed, NAME, "data/labels"), np.ones(LEVELS), FALSE_LABELS)

    def measure(width: int) -> Measured:
        accuracies = train(seed, noisy, width, f"{width}", steps)
        by_check = {f"{check}_accuracy": [at.mean(axis=2).T] for check, at in accuracies.items()}
        spread = accuracies["end"][:, SHUFFLED].std(axis=1, ddof=1).mean()
        return {"bayes_accuracy": noisy.bayes_accuracy, **by_check, "spread_by_width": [spread]}

    def measure_labels() -> Measured:
        accuracies = train(seed, false, LABELS_WIDTH, "labels", steps)
        by_check = {f"labels_{check}_accuracy": at.mean(axis=2).T for check, at in accuracies.items()}
        return {"labels_bayes_accuracy": false.bayes_accuracy, **by_check}

    return [*(partial(measure, width) for width in WIDTHS), measure_labels]


def draw(rng: np.random.Generator, deviations: NDArray[np.float64], false_labels: NDArray[np.float64]) -> Points:
    """Draw the data sets, each with clouds of its own; the fresh points are as noisy, and truly labelled."""
    means = rng.standard_normal((SETS, CLOUDS * CLASSES, DIMENSIONS)) * SEPARATION / np.sqrt(2 * DIMENSIONS)
    each = np.arange(SETS)[:, np.newaxis]

    def sample(samples: int) -> tuple[Floats, Labels]:
        cloud = rng.integers(CLOUDS * CLASSES, size=(SETS, samples))
        deviation = np.repeat(deviations, samples // LEVELS)[:, np.newaxis]
        X = means[each, cloud] + deviation * rng.standard_normal((SETS, samples, DIMENSIONS))
        return X.astype(np.float32), cloud % CLASSES

    X, y = sample(TRAIN)
    false = rng.random((SETS, TRAIN)) < np.repeat(false_labels, TRAIN // LEVELS)
    y = (y + false * rng.integers(1, CLASSES, size=(SETS, TRAIN))) % CLASSES
    X_fresh, y_fresh = sample(FRESH)
    right = [np.mean(bayes_classes(X_fresh[s], means[s], deviations) == y_fresh[s]) for s in range(SETS)]
    return Points(X, y, X_fresh, y_fresh, float(np.mean(right)))


def bayes_classes(X: Floats, means: NDArray[np.float64], deviations: NDArray[np.float64]) -> Labels:
    """Give the likeliest class of each point, all levels being equally likely and unknown.

    means: (clouds, dimensions), the clouds of a class standing CLASSES apart.
    """
    squares = ((X[:, np.newaxis].astype(np.float64) - means) ** 2).sum(axis=-1)[..., np.newaxis]
    densities = np.exp(-squares / (2 * deviations**2) - DIMENSIONS * np.log(deviations)).sum(axis=-1)
    likeliest: Labels = densities.reshape(len(X), CLOUDS, CLASSES).sum(axis=1).argmax(axis=-1)
    return likeliest


def train(seed: int, points: Points, width: int, stream: str, steps: int) -> dict[str, NDArray[np.float64]]:
    """Train a network for each rate, order and data set; give the accuracies at the checks, in this order of axes."""
    fresh = new_networks(generator(seed, NAME, f"weights/{stream}"), SETS, (DIMENSIONS, width, width, CLASSES))
    networks = [(_in_each_cell(W), _in_each_cell(b)) for W, b in fresh]
    X, y = _in_each_cell(points.X), _in_each_cell(points.y)
    X_fresh, y_fresh = _in_each_cell(points.X_fresh), _in_each_cell(points.y_fresh)
    network = np.arange(len(y))[:, np.newaxis]
    rates = np.repeat(np.array(RATES, dtype=np.float32), len(ORDERS) * SETS)[:, np.newaxis, np.newaxis]
    rng = generator(seed, NAME, f"batches/{stream}")
    queues = queues_by_order(rng)
    checks = {max(1, round(share * steps)): check for check, share in CHECKS.items()}
    accuracies = {}
    for step in range(1, steps + 1):
        # All orders and rates share the random numbers: a batch is as far along in each queue, as far as it is open.
        fifths = rng.integers(LEVELS, size=(SETS, BATCH))
        places = rng.random((SETS, BATCH)) * open_points((step - 1) * LEVELS // steps, fifths)
        batch = np.take_along_axis(queues, places.astype(np.int64), axis=-1).reshape(-1, BATCH)
        batch = np.concatenate([batch] * len(RATES))
        sgd_step(networks, X[network, batch], y[network, batch], rates)
        if step in checks:
            reached = accuracy(forward(networks, X_fresh)[-1], y_fresh)
            accuracies[checks[step]] = reached.reshape(len(RATES), len(ORDERS), SETS)
    return accuracies


def queues_by_order(rng: np.random.Generator) -> Labels:
    """Give the points of each data set as each order opens them, (orders, data sets, points)."""
    by_level = np.tile(np.arange(TRAIN), (SETS, 1))
    at_random = rng.permuted(by_level, axis=1)
    queues = {"hard_first": by_level[:, ::-1], "random_pacing": at_random}
    return np.stack([queues.get(order, by_level) for order in ORDERS])


def open_points(fifth: int, random_fifths: Labels) -> Labels:
    """Give from how many points of its queue each order draws, (orders, data sets, points of the batch).

    fifth: the fifth of the steps, counted from 0; random_fifths: one at random for each point drawn, which give the
    weighted order the frequencies of the paced ones and no order.
    """
    fifths = {"easy_weighted": random_fifths, "shuffled": np.full_like(random_fifths, LEVELS - 1)}
    paced = np.full_like(random_fifths, fifth)
    return TRAIN // LEVELS * (1 + np.stack([fifths.get(order, paced) for order in ORDERS]))


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: each order's accuracy, and the benefit of easy first."""
    tables = {check: np.array(measured[f"{check}_accuracy"]) for check in CHECKS}
    labels = {check: np.array(measured[f"labels_{check}_accuracy"]) for check in CHECKS}
    given: Measured = {}
    for i, order in enumerate(ORDERS):
        course = [table[:, i].mean() for table in tables.values()]
        labels_course = [table[i].mean() for table in labels.values()]
        given |= {
            f"{order}_by_rate": tables["end"][:, i].mean(axis=0),
            f"{order}_course": course,
            f"{order}_labels_course": labels_course,
            f"{order}_third": course[1],
            f"{order}_end": course[2],
            f"{order}_labels_end": labels_course[2],
        }
    return {
        **given,
        "benefit": given["easy_first_end"] - given["shuffled_end"],
        "spread": np.mean(measured["spread_by_width"]),
    }


def _in_each_cell(of_sets: NDArray[Any]) -> NDArray[Any]:
    # The cells, rate slowest, then order, differ in nothing but these two.
    return np.concatenate([of_sets] * (len(RATES) * len(ORDERS)))
