"""Data sets drawn from a seed, with what is known about them exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.kit.networks import Floats, Labels


@dataclass(frozen=True)
class GaussianMixture:
    """Classes that are equally likely, each made of equally likely normal clouds of unit covariance.

    means: (clouds a class, classes, dimensions).
    """

    means: NDArray[np.float64]

    @classmethod
    def draw(
        cls, rng: np.random.Generator, classes: int, dimensions: int, separation: float, clouds: int = 1
    ) -> GaussianMixture:
        """Draw the means; two of them lie `separation` standard deviations apart in the root mean square."""
        means = rng.standard_normal((clouds, classes, dimensions)) * separation / np.sqrt(2 * dimensions)
        return cls(means)

    def sample(self, rng: np.random.Generator, samples: int) -> tuple[Floats, Labels]:
        """Draw points, (samples, dimensions), and their classes, (samples,)."""
        clouds, classes, dimensions = self.means.shape
        cloud = rng.integers(clouds, size=samples)
        y = rng.integers(classes, size=samples)
        X = self.means[cloud, y] + rng.standard_normal((samples, dimensions))
        return X.astype(np.float32), y

    def bayes_logits(self, X: Floats) -> Floats:
        """Give the logits of the best possible classifier for X of (samples, dimensions), as (samples, classes).

        With equal priors and unit covariance a cloud's log density is x . mean - |mean|^2 / 2 and a term that all
        clouds share; a class adds up the densities of its clouds.
        """
        densities = np.einsum("nd,kcd->knc", X.astype(np.float64), self.means)
        densities -= (self.means**2).sum(axis=-1)[:, np.newaxis] / 2
        logits: NDArray[np.float64] = np.logaddexp.reduce(densities, axis=0)
        return logits.astype(np.float32)
