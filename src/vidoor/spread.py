"""Work on the parts of a data set: here, one after another, or wherever a caller has workers.

A method that goes through many clips says what is to be done with a part of them and does not know
where that is done. Results come in the order of the parts, so a method whose parts can be put
together in any number has the same result on any number of workers. Within one process, two
threads may share what is done.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Something like ``map``."""


class Workers(NamedTuple):
    """How ``many`` there are, and what has a function done for each part: results in order."""

    many: int
    each: Callable[[Callable[[range], Any], Sequence[range]], list[Any]]


def _here(function: Callable[[range], Any], parts: Sequence[range]) -> list[Any]:
    return [function(part) for part in parts]


HERE = Workers(1, _here)
"""This process."""

_workers: ContextVar[Workers | None] = ContextVar("workers", default=None)


@contextmanager
def among(workers: Workers) -> Iterator[None]:
    """Inside, work is spread among these."""
    token = _workers.set(workers)
    try:
        yield
    finally:
        _workers.reset(token)


def spread(function: Callable[[range], T], count: int) -> list[T]:
    """``function`` of consecutive ranges that make up ``range(count)``, one for each worker.

    What it returns, and the function itself, must pickle.
    """
    workers = _workers.get() or HERE
    parts = max(1, min(workers.many, count))
    cuts = [count * i // parts for i in range(parts + 1)]
    return workers.each(function, [range(*cut) for cut in pairwise(cuts)])


@contextmanager
def beside(name: str) -> Iterator[ThreadPoolExecutor]:
    """A thread that computes as its caller does, hence to the same bits: by as many threads of its
    own. Who leaves early waits for it."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, name, torch.set_num_threads, (threads,)) as one:
        yield one


@contextmanager
def halved() -> Iterator[None]:
    """Inside, computing takes half of the threads, at least one, where something else computes at
    the same time: with more than there are cores they would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def half_beside(name: str) -> Iterator[ThreadPoolExecutor]:
    """A thread for what takes as long as what its caller does meanwhile, either ``halved``."""
    with halved(), beside(name) as one:
        yield one


def in_two(thread: ThreadPoolExecutor, function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """``function`` of each item, of every other one in the ``thread``."""
    all_of_them = [*items]
    theirs = thread.submit(lambda: [function(one) for one in all_of_them[1::2]])
    found: list[Any] = [None] * len(all_of_them)
    found[::2] = [function(one) for one in all_of_them[::2]]
    found[1::2] = theirs.result()
    return found
