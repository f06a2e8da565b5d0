"""The numbers that a table holds, of truth and scores.

Plain numpy in, plain floats out. Rates are fractions in [0, 1].
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int, Shaped, UInt8
from skimage.metrics import structural_similarity

PEAK = 255.0
PSNR_FLOOR = 1e-5
"""Smallest mean squared error that PSNR is computed from: it caps PSNR at 98.13 dB, the value that
the paper prints for windows that did not change (Table 6)."""


def accuracy(predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """ACC: fraction of clean clips predicted as their own class (paper, section 4.1)."""
    return float(np.mean(predicted == labels))


def attack_success_rate(predicted: Int[np.ndarray, " n"], goal: Int[np.ndarray, " n"]) -> float:
    """ASR: fraction of triggered clips predicted as the class that the attack wants them to be.

    ``goal`` is that class for each clip, −1 for clips that do not count; the attack says which
    (``poisoning.labels``): by default those whose true class is not the target, since the others
    count as successes without any attack. NaN if no clip counts.
    """
    counted = goal >= 0
    return float(np.mean((predicted == goal)[counted])) if counted.any() else float("nan")


def psnr(clean: UInt8[np.ndarray, "*shape"], other: UInt8[np.ndarray, "*shape"]) -> float:
    """Peak signal-to-noise ratio over all samples in dB, in float (no uint8 wrap-around)."""
    squares = [np.mean((a.astype(np.float64) - b) ** 2) for a, b in zip(clean, other, strict=True)]
    return float(10 * np.log10(PEAK**2 / max(np.mean(squares), PSNR_FLOOR)))


def ssim(clean: UInt8[np.ndarray, "t c h w"], other: UInt8[np.ndarray, "t c h w"]) -> float:
    """Structural similarity of the frames, averaged over frames and channels.

    Wang et al. 2004 with scikit-image's uniform 7×7 window, or the largest odd one that fits.
    NaN for frames smaller than 3×3.
    """
    side = filter_side(*clean.shape[2:])
    if side < 3:
        return float("nan")
    return float(
        np.mean(
            [
                structural_similarity(a, b, channel_axis=0, win_size=side, data_range=PEAK)
                for a, b in zip(clean, other, strict=True)
            ]
        )
    )


def filter_side(height: int, width: int) -> int:
    """Side of SSIM's filter on so many pixels: 7, or the largest odd one that fits."""
    side = min(7, height, width)
    return side - (1 - side % 2)


def auroc(scores: Shaped[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve: how often a positive outranks a negative, ties counting half."""
    if positive.all() or not positive.any():
        return float("nan")
    below = np.sort(scores[~positive])
    lower = np.searchsorted(below, scores[positive], "left")
    upper = np.searchsorted(below, scores[positive], "right")
    return float(np.mean((lower + upper) / 2) / len(below))


def hit_rates(
    flagged: Bool[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]
) -> tuple[float, float]:
    """TPR and FPR of a set of flags; NaN where there is nothing to hit or to spare."""

    def rate(of: Bool[np.ndarray, " n"]) -> float:
        return float(np.mean(flagged[of])) if of.any() else float("nan")

    return rate(positive), rate(~positive)


def roc(
    scores: Shaped[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """FPR, TPR and threshold of every set of flags ``scores >= threshold``, from none to all.

    The first threshold is infinite, the others are the distinct scores, from high to low. A rate is
    NaN where there is nothing to hit or to spare.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else order
    flagged, hits = np.append(0, ends + 1), np.append(0, hits[ends])
    tpr, fpr = hits / (positive.sum() or np.nan), (flagged - hits) / ((~positive).sum() or np.nan)
    return fpr, tpr, np.append(np.inf, ranked[ends]).astype(np.float64)


def tpr_at_fpr(
    scores: Shaped[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], fpr: float
) -> float:
    """Highest TPR of a threshold whose FPR is at most ``fpr``; nothing is interpolated.

    NaN unless there are both kinds.
    """
    if positive.all() or not positive.any():
        return float("nan")
    false, true, _ = roc(scores, positive)
    return float(true[false <= fpr].max())


def bootstrap(
    statistic: Callable[..., float],
    arrays: Sequence[Shaped[np.ndarray, "n ..."]],
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of ``statistic(*arrays)`` (Efron & Tibshirani 1993, chapter 13).

    The rows are drawn with replacement, the same of every array. Draws whose statistic is NaN, as
    AUROC's without positives, do not count; NaN, NaN if none does.
    """
    rng, count = np.random.default_rng([seed, 6]), len(arrays[0])
    rows = (rng.integers(0, count, count) for _ in range(draws))
    drawn = np.array([statistic(*(array[row] for array in arrays)) for row in rows])
    counted = drawn[~np.isnan(drawn)]
    if not len(counted):
        return float("nan"), float("nan")
    low, high = np.quantile(counted, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
