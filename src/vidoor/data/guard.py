"""Reading files that nobody vouches for: a hostile one costs that clip, never the command.

A decoder is a large program in C that is fed by strangers. Here it runs in processes of its own,
each clip within a time and a memory limit; one that hangs, explodes or crashes is ended, its clip
gets a reason, and the rest is read by a new one. It is no sandbox: a decoder that a file has taken
over does what the user may do.
"""

import mmap
import os
import pickle
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

import torch
from torch import Tensor

from vidoor.data._nursery import MOST_FILES, PATIENCE, Nursery
from vidoor.errors import DataError

_AHEAD = 2
"""Clips that may be read, or lie ready, beyond one for each worker."""

MOST_WORKERS = MOST_FILES - 1 - _AHEAD


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What reading one clip may take.

    ``memory`` is held on Linux only.
    """

    seconds: float = 60.0
    """Wall clock for one clip."""

    memory: float = 2.0
    """GiB of address space that a worker may add to what it starts with."""

    workers: int = 0
    """Processes; 0: one for each core that this process may use."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise ValueError(f"limits: seconds is {self.seconds}; give more than 0")
        if not 0 < self.memory < 2**20:
            raise ValueError(f"limits: memory is {self.memory} GiB; give more than 0")
        if not 0 <= self.workers <= MOST_WORKERS:
            raise ValueError(f"limits: workers is {self.workers}; give 0 to {MOST_WORKERS}")


def guarded(
    read: Callable[[int], Tensor], indices: Sequence[int], limits: Limits = Limits()
) -> Iterator[tuple[int, Tensor | str]]:
    """Read clips in processes of their own: (index, frames) or (index, reason), in order.

    ``read`` must pickle, by a name outside the main module. What it raises as ClipError becomes the
    reason; so do ``timeout``, ``out of memory`` and ``crashed``, the last two only where a new
    process fails as well, so that no clip pays for what was read before it. Any other exception is
    a fault of ``read`` and is raised here.

    Frames lie in shared memory: **valid until the next item is taken**, copy what is to stay. At
    most two clips more than there are workers are in flight. Every process ends with the iterator,
    whether it is exhausted, closed or interrupted, and with this process, however that ends.

    Raises DataError if no process can be started.
    """
    count = min(limits.workers or _cores(), MOST_WORKERS, len(indices))
    if count:
        with ExitStack() as stack:
            slots = [_Slot(_shared(stack)) for _ in range(count + _AHEAD)]
            nursery = stack.enter_context(Nursery())
            crew = _Crew(pickle.dumps((read, limits.memory)), limits, count, slots, nursery)
            stack.callback(crew.end)
            yield from crew.run(indices)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shared(stack: ExitStack) -> int:
    """A descriptor of a file without a name: nothing of it stays, whoever is killed."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("vidoor")
        stack.callback(os.close, file)
        return file
    return stack.enter_context(tempfile.TemporaryFile()).fileno()


@dataclass(slots=True, eq=False)
class _Slot:
    """A piece of shared memory that holds one clip. It grows, and never shrinks."""

    file: int
    bytes: mmap.mmap | None = None

    def frames(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        count = torch.Size(shape).numel()
        if not count:
            return torch.empty(shape, dtype=dtype)
        size = count * dtype.itemsize
        if self.bytes is None or len(self.bytes) < size:
            self.bytes = mmap.mmap(self.file, size)
        return torch.frombuffer(self.bytes, dtype=dtype, count=count).reshape(shape)


@dataclass(slots=True, eq=False)
class _Job:
    """One clip on its way. ``place`` is its slot's number."""

    index: int
    place: int
    outcome: Tensor | str | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    pid: int
    line: Connection
    job: _Job
    deadline: float
    ready: bool = False
    read: int = 0
    """Clips that it has read so far."""


