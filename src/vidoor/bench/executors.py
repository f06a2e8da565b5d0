"""Where stages run: processes of this machine, a Ray cluster, Slurm jobs, or this very process.

The engines are others': an executor only hands stages over. A small network gains nothing from a
second thread, and two of them gain everything from a second process, so a process has one thread
unless told otherwise, and the number of cores changes no result.
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

import torch

from vidoor import progress
from vidoor.bench.engines import DIED, PAUSE, Executor, Handle, on_ray, on_slurm
from vidoor.bench.make import Outcome, make
from vidoor.bench.stages import Stage
from vidoor.recipe import Runtime


@dataclass(frozen=True, slots=True)
class _Ended:
    outcome: Outcome

    def done(self) -> bool:
        return True

    def result(self) -> Outcome:
        return self.outcome


@dataclass(frozen=True, slots=True)
class _Here:
    runtime: Runtime
    pause: float = PAUSE

    def free(self) -> int:
        return 1

    def submit(self, stage: Stage) -> Handle:
        return _Ended(make(stage, self.runtime))


@contextmanager
def _here(runtime: Runtime, quiet: bool) -> Iterator[Executor]:
    yield _Here(runtime)


@dataclass(slots=True)
class _Worker:
    """One process, made anew when it has died. A pool of one: its death is that of its stage."""

    runtime: Runtime
    quiet: bool
    gpu: int | None
    pool: ProcessPoolExecutor | None = None
    busy: bool = False

    def start(self) -> ProcessPoolExecutor:
        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                1,
                get_context("spawn"),  # a forked copy of a process with threads may hang
                initializer=_start,
                initargs=(self.quiet, self.gpu, self.runtime.memory),
            )
        return self.pool

    def submit(self, stage: Stage) -> Handle:
        try:
            future = self.start().submit(make, stage, self.runtime)
        except BrokenProcessPool:  # it died while it had nothing to do
            self.end()
            future = self.start().submit(make, stage, self.runtime)
        self.busy = True
        return _Handed(self, future)

    def end(self) -> None:
        if self.pool is not None:
            # No public way to kill a pool's process before Python 3.14.
            for process in list((self.pool._processes or {}).values()):
                process.kill()
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = None


@dataclass(frozen=True, slots=True)
class _Handed:
    worker: _Worker
    future: Any

    def done(self) -> bool:
        return bool(self.future.done())

    def result(self) -> Outcome:
        self.worker.busy = False
        try:
            outcome: Outcome = self.future.result()
        except BrokenProcessPool:
            outcome = Outcome("failed", problem=DIED.format(how=""))
            self.worker.end()
        except Exception as error:  # a method that does not pickle
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            outcome = Outcome("failed", problem=problem, details=problem)
        return outcome


@dataclass(frozen=True, slots=True)
class _Local:
    workers: list[_Worker] = field(default_factory=list)
    pause: float = PAUSE

    def free(self) -> int:
        return sum(not worker.busy for worker in self.workers)

    def submit(self, stage: Stage) -> Handle:
        return next(worker for worker in self.workers if not worker.busy).submit(stage)


@contextmanager
def _local(runtime: Runtime, quiet: bool) -> Iterator[Executor]:
    os.environ["OMP_NUM_THREADS"] = str(runtime.threads)  # read when a worker loads its libraries
    local = _Local([_Worker(runtime, quiet, gpu) for gpu in gpus(runtime)])
    try:
        yield local
    finally:
        for worker in local.workers:
            worker.end()


def gpus(runtime: Runtime) -> Sequence[int | None]:
    """The GPU of each worker: as many as ``runtime.gpus`` lets on each, or none on a CPU."""
    count = torch.cuda.device_count() if runtime.device == "auto" else 0
    if not count:
        return [None] * runtime.workers
    on_each = max(1, int(1 / runtime.gpus))
    return [gpu % count for gpu in range(min(runtime.workers, on_each * count))]


def _start(quiet: bool, gpu: int | None, memory: float | None) -> None:
    """Before a worker's first stage."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides, and ends us
    Thread(target=_end_with_parent, daemon=True).start()
    progress.plain(quiet)
    sys.stdout = sys.stderr  # what a method prints is no part of the command's document
    if gpu is not None:  # counted among those that we may see
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    if memory is not None and sys.platform == "linux":
        import resource

        limit = int(memory * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


EXECUTORS: Mapping[str, Any] = {"local": _local, "here": _here, "ray": on_ray, "slurm": on_slurm}


@contextmanager
def executor(runtime: Runtime, *, quiet: bool = False) -> Iterator[Executor]:
    """The executor that the recipe names; whatever it started ends with the block."""
    with EXECUTORS[runtime.executor](runtime, quiet) as engine:
        yield engine
