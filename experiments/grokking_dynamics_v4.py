"""Whether a ReLU network groks at the sizes of the logs' last attempt: addition modulo 23 from 30 % of the pairs.

Method. Networks of one hidden layer of 64 ReLU units learn a + b modulo 23 with cross-entropy from 159 of the 529
pairs, by AdamW in full batches (rate .001, weight decay 1), for 500,000 steps. Three networks, each with pairs and
weights of its own, are checked every 10,000 steps. As in grokking_dynamics, unseen are pairs whose mirror image (b, a)
isn't trained on either; the logs would call a check over 95 % of them grokking.

Control. A fourth network learns the shuffled classes of all pairs, where nothing can be generalised; its best check
tells what the best of as many checks is by chance. That isn't the floor: a sum stands once in each row and each column
of the table of sums, so what a network learns of the row or of the column of a held-out pair speaks against the right
class. Held-out pairs whose mirror image is trained on are scored apart. grokking_dynamics shows that networks of these
sizes can grok, with x squared and another weight decay.

Reference. Power et al. 2022, arXiv 2201.02177; Nanda et al. 2023, arXiv 2301.05217.

Logged. Predicted: 95 % after 50,000 to 150,000 steps; over 50 % on any machine "confirms" grokking. No result is told.
The logs name neither the activation nor the loss nor the share of moments that Adam keeps; ReLU, cross-entropy and
.9, .98 are taken. The logs stop at the first check over 95 %; here the training goes on.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.encoder import Measured
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.modular import AdamW, FullBatch, Networks, Split, sums
from experiments.kit.networks import Labels, log_softmax
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, State, follow

NAME: Final = "grokking_dynamics_v4"
P: Final = 23
SHARE: Final = 0.3
HIDDEN: Final = 64
NETWORKS: Final = 3  # with true classes; one with shuffled ones is stacked upon them
RATE: Final = 0.001
DECAY: Final = 1.0
SCALE: Final = 0.1  # standard deviation of the initial weights
STAGES: Final = 10
STEPS: Final = 50_000  # of one stage
CHECKS: Final = 5  # in one stage
STEPS_CHECKED: Final = tuple((check + 1) * STEPS // CHECKS for check in range(STAGES * CHECKS))

METADATA = Metadata(
    name=NAME,
    version=1,
    category="grokking",
    question="Does a ReLU network grok addition modulo 23 from 30 % of the pairs in 500,000 steps?",
    budget_s=600,
    memory_bytes=256 * 2**20,
    tolerance=1.0,  # the step at which a network groks is chance, as in grokking_dynamics
    result_keys=(
        ResultKey("unseen_pairs", (), "number of the unseen pairs, mean over networks"),
        ResultKey("train", (50,), "share of the training pairs that are right, mean over networks, by check"),
        ResultKey("unseen", (50,), "share of the unseen pairs that are right, mean over networks, by check"),
        ResultKey("mirrored", (50,), "the same of held-out pairs whose mirror image is trained on, by check"),
        ResultKey("unseen_by_network", (50, 3), "share of the unseen pairs that are right, by check and network"),
        ResultKey("unseen_loss", (50,), "cross-entropy of the unseen pairs, nats, mean over networks, by check"),
        ResultKey("mirrored_loss", (50,), "the same of held-out pairs whose mirror image is trained on, by check"),
        ResultKey("norm", (50,), "norm of the weights, mean over networks, by check"),
        ResultKey("shuffled_train", (50,), "share of the training pairs that are right, shuffled classes, by check"),
        ResultKey("shuffled_unseen", (50,), "share of the unseen pairs that are right, shuffled classes, by check"),
        ResultKey("shuffled_unseen_loss", (50,), "cross-entropy of the unseen pairs, shuffled classes, by check"),
        ResultKey("best", (), "the greatest share of unseen pairs that are right at any check, mean over networks"),
        ResultKey("over_95", (), "share of the checks of all networks with 95 % of the unseen pairs right"),
        ResultKey("shuffled_best", (), "the greatest of shuffled_unseen"),
        ResultKey("mean_unseen", (), "mean of unseen over the checks"),
        ResultKey("mean_mirrored", (), "mean of mirrored over the checks"),
        ResultKey("mean_shuffled", (), "mean of shuffled_unseen over the checks"),
        ResultKey("final_unseen", (), "mean of unseen over the last five checks"),
        ResultKey("mean_unseen_loss", (), "mean of unseen_loss over the checks"),
        ResultKey("mean_mirrored_loss", (), "mean of mirrored_loss over the checks"),
    ),
    claims=(
        Claim(
            name="groks",
            statement="At its best check a ReLU network gets more of the unseen pairs right than one that learns "
            "shuffled classes.",
            quantity="best",
            control="shuffled_best",
            direction="greater",
            threshold=0.5,
            baseline=1 / P,
            logged="predicted: 95 % after 50,000 to 150,000 steps",
        ),
        Claim(
            name="rises_above_chance",
            statement="Over the whole training, ReLU networks get more of the unseen pairs right than a network that "
            "learns shuffled classes.",
            quantity="mean_unseen",
            control="mean_shuffled",
            direction="greater",
            threshold=0.02,
            baseline=1 / P,
        ),
        Claim(
            name="mirror_images_leak",
            statement="Over the whole training, the cross-entropy of held-out pairs is lower if ReLU networks are "
            "trained on their mirror images.",
            quantity="mean_mirrored_loss",
            control="mean_unseen_loss",
            direction="less",
            threshold=0.1,
        ),
    ),
    plots=(
        Plot(
            title="ReLU, p 23, 30 % of the pairs",
            x_label="step",
            x=STEPS_CHECKED,
            y_label="share of the pairs that are right",
            keys=("train", "unseen", "mirrored", "shuffled_unseen"),
        ),
        Plot(title="Norm of the weights", x_label="step", x=STEPS_CHECKED, y_label="norm", keys=("norm",)),
    ),
    variant_of="grokking_dynamics",
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Train in ten stages, each from where the last one ended; `scale` shortens the training."""
    state: State = {}
    return follow(stages(seed, scale, state), summary, budget, state)