@dataclass(slots=True, eq=False)
class _Crew:
    """The workers, and the clips that they are at."""

    task: bytes
    limits: Limits
    count: int
    slots: list[_Slot]
    nursery: Nursery
    busy: list[_Worker] = field(default_factory=list)
    idle: list[_Worker] = field(default_factory=list)
    waiting: deque[_Job] = field(default_factory=deque)

    def run(self, indices: Sequence[int]) -> Iterator[tuple[int, Tensor | str]]:
        """As ``guarded``."""
        rest, free = deque(indices), deque(range(len(self.slots)))
        flight: deque[_Job] = deque()
        while rest or flight:
            while rest and free:
                job = _Job(rest.popleft(), free.popleft())
                flight.append(job)
                self.waiting.append(job)
            self._employ()
            self._listen(block=flight[0].outcome is None)
            self._employ()
            if (outcome := flight[0].outcome) is not None:
                job = flight.popleft()
                yield job.index, outcome
                free.append(job.place)

    def end(self) -> None:
        """Hang up; the nursery ends the processes."""
        for worker in (*self.busy, *self.idle):
            worker.line.close()

    def _employ(self) -> None:
        """Give the waiting clips to idle workers, or to new ones while there are too few."""
        while self.waiting and (self.idle or len(self.busy) < self.count):
            job = self.waiting.popleft()
            if not self.idle:
                self._hire(job)
                continue
            worker = self.idle.pop()
            worker.job, worker.deadline = job, time.monotonic() + self.limits.seconds
            self.busy.append(worker)
            self._send(worker)

    def _hire(self, job: _Job) -> None:
        pid, line = self.nursery.fork([slot.file for slot in self.slots])
        self.busy.append(worker := _Worker(pid, line, job, time.monotonic() + PATIENCE))
        with suppress(OSError):  # that it is dead will be heard
            line.send_bytes(self.task)
        self._send(worker)

    def _send(self, worker: _Worker) -> None:
        with suppress(OSError):
            worker.line.send((worker.job.index, worker.job.place))

    def _listen(self, block: bool) -> None:
        """Hear whoever has something to say, and end those whose time is up."""
        now = time.monotonic()
        first = min((worker.deadline for worker in self.busy), default=now)
        said = wait([worker.line for worker in self.busy], max(0.0, first - now) if block else 0)
        now = time.monotonic()
        for worker in tuple(self.busy):
            if worker.line in said:
                self._hear(worker)
            elif now >= worker.deadline:
                self._dismiss(worker)
                self._settle(worker, f"timeout: no frame set after {self.limits.seconds:g} s")

    def _hear(self, worker: _Worker) -> None:
        try:
            answer = worker.line.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            self._dismiss(worker)
            self._settle(worker, f"crashed: {_how(self.nursery.reap(worker.pid))}")
            return
        if answer is None:
            worker.ready, worker.deadline = True, time.monotonic() + self.limits.seconds
        elif isinstance(answer, Exception):
            raise answer
        elif isinstance(answer, str) and answer.startswith("out of memory"):
            self._dismiss(worker)  # what it holds by now is not its next clip's fault
            self._settle(worker, answer)
        else:
            job = worker.job
            job.outcome = (
                answer if isinstance(answer, str) else self.slots[job.place].frames(*answer)
            )
            worker.read += 1
            self.busy.remove(worker)
            self.idle.append(worker)

    def _dismiss(self, worker: _Worker) -> None:
        self.busy.remove(worker)
        worker.line.close()
        os.kill(worker.pid, signal.SIGKILL)  # a number of its own until the nursery reaps it

    def _settle(self, worker: _Worker, reason: str) -> None:
        """What becomes of the clip of a worker that was ended."""
        if not worker.ready:
            raise DataError(f"a process that reads clips cannot start: {reason}")
        if worker.read and not reason.startswith("timeout"):
            self.waiting.appendleft(worker.job)
        else:
            worker.job.outcome = reason


def _how(status: int) -> str:
    return f"the decoder died ({f'signal {-status}' if status < 0 else f'exit status {status}'})"
