"""Stacks of small ReLU networks, trained side by side by plain SGD.

A stack is `count` networks of one shape. Every array has the network as its first axis, so one batched matrix product
serves them all; an axis of length 1 in the inputs is shared by all networks. What takes layers
works on any device (see `device`) that holds them and the inputs; a learning rate of each network's own, on the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Layer: TypeAlias = tuple[Floats, Floats]
"""Weights of shape (count, inputs, outputs) and biases of shape (count, 1, outputs)."""


def new_networks(rng: np.random.Generator, count: int, sizes: tuple[int, ...]) -> list[Layer]:
    """Give `count` fresh networks with layers of these sizes, inputs first, classes last.

    Weights are normal with variance 2 / inputs (He et al. 2015, arXiv 1502.01852), biases zero.
    """
    layers = []
    for inputs, outputs in pairwise(sizes):
        W = rng.standard_normal((count, inputs, outputs), dtype=np.float32) * np.float32(np.sqrt(2 / inputs))
        layers.append((W, np.zeros((count, 1, outputs), dtype=np.float32)))
    return layers


def copy(layers: list[Layer]) -> list[Layer]:
    """Give a copy of the networks that training them further doesn't change."""
    return [(W.copy(), b.copy()) for W, b in layers]


def parameter_count(sizes: tuple[int, ...]) -> int:
    """Count the weights and biases of one network with layers of these sizes."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def forward(layers: list[Layer], X: Floats) -> list[Floats]:
    """Give the output of every layer, the logits last; X is (count or 1, samples, inputs).

    Each output is (count, samples, outputs). Hidden layers are ReLU, the last one is linear.
    """
    outputs = []
    for depth, (W, b) in enumerate(layers, start=1):
        X = X @ W
        X += b
        if depth < len(layers):
            np.maximum(X, 0, out=X)
        outputs.append(X)
    return outputs


def log_softmax(logits: Floats) -> Floats:
    """Give the log probabilities of the classes on the last axis."""
    shifted: Floats = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def cross_entropy(logits: Floats, y: Labels) -> NDArray[np.float64]:
    """Give the mean cross-entropy in nats over the samples, for each network.

    logits is (count, samples, classes) or, of one network, (samples, classes); y is broadcast to all but its last axis.
    """
    y = np.broadcast_to(y, logits.shape[:-1])
    chosen = np.take_along_axis(log_softmax(logits), y[..., np.newaxis], axis=-1)
    mean: NDArray[np.float64] = chosen[..., 0].mean(axis=-1, dtype=np.float64)
    return -mean


def mean_loss(layers: list[Layer], X: Floats, y: Labels) -> NDArray[np.float64]:
    """Give each network's mean cross-entropy in nats over the points X, (samples, inputs), and labels y, (samples,)."""
    return cross_entropy(forward(layers, X[np.newaxis])[-1], y)


def accuracy(logits: Floats, y: Labels) -> NDArray[np.float64]:
    """Give the share of right answers for each network; shapes as in cross_entropy."""
    right = logits.argmax(axis=-1) == y
    share: NDArray[np.float64] = right.mean(axis=-1, dtype=np.float64)
    return share


def gradients(layers: list[Layer], X: Floats, y: Labels, scale: float | Floats = 1.0) -> list[Layer]:
    """Give the gradient of each network's mean cross-entropy on a batch, times `scale`, in the shape of `layers`.

    X is (count or 1, batch, inputs), y (count or 1, batch); scale is one number, or (count, 1, 1).
    """
    outputs = forward(layers, X)
    gradient = np.exp(log_softmax(outputs[-1]))
    gradient -= y[..., np.newaxis] == np.arange(gradient.shape[-1], like=gradient)
    gradient *= np.float32(scale / np.float32(X.shape[1]))  # here, where the array is smallest
    return backward(layers, X, outputs, gradient)


def backward(layers: list[Layer], X: Floats, outputs: list[Floats], gradient: Floats) -> list[Layer]:
    """Give the gradient in every layer's weights and biases from the gradient in the logits, which this overwrites.

    outputs: what `forward(layers, X)` gave. Shapes as there.
    """
    by_layer: list[Layer] = []
    for depth in reversed(range(len(layers))):
        below = outputs[depth - 1] if depth else X
        by_layer.append((below.swapaxes(1, 2) @ gradient, gradient.sum(axis=1, keepdims=True)))
        if depth:
            gradient = gradient @ layers[depth][0].swapaxes(1, 2)
            gradient *= below > 0
    return by_layer[::-1]


def sgd_step(layers: list[Layer], X: Floats, y: Labels, learning_rate: float | Floats) -> None:
    """Take one step of SGD on the mean cross-entropy of a batch, each network on its own; changes the layers in place.

    X is (count or 1, batch, inputs), y (count or 1, batch); the rate is one number, or (count, 1, 1), one a network.
    """
    for layer, steps in zip(layers, gradients(layers, X, y, learning_rate), strict=True):
        for weights, step in zip(layer, steps, strict=True):
            np.subtract(weights, step, out=weights)


def stretches(steps: int, shares: Iterable[float]) -> Iterator[range]:
    """Give the steps to take from one measurement to the next one, the measurements standing at shares of all steps.

    A share above 0 stands for one step at least.
    """
    taken = 0
    for share in shares:
        goal = max(taken, round(share * steps), int(share > 0))
        yield range(taken, goal)
        taken = goal
