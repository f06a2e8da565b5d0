"""Clips held in memory: the same bytes, and what cannot be read is left out and named."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from travel import sent

from vidoor.data import cache
from vidoor.data.clipcache import Cache
from vidoor.data.guard import Limits
from vidoor.errors import ClipError, DataError
from vidoor.types import ClipSet, Geometry, Quarantined


@dataclass(frozen=True)
class Counting:
    """Clip i is filled with i; clips in ``broken`` cannot be read."""

    broken: frozenset[int] = frozenset()

    def __call__(self, index: int) -> torch.Tensor:
        if index in self.broken:
            raise ClipError(f"/somewhere/{index}.mp4", "unreadable: no header")
        return torch.full((2, 3, 4, 5), index, dtype=torch.uint8)


def clips(count: int, broken: set[int] | None = None) -> ClipSet:
    ids = tuple(f"{index}.mp4" for index in range(count))
    labels = tuple(index % 2 for index in range(count))
    read = Counting(frozenset(broken or ()))
    return ClipSet(ids, labels, ("even", "odd"), Geometry(2, 4, 5), read)


@dataclass(frozen=True)
class Files(Counting):
    """The same, from files."""

    root: Path = Path()

    def path(self, index: int) -> Path:
        return self.root / f"{index}.mp4"

    def __call__(self, index: int) -> torch.Tensor:
        with (self.root / "log").open("a") as log:
            log.write(f"{index}\n")
        return super().__call__(index)


@dataclass(frozen=True)
class Strangers(Files):
    """Files of which nobody knows who made them; one ends the process that reads it."""

    untrusted: ClassVar[bool] = True

    def __call__(self, index: int) -> torch.Tensor:
        if index == 3:
            os._exit(1)
        return super().__call__(index)


def files(root: Path, read: type[Files]) -> ClipSet:
    for index in range(6):
        (root / f"{index}.mp4").write_bytes(bytes([index]))
    return replace(clips(6), read=read(frozenset({1}), root))


def test_held_clips_are_the_clips():
    held, quarantined = cache.hold(clips(20))
    assert quarantined == ()
    assert [int(held.read(i)[0, 0, 0, 0]) for i in range(20)] == list(range(20))
    assert held.ids == clips(20).ids


def test_unreadable_clips_are_left_out_and_named():
    held, quarantined = cache.hold(clips(6, {1, 4}))
    assert quarantined == tuple(Quarantined(f"{i}.mp4", "unreadable: no header") for i in (1, 4))
    assert held.ids == ("0.mp4", "2.mp4", "3.mp4", "5.mp4")
    assert held.labels == (0, 0, 1, 1)
    assert [int(held.read(i)[0, 0, 0, 0]) for i in range(4)] == [0, 2, 3, 5]


def test_a_class_without_a_readable_clip_is_an_error():
    with pytest.raises(DataError, match=r"class 'odd' has no readable clip.*no header"):
        cache.hold(clips(4, {1, 3}))


def test_sets_above_the_limit_stay_lazy_and_lose_what_cannot_be_read(monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 10)
    held, quarantined = cache.hold(clips(6, {1, 4}))
    assert [clip.id for clip in quarantined] == ["1.mp4", "4.mp4"]
    assert [int(held.read(i)[0, 0, 0, 0]) for i in range(4)] == [0, 2, 3, 5]
    assert held.read(0) is not held.read(0)


@pytest.mark.parametrize("limit", [cache.LIMIT, 10])
def test_stored_clips_are_the_clips_from_any_process(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(cache, "LIMIT", limit)
    source, file = clips(6, {1, 4}), tmp_path / "clips.npy"
    kept, quarantined = cache.store(source, file, "clips")
    assert (kept, len(quarantined)) == ((0, 2, 3, 5), 2)
    assert file.exists() == (limit > 10)
    found = cache.stored(source, file, kept)
    again = sent(found)
    assert (again.ids, again.labels) == (found.ids, found.labels)
    for place, index in enumerate(kept):
        assert torch.equal(again.read(place), source.read(index))
    again.read(0).zero_()  # what a caller does to a clip does not reach the file
    assert torch.equal(
        torch.from_numpy(np.load(file))[2] if limit > 10 else found.read(1), source.read(2)
    )


def test_a_disk_without_room_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        cache.store(clips(4), tmp_path / "clips.npy", "clips")
    assert list(tmp_path.iterdir()) == []


def test_files_are_read_in_processes_of_their_own(tmp_path):
    source = files(tmp_path, Strangers)
    held, quarantined = cache.hold(source, limits=Limits(workers=1))
    assert [clip.id for clip in quarantined] == ["1.mp4", "3.mp4"]
    assert quarantined[0].reason == "unreadable: no header"
    assert "crashed" in quarantined[1].reason
    assert [int(held.read(i)[0, 0, 0, 0]) for i in range(4)] == [0, 2, 4, 5]


@pytest.mark.parametrize("room", [10**6, 500])
def test_large_sets_of_files_go_through_a_cache_that_has_room(tmp_path, monkeypatch, room):
    monkeypatch.setattr(cache, "LIMIT", 10)
    source, file, clip_cache = (
        files(tmp_path, Files),
        tmp_path / "x.npy",
        Cache(tmp_path / "c", room),
    )
    kept, quarantined = cache.store(source, file, "clips", cache=clip_cache)
    assert (kept, len(quarantined)) == ((0, 2, 3, 4, 5), 1)
    assert not file.exists()
    assert clip_cache.root.exists() == (room > 500)
    for found in (
        cache.stored(source, file, kept, cache=clip_cache),
        cache.hold(source, cache=clip_cache)[0],
    ):
        assert found.ids == ("0.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4")
        assert [int(found.read(i)[0, 0, 0, 0]) for i in range(5)] == [0, 2, 3, 4, 5]
    decoded = Counter((tmp_path / "log").read_text().split())
    times = 1 if room > 500 else 4
    assert decoded == Counter({"1": 2, **{str(index): times for index in kept}})
