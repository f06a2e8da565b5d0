"""What ``vidoor bench decode`` measures: reading video files, against a bare PyAV loop.

Ratios of medians of interleaved runs, one thread each, on files that it makes itself.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image

from vidoor.data import video
from vidoor.data._pixels import ALONE
from vidoor.data.clipcache import Cache
from vidoor.data.folder import Reader
from vidoor.data.guard import Limits, guarded
from vidoor.measure.speed import interleaved
from vidoor.types import ClipSet, Geometry

SUFFIXES: Mapping[video.Codec, str] = {"h264": ".mp4", "mpeg4": ".avi"}

COPIES, LENGTH, HEIGHT, WIDTH = 3, 64, 240, 320
GEOMETRY = Geometry(16, 112, 112)
MORE = 10
"""So many times the clips must be read in the same memory."""

_PEAK = "from sys import argv; from vidoor.measure.decode import peak; print(peak(*argv[1:]))"


def decode() -> dict[str, Any]:
    """How fast clips are read: 64 frames of 320×240 in, 16 of 112×112 out.

    ``pyav``    a bare loop that decodes the same files on one thread, converts the same frames to
                RGB with one converter, and resizes them; checks nothing
    ``ours``    ``video.read``: every packet counted, every picture checked, and cropped
    ``cached``  the same clips from the clip cache, every byte copied

    ``ours_over_pyav`` and ``cached_over_decode`` (cached over ours) are the least of the ratios of
    throughput over the codecs, of which ``codecs`` has each. ``memory_ratio`` is the peak memory of
    reading the clips ten times over that of reading them once, in a fresh process each: its own
    peak and that of the worker it reads in.
    """
    with tempfile.TemporaryDirectory() as folder:
        clips, cache = Path(folder, "clips"), Path(folder, "cache")
        codecs = {name: _speed(files, cache) for name, files in files_of(clips).items()}
        once, more = _peak(clips, 1), _peak(clips, MORE)
    return {
        "ours_over_pyav": min(found["ours_over_pyav"] for found in codecs.values()),
        "cached_over_decode": min(found["cached_over_decode"] for found in codecs.values()),
        "memory_ratio": more / once,
        "codecs": codecs,
        "memory": {"once": once, "more": more, "times": MORE},
    }


def ways(files: Sequence[Path], cache: Path) -> dict[str, Callable[[Path], object]]:
    """How each of the files, all of one folder, can be read."""
    names = tuple(file.name for file in files)
    read = Reader(files[0].parent, names, GEOMETRY)
    view = Cache(cache).view(ClipSet(names, (0,) * len(names), ("clips",), GEOMETRY, read))
    return {
        "ours": lambda path: video.read(path, GEOMETRY),
        "pyav": _pyav,
        "cached": lambda path: view.read(names.index(path.name)).clone(),
    }


def _speed(files: Sequence[Path], cache: Path) -> dict[str, float]:
    """Seconds of each way for all files of a codec, and the ratios."""

    def over(read: Callable[[Path], object]) -> None:
        for path in files:
            read(path)

    named = ways(files, cache)
    seconds = interleaved({name: partial(over, way) for name, way in named.items()}, cold=False)
    return {
        "ours_over_pyav": seconds["pyav"] / seconds["ours"],
        "cached_over_decode": seconds["ours"] / seconds["cached"],
        "clips_per_second": len(files) / seconds["ours"],
        **{f"seconds_{name}": value for name, value in seconds.items()},
    }


def files_of(folder: Path) -> dict[str, list[Path]]:
    """A few moving, noisy pictures in each codec."""
    t, y, x = np.ogrid[:LENGTH, :HEIGHT, :WIDTH]
    waves = (np.sin(x / 9 + t / 5) + 0 * y, np.cos(y / 7 - t / 6) + 0 * x, np.sin((x + y) / 30 - t))
    files: dict[str, list[Path]] = {codec: [] for codec in SUFFIXES}
    for copy in range(COPIES):
        noise = np.random.default_rng(copy).normal(0, 6, (LENGTH, 3, HEIGHT, WIDTH))
        pixels = (128 + 80 * np.stack(waves, 1) + noise).clip(0, 255).astype(np.uint8)
        for codec, suffix in SUFFIXES.items():
            files[codec].append(folder / f"{codec}-{copy}{suffix}")
            video.write(files[codec][-1], torch.from_numpy(pixels), codec=codec)
    return files


def _pyav(path: Path) -> list[np.ndarray]:
    wanted, frames, reformatter = set(video.sample(LENGTH, GEOMETRY.frames)), [], VideoReformatter()
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for index, picture in enumerate(container.decode(video=0)):
            if index in wanted:
                rgb = reformatter.reformat(picture, format="rgb24", **ALONE).to_ndarray()
                frames.append(_resized(rgb))
    return frames


def _resized(rgb: np.ndarray) -> np.ndarray:
    """Cover and crop: the middle of the width, as ``video.read`` takes it."""
    box = ((WIDTH - HEIGHT) / 2, 0, (WIDTH + HEIGHT) / 2, HEIGHT)
    size = (GEOMETRY.width, GEOMETRY.height)
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR, box=box))


# ---- memory --------------------------------------------------------------------------------------


def _peak(folder: Path, times: int) -> int:
    """``peak`` in a process of its own."""
    command = [sys.executable, "-c", _PEAK, str(folder), str(times)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak(folder: str, times: str) -> int:
    """Bytes that this process and its largest child had at most, reading all clips ``times``."""
    import resource

    files = [file.name for file in sorted(Path(folder).iterdir())] * int(times)
    reader = Reader(Path(folder), tuple(files), GEOMETRY)
    for _, outcome in guarded(reader, range(len(files)), Limits(workers=1)):
        assert isinstance(outcome, torch.Tensor)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return unit * sum(resource.getrusage(each).ru_maxrss for each in who)
