"""Readers that a worker process can import, well behaved and otherwise."""

import os
import signal
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor

from vidoor.errors import ClipError, DataError


def numbered(index: int) -> Tensor:
    """A clip that only this index has; the size differs from clip to clip."""
    return torch.full((2, 3, 4, index % 5 + 1), index % 251, dtype=torch.uint8)


def sleepy(seconds: float, asleep: int, index: int) -> Tensor:
    """Sleeps at clip ``asleep``."""
    if index == asleep:
        time.sleep(seconds)
    return numbered(index)


def misbehaving(index: int) -> Tensor:
    """Every fifth clip ends badly, each in another way."""
    match index:
        case 5:
            os.kill(os.getpid(), signal.SIGSEGV)
        case 10:
            time.sleep(600)
        case 15:
            bytearray(4 * 2**30)
        case 20:
            torch.zeros(2**32, dtype=torch.uint8)
        case 25:
            raise ClipError("c.mp4", "damaged: on purpose")
        case 30:
            os._exit(7)
        case 35:
            while True:  # in Python, and deaf to all but SIGKILL
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case 40:
            os.abort()
    return numbered(index)


HELD: list[bytearray] = []


def hoarding(index: int) -> Tensor:
    """Keeps 100 MiB of each clip: after a few of them a process is full, whatever comes next."""
    HELD.append(bytearray(100 * 2**20))
    return numbered(index)


def once(folder: Path, index: int) -> Tensor:
    """Crashes at clip 1, but not at the second attempt."""
    if index == 1 and not (folder / "seen").exists():
        (folder / "seen").touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return numbered(index)


def noted(folder: Path, index: int) -> Tensor:
    """Leaves a file that tells which clip was read, by whom."""
    (folder / f"{index}-{os.getpid()}").touch()
    return numbered(index)


def warning(index: int) -> Tensor:
    """Has something to say on standard output and error."""
    print("clip", index, flush=True)
    warnings.warn("look here", stacklevel=1)
    os.write(2, b"double free or corruption\n")
    return numbered(index)


def faulty(index: int) -> Tensor:
    """A bug."""
    return {0: numbered(0)}[index]


class Odd(Exception):
    """An exception that does not pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def odd(index: int) -> Tensor:
    """An exception that cannot be sent as it is."""
    raise Odd(1, 2)


def refusing(index: int) -> Tensor:
    """An error that is the user's, and no clip's."""
    raise DataError("the folder has gone")


def typed(index: int) -> Tensor:
    """Clips of every kind: none of it, several types, not contiguous."""
    return [
        torch.empty(0, 3, 4, 5, dtype=torch.uint8),
        torch.arange(24, dtype=torch.float32).reshape(2, 3, 4),
        torch.arange(24, dtype=torch.bfloat16).reshape(4, 6).T,
        torch.tensor(7),
        torch.ones(3, dtype=torch.bool),
    ][index]