def stages(seed: int, scale: float, state: State) -> list[Stage]:
    """Give the stages; the weights and the moments of AdamW go from one to the next in `state`."""
    steps = max(1, round(STEPS * scale / CHECKS))  # of one check
    return [partial(_continue, seed, steps, stage, state) for stage in range(STAGES)]


def _continue(seed: int, steps: int, stage: int, state: State) -> Measured:
    split = Split.draw(generator(seed, NAME, "data"), P, SHARE, NETWORKS + 1)
    y = np.tile(sums(P), (NETWORKS + 1, 1))
    y[-1] = generator(seed, NAME, "data/shuffled").permutation(y[-1])
    networks = Networks.draw(generator(seed, NAME, "weights"), NETWORKS + 1, P, HIDDEN, (SCALE, SCALE))
    optimiser = AdamW(networks.weights, RATE, DECAY)
    if stage:
        networks.weights[:] = state["weights"]
        optimiser.resume(state["mean"], state["square"], stage * CHECKS * steps)
    batch = FullBatch("relu", networks, split.train, y)

    checks = []
    for _ in range(CHECKS):
        for _ in range(steps):
            optimiser.step(batch.gradient())
        checks.append(scores(networks, split, y))
    state.update(weights=networks.weights, mean=optimiser.mean, square=optimiser.square)

    by_check = {score: np.array([check[score] for check in checks]) for score in checks[0]}  # (checks, networks)
    return {
        **{score: values[:, :-1].mean(axis=1) for score, values in by_check.items()},
        "unseen_pairs": split.mirror_unseen[:-1].sum(axis=1).mean(),
        "unseen_by_network": by_check["unseen"][:, :-1],
        "shuffled_train": by_check["train"][:, -1],
        "shuffled_unseen": by_check["unseen"][:, -1],
        "shuffled_unseen_loss": by_check["unseen_loss"][:, -1],
    }


def scores(networks: Networks, split: Split, y: Labels) -> dict[str, NDArray[np.float64]]:
    """Give each network's accuracy and cross-entropy on every group of pairs, and the norm of its weights."""
    answers = networks.answers("relu")
    right = answers.argmax(axis=-1) == y
    losses = -np.take_along_axis(log_softmax(answers), y[..., np.newaxis], axis=-1)[..., 0]
    mirrored = split.held_out & ~split.mirror_unseen
    return {
        "train": mean_over(~split.held_out, right),
        "unseen": mean_over(split.mirror_unseen, right),
        "mirrored": mean_over(mirrored, right),
        "unseen_loss": mean_over(split.mirror_unseen, losses),
        "mirrored_loss": mean_over(mirrored, losses),
        "norm": networks.norms(),
    }


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: the best check, and the means over all of them."""
    unseen = np.array(measured["unseen_by_network"])
    return {
        "best": unseen.max(axis=0).mean(),
        "over_95": (unseen >= 0.95).mean(),
        "shuffled_best": max(measured["shuffled_unseen"]),
        "mean_unseen": np.mean(measured["unseen"]),
        "mean_mirrored": np.mean(measured["mirrored"]),
        "mean_unseen_loss": np.mean(measured["unseen_loss"]),
        "mean_mirrored_loss": np.mean(measured["mirrored_loss"]),
        "mean_shuffled": np.mean(measured["shuffled_unseen"]),
        "final_unseen": np.mean(measured["unseen"][-CHECKS:]),
    }


def mean_over(group: NDArray[np.bool_], values: NDArray[Any]) -> NDArray[np.float64]:
    """Give each network's mean over the pairs in a group; both are (networks, pairs)."""
    mean: NDArray[np.float64] = np.where(group, values, 0).sum(axis=1, dtype=np.float64) / group.sum(axis=1)
    return mean
