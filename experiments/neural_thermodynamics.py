"""Whether the noise of SGD acts like a temperature, proportional to the learning rate over the batch size.

Method. Small networks (two hidden layers of 8 units) learn 5 overlapping Gaussian classes in 10 dimensions, which they
can't fit wholly, so the noise never dies out. Cooling: the variance of a single point's gradient, which times rate over
batch is the temperature, from the start of training to its end. Thermal energy: at rate x steps = 150 the training
loss, mean over the last fifteenth, less that after a short quench, 50 steps of full-batch gradient descent; at 4 rates
and 3 batch sizes. Transition: rates .025 to 6.4, the order parameter m = (5 accuracy - 1) / 4 of a Potts model and its
Binder cumulant 1 - <m^4> / (3 <m^2>^2), over networks and the second half of training; the critical rate is where the
mean m falls to half its largest, interpolated.

Control. Full-batch gradient descent has no noise: what it does too at the same rates, be it cooling, falling to the
same training loss, or breaking down, is no heat. For "rate over batch", the rival laws: the rate alone, and the rate
over the square root of the batch.

Reference. Mandt et al. 2017, arXiv 1704.04289; Smith and Le 2018, arXiv 1710.06451; Binder 1981, "Finite size scaling
analysis of Ising model block distribution functions"; Wu 1982, "The Potts model", for m.

Logged. "Cooling at every learning rate", phase transitions "confirmed" by the Binder cumulant, critical rate about
.075. The logs say neither what the temperature was nor what the order parameter; these here are a choice. Left out:
the crossing of the cumulants of several sizes, as wider networks are also better ones.
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
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import (
    Floats,
    Labels,
    Layer,
    accuracy,
    cross_entropy,
    forward,
    gradients,
    log_softmax,
    mean_loss,
    new_networks,
    sgd_step,
)
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

Points: TypeAlias = tuple[Floats, Labels]
Values: TypeAlias = NDArray[np.float64]

NAME: Final = "neural_thermodynamics"
CLASSES: Final = 5
DIMENSIONS: Final = 10
SEPARATION: Final = 4.0  # the best possible classifier is right in about 87 % of the points
TRAIN: Final = 1000
SIZES: Final = (DIMENSIONS, 8, 8, CLASSES)

HEATED: Final = 12  # networks of each rate and batch whose thermal energy is taken
HEAT_RATES: Final = (0.05, 0.1, 0.2, 0.4)
HEAT_BATCHES: Final = (16, 32, 64)
TIME: Final = 150.0  # steps times the rate
WINDOW: Final = 15  # the last fifteenth of the steps is taken as stationary
SAMPLES: Final = 25  # of the loss in it
QUENCH_STEPS: Final = 50
QUENCH_RATE: Final = HEAT_RATES[0]  # what was stable at a low rate may not be at a higher one

COOLED: Final = 4  # networks of each rate whose gradient variance is followed
COOL_RATES: Final = (0.1, 0.2, 0.4)  # at which all networks learn
COOL_BATCHES: Final = {"batch_16": 16, "full": TRAIN}
MATCHED: Final = 0.3  # nats above the loss of the best possible classifier: the training loss at which to compare

SWEPT: Final = 4  # networks of each rate in the sweep for the transition
SWEEP_RATES: Final = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
SWEEP_BATCHES: Final = {"batch_1": 1, "batch_4": 4, "batch_16": 16, "full": TRAIN}

STEPS: Final = 400  # of the cooling and of the sweep
CHECK: Final = 10  # steps between two looks


def _result_keys() -> Iterator[ResultKey]:
    yield ResultKey("bayes_loss", (), "training loss of the best possible classifier, nats")
    for batch in HEAT_BATCHES:
        of = f"batch {batch}, by rate"
        yield ResultKey(f"energy_{batch}", (4,), f"training loss in the window, nats, {of}")
        yield ResultKey(f"thermal_energy_{batch}", (4,), f"what a quench takes off it, nats, {of}")
        yield ResultKey(f"fluctuation_{batch}", (4,), f"standard deviation of it over the window, nats, {of}")
    yield ResultKey("thermal_energy_hottest", (), "thermal energy at rate .4 and batch 16, nats")
    yield ResultKey("thermal_energy_full", (), "the same of full-batch gradient descent at rate .4, nats")
    yield ResultKey("rate_doubled", (), "log2 of the factor in thermal energy where the rate is doubled, mean")
    yield ResultKey("rate_doubled_size", (), "size of it; 1 if thermal energy is proportional to a temperature")
    yield ResultKey("both_doubled_size", (), "the same where rate and batch are doubled; 0 if it is rate over batch")
    yield ResultKey("root_kept_size", (), "the same where the rate is doubled and the batch is fourfold")
    for name in COOL_BATCHES:
        yield ResultKey(f"{name}_reached", (3,), "share of networks that came to the matched loss, by rate")
        yield ResultKey(f"{name}_cooling_matched", (3,), "fall of log10 gradient variance to the matched loss, by rate")
        yield ResultKey(f"{name}_cooling_end", (3,), "fall of log10 gradient variance to the last step, by rate")
        yield ResultKey(f"{name}_cooling_matched_mean", (), "mean of the cooling to the matched loss over the rates")
        yield ResultKey(f"{name}_cooling_end_least", (), "the least of the cooling to the last step over the rates")
        yield ResultKey(f"{name}_binder_lowest", (), "the least Binder cumulant over the rates of the sweep")
    for name in SWEEP_BATCHES:
        yield ResultKey(f"{name}_order", (9,), "order parameter m, mean over the second half, by rate")
        yield ResultKey(f"{name}_binder", (9,), "Binder cumulant of m over the second half, by rate")
        yield ResultKey(f"{name}_critical", (), "log2 of the critical rate")
    yield ResultKey("binder_cold", (), "Binder cumulant at the lowest rate, batch 16")
    for law, exponent in (("ratio", 1), ("root", 0.5), ("rate", 0)):
        yield ResultKey(
            f"critical_off_{law}",
            (),
            f"|log2 of the critical rate's factor from batch 1 to 16 - {4 * exponent:g}|, 0 if it goes by "
            f"rate / batch^{exponent:g}",
        )


METADATA = Metadata(
    name=NAME,
    version=1,
    category="optimisation",
    question="Does the noise of SGD act like a temperature, proportional to the learning rate over the batch size?",
    budget_s=100,
    memory_bytes=256 * 2**20,
    # Binder cumulants hang on single steps: seed 101 differed by 0.75 between two kernels of OpenBLAS; 2 lets all pass
    tolerance=2.0,
    result_keys=tuple(_result_keys()),
    claims=(
        Claim(
            name="noise_cools_in_training",
            statement="Even at the learning rate where it falls least, the variance of the gradient falls further from "
            "the start of training to its end under SGD than under full-batch gradient descent.",
            quantity="batch_16_cooling_end_least",
            control="full_cooling_end_least",
            direction="greater",
            threshold=0.1,  # a factor of 1.26
            baseline=0,
            logged="cooling at every learning rate",
        ),
        Claim(
            name="noise_cools_more_at_matched_loss",
            statement="Down to an equal training loss, the variance of the gradient falls further under SGD "
            "than under full-batch gradient descent.",
            quantity="batch_16_cooling_matched_mean",
            control="full_cooling_matched_mean",
            direction="greater",
            threshold=0.1,
            baseline=0,
        ),
        Claim(
            name="noise_holds_the_energy_up",
            statement="A quench takes more off the training loss after SGD than after full-batch gradient descent "
            "at the same rate.",
            quantity="thermal_energy_hottest",
            control="thermal_energy_full",
            direction="greater",
            threshold=0.01,
            baseline=0,
        ),
        Claim(
            name="rate_over_batch_not_rate",
            statement="Doubling rate and batch changes the thermal energy by less than doubling the rate alone.",
            quantity="both_doubled_size",
            control="rate_doubled_size",
            direction="less",
            threshold=0.25,  # of an octave in the energy
        ),
        Claim(
            name="rate_over_batch_not_root",
            statement="Doubling rate and batch changes the thermal energy by less than doubling the rate "
            "with four times the batch.",
            quantity="both_doubled_size",
            control="root_kept_size",
            direction="less",
            threshold=0.25,
        ),
        Claim(
            name="noise_lowers_the_critical_rate",
            statement="Networks stop learning at a lower rate under SGD with batches of 16 than under full-batch "
            "gradient descent.",
            quantity="batch_16_critical",
            control="full_critical",
            direction="less",
            threshold=0.5,  # half the step of the grid of rates
            logged="critical rate about .075",
        ),
        Claim(
            name="critical_point_is_a_temperature",
            statement="From batch 1 to 16 the critical rate moves as rate over batch demands rather than as rate over "
            "the square root of the batch does.",
            quantity="critical_off_ratio",
            control="critical_off_root",
            direction="less",
            threshold=0.5,
            baseline="critical_off_rate",
        ),
        Claim(
            name="binder_cumulant_shows_noise",
            statement="Over the rates, the Binder cumulant falls lower under SGD than under full-batch "
            "gradient descent.",
            quantity="batch_16_binder_lowest",
            control="full_binder_lowest",
            direction="less",
            threshold=1 / 3,  # half of its 2/3 in the ordered state
            baseline="binder_cold",
            logged="phase transitions via Binder cumulant confirmed",
        ),
    ),
    plots=(
        Plot(
            title="Thermal energy",
            x_label="learning rate",
            x=HEAT_RATES,
            y_label="nats",
            keys=tuple(f"thermal_energy_{batch}" for batch in HEAT_BATCHES),
            log_x=True,
            log_y=True,
        ),
        Plot(
            title="Order parameter",
            x_label="learning rate",
            x=SWEEP_RATES,
            y_label="m",
            keys=tuple(f"{name}_order" for name in SWEEP_BATCHES),
            log_x=True,
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure thermal energies and the transition, a stage for each batch size; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for each batch size of the thermal energies, the cooling and the sweep, full batches included."""
    rng = generator(seed, NAME, "data")
    mixture = GaussianMixture.draw(rng, CLASSES, DIMENSIONS, SEPARATION)
    train = mixture.sample(rng, TRAIN)
    bayes_loss = float(cross_entropy(mixture.bayes_logits(train[0]), train[1]))

    def measure_heat(batch: int) -> Measured:
        taken = [thermal_energy(seed, train, batch, rate, scale) for rate in HEAT_RATES]
        energy, thermal, fluctuation = zip(*taken, strict=True)
        return {
            "bayes_loss": bayes_loss,
            f"energy_{batch}": energy,
            f"thermal_energy_{batch}": thermal,
            f"fluctuation_{batch}": fluctuation,
        }

    def measure_drift() -> Measured:
        return {"thermal_energy_full": thermal_energy(seed, train, TRAIN, HEAT_RATES[-1], scale)[1]}

    def measure_cooling(name: str) -> Measured:
        measured = cooling(seed, train, COOL_BATCHES[name], bayes_loss + MATCHED, scale)
        return {f"{name}_{key}": value for key, value in measured.items()}

    def measure_sweep(name: str) -> Measured:
        return {f"{name}_{key}": value for key, value in sweep(seed, train, SWEEP_BATCHES[name], scale).items()}

    return [
        *(partial(measure_heat, batch) for batch in HEAT_BATCHES),
        measure_drift,
        *(partial(measure_cooling, name) for name in COOL_BATCHES),
        *(partial(measure_sweep, name) for name in SWEEP_BATCHES),
    ]


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: exchanges of rate and batch, and the critical rates."""
    heat = np.log2([np.maximum(measured[f"thermal_energy_{batch}"], 1e-6) for batch in HEAT_BATCHES])
    doubled = float((heat[:, 1:] - heat[:, :-1]).mean())
    shift = measured["batch_16_critical"] - measured["batch_1_critical"]
    ends: Measured = {
        "thermal_energy_hottest": measured["thermal_energy_16"][-1],
        "rate_doubled": doubled,
        "rate_doubled_size": abs(doubled),
        "both_doubled_size": abs((heat[1:, 1:] - heat[:-1, :-1]).mean()),
        "root_kept_size": abs((heat[2:, 1:] - heat[:-2, :-1]).mean()),
        "binder_cold": measured["batch_16_binder"][0],
        "critical_off_ratio": abs(shift - 4),
        "critical_off_root": abs(shift - 2),
        "critical_off_rate": abs(shift),
    }
    for name in COOL_BATCHES:
        ends[f"{name}_cooling_end_least"] = min(measured[f"{name}_cooling_end"])
        ends[f"{name}_cooling_matched_mean"] = np.mean(measured[f"{name}_cooling_matched"])
        ends[f"{name}_binder_lowest"] = min(measured[f"{name}_binder"])
    return ends


def step(layers: list[Layer], train: Points, batch: int, rate: float | Floats, rng: np.random.Generator) -> None:
    """Take a step with a random batch for each network, or with all points where the batch is as large."""
    X, y = train
    chosen = np.arange(TRAIN)[np.newaxis] if batch == TRAIN else rng.integers(TRAIN, size=(len(layers[0][0]), batch))
    sgd_step(layers, X[chosen], y[chosen], rate)


def thermal_energy(seed: int, train: Points, batch: int, rate: float, scale: float) -> tuple[float, float, float]:
    """Give the energy, what a quench takes off it, and the energy's standard deviation over time, means over networks.

    All rates and batches start from the same weights.
    """
    layers = new_networks(generator(seed, NAME, "weights/heat"), HEATED, SIZES)
    rng = generator(seed, NAME, f"batches/heat/{batch}/{rate}")
    steps = max(WINDOW, round(TIME / rate * scale))
    window = steps // WINDOW
    losses = []
    for left in reversed(range(steps)):
        step(layers, train, batch, rate, rng)
        if left < window and left % max(1, window // SAMPLES) == 0:
            losses.append(mean_loss(layers, *train))
    for _ in range(max(2, round(QUENCH_STEPS * scale))):
        step(layers, train, TRAIN, QUENCH_RATE, rng)
    energy = np.mean(losses, axis=0)
    quenched = mean_loss(layers, *train)
    return float(energy.mean()), float((energy - quenched).mean()), float(np.std(losses, axis=0).mean())


def at_rates(seed: int, stream: str, rates: tuple[float, ...], count: int) -> tuple[list[Layer], Floats]:
    """Give a stack of `count` networks for each rate, the same ones for all rates, and the rate of each network."""
    same = new_networks(generator(seed, NAME, stream), count, SIZES)
    layers = [(np.tile(W, (len(rates), 1, 1)), np.tile(b, (len(rates), 1, 1))) for W, b in same]
    return layers, np.repeat(np.array(rates, dtype=np.float32), count)[:, np.newaxis, np.newaxis]


def cooling(seed: int, train: Points, batch: int, target: float, scale: float) -> Measured:
    """Give how far the gradient's variance falls to where the training loss is `target`, and to the last step."""
    layers, rates = at_rates(seed, "weights/cooling", COOL_RATES, COOLED)
    rng = generator(seed, NAME, f"batches/cooling/{batch}")
    losses, variances = [mean_loss(layers, *train)], [gradient_variance(layers, train)]
    for _ in range(max(1, round(STEPS / CHECK * scale))):
        for _ in range(CHECK):
            step(layers, train, batch, rates, rng)
        losses.append(mean_loss(layers, *train))
        variances.append(gradient_variance(layers, train))
    log_variance = np.log10(variances)
    matched, reached = first_passage(target, np.array(losses), log_variance)
    falls = {
        "reached": reached,
        "cooling_matched": log_variance[0] - matched,
        "cooling_end": log_variance[0] - log_variance[-1],
    }
    return {key: fall.reshape(-1, COOLED).mean(axis=1) for key, fall in falls.items()}


