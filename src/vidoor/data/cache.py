"""Clips held in one array, in memory or in a file: decode once, read at memory speed."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vidoor.data.subset import pick
from vidoor.errors import ClipError, DataError
from vidoor.files import whole
from vidoor.progress import track
from vidoor.types import ClipSet, Quarantined

LIMIT = 4 * 2**30
"""Largest set, in bytes, that is held; larger ones are read again at every epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Clips in one array; ``rows[i]`` is where clip ``i`` lies."""

    array: Tensor
    rows: tuple[int, ...]

    def __call__(self, index: int) -> Tensor:
        return self.array[self.rows[index]]


@dataclass(frozen=True, slots=True)
class _Mapped:
    """Clips in a file that every process maps instead of loading it."""

    file: Path
    rows: tuple[int, ...]

    def __call__(self, index: int) -> Tensor:
        return torch.from_numpy(_map(self.file)[self.rows[index]])


@lru_cache(maxsize=8)
def _map(file: Path) -> UInt8[np.ndarray, "n t c h w"]:
    # Copy on write: a tensor of a read-only array would be one that nobody may write to either.
    array: UInt8[np.ndarray, "n t c h w"] = np.load(file, mmap_mode="c", allow_pickle=False)
    return array


Kept: TypeAlias = tuple[int, ...]
"""Indices of the clips that could be read."""


def hold(clips: ClipSet, what: str = "clips") -> tuple[ClipSet, tuple[Quarantined, ...]]:
    """Read every clip once; the set without those that cannot be read, and why they cannot.

    DataError if no clip of some class is left. Sets above ``LIMIT`` are read, and stay lazy.
    """
    array = np.empty(_shape(clips), np.uint8) if _fits(clips) else None
    kept, left_out = _read(clips, array, what)
    read = None if array is None else _Held(torch.from_numpy(array), kept)
    return pick(clips, kept, read), left_out


def store(clips: ClipSet, file: Path, what: str) -> tuple[Kept, tuple[Quarantined, ...]]:
    """Read every clip once into the array ``file`` (npy, n×T×C×H×W), for ``stored``.

    Which clips could be read, and why the others could not. DataError if no clip of some class is
    left. Sets above ``LIMIT`` are read, and no file is written.
    """
    if not _fits(clips):
        return _read(clips, None, what)
    with whole(file) as partial:
        array = np.lib.format.open_memmap(partial, "w+", np.uint8, _shape(clips))
        with partial.open("r+b") as opened:  # a full disk is an error here, and a crash later
            os.posix_fallocate(opened.fileno(), 0, partial.stat().st_size)
        outcome = _read(clips, array, what)
        array.flush()
    return outcome


def stored(clips: ClipSet, file: Path, kept: Kept) -> ClipSet:
    """The clips ``kept`` of a set, their pixels from ``file`` if ``store`` wrote one."""
    return pick(clips, kept, _Mapped(file, kept) if file.exists() else None)


def _shape(clips: ClipSet) -> tuple[int, ...]:
    frames, height, width = clips.geometry
    return len(clips), frames, 3, height, width


def _fits(clips: ClipSet) -> bool:
    return math.prod(_shape(clips)) <= LIMIT


def _read(
    clips: ClipSet, array: np.ndarray | None, what: str
) -> tuple[Kept, tuple[Quarantined, ...]]:
    """Read every clip, into ``array`` if there is one."""

    def read(index: int) -> Quarantined | None:
        try:
            clip = clips.read(index)
        except ClipError as error:
            return Quarantined(clips.ids[index], error.reason)
        if array is not None:
            array[index] = clip.numpy()
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(track(pool.map(read, range(len(clips))), f"reading {what}", len(clips)))
    kept = tuple(index for index, outcome in enumerate(outcomes) if outcome is None)
    left_out = tuple(outcome for outcome in outcomes if outcome is not None)
    readable = {clips.labels[index] for index in kept}
    for label in sorted(set(clips.labels) - readable):
        raise DataError(
            f"class {clips.classes[label]!r} has no readable clip among its {what}; "
            f"the first reason: {left_out[0].reason}"
        )
    return kept, left_out
