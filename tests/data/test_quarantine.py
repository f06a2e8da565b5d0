"""What is said about clips that are left out."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from vidoor.data import quarantine
from vidoor.errors import ClipError, DataError
from vidoor.types import Quarantined

LEFT_OUT = (
    Quarantined("run/4.avi", "unreadable: no header"),
    Quarantined("run/7.avi", "truncated: 3 of 5 frames decode (Invalid data: x)"),
    Quarantined("walk/1.avi", "truncated: 4 of 5 frames decode"),
)


def test_those_who_want_all_clips_get_one_line():
    quarantine.refuse_quarantined((), 246)
    with pytest.raises(DataError) as caught:
        quarantine.refuse_quarantined(LEFT_OUT, 246)
    assert str(caught.value) == (
        "3 of 246 clips cannot be used: 2 truncated, 1 unreadable; "
        "first run/4.avi: unreadable: no header"
    )


def test_the_end_of_a_run_tells_what_was_left_out():
    assert quarantine.left_out(()) == ""
    assert quarantine.left_out(LEFT_OUT[:1]) == "1 clip left out: 1 unreadable (first: run/4.avi)"
    assert quarantine.left_out(LEFT_OUT) == (
        "3 clips left out: 2 truncated, 1 unreadable (first: run/4.avi)"
    )


def test_clips_come_in_order_and_few_lie_ready():
    begun: list[int] = []

    def read(index: int) -> torch.Tensor:
        begun.append(index)
        time.sleep(0.002 * (index % 3))
        if index % 5 == 0:
            raise ClipError(f"{index}.mp4", "empty file")
        return torch.full((1,), index)

    outcomes: Iterator[tuple[int, torch.Tensor | str]] = quarantine.each(read, range(60))
    for place, (index, outcome) in enumerate(outcomes):
        assert index == place
        assert outcome == ("empty file" if index % 5 == 0 else torch.tensor([index]))
        assert len(begun) - place <= 3 * (threading.active_count() + 1)


def test_what_is_no_fault_of_a_clip_is_raised():
    def read(index: int) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(quarantine.each(read, range(3)))


def test_faults_of_lists_are_counted_in_a_line():
    assert quarantine.faults([]) == ""
    one = Quarantined("run/4.avi", "missing")
    assert quarantine.faults([one]) == "1 fault in the lists: 1 missing (first: run/4.avi)"
    many = [one, Quarantined("run/5.avi", "listed twice"), Quarantined("a/1.avi", "missing")]
    assert quarantine.faults(many) == (
        "3 faults in the lists: 2 missing, 1 listed twice (first: run/4.avi)"
    )
