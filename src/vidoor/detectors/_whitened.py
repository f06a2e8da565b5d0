"""How input detectors that need no victim look at a clip: by its whitened spectrum.

Grey levels are differenced along t, y and x, which takes away what stands still and slow gradients,
and transformed; each bin is divided by what is usual there in clean clips of the same source, each
clip by its own median, and peaks are cut off, as natural motion has them.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.fft import rfftn

from vidoor.errors import DataError
from vidoor.options import check_seed
from vidoor.types import ClipSet, Frames, Geometry

LEAST = 4
"""Fewest clean clips to fit with: two to learn from and two to calibrate on."""

TINY = 1e-9

Volume = Float[Tensor, "t h w"]
Spectrum = Complex[Tensor, "kt ky kx"]


def grey(clip: Frames) -> Volume:
    """The mean of the channels, in grey levels: patterns are alike in each, and noise is not."""
    return clip.float().mean(1)


def spectrum(volume: Volume) -> Spectrum:
    """Spectrum of the differences along t, y and x, but for axes of one sample."""
    for axis, length in enumerate(volume.shape):
        volume = volume.diff(dim=axis) if length > 1 else volume
    found: Spectrum = rfftn(volume)
    return found


def usual(clips: Iterable[Volume]) -> Float[Tensor, "kt ky kx"]:
    """What clips have in each bin, relative to the rest of it: the geometric mean."""
    total, count = torch.zeros(()), 0
    for clip in clips:
        total = total + torch.log(_scaled(spectrum(clip)).abs().clamp(min=TINY))
        count += 1
    level = torch.exp(total / count)
    return level.clamp(min=max(1e-3 * float(level.median()), TINY))


def whiten(seen: Spectrum, level: Float[Tensor, "kt ky kx"], cap: float) -> Spectrum:
    """A spectrum whose median magnitude is 1, and none is above ``cap``."""
    scaled = _scaled(seen / level)
    return scaled * (cap / scaled.abs().clamp(min=cap))


def _scaled(seen: Spectrum) -> Spectrum:
    return seen / seen.abs().median().clamp(min=TINY)


def read(clean: ClipSet, chosen: Iterable[int]) -> Iterator[Volume]:
    """Grey levels of some of the clips, one by one."""
    return (grey(clean.read(index)) for index in chosen)


def parts(clean: ClipSet, learnt: int, held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Clips to learn from and others to set a threshold on: so many at most, and at most half.

    DataError if there are fewer than four.
    """
    if len(clean) < LEAST:
        raise DataError(f"{len(clean)} clean clips; give {LEAST} or more")
    order: list[int] = np.random.default_rng([seed, 9]).permutation(len(clean)).tolist()
    held = min(held_out, len(clean) // 2)
    return order[held : held + learnt], order[:held]


def check_size(clip: Frames, valid: Geometry) -> None:
    """DataError if a clip is not of the size that a screen was fitted to."""
    arrived = Geometry(clip.shape[0], *clip.shape[2:])
    if arrived != valid:
        sizes = ("×".join(map(str, size)) for size in (arrived, valid))
        raise DataError("a clip of {}; this screen was fitted to clips of {}".format(*sizes))


def check_options(fpr: float, learnt: int, held_out: int, seed: int) -> None:
    """ValueError, one line, if an option is out of range."""
    if min(learnt, held_out) < 2:
        raise ValueError(f"learnt and held_out must be at least 2, not {learnt} and {held_out}")
    if not 0 < fpr < 1:
        raise ValueError(f"fpr must be above 0 and below 1, not {fpr}")
    check_seed(seed)


def scores(
    frames: Iterable[Frames], score: Callable[[Volume], float], valid: Geometry
) -> Float[Tensor, " b"]:
    """A score for each clip, of it alone. DataError if one is not of the ``valid`` size."""
    found = []
    for clip in frames:
        check_size(clip, valid)
        found.append(score(grey(clip.cpu())))
    return torch.tensor(found, dtype=torch.float64)
