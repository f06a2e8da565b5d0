"""Steps and epochs: what happens to a batch, however many processes and parts work it off."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vidoor import meter
from vidoor.progress import track
from vidoor.victims._processes import Agreed, Processes
from vidoor.victims.checkpoint import Checkpoint, Keeper
from vidoor.victims.config import Training
from vidoor.victims.loading import Order, batches, share
from vidoor.victims.tracking import Log
from vidoor.victims.victim import to_batch

SELDOM = 16
"""Steps between two looks at the loss, where each look waits for a GPU or for other processes."""

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Loss(NamedTuple):
    """Mean loss of some clips, still on the device, and how many they are."""

    mean: Tensor
    clips: int


def optimizer_of(network: nn.Module, config: Training) -> torch.optim.Optimizer:
    """The optimizer that ``config`` names, for all weights of a network."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        network.parameters(), lr=config.lr, weight_decay=config.weight_decay, momentum=0.9
    )


@dataclass
class Loop:
    """A victim in training. ``model`` is the victim as all processes train it."""

    config: Training
    processes: Processes
    victim: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    shown: bool = True
    """Show how far an epoch is."""
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        device = self.processes.device.type
        self.scaler = torch.amp.GradScaler(device, enabled=self.config.precision == "fp16")

    def step(self, frames: Tensor, labels: Tensor, size: int, lr: float) -> list[Loss]:
        """One step on this process's share of a batch of ``size`` clips; the losses of its parts.

        Every clip weighs 1/size in the gradient, whichever process and part it is in.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        device, ranks = self.processes.device, self.processes.size
        frames, labels = (x.to(device, non_blocking=True) for x in (frames, labels))
        mine = len(share(size, self.processes.rank, ranks))
        parts = self.config.accumulate
        pieces = [p for k in range(parts) if (p := share(len(labels), k, parts))]
        losses = []
        for piece in pieces:
            clips = slice(piece.start, piece.stop)
            last, counted = piece is pieces[-1], len(piece) if mine else 0
            with nullcontext() if last else self.processes.apart(self.model):
                with self._autocast():
                    logits = self.model(to_batch(frames[clips]))
                    loss = nn.functional.cross_entropy(logits, labels[clips])
                # Gradients are averaged over the processes, hence their number.
                self.scaler.scale(loss * (counted * ranks / size)).backward()
            losses.append(Loss(loss.detach(), counted))
        if self.config.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return losses

    def _autocast(self) -> torch.autocast:
        half = HALVES.get(self.config.precision)
        return torch.autocast(self.processes.device.type, half, enabled=half is not None)

    def epoch(
        self, source: Iterable[Any], order: Order, at: Checkpoint, what: str,
        *, log: Log, keeper: Keeper,
    ) -> Checkpoint:  # fmt: skip
        """What is left of an epoch; where training stands after it. Agreed, in every process,
        where the loss of one of them is no longer finite."""
        order.epoch, order.step = at.epoch, at.step
        alone = self.processes.size == 1 and self.processes.device.type == "cpu"
        every, steps = 1 if alone else SELDOM, order.steps
        losses: list[Loss] = []
        since = time.perf_counter()
        self.model.train()
        with self._own_randomness(), self._compiled():
            for step, (frames, labels) in enumerate(self._shown(source, order, what), at.step):
                done, rank = at.epoch * steps + step, self.processes.rank
                _seed([order.seed, 3, at.epoch, step, rank])
                lr = self.config.learning_rate(done, self.config.epochs * steps)
                losses += self.step(frames, labels, order.size(step), lr)
                if (step + 1) % every and step + 1 < steps:
                    continue
                before, at = at, self._settled(at, step + 1, losses)
                if not math.isfinite(at.loss):
                    raise Agreed(f"{what}: the loss is no longer finite; lower training.lr")
                seen, now = at.seen - before.seen, time.perf_counter()
                told = {"loss": (at.loss - before.loss) / seen, "lr": lr}
                log({**told, "clips_per_second": seen / (now - since)}, done + 1)
                losses, since = [], now
                if self.processes.main and keeper.due():
                    keeper.save(at)
        return at

    def _settled(self, at: Checkpoint, step: int, losses: Sequence[Loss]) -> Checkpoint:
        """Where training stands after ``step`` steps of the epoch."""
        loss, mine = 0.0, 0
        means = torch.stack([each.mean for each in losses]).tolist()
        for mean, each in zip(means, losses, strict=True):
            loss += mean * each.clips
            mine += each.clips
        loss, seen = self.processes.sum([loss, mine])
        if self.processes.main:  # what the others did is part of the cost
            meter.carry({"forward": seen - mine, "backward": seen - mine})
        scaler = self.scaler.state_dict()
        return replace(at, step=step, loss=at.loss + loss, seen=at.seen + seen, scaler=scaler)

    def _shown(
        self, source: Iterable[Any], order: Order, what: str
    ) -> Iterator[tuple[Tensor, Tensor]]:
        left = order.length - order.step * order.batch_size
        read = batches(source)
        return track(read, what, left, order.batch_size) if self.shown else read

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Leave the generators that a network draws from (dropout) as they are outside."""
        device = self.processes.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield

    @contextmanager
    def _compiled(self) -> Iterator[None]:
        """Compile the network's forward for the steps, and nothing that evaluates or saves it."""
        if not self.config.compile:
            yield
            return
        self._network.forward = self._fast
        try:
            yield
        finally:
            del self._network.forward  # that of its class is back

    @cached_property
    def _network(self) -> Any:
        return getattr(self.victim, "network", self.victim)

    @cached_property
    def _fast(self) -> Callable[..., Any]:
        return torch.compile(self._network.forward)


def _seed(told: Sequence[int]) -> None:
    """What the network itself draws (dropout) hangs on these numbers alone."""
    torch.manual_seed(int(np.random.SeedSequence(told).generate_state(1)[0]))
