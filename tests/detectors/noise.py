"""Clips of 1/f noise, into some of which a pattern of our own is planted."""

import numpy as np
import torch
from numpy.typing import NDArray

from vidoor.types import ClipSet, Geometry, Verdict

COUNT, POISONED = 48, 8
SHAPE = (12, 32, 28)


def natural(seed: int, count: int = COUNT, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int_]:
    """Grey volumes with the 1/f amplitudes of natural footage, [count, T, H, W], 0..255."""
    rng = np.random.default_rng(seed)
    t, y, x = (np.abs(np.fft.fftfreq(n) * n) for n in shape)
    fall = 1 / ((1 + t)[:, None, None] * (1 + np.hypot(y[:, None], x)))
    white = np.fft.fftn(rng.standard_normal((count, *shape)), axes=(1, 2, 3))
    noise = np.fft.ifftn(white * fall, axes=(1, 2, 3)).real
    noise *= rng.uniform(8, 16, (count, 1, 1, 1)) / noise.std(axis=(1, 2, 3), keepdims=True)
    return np.clip(np.rint(128 + noise), 0, 255).astype(int)


def pattern(
    seed: int, rms: float = 3.0, shape: tuple[int, int, int] = SHAPE
) -> NDArray[np.float64]:
    """A rank-one volume of random vectors, one a axis: no basis in particular."""
    rng = np.random.default_rng(seed)
    t, h, w = (rng.standard_normal(n) for n in shape)
    volume = t[:, None, None] * h[:, None] * w
    return volume * rms / np.sqrt((volume**2).mean())


def clips(volumes: NDArray[np.generic], labels: tuple[int, ...] | None = None) -> ClipSet:
    grey = np.clip(np.rint(volumes), 0, 255).astype(np.uint8)
    frames = torch.from_numpy(grey)[:, :, None].expand(-1, -1, 3, -1, -1)
    return ClipSet(
        ids=tuple(f"clip/{i:03d}" for i in range(len(frames))),
        labels=labels or (0,) * len(frames),
        classes=("a", "b"),
        geometry=Geometry(frames.shape[1], *frames.shape[3:]),
        read=frames.__getitem__,
    )


def poisoned(seed: int, rms: float = 3.0) -> NDArray[np.generic]:
    """Natural volumes, the first few of them with the pattern of the same seed."""
    volumes = natural(seed).astype(float)
    volumes[:POISONED] += pattern(seed, rms)
    return volumes


def flagged(verdict: Verdict) -> set[int]:
    return {i for i, score in enumerate(verdict.scores) if score > verdict.threshold}
