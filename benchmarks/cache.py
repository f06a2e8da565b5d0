"""How much faster a clip comes from the clip cache than from its file.

    .venv/bin/python benchmarks/cache.py [--json]

Clips of 320×240 in H.264, 75 frames, read as 32 frames of 112×112. All of a read counts, up to and
with touching every byte. Times of the other ways are divided by that of ``cached``, medians of
interleaved runs over all clips:

``decode``  the file is decoded, in this process
``first``   the first read of a process: the file's stamp, the index, the seal
``put``     decoded and kept, which costs what decoding does and this much more
``memory``  the clip is copied from an array of all clips, less is not possible

``fill`` is the rate, in clips a second, at which one process fills the cache, ``refill`` that at
which it finds all clips there. ``anonymous`` is by how many bytes the memory of the process that
cannot be reclaimed grew while all clips were read ten times.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from vidoor import progress
from vidoor.data import shards, video
from vidoor.data.clipcache import Cache
from vidoor.measure.detection import rss_anon
from vidoor.measure.speed import interleaved
from vidoor.types import ClipSet, Frames, Geometry

CLIPS, FRAMES, SIZE = 24, 75, (240, 320)
GEOMETRY = Geometry(32, 112, 112)


@dataclass(frozen=True)
class Files:
    """Reads the files of a folder."""

    untrusted: ClassVar[bool] = False
    paths: tuple[Path, ...]

    def path(self, index: int) -> Path:
        """The file of clip ``index``."""
        return self.paths[index]

    def __call__(self, index: int) -> Frames:
        """Clip ``index``, decoded."""
        return video.read(self.paths[index], GEOMETRY)


def scene(number: int) -> Frames:
    """A moving picture with some noise, unlike any other."""
    t, y, x = np.ogrid[:FRAMES, : SIZE[0], : SIZE[1]]
    waves = [np.sin(x / (9 + c) + y / 17 + t / 5 + number) for c in range(3)]
    noise = np.random.default_rng(number).normal(0, 4, (FRAMES, 3, *SIZE))
    levels = 128 + 90 * np.stack(waves, 1) + noise
    return torch.from_numpy(levels.clip(0, 255).astype(np.uint8))


def written(folder: Path) -> ClipSet:
    """The clips, as files."""
    paths = tuple(folder / f"{number}.mp4" for number in range(CLIPS))
    for number, path in enumerate(paths):
        video.write(path, scene(number), codec="h264")
    return ClipSet(tuple(path.name for path in paths), (0,) * CLIPS, ("a",), GEOMETRY, Files(paths))


def each(read: Callable[[int], Frames]) -> Callable[[], object]:
    """Reads the next clip whenever it is called, and touches all of it."""
    indices: Iterator[int] = cycle(range(CLIPS))
    return lambda: read(next(indices)).clone()


def rate(run: Callable[[], object]) -> float:
    """Clips a second."""
    start = time.perf_counter()
    run()
    return CLIPS / (time.perf_counter() - start)


def measure(folder: Path) -> dict[str, float]:
    """All the numbers."""
    clips, cache = written(folder), Cache(folder / "cache")
    fill, refill = (rate(lambda: cache.fill(clips)) for _ in range(2))
    view = cache.view(clips)
    array = torch.stack([clips.read(index) for index in range(CLIPS)])

    # In one process, another limit makes another store of the same folder, which knows nothing yet.
    stranger = Cache(cache.root, cache.limit + 1)
    other, keys = shards.at(folder / "other", cache.limit), count()

    def first(index: int) -> Frames:
        shards._stores.pop((stranger.root, stranger.limit), None)
        return stranger.view(clips).read(index)

    def put(index: int) -> Frames:
        frames = clips.read(index)
        other.put(next(keys).to_bytes(32), frames.numpy().reshape(-1))
        return frames

    seconds = interleaved(
        {
            "cached": each(view.read),
            "decode": each(clips.read),
            "first": each(first),
            "put": each(put),
            "memory": each(array.__getitem__),
        },
        cold=True,
        runs=4 * CLIPS,
    )
    before = rss_anon()
    for index in range(10 * CLIPS):
        view.read(index % CLIPS).clone()
    cached = seconds.pop("cached")
    ratios = {f"{name}_over_cached": value / cached for name, value in seconds.items()}
    grown = float(rss_anon() - before)
    return {**ratios, "cached_seconds": cached, "fill": fill, "refill": refill, "anonymous": grown}


def main() -> None:
    progress.plain(quiet=True)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        document = measure(Path(folder))
    if "--json" in sys.argv[1:]:
        print(json.dumps(document))
    else:
        for name, value in document.items():
            print(f"{name:18} {value:.4g}")


if __name__ == "__main__":
    main()
