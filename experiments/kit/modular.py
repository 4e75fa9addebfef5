"""Addition modulo a small number, and stacks of networks of one hidden layer that learn it by AdamW in full batches.

The inputs are two numbers below p, each as p one-hot units; the classes are the p sums. As in `networks`, every array
has the network as its first axis; one batched matrix product serves them all. The networks have no biases: exactly one
unit of each number is on, so the first layer has no use for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments.kit.networks import Floats, Labels

Kind: TypeAlias = Literal["quadratic", "relu"]
"""x squared with squared error (Gromov 2023, arXiv 2301.02679), or ReLU with cross-entropy.

The squared error is that of the one-hot classes, summed over them and halved; both losses are means over the pairs.
"""

BETAS: Final = (0.9, 0.98)  # as in Power et al. 2022, arXiv 2201.02177
EPSILON: Final = 1e-8


@dataclass(frozen=True)
class Split:
    """All p * p ordered pairs (a, b), numbered a * p + b, some of which each network of a stack trains on.

    train: the numbers of those pairs, (networks, pairs). held_out: which pairs aren't among them, (networks, p * p).
    mirror_unseen: those of the held-out pairs whose mirror image (b, a) is held out too. As a + b is b + a, a network
    that knows no more than this symmetry can be right in the other ones.
    """

    train: Labels
    held_out: NDArray[np.bool_]
    mirror_unseen: NDArray[np.bool_]

    @classmethod
    def draw(cls, rng: np.random.Generator, p: int, share: float, count: int) -> Split:
        """Draw this share of all pairs, anew for each of `count` networks."""
        order = rng.permuted(np.tile(np.arange(p * p), (count, 1)), axis=1)
        train = np.sort(order[:, : round(share * p * p)], axis=1)
        held_out = np.ones((count, p, p), dtype=bool)
        np.put_along_axis(held_out.reshape(count, -1), train, values=False, axis=1)
        mirror_unseen = held_out & held_out.swapaxes(1, 2)
        return cls(train, held_out.reshape(count, -1), mirror_unseen.reshape(count, -1))


def sums(p: int) -> Labels:
    """Give (a + b) mod p for all p * p pairs."""
    a, b = np.divmod(np.arange(p * p), p)
    return (a + b) % p


class Networks:
    """A stack of networks; all weights lie in one flat array, which an optimiser goes through in few calls.

    first: (networks, 2 p, hidden), the rows of a, then those of b. second: (networks, hidden, p). Both are views.
    """

    def __init__(self, weights: Floats, count: int, p: int, hidden: int) -> None:
        self.weights = weights
        self.first, self.second = weights[: count * 2 * p * hidden], weights[count * 2 * p * hidden :]
        self.first = self.first.reshape(count, 2 * p, hidden)
        self.second = self.second.reshape(count, hidden, p)

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, p: int, hidden: int, scales: tuple[float, float]) -> Networks:
        """Draw normal weights, with this standard deviation in the first and in the second layer."""
        networks = cls(rng.standard_normal(3 * count * p * hidden, dtype=np.float32), count, p, hidden)
        networks.first *= np.float32(scales[0])
        networks.second *= np.float32(scales[1])
        return networks

    def like(self, weights: Floats) -> Networks:
        """Give a stack of this shape over another array."""
        count, hidden, p = self.second.shape
        return Networks(weights, count, p, hidden)

    def for_each_weight(self, values: Sequence[float]) -> Floats:
        """Lay out one value for each network as the flat array of weights is."""
        spread = self.like(np.empty_like(self.weights))
        by_network = np.asarray(values, dtype=np.float32)[:, np.newaxis, np.newaxis]
        spread.first[:], spread.second[:] = by_network, by_network
        return spread.weights

    def rows(self, pairs: Labels) -> tuple[Labels, Labels]:
        """Give the rows of `first`, counted through all networks, that pairs of (1 or networks, pairs) switch on."""
        count, _, p = self.second.shape
        a, b = np.divmod(pairs, p)
        offset = 2 * p * np.arange(count)[:, np.newaxis]
        return a + offset, b + p + offset

    def into_hidden(self, rows: tuple[Labels, Labels]) -> Floats:
        """Give the sums that go into the hidden units, (networks, pairs, hidden)."""
        table = self.first.reshape(-1, self.first.shape[-1])
        into: Floats = table.take(rows[0], axis=0)
        into += table.take(rows[1], axis=0)
        return into

    def answers(self, kind: Kind) -> Floats:
        """Give the outputs for all p * p pairs, (networks, p * p, p)."""
        pairs = np.arange(self.second.shape[-1] ** 2)[np.newaxis]
        hidden = _activate(kind, self.into_hidden(self.rows(pairs)))
        answers: Floats = hidden @ self.second
        return answers

    def norms(self) -> NDArray[np.float64]:
        """Give the norm of each network's weights."""
        first, second = (np.square(layer, dtype=np.float64).sum(axis=(1, 2)) for layer in (self.first, self.second))
        norms: NDArray[np.float64] = np.sqrt(first + second)
        return norms


