"""Reading ahead changes nothing but when clips are read."""

import threading

import pytest
import torch

from vidoor.data.ahead import AHEAD, ahead, in_step


def clip(index: int) -> torch.Tensor:
    return torch.full((1,), index)


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 1, 9])
def test_all_clips_in_their_order(count):
    order = [(5 * k) % 11 for k in range(count)]
    assert [int(found) for found in ahead(clip, order)] == order


def test_no_more_than_a_few_are_held_and_none_is_read_at_the_same_time():
    begun, at_once = [], []

    def read(index):
        begun.append(index)
        at_once.append(threading.current_thread().name)
        return clip(index)

    for taken, found in enumerate(ahead(read, range(20))):
        assert int(found) == taken
        assert len(begun) <= taken + 1 + AHEAD
    assert begun == [*range(20)] and len({*at_once}) == 1


def test_an_error_comes_in_the_place_of_its_clip():
    def read(index):
        if index == 3:
            raise ValueError("clip 3")
        return clip(index)

    found = []
    with pytest.raises(ValueError, match="clip 3"):
        found.extend(int(one) for one in ahead(read, range(9)))
    assert found == [0, 1, 2]


def test_who_stops_early_leaves_no_reader_behind():
    begun = []

    def read(index):
        begun.append(index)
        return clip(index)

    some = ahead(read, range(1000))
    next(some)
    some.close()
    assert len(begun) <= AHEAD + 1
    assert not [one for one in threading.enumerate() if one.name.startswith("read ahead")]


def test_the_thread_computes_as_its_caller_does():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (found,) = ahead(lambda _: torch.tensor(torch.get_num_threads()), [0])
        assert int(found) == 1
    finally:
        torch.set_num_threads(before)


def test_a_worker_with_one_core_reads_when_it_is_asked():
    begun = []

    def read(index):
        begun.append((index, threading.current_thread()))
        return clip(index)

    with in_step():
        some = ahead(read, range(5))
        assert [int(next(some)), len(begun)] == [0, 1]
        assert [int(found) for found in some] == [1, 2, 3, 4]
    assert {thread for _, thread in begun} == {threading.current_thread()}
    assert [int(found) for found in ahead(read, [7, 8])] == [7, 8]  # and outside as ever
    assert begun[-1][1] is not threading.current_thread()
