"""Work in parts: in order, whole, and with the same result on any number of workers."""

import threading
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
from vidoor.spread import HERE, Workers, among, beside, half_beside, in_two, spread
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


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_two_threads_do_all_in_order_and_at_the_same_time(count: int) -> None:
    names, here, both = list[str](), threading.current_thread().name, threading.Barrier(2)

    def work(item: int) -> int:
        names.append(threading.current_thread().name)
        if item < count - count % 2:  # each waits for one in the other thread
            both.wait(timeout=60)
        return -item

    with beside("other") as thread:
        assert in_two(thread, work, iter(range(count))) == [-item for item in range(count)]
    assert names.count(here) == (count + 1) // 2 and len(names) == count


@pytest.mark.parametrize("where", [0, 1])
def test_an_error_in_either_thread_is_raised(where: int) -> None:
    with beside("other") as thread, pytest.raises(ZeroDivisionError):
        in_two(thread, lambda item: 1 // (item - where), range(4))


def test_two_threads_share_what_one_had() -> None:
    before = torch.get_num_threads()
    try:
        for many, half in ((1, 1), (2, 1), (5, 2), (8, 4)):
            torch.set_num_threads(many)
            with pytest.raises(RuntimeError, match="left early"), half_beside("other") as thread:
                assert torch.get_num_threads() == half
                assert thread.submit(torch.get_num_threads).result() == half
                raise RuntimeError("left early")
            assert torch.get_num_threads() == many
    finally:
        torch.set_num_threads(before)


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


def test_coherence_is_the_same_where_no_gradients_are_known() -> None:
    """Whoever asks within ``inference_mode``, which holds for one thread alone."""
    suspects = clips(poisoned(0))
    with torch.inference_mode():
        inside = Coherence().inspect(suspects)
    assert same(inside, Coherence().inspect(suspects))


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
