"""Mutated videos through the guarded reader: what becomes of each, and that nothing else happens.

    .venv/bin/python benchmarks/fuzz.py [--count 500] [--seed 0] [--seconds 10]

Small clips in six codecs and containers lose bits, ends and pieces, gain noise and the headers of
others. Prints one JSON document: ``read`` and ``reasons`` count the files by what became of them
(together ``files``, or the exit status is 1), ``crashes`` and ``timeouts`` those that cost a
process, ``slowest`` is the longest wait for the next clip in seconds (the first includes the start)
and ``leaked`` counts the processes that are left.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from torch import Tensor

from vidoor.data import video
from vidoor.data._write import STEADY
from vidoor.data.folder import Reader
from vidoor.data.guard import Limits, guarded
from vidoor.types import Geometry

FRAMES, HEIGHT, WIDTH = 24, 48, 64
GEOMETRY = Geometry(8, 32, 32)
CODECS = {
    "a.mkv": ("ffv1", "bgr0", {"level": "3", "slicecrc": "1"}),
    "a.mp4": ("libx264", "yuv420p", {"g": "8", "bf": "2", **STEADY}),
    "a.avi": ("mpeg4", "yuv420p", {"g": "8", "bf": "2"}),
    "a.webm": ("libvpx-vp9", "yuv420p", {"g": "8", "deadline": "realtime", "cpu-used": "8"}),
    "a.gif": ("gif", "rgb8", {}),
    "b.avi": ("mjpeg", "yuvj420p", {}),
}
HEADER = 600
"""Bytes at the beginning that are hit as often as all others together."""

USUAL = Limits(seconds=10.0)
Generator = np.random.Generator


def sources() -> list[tuple[str, bytes]]:
    """A small moving clip in each codec: the ending of its name, and the file."""
    t, y, x = np.ogrid[:FRAMES, :HEIGHT, :WIDTH]
    planes = (np.sin(x / 9 + t / 3) + 0 * y, np.cos(y / 7 - t / 4) + 0 * x, np.sin((x + y) / 9 - t))
    pixels = (128 + 100 * np.stack(planes, -1)).astype(np.uint8)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (encoder, form, options) in CODECS.items():
            file, exact = Path(folder) / name, {"fflags": "+bitexact"}  # no dates, no random ids
            with av.open(str(file), "w", options=exact) as container:
                stream = container.add_stream(encoder, rate=25, options=options)
                stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, form
                stream.codec_context.thread_count = 1
                for frame in pixels:
                    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                    container.mux(stream.encode(picture.reformat(format=form)))
                container.mux(stream.encode())
            found.append((file.suffix, file.read_bytes()))
    return found


def place(rng: Generator, data: bytes) -> int:
    """Where to strike: in the header as often as anywhere else."""
    return int(rng.integers(min(HEADER, len(data)) if rng.random() < 0.5 else len(data)))


def flip(rng: Generator, data: bytes, other: bytes) -> bytes:
    """1 to 64 bits the other way round."""
    changed = bytearray(data)
    for _ in range(2 ** int(rng.integers(7))):
        changed[place(rng, data)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(rng: Generator, data: bytes, other: bytes) -> bytes:
    """The end is missing."""
    return data[: place(rng, data)]


def splice(rng: Generator, data: bytes, other: bytes) -> bytes:
    """The beginning of another file before the rest of this one."""
    return other[: place(rng, other)] + data[place(rng, data) :]


def drop(rng: Generator, data: bytes, other: bytes) -> bytes:
    """A piece is missing, or there twice."""
    return data[: place(rng, data)] + data[place(rng, data) :]


def fill(rng: Generator, data: bytes, other: bytes) -> bytes:
    """A piece is noise, zeros or ones."""
    at, length = place(rng, data), int(rng.integers(1, 200))
    kinds = (rng.bytes(length), bytes(length), b"\xff" * length)
    return data[:at] + kinds[rng.integers(3)] + data[at + length :]


MUTATIONS: Sequence[Callable[[Generator, bytes, bytes], bytes]] = (flip, cut, splice, drop, fill)


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of ``count`` files; the same ones for the same seed."""
    files, rng = sources(), np.random.default_rng(seed)
    for index in range(count):
        suffix, data = files[index % len(files)]
        mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
        other = files[rng.integers(len(files))][1]
        yield f"{index:05}-{mutate.__name__}{suffix}", mutate(rng, data, other)


def fuzz(count: int, seed: int = 0, limits: Limits = USUAL) -> dict[str, Any]:
    """Read ``count`` mutants; see the top for what is counted."""
    mark = f"VIDOOR_FUZZ_{os.getpid()}_{time.monotonic_ns()}"
    os.environ[mark] = "1"
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, data in mutants(count, seed):
                (Path(folder) / name).write_bytes(data)
            names = tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - names are what is wanted
            start = time.monotonic()
            outcomes, slowest = read(Path(folder), names, limits)
            seconds = time.monotonic() - start
        left = inherited(mark)
    finally:
        del os.environ[mark]
    reasons = Counter(outcomes.values())
    return {
        "files": count,
        "read": reasons.pop("read", 0),
        "reasons": dict(reasons.most_common()),
        "crashes": reasons["crashed"],
        "timeouts": reasons["timeout"],
        "unaccounted": count - len(outcomes) + reasons["unknown"],
        "leaked": left,
        "slowest": round(slowest, 3),
        "seconds": round(seconds, 1),
    }


def read(folder: Path, names: tuple[str, ...], limits: Limits) -> tuple[dict[str, str], float]:
    """What became of each file, and the longest wait for one."""
    outcomes, slowest, last = {}, 0.0, time.monotonic()
    reader = Reader(folder, names, GEOMETRY)
    for index, outcome in guarded(reader, range(len(names)), limits):
        slowest, last = max(slowest, time.monotonic() - last), time.monotonic()
        outcomes[names[index]] = kind(outcome)
    return outcomes, slowest


def kind(outcome: Tensor | str) -> str:
    """``read``, or the word of ``video.REASONS`` with which a reason begins."""
    if isinstance(outcome, Tensor):
        return "read" if outcome.shape == (8, 3, 32, 32) else "unknown"
    known = (reason for reason in video.REASONS if outcome.startswith(reason))
    return next(known, "unknown") if "\n" not in outcome else "unknown"


def inherited(mark: str) -> int:
    """How many other processes have a variable in their environment."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found += mark.encode() in (folder / "environ").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=USUAL.seconds)
    asked = parser.parse_args()
    document = fuzz(asked.count, asked.seed, Limits(seconds=asked.seconds))
    print(json.dumps(document))
    return int(bool(document["unaccounted"] or document["leaked"]))


if __name__ == "__main__":
    sys.exit(main())
