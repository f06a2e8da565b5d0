"""How visible a trigger is: PSNR and SSIM in windows, and flicker over time.

Li et al. (AAAI 2024, appendix H): a metric over whole frames hides a trigger that is strong in one
place, so they measure windows of 28×28 pixels, average each window over the clips, and print the
minimum, maximum, mean and standard deviation over the windows (Table 6); Table 4 is its minima.
Their BadNet column shows what "sliding" means there: one window that the square is in and 63 equal
ones give the printed mean 97.16 and, with the population's formula, the printed deviation 7.66. So
the windows do not overlap, and 224×224 pixels have 8×8 of them.

Clips are uint8 arrays T×C×H×W of equal shape. Arithmetic is in float64, frame by frame, but for
``wrapped_psnr_windows``, whose squares are uint8.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, UInt8
from skimage.metrics import structural_similarity

from vidoor.metrics import PEAK, PSNR_FLOOR, filter_side

WINDOW = 28
"""Side of a window in pixels (paper, appendix H)."""

Clip = UInt8[np.ndarray, "t c h w"]

Grid = Float64[np.ndarray, "rows columns"]
"""One number for each window."""


def psnr_windows(clean: Clip, other: Clip, *, side: int = WINDOW) -> Grid:
    """PSNR in dB of each window of ``side`` × ``side`` pixels, over all frames and channels.

    The windows lie on a grid from the top left corner and do not overlap. What is left at the right
    and at the bottom is not measured; an axis shorter than ``side`` is one window long.
    """
    return _decibels(((a.astype(np.float64) - b) ** 2 for a, b in _frames(clean, other)), side)


def wrapped_psnr_windows(clean: Clip, other: Clip, *, side: int = WINDOW) -> Grid:
    """``psnr_windows`` with differences and squares that wrap round at 256, as uint8 does in numpy.

    A mistake, kept because it explains figures of Table 6: the squares of SIG's differences above
    15 come out too small, so that its 25 dB become 29 (paper: 29.17). It says nothing about how
    visible a trigger is.
    """
    return _decibels(((a - b) * (a - b) for a, b in _frames(clean, other)), side)


def _decibels(squares: Iterable[np.ndarray], side: int) -> Grid:
    means = [_windows(square.mean(0), side).mean((1, 3)) for square in squares]
    grid: Grid = 10 * np.log10(PEAK**2 / np.maximum(np.mean(means, axis=0), PSNR_FLOOR))
    return grid


def ssim_windows(clean: Clip, other: Clip, *, side: int = WINDOW) -> Grid:
    """SSIM of each window of ``psnr_windows``, averaged over frames and channels.

    That of the window cut out, as ``metrics.ssim`` computes it: where the filter would reach over
    the window's edge it is left out. NaN for windows smaller than 3×3.
    """
    height, width = (min(side, length) for length in clean.shape[2:])
    reach = filter_side(height, width)
    if reach < 3:
        return np.full_like(psnr_windows(clean, other, side=side), np.nan)
    rim = reach // 2
    inner = np.s_[:, rim : height - rim, :, rim : width - rim]
    means = []
    for a, b in _frames(clean, other):
        _, local = structural_similarity(
            a, b, channel_axis=0, win_size=reach, data_range=PEAK, full=True
        )
        means.append(_windows(local.mean(0), side)[inner].mean((1, 3)))
    grid: Grid = np.mean(means, axis=0)
    return grid


def _frames(clean: Clip, other: Clip) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return zip(clean, other, strict=True)


def _windows(
    sheet: Float64[np.ndarray, "h w"], side: int
) -> Float64[np.ndarray, "rows height columns width"]:
    """The windows of a frame; the remainder is left out, a short axis is one window."""
    (rows, height), (columns, width) = (
        (length // side, side) if length >= side else (1, length) for length in sheet.shape
    )
    return sheet[: rows * height, : columns * width].reshape(rows, height, columns, width)


def spread(windows: Grid) -> dict[str, float]:
    """``min``, ``max``, ``mean`` and ``std`` (of the population, as in Table 6) over windows."""
    return {name: float(getattr(windows, name)()) for name in ("min", "max", "mean", "std")}


def localised(
    pairs: Iterable[tuple[Clip, Clip]], *, side: int = WINDOW
) -> dict[str, dict[str, float]]:
    """A column of Table 6: ``spread`` of ``psnr`` and ``ssim``, and of ``wrapped_psnr``.

    ``pairs`` are clips before and after, one or more, of one frame size; each window is averaged
    over them first.
    """
    measures = {"psnr": psnr_windows, "ssim": ssim_windows, "wrapped_psnr": wrapped_psnr_windows}
    grids = [
        {name: measure(clean, other, side=side) for name, measure in measures.items()}
        for clean, other in pairs
    ]
    return {name: spread(np.mean([grid[name] for grid in grids], axis=0)) for name in measures}


def flicker(clean: Clip, other: Clip) -> float:
    """How much the change itself changes from frame to frame, in grey levels. Ours.

    RMS of r[t + 1] − r[t] over all samples, where r = other − clean: 0 for a pattern that stands
    still, whatever its strength. NaN for a single frame.
    """
    return _steps(b.astype(np.int32) - a for a, b in _frames(clean, other))


def motion(clip: Clip) -> float:
    """RMS of a clip's own differences of successive frames, in grey levels: what hides flicker.

    NaN for a single frame.
    """
    return _steps(frame.astype(np.int32) for frame in clip)


def relative_flicker(clean: Clip, other: Clip) -> float:
    """``flicker`` as a fraction of the clean clip's ``motion``; NaN where that is 0 or unknown."""
    own = motion(clean)
    return flicker(clean, other) / own if own else math.nan


def _steps(frames: Iterable[np.ndarray]) -> float:
    squares = [np.mean(np.square(b - a, dtype=np.float64)) for a, b in pairwise(frames)]
    return float(np.sqrt(np.mean(squares))) if squares else math.nan