def sweep(seed: int, train: Points, batch: int, scale: float) -> Measured:
    """Train at all rates of the sweep at once, and give order, cumulant and critical rate.

    At high rates a network's weights may overflow; its answers are then one class for all points, as those of a network
    that has died in any other way.
    """
    X, y = train
    layers, rates = at_rates(seed, "weights/sweep", SWEEP_RATES, SWEPT)
    rng = generator(seed, NAME, f"batches/sweep/{batch}")
    checks = max(2, round(STEPS / CHECK * scale))
    orders = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(checks):
            for _ in range(CHECK):
                step(layers, train, batch, rates, rng)
            right = accuracy(forward(layers, X[np.newaxis])[-1], y)
            orders.append(((CLASSES * right - 1) / (CLASSES - 1)).reshape(-1, SWEPT))
    order = np.array(orders[checks // 2 :])
    return {
        "order": order.mean(axis=(0, 2)),
        "binder": binder_cumulant(order.swapaxes(0, 1).reshape(len(SWEEP_RATES), -1)),
        "critical": critical(np.log2(SWEEP_RATES), order.mean(axis=(0, 2))),
    }


def first_passage(target: float, losses: Values, values: Values) -> tuple[Values, NDArray[np.bool_]]:
    """Interpolate each value to where its loss first falls to the target, and say whether it does.

    Both are (looks, ...); the value of a loss that never gets there is its last one.
    """
    below = losses < target
    below[0] = False
    after = np.where(below.any(axis=0), below.argmax(axis=0), len(losses) - 1)[np.newaxis]
    loss, value = (
        [np.take_along_axis(array, look, axis=0)[0] for look in (after - 1, after)] for array in (losses, values)
    )
    share = np.clip((loss[0] - target) / np.maximum(loss[0] - loss[1], 1e-12), 0, 1)
    return value[0] + share * (value[1] - value[0]), np.asarray(below.any(axis=0))


def binder_cumulant(order: Values) -> Values:
    """Give 1 - <m^4> / (3 <m^2>^2) over the last axis; 0, as of Gaussian m around 0, where m is nothing but 0."""
    second, fourth = (order**2).mean(axis=-1), (order**4).mean(axis=-1)
    cumulant: Values = 1 - np.divide(fourth, 3 * second**2, out=np.ones_like(second), where=second > 0)
    return cumulant


def critical(log_rates: Values, order: Values) -> float:
    """Give the log rate at which the order, once at its largest, falls to half of it; the last one if it never does."""
    best = int(order.argmax())
    below = np.flatnonzero(order[best:] < order[best] / 2)
    if not below.size:
        return float(log_rates[-1])
    after = best + int(below[0])
    share = (order[after - 1] - order[best] / 2) / (order[after - 1] - order[after])
    return float(log_rates[after - 1] + share * (log_rates[after] - log_rates[after - 1]))


def gradient_variance(layers: list[Layer], train: Points) -> Values:
    """Give the trace of the covariance of a single point's gradient, for each network.

    The mean squared norm less the squared norm of the mean. A point's gradient in a layer is the outer product of what
    goes in and the gradient in what comes out (and the latter alone, for the biases).
    """
    X, y = train[0][np.newaxis], train[1][np.newaxis]
    entering = [X, *forward(layers, X)]
    gradient = np.exp(log_softmax(entering.pop()))
    gradient -= y[..., np.newaxis] == np.arange(CLASSES)
    squared_norm = np.zeros(gradient.shape[:2])
    for depth in reversed(range(len(layers))):
        squared_norm += np.square(gradient).sum(axis=-1) * (np.square(entering[depth]).sum(axis=-1) + 1)
        if depth:
            gradient = (gradient @ layers[depth][0].swapaxes(1, 2)) * (entering[depth] > 0)
    mean = sum(np.square(W).sum(axis=(1, 2)) + np.square(b).sum(axis=(1, 2)) for W, b in gradients(layers, X, y))
    variance: Values = squared_norm.mean(axis=1) - mean
    return variance
