"""Clips held in memory: the same bytes, and what cannot be read is left out and named."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from vidoor.data import cache
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
    again = pickle.loads(pickle.dumps(found))
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
