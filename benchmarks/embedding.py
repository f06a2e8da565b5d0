"""How fast a trigger is embedded: the closed form against transform → add → invert, and memcpy.

    .venv/bin/python benchmarks/embedding.py [--json]

One thread, one process, 32×224×224×3, the runs interleaved; ratios of medians. Every run starts
with cold caches: a block of memory larger than they are is copied before it. The candidates:

``naive``   the paper's way with numpy's FFT: zero-pad time to 45, transform each channel, add,
            invert, magnitude, clip, round
``scipy``   the same with scipy's FFT, in single precision
``dense``   torch, the pattern written out before in float32: add, magnitude, clamp, round
``ours``    the trigger as a user calls it, into memory that it obtains, for each basis
``reused``  the same for the DFT, into memory that is used again (``out``)
``memcpy``  the clip's bytes into memory that is used again

``ours_over_dft`` compares the bases. ``mismatches`` counts, for each basis, the bytes in which the
trigger and transform → add → invert in float64 differ.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.fft
import torch

from vidoor.triggers.embedding import embed
from vidoor.triggers.spectral import COLUMNS, DCT, DFT, DWT, ROWS, RT, Spectral, spatial_index
from vidoor.types import Geometry

RUNS = 15
PAPER = Geometry(32, 224, 224)
TRIGGERS: dict[str, Spectral] = {
    "dft": DFT(delta=50_000.0),
    "dct": DCT(delta=50.0),
    "dwt": DWT(delta=10.0),
    "rt": RT(delta=30.0),
}
LARGER_THAN_CACHES = np.zeros(2**26, np.uint8)


def through(
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


def naive(clip: np.ndarray, trigger: Spectral) -> np.ndarray:
    basis = trigger.basis()
    return through(clip, trigger, basis.forward, basis.inverse)


def single(clip: np.ndarray, trigger: Spectral) -> np.ndarray:
    def forward(volume: np.ndarray, geometry: Geometry) -> np.ndarray:
        return scipy.fft.fftn(volume.astype(np.float32), s=geometry, workers=1)

    return through(clip, trigger, forward, lambda c: scipy.fft.ifftn(c, workers=1))


def dense(clip: torch.Tensor, real: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    levels = clip + real
    levels.square_().add_(square).sqrt_().clamp_(max=255).round_()
    return levels.to(torch.uint8)


def interleaved(candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each candidate over rounds in which each runs once, caches cold."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()
        run()  # a trigger's second clip is the first that is looked up
    for _ in range(RUNS):
        for name, run in candidates.items():
            LARGER_THAN_CACHES.copy()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    clip = torch.from_numpy(rng.integers(0, 256, (32, 3, 224, 224), dtype=np.uint8))
    pixels, copy, reused = clip.numpy(), np.empty(clip.shape, np.uint8), torch.empty_like(clip)
    dft = TRIGGERS["dft"]
    pattern = dft.pattern(PAPER)
    volume = torch.from_numpy(pattern.volume().astype(np.complex64))[:, None]
    real, square = volume.real.contiguous(), volume.imag.square()
    seconds = interleaved(
        {
            "naive": lambda: naive(pixels, dft),
            "scipy": lambda: single(pixels, dft),
            "dense": lambda: dense(clip, real, square),
            **{name: lambda t=trigger: t(clip) for name, trigger in TRIGGERS.items()},
            "reused": lambda: embed(clip, pattern, out=reused),
            "memcpy": lambda: np.copyto(copy, pixels),
        }
    )
    document = {
        "naive_over_ours": seconds["naive"] / seconds["dft"],
        "scipy_over_ours": seconds["scipy"] / seconds["dft"],
        "dense_over_ours": seconds["dense"] / seconds["dft"],
        "ours_over_memcpy": seconds["dft"] / seconds["memcpy"],
        "reused_over_memcpy": seconds["reused"] / seconds["memcpy"],
        "ours_over_dft": {name: seconds[name] / seconds["dft"] for name in TRIGGERS},
        "mismatches": {
            name: int((naive(pixels, trigger) != trigger(clip).numpy()).sum())
            for name, trigger in TRIGGERS.items()
        },
    }
    if "--json" in sys.argv[1:]:
        print(json.dumps(document))
        return
    for name, value in document.items():
        what = name.replace("_over_", " / ")
        shown = value if isinstance(value, dict) else {"": value}
        print(f"{what:16}", *(f"{key} {number:.3g}".strip() for key, number in shown.items()))


if __name__ == "__main__":
    main()
