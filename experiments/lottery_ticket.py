"""How sparse a network can be made by iterative magnitude pruning, and what its winning tickets owe it to.

Method. 3 networks of two hidden layers of 64 units learn 5 classes of 4 Gaussian clouds each, which no linear rule
solves. In each round a fifth of the remaining weights of every layer, a tenth in the last one, is pruned, the smallest
first; the others go back to their initial values and are trained again: a ticket, which wins if it learns as well as
before. The critical sparsity is the share of weights that is gone where the accuracy on fresh points falls 2
points below that of dense networks, interpolated linearly from the last round above that level to the next.

Control. In each round, with as many weights in every layer: a random mask; the ticket's mask with fresh initial
weights; the ticket's mask with the initial weights it kept, shuffled within each layer, which keeps how large they are.
Dense networks so narrow that they have no more weights than the ticket. Tickets of networks of width 16. And the
distance of two rounds in sparsity, below which the grid decides and not the networks.

Reference. Frankle and Carbin 2019, "The Lottery Ticket Hypothesis", arXiv 1803.03635. Zhou et al. 2019, "Deconstructing
Lottery Tickets", arXiv 1905.01067.

Logged. Critical sparsity 91.3 % in all of 25 and more runs. A fifth pruned in each of 11 rounds leaves .8^11, which is
a sparsity of 91.4 %, so the figure may be a point of the grid. No sweep is logged that anything could be left out of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.data import GaussianMixture
from experiments.kit.encoder import Measured
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import Floats, Labels, Layer, accuracy, forward, new_networks, sgd_step
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, State, follow

NAME: Final = "lottery_ticket"
CLASSES: Final = 5
CLOUDS: Final = 4
DIMENSIONS: Final = 20
SEPARATION: Final = 6.0  # the best possible classifier is right in about 96 % of the points
TRAIN: Final = 2000
TEST: Final = 2000
NETWORKS: Final = 3
WIDTH: Final = 64
SMALL_WIDTH: Final = 16
KEEP: Final = (0.8, 0.8, 0.9)  # of what is left in each layer, from round to round; as in Frankle and Carbin
ROUNDS: Final = 16  # the first one is dense
SPARSE: Final = 8  # from this round on more than 80 % of the weights are gone
STEPS: Final = 900
BATCH: Final = 50
LEARNING_RATE: Final = 0.1
TOLERANCE: Final = 0.02

ARMS: Final = {
    "ticket": "tickets",
    "random": "random masks",
    "fresh": "the tickets' masks with fresh initial weights",
    "shuffled": "the tickets' masks with their initial weights shuffled within each layer",
}


class Task(NamedTuple):
    """What all networks of a run learn, from which seed, and in how many steps."""

    seed: int
    steps: int
    X: Floats
    y: Labels
    X_test: Floats
    y_test: Labels


def layer_sizes(width: int) -> tuple[int, ...]:
    """Give the layers of a network with two hidden layers of this width."""
    return (DIMENSIONS, width, width, CLASSES)


def weights_left(width: int, pruned: int) -> list[int]:
    """Count the weights left in each layer after so many rounds of pruning."""
    sizes = layer_sizes(width)
    shapes = zip(sizes[:-1], sizes[1:], KEEP, strict=True)
    return [round(inputs * outputs * keep**pruned) for inputs, outputs, keep in shapes]


def sparsities(width: int) -> tuple[float, ...]:
    """Give the share of the weights that is gone in each round."""
    dense = sum(weights_left(width, 0))
    return tuple(1 - sum(weights_left(width, pruned)) / dense for pruned in range(ROUNDS))


def _result_keys() -> Iterator[ResultKey]:
    yield ResultKey("accuracy_dense", (), "accuracy of dense networks, mean over all that were trained")
    for arm, meaning in ARMS.items():
        yield ResultKey(f"accuracy_{arm}", (ROUNDS,), f"accuracy of {meaning}, by round")
        yield ResultKey(f"sparse_{arm}", (), f"accuracy of {meaning}, mean over the sparsities above 80 %")
        yield ResultKey(f"critical_{arm}", (), f"critical sparsity of {meaning}")
    yield ResultKey("accuracy_narrow", (ROUNDS,), "accuracy of dense networks of no more weights, by round")
    yield ResultKey("sparse_narrow", (), "the same, mean over the rounds of sparsities above 80 %")
    yield ResultKey("accuracy_small", (ROUNDS,), "accuracy of tickets of width 16, by round")
    yield ResultKey("critical_small", (), "critical sparsity of tickets of width 16")
    yield ResultKey("critical_on_grid", (), "sparsity of the last round in which tickets aren't below the level")
    yield ResultKey("grid_step", (), "distance to the sparsity of the next round")
    yield ResultKey("critical_advantage", (), "critical sparsity of tickets less that of random masks")


def _claims() -> Iterator[Claim]:
    controls = {
        "beat_random_masks": ("random", "do better than random masks with as many weights in each layer"),
        "need_their_initial_weights": ("fresh", "do better than their masks with fresh initial weights"),
        "need_more_than_large_weights": ("shuffled", "do better than their masks with their initial weights shuffled"),
        "beat_narrow_networks": ("narrow", "do better than dense networks with no more weights"),
    }
    for name, (control, statement) in controls.items():
        yield Claim(
            name=f"tickets_{name}",
            statement=f"Above 80 % sparsity, tickets {statement}.",
            quantity="sparse_ticket",
            control=f"sparse_{control}",
            direction="greater",
            threshold=0.01,  # half of what the critical sparsity takes for a loss
        )
    yield Claim(
        name="tickets_can_be_sparser_than_random_masks",
        statement="The critical sparsity of tickets is above that of random masks by more than two rounds are apart.",
        quantity="critical_advantage",
        control="grid_step",
        direction="greater",
        threshold=0.0,
        baseline=0,
        logged="91.3 %, without random masks",
    )
    yield Claim(
        name="wider_networks_can_be_pruned_further",
        statement="The critical sparsity of tickets is greater in networks of width 64 than of width 16.",
        quantity="critical_ticket",
        control="critical_small",
        direction="greater",
        threshold=0.05,
        logged="91.3 %, at one size",
    )


METADATA = Metadata(
    name=NAME,
    version=1,
    category="pruning",
    question="How sparse can a winning ticket be, and what does it owe it to?",
    budget_s=100,
    memory_bytes=256 * 2**20,
    tolerance=0.1,  # seed 101 differed by 0.02 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=tuple(_claims()),
    plots=(
        Plot(
            title="Pruned networks and their controls",
            x_label="share of weights pruned",
            x=sparsities(WIDTH),
            y_label="accuracy on fresh points",
            keys=(*(f"accuracy_{arm}" for arm in ARMS), "accuracy_narrow"),
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Prune, a stage for each round, then measure the other networks; `scale` shortens the training."""
    state: State = {}
    return follow(stages(seed, scale, state), summary, budget, state)


