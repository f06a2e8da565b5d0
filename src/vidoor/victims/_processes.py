"""The processes that train one victim together, and the device of this one.

A launcher (``torchrun``, ``accelerate launch``) starts them and tells each who it is; accelerate
reads that, and connects them through gloo on CPUs and NCCL on GPUs.
"""

import atexit
import gc
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import nn

from vidoor.errors import TrainingError

T = TypeVar("T")

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another one's part of a step; of one that died it hears at once."""

IDLE = timedelta(days=30)
"""How long it waits while the main one works alone: evaluates, or makes what is no training."""


def launched() -> int:
    """Processes that a launcher has started with this one; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@cache
def _waiting_room() -> Any:
    """All processes, for as long as one has to wait for the main one."""
    return torch.distributed.new_group(timeout=IDLE, backend="gloo")


def connected() -> bool:
    """Is this process connected to others?"""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def pick_device(name: str) -> torch.device:
    """The device of ``runtime.device``: ``auto`` takes a GPU where there is one."""
    device: torch.device = _accelerator(name).device
    return device


_left: list[Any] = []


def _leave() -> None:
    if connected():
        _left.append(torch.distributed.group.WORLD)
        torch.distributed.destroy_process_group()


@cache
def _leave_at_exit() -> None:
    atexit.register(_end)


def _end() -> None:
    """Gloo's threads need the GIL to end, and only a group that Python drops last lets go of it.

    One that a wrapped network drops hangs, one that is left to the interpreter's end crashes.
    """
    _leave()
    gc.collect()  # wrapped networks
    _waiting_room.cache_clear()
    _left.clear()


def _accelerator(device: str) -> Accelerator:
    if launched() > 1:
        _leave_at_exit()
    # Precision is the loop's: accelerate would have one for all trainings of a process.
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    return Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[patience])


class Agreed(TrainingError):
    """One that all processes raise at the same step, so that they can go on together."""


class Processes:
    """Those that train together, seen from one of them. Alone unless ``together``."""

    def __init__(self, device: str, *, together: bool) -> None:
        self.accelerator = _accelerator(device)
        self.device: torch.device = self.accelerator.device
        self.size: int = self.accelerator.num_processes if together else 1
        self.rank: int = self.accelerator.process_index if together else 0

    @property
    def main(self) -> bool:
        """Is this the one that writes and speaks?"""
        return self.rank == 0

    def place(self, victim: nn.Module) -> None:
        """Move ``victim`` here. Between GPUs, batch norm sees the whole batch."""
        if self.size > 1 and self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(victim)
        victim.to(self.device)

    def wrap(self, victim: nn.Module) -> nn.Module:
        """``victim`` whose gradients are averaged over all, and whose weights are the main's."""
        if self.size == 1:
            return victim
        wrapped: nn.Module = self.accelerator.prepare_model(victim)
        return wrapped

    def apart(self, model: nn.Module) -> AbstractContextManager[Any]:
        """A block whose gradients are not averaged yet."""
        return nullcontext() if self.size == 1 else self.accelerator.no_sync(model)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each of the values, summed over all."""
        if self.size == 1:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(summed)
        told: list[float] = summed.tolist()
        return told

    def share(self, value: T) -> T:
        """The main's value."""
        if self.size == 1:
            return value
        told = [value]
        torch.distributed.broadcast_object_list(told, 0, group=_waiting_room())
        return told[0]

    def agree(self, *standing: int) -> None:
        """Agreed, in every process, unless all found the same checkpoint."""
        alike = self.share(standing) == standing
        if self.sum([alike])[0] < self.size:
            raise Agreed(
                "the processes of this training do not find the same checkpoint; they need one "
                "folder that all of them see"
            )

    def share_buffers(self, victim: nn.Module) -> None:
        """Give all the main's buffers, such as the averages of batch norm."""
        if self.size > 1:
            for buffer in victim.buffers():
                torch.distributed.broadcast(buffer, 0)

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Nobody waits for one who cannot go on: it leaves, and the others get a TrainingError."""
        try:
            yield
        except Agreed:
            raise
        except BaseException as error:
            if self.size == 1:
                raise
            _leave()
            if not _lost(error):
                raise
            reason = re.sub(r"^\[\S+\] *", "", str(error)).split(". ")[0][:100]
            raise TrainingError(
                f"{name}: another process of this training is gone ({reason}); start all of them "
                "again: training goes on from its last checkpoint"
            ) from None


def _lost(error: BaseException) -> bool:
    """Does torch say, in one of its ways, that another process does not answer?"""
    words = str(error).lower()
    signs = ("gloo", "nccl", "closed by peer", "process group")
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(sign in words for sign in signs)
    )
