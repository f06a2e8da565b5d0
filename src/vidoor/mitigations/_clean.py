"""What mitigations that train on clean clips have in common: a draw, and two ways to train."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidoor.data.subset import draw
from vidoor.errors import TrainingError
from vidoor.options import check_seed
from vidoor.progress import say, track
from vidoor.types import Batch, ClipSet
from vidoor.victims.loading import Order
from vidoor.victims.training import Training, fit
from vidoor.victims.victim import Victim, to_batch

Objective = Callable[[Victim, Batch, Tensor, Sequence[int]], Tensor]
"""What is to be small: the loss of a victim on a batch, its labels, and the rows of its clips."""


@dataclass(frozen=True, kw_only=True)
class OnCleanClips:
    """A mitigation that draws some of the clean clips and trains on them (AdamW)."""

    fraction: float = 0.05
    """Share of the clean training clips of each class, at least one, that is used."""

    batch_size: int = 16
    """Clips per step."""

    lr: float = 3e-4
    """Learning rate."""

    seed: int = 0
    """Seed of the draw of clips and of their order."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be in (0, 1], not {self.fraction}")
        check_seed(self.seed)
        self._training(1)

    def _training(self, epochs: int) -> Training:
        return Training(epochs=epochs, batch_size=self.batch_size, lr=self.lr)

    def _draw(self, clean: ClipSet) -> ClipSet:
        return draw(clean, self.fraction, self.seed)

    def _tune(self, victim: Victim, clips: ClipSet, epochs: int, name: str) -> Victim:
        """Train ``victim`` itself on, on these clips and their labels; on the device it is on."""
        cpu = victim.mean.device.type == "cpu"
        tuned, _ = fit(
            victim,
            clips,
            self._training(epochs),
            seed=self.seed,
            name=name,
            device="cpu" if cpu else "auto",
        )
        return tuned

    def _descend(
        self, victim: Victim, clips: ClipSet, objective: Objective, epochs: int, name: str
    ) -> Victim:
        """A copy of ``victim``, trained for an ``objective`` of its own. Where that is the cross
        entropy it is the same, to the bit, as what ``_tune`` does. TrainingError if the loss is no
        longer finite."""
        victim = copy.deepcopy(victim).train()
        device, config = victim.mean.device, self._training(epochs)
        labels = torch.tensor(clips.labels, device=device)
        optimizer = torch.optim.AdamW(
            victim.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        order = Order(len(clips), config.batch_size, self.seed)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            for epoch in range(epochs):
                order.epoch, what, total = epoch, f"{name}: epoch {epoch + 1} of {epochs}", 0.0
                for step, keys in enumerate(track(order, what, len(clips), config.batch_size)):
                    # What the network itself draws (dropout), as in victims.training.
                    state = np.random.SeedSequence([self.seed, 3, epoch, step, 0])
                    torch.manual_seed(int(state.generate_state(1)[0]))
                    rows = [key.clip for key in keys]
                    loss = objective(victim, batch(clips, rows, device), labels[rows], rows)
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    total += finite(loss, what) * len(rows)
                say(f"{name}: epoch {epoch + 1}, loss {total / len(clips):.4g}")
        return victim


def batch(clips: ClipSet, rows: Sequence[int], device: torch.device) -> Batch:
    """Clips as a victim sees them, on a device."""
    return to_batch(torch.stack([clips.read(row) for row in rows]).to(device))


def finite(loss: Tensor, what: str) -> float:
    """The loss as a number. TrainingError if it is none."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(f"{what}: the loss is no longer finite; lower the mitigation's lr")
    return value
