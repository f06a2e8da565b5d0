"""Decoded clips kept between runs: the second time, a clip is read at the speed of memory.

A clip is known by its content: the key is a hash of the bytes of its file (or of the files in its
folder of frames), of the geometry that it is scaled to, and of what decoded it. So a copy of a data
set finds the clips of the first, another geometry makes other entries, and a file that was changed
is decoded again.

To hash a file is to read it. Therefore its hash is noted together with its stamp (``sameness``) and
believed as long as that stays what it is; not of a file that was changed within the last two
seconds.

Where clips lie, and what two writers, a kill, a full disk or a flipped bit do, is told in
``shards``. Only pixels and numbers are kept: nothing is unpickled. Who may write to the folder may
change what is read from it; give it to nobody else.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from av import __version__ as av_version
from av import library_versions
from torch import Tensor

from vidoor.data import quarantine, sameness, shards
from vidoor.data.guard import Limits
from vidoor.data.quarantine import USUAL, Kept
from vidoor.data.sameness import Stamp
from vidoor.progress import track
from vidoor.types import ClipSet, Frames, Geometry, Quarantined

FOLDER = "VIDOOR_CACHE"
"""Environment variable that names the folder; empty for no cache."""

LIMIT = 32 * 2**30
"""Bytes of a cache that is told no other number."""

_FORM = 1  # of keys: another number finds nothing of what was kept before


def usual() -> Path | None:
    """The folder that ``VIDOOR_CACHE`` names, else ``vidoor/clips`` among the user's caches; None
    if the variable is empty, or the user has no home."""
    named = os.environ.get(FOLDER)
    try:
        if named is not None:
            return Path(named).expanduser() if named else None
        caches = os.environ.get("XDG_CACHE_HOME")
        return Path(caches or Path.home() / ".cache") / "vidoor" / "clips"
    except RuntimeError:
        return None


@dataclass(frozen=True, slots=True)
class Cache:
    """Decoded clips in the folder ``root``, at most ``limit`` bytes of them.

    The folder is made when there is something to keep. A cache that cannot be used costs a line,
    and no clip.

    It holds clips of readers that have ``path(index)``, the file or folder of frames that a clip is
    read from. ``version`` of such a reader names whatever else its pixels depend on.
    """

    root: Path
    limit: int = LIMIT

    def takes(self, clips: ClipSet) -> bool:
        """Whether these clips come from files, and all of them have room at once."""
        size = min(shards.SHARD, self.limit // 8)
        need = len(clips) * math.prod(_shape(clips.geometry))
        return _from_files(clips) and need <= self.limit - 2 * size

    def view(self, clips: ClipSet) -> ClipSet:
        """The same clips, read through the cache: those that it has not got are decoded, and kept.

        Clips that come from no files stay as they are. A process that has read a clip once does not
        look at its file again. What is missing is decoded in the reading process: ``fill`` first.
        """
        if not _from_files(clips):
            return clips
        return replace(clips, read=_Through(clips.read, clips.geometry, self))

    def fill(
        self, clips: ClipSet, what: str = "clips", limits: Limits = USUAL
    ) -> tuple[Kept, tuple[Quarantined, ...]]:
        """Decode what is not there yet: which clips can be read, and why the others cannot.

        Processes that fill the same folder share the work: each works in an order of its own, and
        asks again before it decodes a clip. DataError if no clip of some class can be read.
        """
        store = shards.at(self.root, self.limit)
        store.resume()
        named = _named(store, clips, what) if _from_files(clips) else {}
        held = store.held([key for key, _ in named.values()])
        missing = [i for i in range(len(clips)) if i not in named or named[i][0] not in held]
        np.random.default_rng().shuffle(missing)  # no result depends on it
        keys = {index: named[index][0] for index in missing if index in named}
        there = set(range(len(clips))).difference(missing)
        outcomes: Iterable[tuple[int, Tensor | str]] = chain(
            ((index, _nothing()) for index in there),
            quarantine.each(_Absent(clips.read, keys, self), missing, limits),
        )
        reasons: dict[int, str] = {}
        for index, outcome in track(outcomes, f"reading {what}", len(clips)):
            if isinstance(outcome, str):
                reasons[index] = outcome
            elif index in keys and outcome.numel():
                key, stamp = named[index]
                if sameness.is_still(_path(clips.read, index), stamp):
                    _put(store, key, outcome, clips.geometry)
        store.commit()
        return quarantine.sort_out(clips, reasons, what)


@dataclass(frozen=True, slots=True)
class _Through:
    """Reads from the cache, else from ``source``."""

    source: Callable[[int], Tensor]
    geometry: Geometry
    cache: Cache

    def __call__(self, index: int) -> Frames:
        store = shards.at(self.cache.root, self.cache.limit)
        path, made = _path(self.source, index), _made(self.source, self.geometry)
        slot = made, str(path)
        value = store.get(store.known[slot]) if slot in store.known else None
        if value is None:
            stamp = sameness.stamp(path)
            key = None if stamp is None else _key(store, made, path, stamp)
            if stamp is None or key is None:
                return self.source(index)  # which says what is wrong with it
            store.known[slot] = key
            value = store.get(key)
            if value is None:
                frames = self.source(index)
                if sameness.is_still(path, stamp):
                    _put(store, key, frames, self.geometry)
                return frames
        return torch.from_numpy(value).view(_shape(self.geometry))


@dataclass(frozen=True, slots=True)
class _Absent:
    """Reads clips unless they have been kept in the meantime: then there is nothing to read."""

    source: Callable[[int], Tensor]
    keys: Mapping[int, bytes]
    cache: Cache

    @property
    def untrusted(self) -> bool:
        """As the source is."""
        return bool(getattr(self.source, "untrusted", False))

    def __call__(self, index: int) -> Tensor:
        key = self.keys.get(index)
        if key is not None and shards.at(self.cache.root, self.cache.limit).held([key]):
            return _nothing()
        return self.source(index)


def _nothing() -> Tensor:
    return torch.empty((0, 3, 0, 0), dtype=torch.uint8)


def _shape(geometry: Geometry) -> tuple[int, int, int, int]:
    frames, height, width = geometry
    return frames, 3, height, width


def _from_files(clips: ClipSet) -> bool:
    return hasattr(clips.read, "path")


def _path(read: Any, index: int) -> Path:
    path: Path = read.path(index)
    return path


def _put(store: shards.Shards, key: bytes, frames: Tensor, geometry: Geometry) -> None:
    if tuple(frames.shape) == _shape(geometry) and frames.dtype == torch.uint8:
        store.put(key, frames.numpy().reshape(-1))


# ---- keys ----------------------------------------------------------------------------------------


def _named(store: shards.Shards, clips: ClipSet, what: str) -> dict[int, tuple[bytes, Stamp]]:
    """Key and stamp of every clip whose file can be opened."""
    made = _made(clips.read, clips.geometry)
    paths = [_path(clips.read, index) for index in range(len(clips))]
    seen = ((index, sameness.stamp(path)) for index, path in enumerate(paths))
    stamps = {index: stamp for index, stamp in seen if stamp is not None}
    contents = store.contents([stamp.digest for stamp in stamps.values()])
    new = [i for i, stamp in stamps.items() if stamp.digest not in contents]
    for index in track(new, f"hashing {what}", len(new)) if new else ():
        content = sameness.content(paths[index])
        if content is not None:
            contents[stamps[index].digest] = content
            if stamps[index].settled:
                store.remember(stamps[index].digest, content)
    return {
        index: (hashlib.sha256(made + contents[stamp.digest]).digest(), stamp)
        for index, stamp in stamps.items()
        if stamp.digest in contents
    }


def _key(store: shards.Shards, made: bytes, path: Path, stamp: Stamp) -> bytes | None:
    content = store.contents([stamp.digest]).get(stamp.digest)
    if content is None:
        content = sameness.content(path)
        if content is None:
            return None
        if stamp.settled:
            store.remember(stamp.digest, content)
    return hashlib.sha256(made + content).digest()


def _made(read: Any, geometry: Geometry) -> bytes:
    kind = type(read)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return _digest(name, str(getattr(read, "version", "")), geometry)


@lru_cache
def _digest(reader: str, version: str, geometry: Geometry) -> bytes:
    """Everything that pixels depend on but for the bytes that are decoded."""
    libraries = [av_version, library_versions, PIL.__version__]
    about = [_FORM, reader, version, *geometry, libraries]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).digest()