def stages(seed: int, scale: float, state: State) -> list[Stage]:
    """Give a stage for each round, one for tickets of small networks, and one for the narrow networks.

    The tickets' masks go from one round to the next in `state`.
    """
    rng = generator(seed, NAME, "data")
    mixture = GaussianMixture.draw(rng, CLASSES, DIMENSIONS, SEPARATION, CLOUDS)
    task = Task(seed, max(1, round(STEPS * scale)), *mixture.sample(rng, TRAIN), *mixture.sample(rng, TEST))
    rounds = [partial(measure_round, task, state, pruned) for pruned in range(ROUNDS)]
    return [*rounds, partial(measure_small, task), partial(measure_narrow, task)]


def measure_round(task: Task, state: State, pruned: int) -> Measured:
    """Train the tickets of this round beside their controls, and prune them for the next one."""
    initial, fresh = new_weights(task.seed, "initial", WIDTH), new_weights(task.seed, f"fresh/{pruned}", WIDTH)
    masks = [state.get(f"masks_{depth}", mask) for depth, mask in enumerate(dense_masks(initial))]
    rng = generator(task.seed, NAME, f"shuffling/{pruned}")
    kept_shuffled = shuffled(rng, initial, masks)
    arms = [(initial, masks), (initial, random_masks(rng, masks)), (fresh, masks), (kept_shuffled, masks)]
    networks, all_masks = stacked(arms)
    scores = train(task, networks, all_masks, f"{pruned}").reshape(len(ARMS), NETWORKS)

    tickets = [W[:NETWORKS] for W, _ in networks]
    for depth, mask in enumerate(largest(tickets, weights_left(WIDTH, pruned + 1))):
        state[f"masks_{depth}"] = mask
    return {f"accuracy_{arm}": [score.mean()] for arm, score in zip(ARMS, scores, strict=True)}


def measure_small(task: Task) -> Measured:
    """Train and prune tickets of small networks, through all rounds."""
    scores = []
    masks = dense_masks(new_weights(task.seed, "small", SMALL_WIDTH))
    for pruned in range(ROUNDS):
        networks = new_weights(task.seed, "small", SMALL_WIDTH)
        scores.append(train(task, networks, masks, f"small/{pruned}").mean())
        masks = largest([W for W, _ in networks], weights_left(SMALL_WIDTH, pruned + 1))
    return {"accuracy_small": scores}


