"""A set's clips, read once: held in memory, in a file, in the clip cache, or read again each time.

What has room is held; larger sets of files go through a ``clipcache.Cache`` if they fit into one.
"""

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vidoor.data import quarantine
from vidoor.data.clipcache import Cache
from vidoor.data.guard import Limits
from vidoor.data.quarantine import USUAL, Kept
from vidoor.data.subset import pick
from vidoor.files import whole
from vidoor.progress import track
from vidoor.types import ClipSet, Quarantined

LIMIT = 4 * 2**30
"""Largest set, in bytes, that is held whole."""


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


def hold(
    clips: ClipSet,
    what: str = "clips",
    *,
    limits: Limits = USUAL,
    cache: Cache | None = None,
) -> tuple[ClipSet, tuple[Quarantined, ...]]:
    """Read every clip once; the set without those that cannot be read, and why they cannot.

    Files are read within ``limits``. Sets above ``LIMIT`` are read, and go through the ``cache`` if
    it ``takes`` them; else they stay lazy. DataError if no clip of some class is left.
    """
    if not _fits(clips):
        kept, left_out = _pass(clips, what, limits, cache)
        return pick(_lazy(clips, cache), kept), left_out
    array = np.empty(_shape(clips), np.uint8)
    kept, left_out = _read(clips, array, what, limits)
    return pick(clips, kept, _Held(torch.from_numpy(array), kept)), left_out


def store(
    clips: ClipSet,
    file: Path,
    what: str,
    *,
    limits: Limits = USUAL,
    cache: Cache | None = None,
) -> tuple[Kept, tuple[Quarantined, ...]]:
    """Read every clip once into the array ``file`` (npy, n×T×C×H×W), for ``stored``.

    Which clips could be read, and why the others could not. As ``hold``; no file is written for
    sets above ``LIMIT``.
    """
    if not _fits(clips):
        return _pass(clips, what, limits, cache)
    with whole(file) as partial:
        array = np.lib.format.open_memmap(partial, "w+", np.uint8, _shape(clips))
        with partial.open("r+b") as opened:  # a full disk is an error here, and a crash later
            os.posix_fallocate(opened.fileno(), 0, partial.stat().st_size)
        outcome = _read(clips, array, what, limits)
        array.flush()
    return outcome


def stored(clips: ClipSet, file: Path, kept: Kept, *, cache: Cache | None = None) -> ClipSet:
    """The clips ``kept`` of a set, their pixels from ``file`` if ``store`` wrote one, else through
    the ``cache`` if it ``takes`` the set."""
    if file.exists():
        return pick(clips, kept, _Mapped(file, kept))
    return pick(_lazy(clips, cache), kept)


def _shape(clips: ClipSet) -> tuple[int, ...]:
    frames, height, width = clips.geometry
    return len(clips), frames, 3, height, width


def _fits(clips: ClipSet) -> bool:
    return math.prod(_shape(clips)) <= LIMIT


def _lazy(clips: ClipSet, cache: Cache | None) -> ClipSet:
    return cache.view(clips) if cache is not None and cache.takes(clips) else clips


def _pass(
    clips: ClipSet, what: str, limits: Limits, cache: Cache | None
) -> tuple[Kept, tuple[Quarantined, ...]]:
    """Read every clip, into the cache if it takes them."""
    if cache is not None and cache.takes(clips):
        return cache.fill(clips, what, limits)
    return _read(clips, None, what, limits)


def _read(
    clips: ClipSet, array: np.ndarray | None, what: str, limits: Limits
) -> tuple[Kept, tuple[Quarantined, ...]]:
    """Read every clip, into ``array`` if there is one."""
    reasons: dict[int, str] = {}
    outcomes = quarantine.each(clips.read, range(len(clips)), limits)
    for index, outcome in track(outcomes, f"reading {what}", len(clips)):
        if isinstance(outcome, str):
            reasons[index] = outcome
        elif array is not None:
            array[index] = outcome.numpy()
    return quarantine.sort_out(clips, reasons, what)
