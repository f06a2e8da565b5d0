"""A command in several processes: the first one does its work, the others join when it trains.

    torchrun --nproc-per-node 2 -m vidoor run recipe.toml

What a command reads, writes and measures is then done once, and training by all.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vidoor.errors import TrainingError
from vidoor.victims._processes import Agreed, Processes, connected, launched

_open: Processes | None = None


def first() -> bool:
    """Is this the process that works, speaks and writes? It is where there is no other."""
    return launched() == 1 or os.environ.get("RANK", "0") == "0"


@contextmanager
def company(device: str, join: Callable[[Any], None]) -> Iterator[bool]:
    """All processes that a launcher has started enter this block; is this one the first?

    The others wait in front of it and call ``join`` with each task that the first one summons them
    to; when it leaves its block they enter theirs, with nothing left to do. What fails in all at
    the same step is the first one's to report; TrainingError where a process is gone.
    """
    global _open
    if launched() == 1:
        yield True
        return
    processes = _open = Processes(device, together=True)
    with processes.watched("training"):
        if not processes.main:
            nothing: Any = None
            while (task := processes.share(nothing)) is not None:
                with suppress(Agreed):
                    join(task)
            yield False
            return
        try:
            yield True
        finally:
            _open = None
            if connected():
                processes.share(None)


def summon(task: object) -> None:
    """Let the others join ``task``, which must pickle; then do it, together. Nothing to do without
    a ``company``, or for those who have joined. TrainingError where the others are gone."""
    if _open is not None and _open.main:
        if not connected():
            raise TrainingError("the other processes of this command are gone; start it again")
        _open.share(task)