def measure_narrow(task: Task) -> Measured:
    """Train dense networks that have no more weights than the tickets of each round."""
    scores = []
    for pruned in range(ROUNDS):
        networks = new_weights(task.seed, f"narrow/{pruned}", width_of(sum(weights_left(WIDTH, pruned))))
        scores.append(train(task, networks, dense_masks(networks), f"narrow/{pruned}").mean())
    return {"accuracy_narrow": scores}


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: the accuracies at great sparsity and the critical sparsities."""
    dense = float(np.mean([measured[f"accuracy_{arm}"][0] for arm in ("ticket", "fresh", "shuffled", "narrow")]))
    found: Measured = {"accuracy_dense": dense}
    for arm in (*ARMS, "narrow"):
        found[f"sparse_{arm}"] = np.mean(measured[f"accuracy_{arm}"][SPARSE:])
    grid = sparsities(WIDTH)
    for arm in ARMS:
        found[f"critical_{arm}"], _ = critical_sparsity(measured[f"accuracy_{arm}"], dense, grid)
    _, last = critical_sparsity(measured["accuracy_ticket"], dense, grid)
    small = measured["accuracy_small"]
    found["critical_small"], _ = critical_sparsity(small, small[0], sparsities(SMALL_WIDTH))
    return found | {
        "critical_on_grid": grid[last],
        "grid_step": grid[min(last + 1, ROUNDS - 1)] - grid[min(last, ROUNDS - 2)],
        "critical_advantage": found["critical_ticket"] - found["critical_random"],
    }


def critical_sparsity(accuracies: Sequence[float], dense: float, grid: Sequence[float]) -> tuple[float, int]:
    """Give the sparsity where the accuracy falls below `dense` less the tolerance for good, and the round before it.

    Interpolated linearly between two rounds. The first sparsity if no round is above the level, the last if the last
    round is.
    """
    level = dense - TOLERANCE
    last = max((pruned for pruned, right in enumerate(accuracies) if right >= level), default=-1)
    if last < 0 or last == len(grid) - 1:
        last = max(last, 0)
        return grid[last], last
    share = (accuracies[last] - level) / (accuracies[last] - accuracies[last + 1])
    return grid[last] + share * (grid[last + 1] - grid[last]), last


def new_weights(seed: int, stream: str, width: int) -> list[Layer]:
    """Give fresh dense networks of this width, the same ones whenever the stream is the same."""
    return new_networks(generator(seed, NAME, f"weights/{stream}"), NETWORKS, layer_sizes(width))


def train(task: Task, networks: list[Layer], masks: list[Floats], stream: str) -> NDArray[np.float64]:
    """Train the networks in place, what is masked staying at zero; give their accuracies on the fresh points."""
    rng = generator(task.seed, NAME, f"batches/{stream}")
    apply_masks(networks, masks)
    for _ in range(task.steps):
        batch = rng.integers(TRAIN, size=(1, BATCH))  # one for all networks, so that arms differ by weights alone
        sgd_step(networks, task.X[batch], task.y[batch], LEARNING_RATE)
        apply_masks(networks, masks)
    return accuracy(forward(networks, task.X_test[np.newaxis])[-1], task.y_test)


def width_of(weights: int) -> int:
    """Give the greatest width, from 1 on, of a dense network that has no more weights than this."""
    ends = DIMENSIONS + CLASSES
    return max(1, int((np.sqrt(ends**2 + 4 * weights) - ends) / 2))


def stacked(arms: list[tuple[list[Layer], list[Floats]]]) -> tuple[list[Layer], list[Floats]]:
    """Join arms, each some networks and their masks, into one stack of networks and its masks."""
    networks = [
        (np.concatenate([W for W, _ in layers]), np.concatenate([b for _, b in layers]))
        for layers in zip(*(start for start, _ in arms), strict=True)
    ]
    return networks, [np.concatenate(masks) for masks in zip(*(masks for _, masks in arms), strict=True)]


def random_masks(rng: np.random.Generator, masks: list[Floats]) -> list[Floats]:
    """Give masks that keep as many weights in each layer of each network as these do, anywhere."""
    return [rng.permuted(mask.reshape(len(mask), -1), axis=1).reshape(mask.shape) for mask in masks]


def shuffled(rng: np.random.Generator, networks: list[Layer], masks: list[Floats]) -> list[Layer]:
    """Give networks whose weights that the masks keep are shuffled among the kept places of their layer."""
    layers = []
    for (W, b), mask in zip(networks, masks, strict=True):
        moved = W.copy()
        for network, kept in zip(moved, mask > 0, strict=True):
            network[kept] = rng.permutation(network[kept])
        layers.append((moved, b))
    return layers


def dense_masks(networks: list[Layer]) -> list[Floats]:
    """Give masks that keep every weight, for each layer an array in the shape of its weights."""
    return [np.ones_like(W) for W, _ in networks]


def apply_masks(networks: list[Layer], masks: list[Floats]) -> None:
    """Set the weights to zero that the masks, 1 or 0 for each weight, don't keep."""
    for (W, _), mask in zip(networks, masks, strict=True):
        np.multiply(W, mask, out=W)


def largest(weights: list[Floats], counts: list[int]) -> list[Floats]:
    """Give masks that keep so many weights in each layer of each network, the largest in size."""
    masks = []
    for W, count in zip(weights, counts, strict=True):
        sizes = np.abs(W).reshape(len(W), -1)
        mask = np.zeros_like(sizes)
        np.put_along_axis(mask, np.argsort(-sizes, axis=1)[:, :count], 1, axis=1)
        masks.append(mask.reshape(W.shape))
    return masks
