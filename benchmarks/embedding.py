"""How fast a trigger is embedded: the closed form against transform → add → invert, and memcpy.

    .venv/bin/python benchmarks/embedding.py [--json]

One thread, one process, 32×224×224×3, the runs interleaved; ratios of medians. ``naive`` is the
paper's way with numpy's FFT: zero-pad time to 45, transform each channel, add, invert, magnitude,
clip, round. ``mismatches`` counts the bytes in which the two differ.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from vidoor.triggers.spectral import COLUMNS, DFT, ROWS, spatial_index

RUNS = 9


def naive(clip: np.ndarray, trigger: DFT) -> np.ndarray:
    frames, channels, height, width = clip.shape
    length = max(frames, trigger.start + trigger.count)
    index = np.ix_(
        range(trigger.start, trigger.start + trigger.count),
        spatial_index(trigger, ROWS, height),
        spatial_index(trigger, COLUMNS, width),
    )
    out = np.empty_like(clip)
    for channel in range(channels):
        padded = np.zeros((length, height, width))
        padded[:frames] = clip[:, channel]
        spectrum = np.fft.fftn(padded)
        spectrum[index] += trigger.delta
        out[:, channel] = np.rint(np.clip(np.abs(np.fft.ifftn(spectrum)[:frames]), 0, 255))
    return out


def interleaved(candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each candidate over rounds in which each runs once."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()
    for _ in range(RUNS):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    clip = torch.from_numpy(rng.integers(0, 256, (32, 3, 224, 224), dtype=np.uint8))
    trigger, pixels, copy = DFT(delta=50_000.0), clip.numpy(), np.empty(clip.shape, np.uint8)
    seconds = interleaved(
        {
            "ours": lambda: trigger(clip),
            "naive": lambda: naive(pixels, trigger),
            "memcpy": lambda: np.copyto(copy, pixels),
        }
    )
    document = {
        "naive_over_ours": seconds["naive"] / seconds["ours"],
        "ours_over_memcpy": seconds["ours"] / seconds["memcpy"],
        "mismatches": int((naive(pixels, trigger) != trigger(clip).numpy()).sum()),
    }
    if "--json" in sys.argv[1:]:
        print(json.dumps(document))
    else:
        print(
            f"naive / ours   {document['naive_over_ours']:7.1f}\n"
            f"ours / memcpy  {document['ours_over_memcpy']:7.1f}\n"
            f"mismatches     {document['mismatches']:7d}"
        )


if __name__ == "__main__":
    main()
