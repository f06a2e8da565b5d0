"""Work in parts: in order, whole, and with the same result on any number of workers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from noise import clips, poisoned
from travel import sent

from vidoor.detectors.coherence import Coherence
from vidoor.spread import HERE, Workers, among, spread
from vidoor.types import ClipSet, Verdict


@given(count=st.integers(0, 50), many=st.integers(1, 60))
def test_parts_are_the_whole_in_order(count: int, many: int) -> None:
    with among(HERE._replace(many=many)):
        parts = spread(list, count)
    assert [index for part in parts for index in part] == list(range(count))
    assert len(parts) == max(1, min(count, many))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_workers_are_those_of_the_block() -> None:
    with among(HERE._replace(many=4)):
        assert len(spread(len, 8)) == 4
    assert spread(len, 8) == [8]


def test_coherence_is_the_same_on_any_number_of_workers() -> None:
    """Each part as another process has it: by pickle, of our own objects."""

    def elsewhere(function: Callable[[range], Any], parts: Sequence[range]) -> list[Any]:
        other = sent(function)
        return [sent(other(part)) for part in parts[::-1]][::-1]

    detector, suspects = Coherence(clips=32), clips(poisoned(0))
    alone = detector.inspect(suspects)
    with among(Workers(5, elsewhere)):
        together = detector.inspect(suspects)
    assert alone.alarm
    assert same(alone, together)


def same(one: Verdict, other: Verdict) -> bool:
    arrays = {name for name, value in one.evidence.items() if isinstance(value, np.ndarray)}
    plain = [
        {name: value for name, value in verdict.evidence.items() if name not in arrays}
        for verdict in (one, other)
    ]
    return (one.scores, one.threshold, plain[0]) == (
        other.scores,
        other.threshold,
        plain[1],
    ) and all((one.evidence[name] == other.evidence[name]).all() for name in arrays)


def test_clips_of_which_one_cannot_be_read_raise_here_as_there() -> None:
    suspects = clips(poisoned(0))

    def read(index: int) -> torch.Tensor:
        if index == 40:
            raise OSError("gone")
        return suspects.read(index)

    broken = ClipSet(suspects.ids, suspects.labels, suspects.classes, suspects.geometry, read)
    with among(HERE._replace(many=3)), pytest.raises(OSError, match="gone"):
        Coherence().inspect(broken)
