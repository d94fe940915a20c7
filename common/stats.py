"""Means over seeds and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CLAIM_SEEDS = 5
"""Seeds below which a table says that no difference can be claimed."""

BOOTSTRAP_SEEDS = 20
RESAMPLES = 4_999


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its spread; what n values cannot tell is None.

    Attributes
    ----------
    n : values that were there.
    mean, sd : the mean and the standard deviation (divisor n - 1).
    low, high : ends of the confidence interval of the mean.
    method : how the interval was found; ``constant`` where all values are equal, and it has no width.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    method: Literal["t", "bca", "constant"] | None = None


def mean_interval(
    values: Iterable[float], level: float = 0.95, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> MeanInterval:
    """Mean, standard deviation and confidence interval of a few repeated measurements.

    Below 20 values the interval is Student's t, from 20 on the bias-corrected and accelerated (BCa) bootstrap with a
    fixed seed. A resampled mean never leaves the range of the data, so a percentile or BCa interval of n symmetric
    values holds the true mean with probability 1 - 2**(1 - n) at most: 50% for 2 seeds, 75% for 3, 94% for 5. At
    a nominal 95% on normal data BCa held it in 72% of 2000 draws with n = 3, 83% with n = 5, 89% with n = 10 and 93%
    with n = 30; t in 95% throughout. Few seeds make a t interval wide, which is what they are worth.

    Parameters
    ----------
    values : the measurements; NaN stands for one that was not made, and is left out.
    level : probability that the interval holds the mean, in (0, 1).
    bounds : range the mean is known to lie in, such as (0, 1) for a share; the interval is cut to it.

    Returns
    -------
    MeanInterval
        Without `sd` and interval where n < 2.

    Notes
    -----
    BCa: B. Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987).
    """
    x = np.asarray(list(values), dtype=np.float64)
    x = x[~np.isnan(x)]
    if x.size == 0:
        return MeanInterval(0)
    if x.size == 1:
        return MeanInterval(1, float(x[0]))
    if np.all(x == x[0]):  # their computed mean may differ from them in the last digit
        value = float(x[0])
        return MeanInterval(x.size, value, 0.0, value, value, "constant")
    mean, sd = float(x.mean()), float(x.std(ddof=1))
    few = x.size < BOOTSTRAP_SEEDS
    half = _t_quantile(x.size, level) * sd / math.sqrt(x.size)
    low, high = (mean - half, mean + half) if few else _bca(x, level)
    return MeanInterval(x.size, mean, sd, max(low, bounds[0]), min(high, bounds[1]), "t" if few else "bca")


def least_difference(sd: float, n: int, level: float = 0.95) -> float:
    """Smallest difference of two means of n values each, paired, whose t interval leaves out zero.

    Parameters
    ----------
    sd : standard deviation of either; seeds are taken to move the two independently.
    """
    return _t_quantile(n, level) * math.sqrt(2 / n) * sd


def _t_quantile(n: int, level: float) -> float:
    from scipy.special import stdtrit  # scipy.stats takes most of a second to import, scipy.special a tenth of it

    return float(stdtrit(n - 1, (1 + level) / 2))


def _bca(x: NDArray[np.float64], level: float) -> tuple[float, float]:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(0)
    found = bootstrap((x,), np.mean, n_resamples=RESAMPLES, confidence_level=level, method="BCa", rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
