"""Clips that are read while those before them are looked at.

Files are decoded in a process of its own (``guard``), which a reader only waits for: a thread that
waits ahead lets two cores work, and changes nothing else. A worker that was given one core reads
``in_step``: the others are for other workers.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from vidoor.spread import beside

AHEAD = 2
"""Clips that are read before they are asked for."""

_in_step: ContextVar[bool] = ContextVar("in_step", default=False)


@contextmanager
def in_step() -> Iterator[None]:
    """Inside, a clip is read when it is asked for, and none is read ``ahead``."""
    token = _in_step.set(True)
    try:
        yield
    finally:
        _in_step.reset(token)


def ahead(read: Callable[[int], Tensor], indices: Iterable[int]) -> Iterator[Tensor]:
    """``read`` of each index, in order, by one thread; its errors come where the clip would."""
    if _in_step.get():
        for index in indices:
            yield read(index)
        return
    with beside("read ahead") as reader:
        waiting: deque[Future[Tensor]] = deque()
        try:
            for index in indices:
                waiting.append(reader.submit(read, index))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
