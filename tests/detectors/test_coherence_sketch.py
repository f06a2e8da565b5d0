"""Sketches of parts, put together, against the sketch of the whole."""

import pytest
import torch
from noise import clips, flagged, natural, pattern, poisoned

from vidoor.detectors._coherence.sketch import Sketch, learn, merge
from vidoor.detectors._coherence.views import lens
from vidoor.detectors.coherence import Coherence

ROOM = 11


def same(one: Sketch, other: Sketch) -> bool:
    pairs = zip(one[1:], other[1:], strict=True)
    return one.names == other.names and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("cut", [1, 9, 20])
def test_parts_merge_to_the_whole(cut: int) -> None:
    suspects = clips(natural(0, 32, (4, 16, 16)))
    through = lens(suspects.geometry, 32, 1.0, torch.Generator().manual_seed(0))
    whole, names = learn(suspects.read, range(32), through, ROOM)
    one, _ = learn(suspects.read, range(cut), through, ROOM)
    other, _ = learn(suspects.read, range(cut, 32), through, ROOM)
    assert whole.names == tuple(sorted(names.values())[:ROOM])
    assert same(whole, merge([one, other], ROOM))
    assert same(whole, merge([other, one], ROOM))


def test_copies_are_held_once() -> None:
    suspects = clips(natural(0, 8, (4, 16, 16)))
    through = lens(suspects.geometry, 8, 1.0, torch.Generator().manual_seed(0))
    sketch, names = learn(suspects.read, [0, 1, 0, 1, 2], through, ROOM)
    assert len(sketch.names) == len(sketch.rows) == 3
    assert len(names) == 3


def test_clips_outside_the_sketch_are_found_too() -> None:
    verdict = Coherence(clips=32).inspect(clips(poisoned(0)))
    assert flagged(verdict) == set(range(8))


def test_a_sample_finds_a_trigger_in_a_larger_set() -> None:
    """All its clips, in five sets, and of the 450 clean ones no more than one."""
    strangers = 0
    for seed in range(1, 6):
        volumes = natural(seed, 120, (6, 24, 24)).astype(float)
        volumes[:30] += pattern(seed, 4.0, (6, 24, 24))
        found = flagged(Coherence(clips=60).inspect(clips(volumes)))
        assert found >= set(range(30))
        strangers += len(found) - 30
    assert strangers <= 1
