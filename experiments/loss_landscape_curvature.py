"""Whether a higher learning rate finds flatter minima, or only gets further down in the same number of epochs.

Method. Networks of two hidden layers learn 5 classes of 4 Gaussian clouds each in 20 dimensions by SGD at rates .003 to
.3, all rates from the same 4 initial weights. Flatness is the trace of the Hessian of the training loss over all
training points. It is exact: in a ReLU network no output has a second derivative in a single weight, so the Hessian has
the trace of its Gauss-Newton part, the mean squared norm of a point's gradient if its label is drawn from the network.

Control. The trace falls as the labels are fitted, whatever the rate, so after a fixed number of epochs a low rate looks
sharp because it is under-trained. Each network is therefore measured also where its training loss reaches .1: it is
held when the loss first falls below .2 and below .1, and log trace is interpolated to .1 in the log loss, so that the
larger overshoot of high rates doesn't count for them. All of it is done without momentum and with it, at the same
effective rate, rate / (1 - momentum).

Reference. Keskar et al. 2017, arXiv 1609.04836, for flatness and generalisation; Dinh et al. 2017, arXiv 1703.04933,
for why a trace is compared only between networks of one shape from the same initial weights.

Logged. Trace 215 at rate .001, test 91.8 % and train 95.9 % there, to 22 at .1; read as "higher rate, flatter minima,
better generalisation". The range of 100 in the rate is kept and moved up by 3, as 50 epochs at .001 learn little here.
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
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import (
    Floats,
    Labels,
    Layer,
    accuracy,
    forward,
    gradients,
    log_softmax,
    mean_loss,
    new_networks,
)
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

Points: TypeAlias = tuple[Floats, Labels]

NAME: Final = "loss_landscape_curvature"
CLASSES: Final = 5
CLOUDS: Final = 4
DIMENSIONS: Final = 20
SEPARATION: Final = 6.0  # the best possible classifier is right in about 94 % of the points
TRAIN: Final = 1000
TEST: Final = 3000
NETWORKS: Final = 4
WIDTH: Final = 64
RATES: Final = (0.003, 0.01, 0.03, 0.1, 0.3)
MOMENTA: Final = {"plain": 0.0, "momentum": 0.9}
BATCH: Final = 50
STEPS: Final = 1000  # 50 epochs, the fixed number of them
CHECK: Final = 20  # steps between two looks at the training loss
LOSSES: Final = (0.2, 0.1)  # where a network is held; the last one is the loss that is matched
LONGEST: Final = 75.0  # most steps for the matched loss, times the rate; half as much again as is needed


def _result_keys() -> Iterator[ResultKey]:
    yield ResultKey("bayes_accuracy", (), "accuracy of the best possible classifier on the test points")
    yield ResultKey("trace_untrained", (), "Hessian trace before training, mean over networks")
    for name in MOMENTA:
        yield ResultKey(f"{name}_fixed_loss", (5,), "training loss after 50 epochs, nats, by rate")
        yield ResultKey(f"{name}_fixed_trace", (5,), "Hessian trace after 50 epochs, geometric mean, by rate")
        yield ResultKey(f"{name}_fixed_accuracy", (5,), "test accuracy after 50 epochs, by rate")
        yield ResultKey(f"{name}_reached", (5,), "share of networks that reached the matched loss, by rate")
        yield ResultKey(f"{name}_matched_trace", (5,), "Hessian trace at training loss .1, geometric mean, by rate")
        yield ResultKey(f"{name}_matched_accuracy", (5,), "test accuracy at training loss .1, by rate")
        for when in ("fixed", "matched"):
            at = "after 50 epochs" if when == "fixed" else "at training loss .1"
            yield ResultKey(f"{name}_{when}_slow", (), f"log10 of the trace {at}, lowest rate")
            yield ResultKey(f"{name}_{when}_fast", (), f"log10 of the trace {at}, highest rate")
            yield ResultKey(f"{name}_{when}_fall", (), f"the fall of log10 trace {at}, lowest to highest rate")
        yield ResultKey(f"{name}_accuracy_slow", (), "test accuracy at training loss .1, lowest rate")
        yield ResultKey(f"{name}_accuracy_fast", (), "test accuracy at training loss .1, highest rate")


def _claims() -> Iterator[Claim]:
    for name in MOMENTA:
        how = "With momentum" if name == "momentum" else "Without momentum"
        yield Claim(
            name=f"flatter_at_fixed_epochs_{name}",
            statement=f"{how}, after 50 epochs the Hessian trace is lower at the highest learning rate "
            "than at the lowest.",
            quantity=f"{name}_fixed_fast",
            control=f"{name}_fixed_slow",
            direction="less",
            threshold=0.1,  # a factor of 1.26 in the trace
            logged="215 at rate .001, 22 at .1",
        )
        yield Claim(
            name=f"flatter_at_matched_loss_{name}",
            statement=f"{how}, at an equal training loss too the Hessian trace is lower at the highest learning rate "
            "than at the lowest.",
            quantity=f"{name}_matched_fast",
            control=f"{name}_matched_slow",
            direction="less",
            threshold=0.1,
            baseline=f"{name}_fixed_slow",
        )
        yield Claim(
            name=f"fixed_epochs_exaggerate_{name}",
            statement=f"{how}, the trace falls by more from the lowest to the highest learning rate after 50 epochs "
            "than at an equal training loss.",
            quantity=f"{name}_fixed_fall",
            control=f"{name}_matched_fall",
            direction="greater",
            threshold=0.1,
        )
        yield Claim(
            name=f"better_at_matched_loss_{name}",
            statement=f"{how}, at an equal training loss the test accuracy is higher at the highest learning rate "
            "than at the lowest.",
            quantity=f"{name}_accuracy_fast",
            control=f"{name}_accuracy_slow",
            direction="greater",
            threshold=0.005,  # about what the choice of the test points alone leaves open
            logged="91.8 % at rate .001, more at higher rates",
        )


METADATA = Metadata(
    name=NAME,
    version=1,
    category="loss landscape",
    question="Does a higher learning rate find flatter minima, or does it only get further down in the same time?",
    budget_s=80,
    memory_bytes=256 * 2**20,
    tolerance=1e-3,  # seed 101 differed by 0.00014 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=tuple(_claims()),
    plots=(
        Plot(
            title="Hessian trace after training",
            x_label="learning rate",
            x=RATES,
            y_label="trace",
            keys=("plain_fixed_trace", "plain_matched_trace", "momentum_matched_trace"),
            log_x=True,
            log_y=True,
        ),
        Plot(
            title="Test accuracy at training loss .1",
            x_label="learning rate",
            x=RATES,
            y_label="accuracy",
            keys=("plain_matched_accuracy", "momentum_matched_accuracy"),
            log_x=True,
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure the trace at every rate, with momentum and without; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for each rate, without momentum and then with it; all of them see the same points."""
    rng = generator(seed, NAME, "data")
    mixture = GaussianMixture.draw(rng, CLASSES, DIMENSIONS, SEPARATION, CLOUDS)
    train, test = mixture.sample(rng, TRAIN), mixture.sample(rng, TEST)
    bayes_accuracy = accuracy(mixture.bayes_logits(test[0]), test[1])
    sizes = (DIMENSIONS, WIDTH, WIDTH, CLASSES)
    steps = max(1, round(STEPS * scale))

    def measure_untrained() -> Measured:
        networks = new_networks(generator(seed, NAME, "weights"), NETWORKS, sizes)
        return {"bayes_accuracy": bayes_accuracy, "trace_untrained": hessian_trace(networks, train[0]).mean()}

    def measure(name: str, rate: float) -> Measured:
        networks = new_networks(generator(seed, NAME, "weights"), NETWORKS, sizes)
        velocity = [(np.zeros_like(W), np.zeros_like(b)) for W, b in networks]
        rng = generator(seed, NAME, f"batches/{name}/{rate}")

        def step() -> None:
            batch = rng.integers(TRAIN, size=(NETWORKS, BATCH))
            momentum_step(networks, velocity, train[0][batch], train[1][batch], rate, MOMENTA[name])

        longest = max(1, round(LONGEST / rate * scale))
        fixed, held, reached = descend(
            networks, step, lambda: mean_loss(networks, *train), LOSSES, fixed=steps, longest=longest, every=CHECK
        )
        losses = [mean_loss(networks, *train) for networks in held]
        traces = [np.log10(hessian_trace(networks, train[0])) for networks in held]
        accuracies = [test_accuracy(networks, test) for networks in held]
        return {
            f"{name}_fixed_loss": [mean_loss(fixed, *train).mean()],
            f"{name}_fixed_trace": [10 ** np.log10(hessian_trace(fixed, train[0])).mean()],
            f"{name}_fixed_accuracy": [test_accuracy(fixed, test).mean()],
            f"{name}_reached": [reached.mean()],
            f"{name}_matched_trace": [10 ** mean_at_loss(LOSSES[-1], losses, traces)],
            f"{name}_matched_accuracy": [mean_at_loss(LOSSES[-1], losses, accuracies)],
        }

    return [measure_untrained, *(partial(measure, name, rate) for name in MOMENTA for rate in RATES)]


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: the lowest rate and the highest, after 50 epochs and at an equal loss."""
    ends: Measured = {}
    for name in MOMENTA:
        for when in ("fixed", "matched"):
            traces = np.log10(measured[f"{name}_{when}_trace"])
            ends |= {f"{name}_{when}_slow": traces[0], f"{name}_{when}_fast": traces[-1]}
            ends[f"{name}_{when}_fall"] = traces[0] - traces[-1]
        accuracies = measured[f"{name}_matched_accuracy"]
        ends |= {f"{name}_accuracy_slow": accuracies[0], f"{name}_accuracy_fast": accuracies[-1]}
    return ends


def momentum_step(
    layers: list[Layer], velocity: list[Layer], X: Floats, y: Labels, rate: float, momentum: float
) -> None:
    """Take one step of heavy-ball SGD of the effective rate `rate`; changes the layers and the velocity in place."""
    steps = gradients(layers, X, y, rate * (1 - momentum))
    for layer, moving, step in zip(layers, velocity, steps, strict=True):
        for weights, speed, push in zip(layer, moving, step, strict=True):
            np.multiply(speed, np.float32(momentum), out=speed)
            np.add(speed, push, out=speed)
            np.subtract(weights, speed, out=weights)


def test_accuracy(networks: list[Layer], test: Points) -> NDArray[np.float64]:
    """Give each network's share of right answers in the test points."""
    return accuracy(forward(networks, test[0][np.newaxis])[-1], test[1])