class FullBatch:
    """The pairs that a stack trains on, laid out for the gradient of the mean loss.

    train: the numbers of the pairs, (1 or networks, pairs). y: the classes of all pairs, (1 or networks, p * p).
    """

    def __init__(self, kind: Kind, networks: Networks, train: Labels, y: Labels) -> None:
        p = networks.second.shape[-1]
        self.kind = kind
        self.networks = networks
        self.rows = networks.rows(train)
        one_hot = np.eye(p, dtype=np.float32)
        a, b = np.divmod(train, p)
        inputs = np.concatenate([one_hot[a], one_hot[b]], axis=-1)
        self._inputs = np.ascontiguousarray(inputs.swapaxes(1, 2))  # (1 or networks, 2 p, pairs)
        self._targets = one_hot[np.take_along_axis(y, train, axis=1)]
        self._gradient = networks.like(np.empty_like(networks.weights))

    def gradient(self) -> Floats:
        """Give the gradient in the flat array of weights; the next call overwrites it."""
        networks, gradient = self.networks, self._gradient
        into = networks.into_hidden(self.rows)
        hidden = _activate(self.kind, into)
        error: Floats = hidden @ networks.second
        if self.kind == "relu":
            error -= error.max(axis=-1, keepdims=True)
            np.exp(error, out=error)
            error /= error.sum(axis=-1, keepdims=True)
        error -= self._targets
        error *= np.float32(1 / error.shape[1])
        np.matmul(hidden.swapaxes(1, 2), error, out=gradient.second)
        back: Floats = error @ networks.second.swapaxes(1, 2)
        if self.kind == "quadratic":
            into *= 2
            back *= into
        else:
            back *= hidden > 0
        np.matmul(self._inputs, back, out=gradient.first)
        return gradient.weights


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101), on one array in place.

    decay: one number, or one for each weight; a step shrinks the weights by rate * decay. mean, square: the running
    moments after `steps` steps.
    """

    def __init__(self, weights: Floats, rate: float, decay: float | Floats) -> None:
        self.mean, self.square = np.zeros_like(weights), np.zeros_like(weights)
        self.steps = 0
        self._weights = weights
        self._rate = rate
        self._kept = np.float32(1) - np.float32(rate) * np.asarray(decay, dtype=np.float32)
        self._spare = np.empty_like(weights)

    def resume(self, mean: Floats, square: Floats, steps: int) -> None:
        """Go on from the moments after so many steps."""
        self.mean[:], self.square[:], self.steps = mean, square, steps

    def step(self, gradient: Floats) -> None:
        """Take one step; overwrites the gradient."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in BETAS)
        spare = self._spare
        self.mean *= np.float32(BETAS[0])
        np.multiply(gradient, np.float32(1 - BETAS[0]), out=spare)
        self.mean += spare
        self.square *= np.float32(BETAS[1])
        np.square(gradient, out=gradient)
        gradient *= np.float32(1 - BETAS[1])
        self.square += gradient

        np.sqrt(self.square, out=spare)
        spare += np.float32(EPSILON * second**0.5)
        np.divide(self.mean, spare, out=spare)
        spare *= np.float32(self._rate * second**0.5 / first)
        self._weights *= self._kept
        self._weights -= spare


def _activate(kind: Kind, into: Floats) -> Floats:
    if kind == "quadratic":
        return np.square(into)
    return np.maximum(into, 0, out=into)  # the gradient needs no more than which of them are above zero
