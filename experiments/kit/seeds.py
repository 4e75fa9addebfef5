"""One seed, many independent streams of random numbers."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, experiment: str, stream: str) -> np.random.Generator:
    """Give the generator of one stream ("data", "weights/64", ...) of one experiment under one seed.

    Streams are independent: what one of them draws never shifts another, and two experiments share no numbers.
    """
    words = [seed, zlib.crc32(experiment.encode()), zlib.crc32(stream.encode())]
    return np.random.default_rng(np.random.SeedSequence(words))
