"""Clips held in memory: the same bytes, and what cannot be read is left out and named."""

from dataclasses import dataclass

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


def test_sets_above_the_limit_stay_lazy(monkeypatch):
    monkeypatch.setattr(cache, "MEMORY_LIMIT", 10)
    lazy = clips(4)
    assert cache.hold(lazy) == (lazy, ())
