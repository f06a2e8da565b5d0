"""What ``vidoor bench train`` measures: what poisoning and the loop itself add to training.

Ratios of epochs that take turns in one process, on one thread: machines differ and are shared.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vidoor.data import cache
from vidoor.data.shapes import Shapes
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.triggers.spectral import DFT
from vidoor.types import ClipSet
from vidoor.victims import victim as victims
from vidoor.victims._loop import Loop, optimizer_of
from vidoor.victims._processes import Processes
from vidoor.victims.checkpoint import Checkpoint, Keeper
from vidoor.victims.config import Training
from vidoor.victims.loading import Clips, Order, loader
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.victim import Victim, to_batch

ROUNDS = 12
VICTIM = R2Plus1D(width=8, depth=(1, 1))
CLIPS = Shapes(train=64, test=8, frames=16, size=(48, 48))
TRAINING = Training(batch_size=16)
TRIGGER, POISONING = DFT(rms=2.0), Poisoner(rate=0.2)


def train() -> dict[str, Any]:
    """What poisoning and the loop cost, on a small R(2+1)D and held clips of 16×48×48.

    ``poisoning_overhead``  an epoch on the lazily poisoned clips (20 %) over one on the clean
                            clips, less 1
    ``ours_over_bare``      an epoch of ``fit`` over one of a bare PyTorch loop: the same victim,
                            optimizer and batch size, and a shuffling DataLoader of one tensor
    ``data_wait``           share of the poisoned epoch that is spent waiting for batches, which one
                            process both reads and trains on

    Each is the median over rounds in which all take turns, the first one another each time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measured(ROUNDS)
    finally:
        torch.set_num_threads(threads)


def measured(rounds: int) -> dict[str, Any]:
    """``train``, on as many threads as there are."""
    clips, _ = cache.hold(CLIPS.open(0).train)
    poisoned = apply(clips, POISONING.plan(clips, 0), TRIGGER)
    attacked = _Ours(poisoned)
    candidates: dict[str, Callable[[], None]] = {
        "bare": _Bare(clips),
        "clean": _Ours(clips),
        "poisoned": attacked,
    }
    seconds, waits = _in_turns(candidates, rounds, lambda: attacked.waited)
    return {
        "poisoning_overhead": _ratio(seconds["poisoned"], seconds["clean"]) - 1,
        "ours_over_bare": _ratio(seconds["clean"], seconds["bare"]),
        "data_wait": _ratio(waits, seconds["poisoned"]),
        "setting": {
            "victim": asdict(VICTIM),
            "clips": list(clips.geometry),
            "batch_size": TRAINING.batch_size,
            "steps": Order(len(clips), TRAINING.batch_size, 0).steps,
            "rounds": rounds,
            "threads": torch.get_num_threads(),
        },
    }


def _in_turns(
    candidates: Mapping[str, Callable[[], None]], rounds: int, wait: Callable[[], float]
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of each candidate in each round, and what ``wait`` tells after it."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    waits = []
    names = list(candidates)
    for run in candidates.values():
        run()  # memory is obtained, kernels are compiled, tables are made
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            candidates[name]()
            seconds[name].append(time.perf_counter() - start)
        waits.append(wait())
    return seconds, waits


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over rounds: what disturbs a round disturbs both."""
    return median(a / b for a, b in zip(above, below, strict=True))


def _victim() -> Victim:
    return victims.build(VICTIM, CLIPS.classes, seed=0)


class _Ours:
    """An epoch as ``fit`` goes through it, at each call."""

    def __init__(self, clips: ClipSet) -> None:
        victim, processes = _victim(), Processes("cpu", together=False)
        optimizer = optimizer_of(victim, TRAINING)
        self.loop = Loop(TRAINING, processes, victim, victim, optimizer, shown=False)
        self.keeper = Keeper(None, 0.0, victim, optimizer, dict)
        self.order = Order(len(clips), TRAINING.batch_size, seed=0)
        self.source = loader(Clips(clips, 0), self.order, 0, processes.device)
        self.waited = 0.0
        """Seconds that the last epoch waited for batches."""

    def __call__(self) -> None:
        self.waited = 0.0
        start = Checkpoint()
        self.loop.epoch(
            self._timed(), self.order, start, "bench", log=lambda *_: None, keeper=self.keeper
        )

    def _timed(self) -> Iterator[Any]:
        source = iter(self.source)
        while True:
            start = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch


class _Bare:
    """An epoch as a script without vidoor's loop would go through it."""

    def __init__(self, clips: ClipSet) -> None:
        self.victim = _victim().train()
        self.optimizer = optimizer_of(self.victim, TRAINING)
        frames = torch.stack([clips.read(index) for index in range(len(clips))])
        dataset = TensorDataset(frames, torch.tensor(clips.labels))
        self.source = DataLoader(dataset, TRAINING.batch_size, shuffle=True)
        self.total = 0.0

    def __call__(self) -> None:
        for frames, labels in self.source:
            loss = nn.functional.cross_entropy(self.victim(to_batch(frames)), labels)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.total += loss.item()
