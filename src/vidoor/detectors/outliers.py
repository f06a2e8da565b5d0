"""Which class needs a conspicuously small trigger? Rules that turn one norm per class into a score.

Wang et al., "Neural Cleanse", S&P 2019: distance from the median in units of the median absolute
deviation (MAD) times 1.4826, small norms only, more than 2. Li et al. (appendix D): the same of the
reciprocal norms, without the factor, as an absolute deviation. Xiang et al., "Detection of
Backdoors in Trained Classifiers Without Access to the Training Set", TNNLS 2020: a null law is
fitted to the reciprocal norms of the *other* classes; the p-value is that of the largest of all.

An index is weak evidence. Of eight normal numbers one is more than 2 × 1.4826 MAD below the median
in 30 % of the cases, and one more than 2 MAD off in 82 %; of their reciprocals in more.

Departures: Xiang et al. have a norm for each pair of source and target class and leave out all that
share a target; with one norm a class that is the class itself. Their public code fits all three
parameters of a gamma law; a free location follows the smallest of few numbers, so ours is 0. A MAD
of nearly nothing counts as a millionth of the median, so that scores stay finite.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaincc, polygamma

Norms = NDArray[np.float64]

NORMAL = 1.4826
"""MAD -> standard deviation, where the numbers are normal."""

TINY = 1e-6
"""Smallest MAD, as a share of the median."""

NEWTON = 8
"""Steps of Newton's method for the shape of a gamma law; four suffice."""

LEAST_P = 1e-300

VALUES: Mapping[str, Callable[[Norms], Norms]] = {
    "norm": lambda norms: norms,
    "reciprocal": lambda norms: 1 / norms,
    "log": np.log,
}
"""What the statistics make of norms."""

SHAPE, DRAWN = 4.0, 4000
"""Of the gamma law that calibrates, and how often it is drawn from."""


Statistic = Literal["norm", "reciprocal", "log"]


class Rule(Protocol):
    """Scores for norms; a class whose score is above ``threshold`` is an outlier."""

    @property
    def threshold(self) -> float:
        """A score above it makes an outlier."""
        ...

    def scores(self, norms: Norms) -> Norms:
        """A finite score for each norm (> 0) of the last axis, higher = smaller and stranger."""
        ...

    def words(self) -> str:
        """The rule in a line."""
        ...


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Distance from the median in units of MAD · ``factor``: Neural Cleanse's anomaly index."""

    statistic: Statistic = "norm"
    """What is compared: norms; their reciprocals, which magnify small ones; or their logarithms,
    which go by ratios to either side."""

    factor: float = NORMAL
    """What the MAD is multiplied by: 1.4826 (Neural Cleanse) or 1 (Li et al.)."""

    sides: Literal["small", "both"] = "small"
    """``small``: positive below the median norm, negative above. ``both``: without the sign."""

    threshold: float = 2.0
    """Index above which a class is an outlier."""

    def scores(self, norms: Norms) -> Norms:
        """The index, along the last axis."""
        values = VALUES[self.statistic](norms)
        centre = np.median(values, axis=-1, keepdims=True)
        away = values - centre if self.statistic == "reciprocal" else centre - values
        mad = np.median(np.abs(away), axis=-1, keepdims=True)
        least = TINY if self.statistic == "log" else TINY * centre
        index: Norms = away / (self.factor * np.maximum(mad, least))
        return np.abs(index) if self.sides == "both" else index

    def words(self) -> str:
        """E.g. ``|1/norm - median| / MAD > 2``."""
        value = {"norm": "norm", "reciprocal": "1/norm", "log": "log norm"}[self.statistic]
        parts = (value, "median") if self.statistic == "reciprocal" else ("median", value)
        away = f"|{value} - median|" if self.sides == "both" else f"({' - '.join(parts)})"
        scale = "MAD" if self.factor == 1 else f"({self.factor:g} MAD)"
        return f"{away} / {scale} > {self.threshold:g}"


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The median norm over a class's own: how many times fainter is this one?

    Unlike an index it does not grow without bound where the other classes happen to agree, nor
    vanish where they differ by factors among themselves.
    """

    threshold: float
    """Ratio above which a class is an outlier."""

    def scores(self, norms: Norms) -> Norms:
        """The ratio, along the last axis, above 0."""
        ratios: Norms = np.median(norms, axis=-1, keepdims=True) / norms
        return ratios

    def words(self) -> str:
        """E.g. ``median / norm > 2``."""
        return f"median / norm > {self.threshold:g}"


@dataclass(frozen=True, kw_only=True)
class OrderStatistic:
    """−log10 of the p-value of each class's reciprocal norm, under a law of the other classes'.

    A gamma law F is fitted to the reciprocal norms of the others. Of K classes' numbers the largest
    exceeds r with probability 1 − F(r)^K: that is the p-value. A law fitted to K − 1 numbers is too
    narrow, and of eight gamma numbers it calls one an outlier in 30 % of the cases, not in 5 %. So
    the threshold is calibrated: ``alpha`` of K gamma numbers exceed it. It hardly depends on the
    law's shape.
    """

    classes: int
    """K, how many norms there are."""

    alpha: float = 0.05
    """Share of clean victims with an alarm, above 0 and below 1, were their numbers gamma."""

    @cached_property
    def threshold(self) -> float:
        """Score that K numbers of a gamma law exceed with probability ``alpha``."""
        drawn = np.random.default_rng(0).gamma(SHAPE, size=(DRAWN, self.classes))
        return float(np.quantile(self.scores(1 / drawn).max(-1), 1 - self.alpha))

    def scores(self, norms: Norms) -> Norms:
        """−log10 p, 0 to 300."""
        values, scores = 1 / norms, []
        for one in range(values.shape[-1]):
            shape, scale = gamma_law(np.delete(values, one, axis=-1))
            above = gammaincc(shape, values[..., one] / scale)
            # 1 − (1 − above)^K, without a loss of digits where above is small.
            p = -np.expm1(values.shape[-1] * np.log1p(-np.minimum(above, 1 - TINY)))
            scores.append(-np.log10(np.maximum(p, LEAST_P)))
        return np.stack(scores, axis=-1)

    def words(self) -> str:
        """E.g. ``1/norm beyond a gamma law of the other classes', in 5 % of clean victims``."""
        return f"1/norm beyond a gamma law of the other classes', p < {self.alpha:g} calibrated"


def gamma_law(values: Norms) -> tuple[Norms, Norms]:
    """Shape and scale of the likeliest gamma law with location 0, along the last axis (> 0).

    Newton's method on log a − ψ(a) = log(mean) − mean(log) (Choi and Wette, 1969). Numbers that are
    all but equal give a law about as narrow as a millionth of their mean.
    """
    mean = values.mean(-1)
    off = values / mean[..., None] - 1  # sums to 0, so the gap is as follows, and not cancelled
    gap = np.maximum((off - np.log1p(off)).mean(-1), TINY**2 / 2)
    shape = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    for _ in range(NEWTON):
        slope = 1 / shape - polygamma(1, shape)
        # In log a, so that the shape stays above 0; very large shapes are right to begin with.
        step = (np.log(shape) - digamma(shape) - gap) / np.minimum(shape * slope, -(TINY**2))
        shape = np.where(shape < 1e6, shape * np.exp(-np.clip(step, -1, 1)), shape)
    return shape, mean / shape
