"""Evidence that one may look at after every result: a sign e-process, and a confidence sequence for a median.

Ordinary tests and intervals hold for a sample whose size was fixed before. Who looks after each result, and stops when
it looks good, is led astray by them sooner or later, whatever their level. What stands here holds at all sizes at once.

The sign e-process. Of n independent results k are a success (a margin above some bar, say), and the hypothesis is that
a success is no likelier than a failure. For each q from 1/2 to 1 the likelihood ratio q^k (1-q)^(n-k) / (1/2)^n is a
non-negative supermartingale under it: a further result multiplies it by 2q or 2(1-q), with a mean of at most 1. So is
its mean over all q, uniformly weighted (Robbins's method of mixtures):

    E(k, n) = 2 * Integral from 1/2 to 1 of 2^n q^k (1-q)^(n-k) dq = 2^(n+1) P(Bin(n+1, 1/2) <= k) / ((n+1) C(n, k))

By Ville's inequality the chance that it ever reaches 1/a, at whatever time, is at most a. It is an e-value at every
time: how many times one's stake would have grown by betting fairly against the hypothesis.

The confidence sequence. A median is a value c with P(m > c) <= 1/2 and P(m < c) <= 1/2. Each half is tested by a sign
e-process, at a/2; those c are kept that neither rejects. That gives an interval of order statistics, and the chance
that it ever misses a median is at most a, for any distribution: no moments, no symmetry, no normality. Ties are no
success on either side, so that they widen it.

Sources: J. Ville, Etude critique de la notion de collectif (1939). D. A. Darling and H. Robbins, Confidence sequences
for mean, variance, and median, PNAS 58 (1967) 66-68. H. Robbins, Statistical methods related to the law of the iterated
logarithm, Ann. Math. Statist. 41 (1970) 1397-1409. S. R. Howard and A. Ramdas, Sequential estimation of quantiles with
applications to A/B testing and best-arm identification, Bernoulli 28 (2022) 1704-1728, which has the duality and the
beta-binomial mixture. A. Ramdas, P. Gruenwald, V. Vovk and G. Shafer, Game-theoretic statistics and safe
anytime-valid inference, Statistical Science 38 (2023) 576-601.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

Interval = tuple[float, float]


def log_e_value(successes: int, results: int) -> float:
    """Give the natural logarithm of E(k, n). Raises ValueError unless 0 <= successes <= results."""
    if not 0 <= successes <= results:
        raise ValueError(f"{successes} successes of {results} results")
    more = results + 1
    if 2 * successes < more:
        # Then E is the sum of C(n+1, j) over j <= k, divided by (n+1) C(n, k); its last term is 1 / (n+1-k).
        return math.log(_falling(successes, more)) - math.log(more - successes)
    ways = math.lgamma(more) - math.lgamma(successes + 1) - math.lgamma(more - successes)
    whole = more * math.log(2) - math.log(more) - ways
    if successes == results:
        return whole + math.log1p(-(2.0**-more))
    # Of 2^(n+1) the sum leaves out C(n+1, j) over j > k, which are as many as those over j < n+1-k.
    fewest = results - successes
    first = math.lgamma(more + 1) - math.lgamma(fewest + 1) - math.lgamma(more + 1 - fewest) - more * math.log(2)
    return whole + math.log1p(-math.exp(first) * _falling(fewest, more))


def e_value(successes: int, results: int) -> float:
    """Give E(k, n), infinity where it is beyond what a float holds."""
    log = log_e_value(successes, results)
    return math.exp(log) if log < 709 else math.inf


def _falling(last: int, of: int) -> float:
    """Sum C(of, j) over j <= last, in units of its last term; for last < of / 2, where the terms fall quickly."""
    total = term = 1.0
    for j in range(last, 0, -1):
        term *= j / (of + 1 - j)
        total += term
        if term < total * 1e-17:
            break
    return total


@lru_cache(maxsize=100_000)
def fewest_successes(results: int, log_bar: float) -> int:
    """Give the fewest successes with which the e-process of so many results reaches a bar; results + 1: none does."""
    if log_e_value(results, results) < log_bar:
        return results + 1
    # E grows with k; at half of the results it is below 1 already.
    low, high = results // 2, results
    while low < high:
        middle = (low + high) // 2
        if log_e_value(middle, results) >= log_bar:
            high = middle
        else:
            low = middle + 1
    return low


def median_interval(ascending: Sequence[float], error_rate: float) -> Interval:
    """Give the confidence sequence for the median after these values, in ascending order; ends may be infinite.

    error_rate: the chance that it misses the median now or at any other time, at most.
    """
    count = len(ascending)
    needed = fewest_successes(count, math.log(2 / error_rate)) if count else 1
    if needed > count:
        return -math.inf, math.inf
    # So many values lie above each c below the lower end, and below each c above the upper end.
    return ascending[count - needed], ascending[needed - 1]