def hessian_trace(layers: list[Layer], X: Floats) -> NDArray[np.float64]:
    """Give the trace of the Hessian of each ReLU network's mean cross-entropy on X, (samples, inputs).

    It doesn't depend on the labels: the sum over the classes of their probability times the squared norm of the
    gradient if that class were the label. A sample's gradient in a layer is the outer product of what goes in and the
    gradient in what comes out (and the latter alone, for the biases), so its squared norm is the product of both
    squared norms.
    """
    entering = [X[np.newaxis], *forward(layers, X[np.newaxis])]
    probability = np.exp(log_softmax(entering.pop()))
    trace = np.zeros(len(probability))
    for label in range(CLASSES):
        gradient = probability - (np.arange(CLASSES) == label)
        squared_norm = np.zeros_like(probability[..., 0])
        for depth in reversed(range(len(layers))):
            squared_norm += squares(gradient) * (squares(entering[depth]) + 1)
            if depth:
                gradient = gradient @ layers[depth][0].swapaxes(1, 2)
                gradient *= entering[depth] > 0
        trace += (probability[..., label] * squared_norm).mean(axis=1, dtype=np.float64)
    return trace


def squares(x: Floats) -> Floats:
    """Give the sum of the squares over the last axis."""
    total: Floats = np.einsum("...i,...i->...", x, x)
    return total
