"""What ``vidoor bench`` measures: ratios of medians of interleaved runs, in one process.

Machines differ and are shared, so absolute times mean nothing; ratios to the naive way and to the
physical limit, taken in turns, do.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import scipy.fft
import torch

from vidoor.bench.samples import PAPER
from vidoor.triggers._bands import COLUMNS, ROWS
from vidoor.triggers._spectral import Spectral, spatial_index
from vidoor.triggers.embedding import embed as add
from vidoor.triggers.spectral import DCT, DFT, DWT, RT
from vidoor.types import Geometry

RUNS = 15
TRIGGERS: dict[str, Spectral] = {
    "dft": DFT(delta=50_000.0),
    "dct": DCT(delta=50.0),
    "dwt": DWT(delta=10.0),
    "rt": RT(delta=30.0),
}
LARGER_THAN_CACHES = 2**26
"""Bytes that are copied so that what is timed next finds nothing in a cache."""


def interleaved(
    candidates: Mapping[str, Callable[[], object]], *, cold: bool, runs: int = RUNS, warm: int = 2
) -> dict[str, float]:
    """Median seconds of each candidate over rounds in which each runs once, after ``warm`` runs of
    each that are not timed: a trigger's second clip is the first that is looked up.

    ``cold``: every run finds its data in memory, as the next clip of a data set is, and not in a
    cache, where the last one has left it.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    junk = np.zeros(LARGER_THAN_CACHES, np.uint8)
    for run in candidates.values():
        for _ in range(warm):
            run()
    for _ in range(runs):
        for name, run in candidates.items():
            if cold:
                junk.copy()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def embed() -> dict[str, Any]:
    """How fast a trigger is embedded, on one thread, in a clip of 32×224×224×3.

    ``naive``   the paper's way with numpy's FFT: zero-pad time to 45, transform each channel, add,
                invert, magnitude, clip, round
    ``scipy``   the same with scipy's FFT, in single precision
    ``dense``   torch, the pattern written out before in float32: add, magnitude, clamp, round
    ``ours``    the DFT trigger as a user calls it, into memory that it obtains
    ``reused``  the same into memory that is used again (``out``)
    ``memcpy``  the clip's bytes into memory that is used again

    All start with cold caches, but for the ratios under ``warm``. ``over_dft`` compares the bases;
    ``mismatches`` counts, for each, the bytes in which the trigger and transform → add → invert in
    float64 differ.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _embed()
    finally:
        torch.set_num_threads(threads)


def _embed() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    clip = torch.from_numpy(rng.integers(0, 256, (32, 3, 224, 224), dtype=np.uint8))
    pixels, copy, reused = clip.numpy(), np.empty(clip.shape, np.uint8), torch.empty_like(clip)
    dft = TRIGGERS["dft"]
    pattern = dft.pattern(PAPER)
    volume = torch.from_numpy(pattern.volume().astype(np.complex64))[:, None]
    real, square = volume.real.contiguous(), volume.imag.square()
    ours: dict[str, Callable[[], object]] = {
        **{name: partial(trigger, clip) for name, trigger in TRIGGERS.items()},
        "reused": lambda: add(clip, pattern, out=reused),
        "memcpy": lambda: np.copyto(copy, pixels),
    }
    others: dict[str, Callable[[], object]] = {
        "naive": lambda: _naive(pixels, dft),
        "scipy": lambda: _single(pixels, dft),
        "dense": lambda: _dense(clip, real, square),
    }
    cold = interleaved({**others, **ours}, cold=True)
    warm = interleaved(ours, cold=False)
    return {
        **{f"{name}_over_ours": cold[name] / cold["dft"] for name in others},
        "ours_over_memcpy": cold["dft"] / cold["memcpy"],
        "reused_over_memcpy": cold["reused"] / cold["memcpy"],
        "warm": {
            "ours_over_memcpy": warm["dft"] / warm["memcpy"],
            "reused_over_memcpy": warm["reused"] / warm["memcpy"],
        },
        "over_dft": {name: cold[name] / cold["dft"] for name in TRIGGERS},
        "mismatches": {
            name: int((_naive(pixels, trigger) != trigger(clip).numpy()).sum())
            for name, trigger in TRIGGERS.items()
        },
    }


def _through(
    clip: np.ndarray,
    trigger: Spectral,
    forward: Callable[[np.ndarray, Geometry], np.ndarray],
    inverse: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    frames, channels, height, width = clip.shape
    told = trigger.describe(Geometry(frames, height, width))
    index = np.ix_(
        range(int(told["first_index"]), int(told["last_index"]) + 1),
        spatial_index(trigger, ROWS, height),
        spatial_index(trigger, COLUMNS, width),
    )
    out = np.empty_like(clip)
    for channel in range(channels):
        volume = clip[:, channel].astype(np.float64)
        coefficients = forward(volume, Geometry(int(told["transform_frames"]), height, width))
        coefficients[index] += told["delta"]
        levels = inverse(coefficients)[:frames]
        magnitude = np.abs(levels) if np.iscomplexobj(levels) else levels
        out[:, channel] = np.rint(np.clip(magnitude, 0, 255))
    return out


def _naive(clip: np.ndarray, trigger: Spectral) -> np.ndarray:
    basis = trigger.basis()
    return _through(clip, trigger, basis.forward, basis.inverse)


def _single(clip: np.ndarray, trigger: Spectral) -> np.ndarray:
    def forward(volume: np.ndarray, geometry: Geometry) -> np.ndarray:
        found: np.ndarray = scipy.fft.fftn(volume.astype(np.float32), s=geometry, workers=1)
        return found

    return _through(clip, trigger, forward, lambda c: scipy.fft.ifftn(c, workers=1))


def _dense(clip: torch.Tensor, real: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    levels = clip + real
    levels.square_().add_(square).sqrt_().clamp_(max=255).round_()
    return levels.to(torch.uint8)
