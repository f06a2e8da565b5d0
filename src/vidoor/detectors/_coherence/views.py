"""What a search for common patterns sees of a clip: how it moves, what stands still, who it is.

``moving`` is the spectrum of the luminance differenced along t, y and x: still scenes and most
wrap-round jumps go away. What stands still is the mean over time, as luminance and two colour
differences, of which the search for it has a ``sight``.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import isqrt
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.fft import fftfreq, rfftfreq, rfftn
from torch.nn.functional import adaptive_avg_pool2d

from vidoor.detectors._coherence.stills import sight
from vidoor.types import Geometry

COLOURS = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Luminance and the colour differences of BT.601."""

LEAST_BINS, SIDE = 64, 8


class Lens(NamedTuple):
    """How clips of one geometry are looked at."""

    keep: Tensor
    """Bins of the flat spectrum that are kept, int [kept]."""
    bins: Tensor
    """Their wave numbers along t, y and x, [3, kept]."""
    grid: tuple[int, int]
    """Rows and columns of the still picture."""


class Look(NamedTuple):
    """One clip, looked at."""

    name: bytes
    """Hash of the pixels: copies share it."""
    row: Tensor
    """Kept bins of the moving spectrum, complex64 [kept]."""
    sight: Tensor
    """The ``sight`` of its mean over time, float32 [6, rows, columns]."""
    thumb: Tensor
    """Luminance in 8×8 cells, its mean over time first, then what moves: [(1 + T) 64]."""


def lens(geometry: Geometry, count: int, memory: float, rng: torch.Generator) -> Lens:
    """A lens such that the spectra of ``count`` clips fit into ``memory`` MiB; what is made of
    their pictures takes up to a third more."""
    t, h, w = sizes(geometry)
    axes = fftfreq(t, 1 / t), fftfreq(h, 1 / h), rfftfreq(w, 1 / w)
    bins = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    room = memory * 2**20 / count
    keep = torch.randperm(bins.shape[1], generator=rng)[: max(LEAST_BINS, int(room / 8))]
    keep = keep.sort().values
    h, w = geometry.height, geometry.width
    shrink = max(1, isqrt(int(h * w * 9 * 4 / room)))
    return Lens(keep, bins[:, keep], (max(SIDE, h // shrink), max(SIDE, w // shrink)))


def look(clip: Tensor, through: Lens) -> Look:
    """What there is to see of a clip, uint8 [T, 3, H, W]."""
    volume = luminance(clip)
    mean = torch.einsum("kc,chw->khw", torch.tensor(COLOURS), clip.float().mean(0))
    small = adaptive_avg_pool2d(volume, SIDE).flatten(1)
    still = small.mean(0)
    return Look(
        blake2b(clip.flatten().numpy().data, digest_size=16).digest(),
        moving(volume).flatten()[through.keep],
        sight(adaptive_avg_pool2d(mean, through.grid)),
        torch.cat([still - still.mean(), (small - still).flatten()]),
    )


def luminance(clip: Tensor) -> Tensor:
    """Grey levels, [T, H, W], of a clip, uint8 [T, 3, H, W]."""
    red, green, blue = COLOURS[0]
    volume: Tensor = clip[:, 0] * red  # colour by colour: five times as fast as a product
    return volume.add_(clip[:, 1], alpha=green).add_(clip[:, 2], alpha=blue)


def sizes(geometry: Sequence[int]) -> tuple[int, ...]:
    """Of a spectrum of differences along t, y and x, zeros behind them: fast ones, as primes are
    not, and odd ones. No pattern is as sparse there as patterns of even periods can be, whose few
    bins would count for no more than others do."""
    return tuple(_odd(n - 1) for n in geometry)


def _odd(least: int) -> int:
    """The smallest odd number from ``least`` on that has small factors alone."""
    size = least | 1
    while next_fast_len(size) != size:
        size += 2
    return size


def moving(volume: Tensor) -> Tensor:
    """The spectrum of a volume's difference along t, y and x."""
    change = volume.diff(dim=0).diff(dim=1).diff(dim=2)
    spectrum: Tensor = rfftn(change, s=sizes(volume.shape))
    return spectrum
