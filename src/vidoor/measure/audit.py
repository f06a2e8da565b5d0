"""What ``vidoor bench audit`` measures: what ``coherence`` adds to reading the clips.

Ratios of medians of interleaved runs. Clips are files of its own making, each read several times
and turned by other rows and columns every time, so that no two are the same.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from vidoor.bench.engines import ray_workers
from vidoor.data import video
from vidoor.data.ahead import ahead
from vidoor.data.folder import Reader
from vidoor.detectors.coherence import Coherence
from vidoor.measure import detection
from vidoor.measure.speed import interleaved
from vidoor.recipe import Runtime
from vidoor.spread import HERE, Workers, among
from vidoor.types import ClipSet, Geometry

GEOMETRY, CLIPS = Geometry(32, 112, 112), 1600
FILES, LENGTH, HEIGHT, WIDTH = 12, 64, 240, 320

SKETCH, GROWN = 200, 10
"""Clips that are searched where memory is measured, and how many times as many there are."""

HELD = Geometry(16, 64, 64)
"""Clips whose memory is measured: large enough to outweigh what runs allocate beside them."""

WORKERS, SPREAD = 2, 240
"""Of Ray, and the clips that they go through."""
FEW, LITTLE = 64, 64.0
"""Clips that are searched there, and in how many MiB: one process does that."""

RUNS = 3


def audit() -> dict[str, Any]:
    """What an audit of clips costs, in ratios:

    ``over_decode``   clips a second of ``coherence``, over those of reading the clips and nothing
                      else: 1,600 of H.264 in 320×240, looked at in 32×112×112, usual options
    ``time_ratio``    seconds a clip with ten times the clips, over those without; 1 is linear
    ``memory_ratio``  peak of memory beyond that before the first, of ten times the clips over
                      once: 1 where it does not grow; ``memory``: bytes of once
    ``workers``       clips a second on two Ray workers, each on one core, over one of them; and
    ``over_here``     over this process, which reads ahead on another; only where Ray is installed
    """
    held = _held()  # first: what others leave behind would be used again, and not be seen
    with tempfile.TemporaryDirectory() as folder:
        clips = _clips(Path(folder))
        ways: dict[str, Callable[[], object]] = {
            "read": partial(_read, clips),
            "audit": partial(Coherence().inspect, clips),
        }
        seconds = interleaved(ways, cold=False, runs=RUNS, warm=0)
        workers = _workers(_first(clips, SPREAD)) if find_spec("ray") else {}
    return {
        "over_decode": seconds["read"] / seconds["audit"],
        **_growth(),
        **held,
        **workers,
        "clips_per_second": len(clips) / seconds["audit"],
        "clips": len(clips),
        **{f"seconds_{name}": value for name, value in seconds.items()},
    }


@dataclass(frozen=True)
class Turned:
    """Reads a file for several clips: each turned by rows and columns of its own."""

    reader: Reader

    def __call__(self, index: int) -> Tensor:
        """The clip, [T, 3, H, W]."""
        turn, number = divmod(index, len(self.reader.ids))
        turns = np.random.default_rng(number).permutation(GEOMETRY.height * GEOMETRY.width)
        rows, columns = divmod(int(turns[turn]), GEOMETRY.width)
        return self.reader(number).roll((rows, columns), dims=(2, 3))


def _clips(folder: Path) -> ClipSet:
    files = [folder / f"{number}.mp4" for number in range(FILES)]
    for number, file in enumerate(files):
        video.write(file, torch.from_numpy(_drift(number)), codec="h264")
    reader = Reader(folder, tuple(file.name for file in files), GEOMETRY)
    return replace(detection.noise(CLIPS), geometry=GEOMETRY, read=Turned(reader))


def _drift(number: int) -> np.ndarray:
    """A noisy texture that moves its own way, uint8 [T, 3, H, W]."""
    rng = np.random.default_rng(number)
    texture = gaussian_filter(rng.normal(0, 1, (3, HEIGHT, WIDTH)), (0, 4, 4), mode="wrap")
    steps = rng.integers(-4, 5, 2)
    moved = [np.roll(texture, t * steps, (1, 2)) for t in range(LENGTH)]
    pixels = 128 + 40 * np.stack(moved) / texture.std()
    noisy: np.ndarray = (pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)
    return noisy


def _first(clips: ClipSet, count: int) -> ClipSet:
    return replace(clips, ids=clips.ids[:count], labels=clips.labels[:count])


def _read(clips: ClipSet) -> None:
    """As an audit reads: ahead of what is done with a clip."""
    for _ in ahead(clips.read, range(len(clips))):
        pass


def _inspect(clips: ClipSet) -> object:
    return Coherence(clips=SKETCH).inspect(clips)


def _growth() -> dict[str, float]:
    """Seconds of sets of clips that are made when they are read."""
    small, large = (detection.noise(many * SKETCH) for many in (1, GROWN))
    ways = {"small": partial(_inspect, small), "large": partial(_inspect, large)}
    seconds = interleaved(ways, cold=False, runs=RUNS, warm=0)
    return {"time_ratio": seconds["large"] / seconds["small"] / GROWN}


def _held() -> dict[str, float]:
    """Peaks of memory of such sets, beyond what there was before the first."""
    sets = {many: detection.noise(many * SKETCH, HELD) for many in (1, GROWN)}
    before, peaks = detection.rss_anon(), {many: list[int]() for many in sets}
    for _ in range(RUNS):
        for many, clips in sets.items():
            peaks[many].append(detection.peak_of(partial(_inspect, clips)))
    once, more = (median(each) - before for each in peaks.values())
    return {"memory_ratio": more / once, "memory": once}


def _workers(clips: ClipSet) -> dict[str, float]:
    """An audit on two workers against one, once both have started."""
    runtime = Runtime(workers=WORKERS, device="cpu")
    with ray_workers(runtime, quiet=True) as both:
        among_them = {"here": HERE, "one": both._replace(many=1), "both": both}
        ways = {name: partial(_spread, clips, each) for name, each in among_them.items()}
        seconds = interleaved(ways, cold=False, runs=RUNS, warm=1)
    return {
        "workers": seconds["one"] / seconds["both"],
        "over_here": seconds["here"] / seconds["both"],
    }


def _spread(clips: ClipSet, workers: Workers) -> None:
    """Few clips are searched, which one process does; all are gone through."""
    with among(workers):
        Coherence(clips=FEW, memory=LITTLE).inspect(clips)
