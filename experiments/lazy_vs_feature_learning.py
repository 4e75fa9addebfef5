"""At which width training turns lazy, and whether the weights' movement can tell.

Method. Networks of two hidden layers, widths 8 to 512, learn by SGD the 5 classes that a random teacher network gives
to 2,000 points in 20 dimensions. Training is lazy where the function is what its linearisation around the initial
weights says (the neural tangent kernel). So on fresh points the change of the logits is held against the change that
the initial Jacobian gives for the same change of the weights: |difference| / |change| is the linearisation error.
Weight movement is |change| / |initial|, of all weights and of the hidden-to-hidden ones alone.

Control. Three parametrisations that are one and the same at width 32: standard, with one learning rate at all widths;
NTK, whose training turns lazy with width; and muP, in which features keep moving at any width. A fall of weight
movement that muP has too is no sign of laziness. Because wide standard networks get further in the same number of
steps, the error is also read off where all networks, from width 32 on, have the same training loss. A steepest drop of
movement is found on any curve, so it is compared with the steepest drop of a parabola through the same points.

Reference. Jacot et al. 2018, arXiv 1806.07572; Chizat et al. 2019, arXiv 1812.07956; Yang and Hu 2021, "Feature
Learning in Infinite-Width Neural Networks", arXiv 2011.14522.

Logged. A search for the width at which weight movement drops most steeply; no result. Left out of the logged sweep
(150 epochs of batches of 64): the epochs after the 38th, for time; weight entropy and gradient norm, which can't tell
a lazy network from one that learns features.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.encoder import Measured
from experiments.kit.measures import at_loss, fit_power_law, linear_cka
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import (
    Floats,
    Labels,
    Layer,
    accuracy,
    copy,
    forward,
    gradients,
    mean_loss,
    new_networks,
    stretches,
)
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

NAME: Final = "lazy_vs_feature_learning"
CLASSES: Final = 5
DIMENSIONS: Final = 20
TEACHER_WIDTH: Final = 10
TRAIN: Final = 2000
FRESH: Final = 500
WIDTHS: Final = (8, 16, 32, 64, 128, 256, 512)
BASE: Final = 32  # the width at which the three parametrisations are the same
MATCHED: Final = WIDTHS[WIDTHS.index(BASE) :]  # narrower networks don't come to the others' training loss
MOST_NETWORKS: Final = 4  # and fewer where they are wide, which differ less from each other
STEPS: Final = 1200
SHARES: Final = (0.03, 0.1, 0.3, 1.0)  # of the steps, after which is measured
BATCH: Final = 64
LEARNING_RATE: Final = 0.05
PARAMETRISATIONS: Final = ("standard", "ntk", "mup")


def _result_keys() -> Iterator[ResultKey]:
    for name in PARAMETRISATIONS:
        yield ResultKey(
            f"{name}_train_loss", (7, 4), f"loss on 500 training points by width and share of the steps, {name}"
        )
        yield ResultKey(f"{name}_errors", (7, 4), f"linearisation error by width and share of the steps, {name}")
        yield ResultKey(f"{name}_test_accuracy", (7,), f"accuracy on the fresh points after training, {name}")
        yield ResultKey(
            f"{name}_feature_change", (7,), f"1 - CKA of the last hidden layer with its initial self, {name}"
        )
        yield ResultKey(f"{name}_dead_units", (7,), f"share of hidden units that no fresh point activates, {name}")
        yield ResultKey(f"{name}_movement", (7,), f"|change| / |initial| of all weights, {name}")
        yield ResultKey(f"{name}_hidden_movement", (7,), f"the same of the hidden-to-hidden weights, {name}")
        yield ResultKey(f"{name}_error", (7,), f"linearisation error after training, {name}")
        yield ResultKey(f"{name}_matched_error", (5,), f"the same at matched_loss, by width from 32, {name}")
        yield ResultKey(f"{name}_error_widest", (), f"linearisation error after training at width 512, {name}")
        yield ResultKey(f"{name}_matched_error_widest", (), f"the same at matched_loss, {name}")
        yield ResultKey(f"{name}_movement_exponent", (), f"exponent of the fall of movement with width, {name}")
        yield ResultKey(f"{name}_hidden_movement_exponent", (), f"the same of hidden_movement, {name}")
    yield ResultKey("matched_loss", (), "the training loss that all networks from width 32 on come to")
    yield ResultKey("movement_narrowest", (), "standard_movement at width 8")
    yield ResultKey("movement_widest", (), "standard_movement at width 512")
    yield ResultKey("matched_error_base", (), "standard_matched_error at width 32")
    yield ResultKey("steepest_drop", (), "largest fall of log2 standard_movement in a doubling of the width")
    yield ResultKey("steepest_drop_smooth", (), "the same of the parabola through log2 standard_movement")
    yield ResultKey("mean_drop", (), "mean fall of log2 standard_movement in a doubling of the width")
    yield ResultKey("steepest_drop_width", (), "the smaller of the two widths between which the steepest drop lies")


METADATA = Metadata(
    name=NAME,
    version=1,
    category="representations",
    question="At which width does training turn lazy, and can the weights' movement tell?",
    budget_s=100,
    memory_bytes=256 * 2**20,
    tolerance=0.01,  # seed 101 differed by 0.0005 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=(
        Claim(
            name="weights_move_less_in_wider_networks",
            statement="In the standard parametrisation, weights move less, relative to their initial norm, at width "
            "512 than at width 8.",
            quantity="movement_widest",
            control="movement_narrowest",
            direction="less",
            threshold=0.1,
            logged="expected",
        ),
        Claim(
            name="movement_drops_at_one_width",
            statement="In the standard parametrisation, weight movement drops in one doubling of the width more "
            "steeply than a smooth curve through all widths does anywhere.",
            quantity="steepest_drop",
            control="steepest_drop_smooth",
            direction="greater",
            threshold=0.15,  # a factor of 1.1
            baseline="mean_drop",
            logged="the transition was to be found at the steepest drop",
        ),
        Claim(
            name="movement_tells_lazy_from_feature_learning",
            statement="The movement of all weights falls by a steeper power of the width in the standard "
            "parametrisation than in muP, where features keep moving.",
            quantity="standard_movement_exponent",
            control="mup_movement_exponent",
            direction="greater",
            threshold=0.1,
            baseline=0,
        ),
        Claim(
            name="hidden_movement_tells_lazy_from_feature_learning",
            statement="The movement of the hidden-to-hidden weights falls by a steeper power of the width in the "
            "standard parametrisation than in muP, where features keep moving.",
            quantity="standard_hidden_movement_exponent",
            control="mup_hidden_movement_exponent",
            direction="greater",
            threshold=0.1,
            baseline=0,
        ),
        Claim(
            name="function_is_more_linear_in_wider_networks",
            statement="In the standard parametrisation, the linearisation error at equal training loss is smaller at "
            "width 512 than at width 32.",
            quantity="standard_matched_error_widest",
            control="matched_error_base",
            direction="less",
            threshold=0.1,
        ),
        Claim(
            name="wide_standard_networks_are_lazier_than_mup",
            statement="At width 512 and equal training loss, the linearisation error is smaller in the standard "
            "parametrisation than in muP.",
            quantity="standard_matched_error_widest",
            control="mup_matched_error_widest",
            direction="less",
            threshold=0.1,
        ),
        Claim(
            name="wide_standard_networks_are_less_lazy_than_ntk",
            statement="At width 512, the linearisation error after equally many steps is greater in the standard "
            "parametrisation than in that of the neural tangent kernel.",
            quantity="standard_error_widest",
            control="ntk_error_widest",
            direction="greater",
            threshold=0.05,
        ),
        Claim(
            name="wide_standard_networks_are_less_lazy_than_ntk_at_equal_loss",
            statement="At width 512, the linearisation error at equal training loss is greater in the standard "
            "parametrisation than in that of the neural tangent kernel.",
            quantity="standard_matched_error_widest",
            control="ntk_matched_error_widest",
            direction="greater",
            threshold=0.05,
        ),
    ),
    plots=(
        Plot(
            title="How far the function is from its linearisation",
            x_label="width",
            x=WIDTHS,
            y_label="linearisation error after training",
            keys=tuple(f"{name}_error" for name in PARAMETRISATIONS),
            log_x=True,
        ),
        Plot(
            title="How far the weights move",
            x_label="width",
            x=WIDTHS,
            y_label="|change| / |initial| of all weights",
            keys=tuple(f"{name}_movement" for name in PARAMETRISATIONS),
            log_x=True,
            log_y=True,
        ),
        Plot(
            title="The function and its linearisation at equal training loss",
            x_label="width",
            x=MATCHED,
            y_label="linearisation error",
            keys=tuple(f"{name}_matched_error" for name in PARAMETRISATIONS),
            log_x=True,
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure each parametrisation, a stage for each width; `scale` shortens the training."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for each parametrisation and width; all of them see the same points."""
    rng = generator(seed, NAME, "data")
    X = rng.standard_normal((TRAIN + FRESH, DIMENSIONS), dtype=np.float32)
    y = teacher_labels(rng, X)
    X, X_fresh, y, y_fresh = X[:TRAIN], X[TRAIN:], y[:TRAIN], y[TRAIN:]
    steps = round(STEPS * scale)

    def measure(name: str, width: int) -> Measured:
        count = min(MOST_NETWORKS, WIDTHS[-1] // width)
        rng = generator(seed, NAME, f"weights/{name}/{width}")
        networks = new_networks(rng, count, (DIMENSIONS, width, width, CLASSES))
        rates = parametrise(name, width, networks)
        initial = copy(networks)
        rng = generator(seed, NAME, f"batches/{name}/{width}")
        losses, errors = [], []
        for stretch in stretches(steps, SHARES):
            for _ in stretch:
                batch = rng.integers(TRAIN, size=(count, BATCH))
                train(networks, X[batch], y[batch], rates)
            losses.append(mean_loss(networks, X[:FRESH], y[:FRESH]).mean())
            errors.append(linearisation_error(initial, networks, X_fresh[np.newaxis]).mean())

        before, after = (forward(layers, X_fresh[np.newaxis]) for layers in (initial, networks))
        return {
            f"{name}_train_loss": [losses],
            f"{name}_errors": [errors],
            f"{name}_test_accuracy": [accuracy(after[-1], y_fresh).mean()],
            f"{name}_feature_change": [1 - np.mean(list(map(linear_cka, before[1], after[1])))],
            f"{name}_dead_units": [np.mean([(hidden <= 0).all(axis=1) for hidden in after[:-1]])],
            f"{name}_movement": [movement(initial, networks)],
            f"{name}_hidden_movement": [movement(initial[1:2], networks[1:2])],
        }

    return [partial(measure, name, width) for name in PARAMETRISATIONS for width in WIDTHS]


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: the ends of the range of widths, the exponents, and the errors at equal loss."""
    losses = {name: np.array(measured[f"{name}_train_loss"])[-len(MATCHED) :] for name in PARAMETRISATIONS}
    level = max(loss[:, -1].max() for loss in losses.values())
    compared: Measured = {"matched_loss": level}
    for name in PARAMETRISATIONS:
        errors = np.array(measured[f"{name}_errors"])
        matched = [at_loss(level, *curves) for curves in zip(losses[name], errors[-len(MATCHED) :], strict=True)]
        compared |= {
            f"{name}_error": errors[:, -1],
            f"{name}_error_widest": errors[-1, -1],
            f"{name}_matched_error": matched,
            f"{name}_matched_error_widest": matched[-1],
        }
        for weights in ("movement", "hidden_movement"):
            law = fit_power_law(np.array(WIDTHS, dtype=float), np.array(measured[f"{name}_{weights}"]))
            compared[f"{name}_{weights}_exponent"] = law.exponent
    moved = measured["standard_movement"]
    return (
        compared
        | drops(np.array(moved))
        | {
            "movement_narrowest": moved[0],
            "movement_widest": moved[-1],
            "matched_error_base": compared["standard_matched_error"][0],
        }
    )


def teacher_labels(rng: np.random.Generator, X: Floats) -> Labels:
    """Give each point the class of the largest output of a random network, its outputs standardised over the points."""
    outputs = forward(new_networks(rng, 1, (DIMENSIONS, TEACHER_WIDTH, CLASSES)), X[np.newaxis])[-1][0]
    labels: Labels = ((outputs - outputs.mean(axis=0)) / outputs.std(axis=0)).argmax(axis=-1)
    return labels


def parametrise(name: str, width: int, networks: list[Layer]) -> list[tuple[float, float]]:
    """Give the learning rates of each layer's weights and biases; in muP, set the output weights too.

    A factor in front of a weight is the same, under SGD, as another initial variance and learning rate of the weight
    itself, so all three are networks of one form. NTK: each weight stands behind a factor 1 / sqrt(inputs), which
    divides its rate by its inputs. muP: table 3 of Yang et al. 2022, arXiv 2203.03466, for SGD.
    """
    wider = width / BASE
    if name == "standard":
        factors = [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0)]
    elif name == "ntk":
        factors = [(1.0, 1.0), (1 / wider, 1.0), (1 / wider, 1.0)]
    else:
        factors = [(wider, wider), (1.0, wider), (1 / wider, 1.0)]
        np.divide(networks[-1][0], np.float32(np.sqrt(wider)), out=networks[-1][0])
    return [(LEARNING_RATE * weights, LEARNING_RATE * biases) for weights, biases in factors]


def train(networks: list[Layer], X: Floats, y: Labels, rates: list[tuple[float, float]]) -> None:
    """Take one step of SGD in place, each layer's weights and biases at rates of their own."""
    for layer, slopes, layer_rates in zip(networks, gradients(networks, X, y), rates, strict=True):
        for weights, slope, rate in zip(layer, slopes, layer_rates, strict=True):
            np.subtract(weights, np.float32(rate) * slope, out=weights)


def linearisation_error(initial: list[Layer], networks: list[Layer], X: Floats) -> NDArray[np.float64]:
    """Give |change of the logits - its linearisation| / |change of the logits| over the points, for each network."""
    logits, linear_change = linearise(initial, networks, X)
    change = forward(networks, X)[-1] - logits
    error: NDArray[np.float64] = _norm(change - linear_change) / _norm(change)
    return error


def linearise(initial: list[Layer], networks: list[Layer], X: Floats) -> tuple[Floats, Floats]:
    """Give the initial logits, and their Jacobian times the change of the weights from `initial` to `networks`."""
    tangent = np.zeros_like(X)
    for depth, ((W, b), (W_now, b_now)) in enumerate(zip(initial, networks, strict=True), start=1):
        tangent = tangent @ W + X @ (W_now - W) + (b_now - b)
        X = X @ W + b
        if depth < len(initial):
            tangent *= X > 0
            X = np.maximum(X, 0)
    return X, tangent


def _norm(logits: Floats) -> NDArray[np.float64]:
    norm: NDArray[np.float64] = np.sqrt((logits.astype(np.float64) ** 2).sum(axis=(1, 2)))
    return norm


def movement(initial: list[Layer], networks: list[Layer]) -> float:
    """Give |change| / |initial| of the weights and biases of all these layers, the mean over the networks."""
    changed = np.zeros(len(initial[0][0]))
    was = np.zeros_like(changed)
    for before, after in zip(initial, networks, strict=True):
        for old, new in zip(before, after, strict=True):
            changed += ((new - old) ** 2).sum(axis=(1, 2))
            was += (old**2).sum(axis=(1, 2))
    return float(np.sqrt(changed / was).mean())


def drops(moved: NDArray[np.float64]) -> Measured:
    """Give the steepest drop of movement in a doubling of the width, in octaves, and that of a parabola through all."""
    octaves = np.log2(moved)
    doublings = np.arange(len(moved))
    smooth = np.polyval(np.polyfit(doublings, octaves, 2), doublings)
    falls = -np.diff(octaves)
    return {
        "steepest_drop": falls.max(),
        "steepest_drop_smooth": (-np.diff(smooth)).max(),
        "mean_drop": falls.mean(),
        "steepest_drop_width": float(WIDTHS[int(falls.argmax())]),
    }
