"""Measures taken on trained networks and fits through them, each with the source of its formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def linear_cka(X: Array, Y: Array) -> float:
    """Give the linear centred kernel alignment of two representations, between 0 and 1.

    X is (samples, features) and Y (the same samples, features of its own); the order of the features, their common
    scale and any rotation of them don't matter. With both centred, |Y'X|^2 / (|X'X| |Y'Y|) in Frobenius norms
    (Kornblith et al. 2019, arXiv 1905.00414, section 3). NaN if a representation is constant over the samples.
    """
    X = X - X.mean(axis=0, dtype=np.float64)
    Y = Y - Y.mean(axis=0, dtype=np.float64)
    own = np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y)
    return float(np.linalg.norm(Y.T @ X) ** 2 / own) if own > 0 else float("nan")


def chance_earlier(first: Array, second: Array) -> float:
    """Give the chance that a random one of `first` comes before a random one of `second`, ties counting half.

    Both are times of shape (n,). 1/2 means that the order says nothing. This is the Mann-Whitney U over the number
    of pairs, and the area under the ROC curve (Hanley and McNeil 1982). NaN if either is empty.
    """
    if not (first.size and second.size):
        return float("nan")
    ordered = np.sort(second)
    later = second.size - np.searchsorted(ordered, first, side="right")
    ties = second.size - np.searchsorted(ordered, first, side="left") - later
    return float((later + ties / 2).mean() / second.size)


class PowerLaw(NamedTuple):
    """A fit of y = a x^-exponent; r2 is the share of the variance of log y that it explains."""

    exponent: float
    r2: float


def fit_power_law(x: Array, y: Array) -> PowerLaw:
    """Fit a power law by least squares on the logarithms; x and y are (points,).

    A y that doesn't vary has the exponent 0, and is fitted wholly. Both numbers are NaN where the logarithm doesn't
    exist.
    """
    if (x <= 0).any() or (y <= 0).any():
        return PowerLaw(float("nan"), float("nan"))
    if np.ptp(y) == 0:
        return PowerLaw(0.0, 1.0)
    log_x, log_y = np.log(x), np.log(y)
    slope, intercept = np.polyfit(log_x, log_y, 1)
    residual = log_y - (slope * log_x + intercept)
    return PowerLaw(float(-slope), float(1 - residual.var() / log_y.var()))


def at_loss(level: float, losses: Array, values: Array) -> float:
    """Give a value where the course of a training passes this loss, both being (times,).

    Linear between two times in the logarithm of the loss, which is taken as the least one seen until then. Beyond the
    course it is the value at its nearer end.
    """
    descent = -np.log(np.minimum.accumulate(losses))
    return float(np.interp(-np.log(level), descent, values))


def participation_ratio(spectrum: Array) -> float:
    """Give how many directions a variance is spread over, from 1 to the number of its eigenvalues.

    spectrum: the eigenvalues of a covariance (squared singular values of a centred matrix), not negative. Their sum
    squared over the sum of their squares (Gao et al. 2017, bioRxiv 214262). NaN if all are zero.
    """
    squares = float((spectrum**2).sum())
    return float(spectrum.sum()) ** 2 / squares if squares > 0 else float("nan")


def effective_rank(singular_values: Array) -> float:
    """Give the exponential of the entropy of the normalised singular values, from 1 to their number.

    Roy and Vetterli 2007, "The effective rank". NaN if all are zero.
    """
    total = float(singular_values.sum())
    if not total > 0:
        return float("nan")
    shares = singular_values[singular_values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def hutchinson_trace(
    product: Callable[[Array], Array], rng: np.random.Generator, size: int, probes: int
) -> tuple[float, float]:
    """Estimate the trace of a symmetric matrix, and the standard error of it, from its products with random signs.

    product: from a vector of shape (size,) to the matrix times it. The mean of v'Av over `probes` vectors v of random
    signs (Hutchinson 1989).
    """
    estimates = np.empty(probes)
    for probe in range(probes):
        v = rng.choice(np.array([-1.0, 1.0]), size=size)
        estimates[probe] = v @ product(v)
    return float(estimates.mean()), float(estimates.std(ddof=1) / np.sqrt(probes))


def lyapunov_exponent(growths: Array) -> NDArray[np.float64]:
    """Give the largest Lyapunov exponent, nats a step, from how a small perturbation grew in each step.

    growths: (steps, ...), the ratio of the perturbation's length after a step to that before it, the perturbation
    being set back to its first length after every step (Benettin et al. 1980). The mean logarithm over the steps.
    """
    exponent: NDArray[np.float64] = np.log(growths).mean(axis=0)
    return exponent
