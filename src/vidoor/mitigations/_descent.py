"""Training for another loss than the cross entropy of the labels."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from vidoor.mitigations._clean import finite
from vidoor.progress import say, track
from vidoor.types import Batch, ClipSet
from vidoor.victims._loop import optimizer_of
from vidoor.victims.config import Training
from vidoor.victims.loading import Clips, Order, batches, loader, reading
from vidoor.victims.victim import Victim, to_batch

Objective = Callable[[Victim, Batch, Tensor], Tensor]
"""What is to be small: the mean loss of a victim on a batch and its labels."""


@dataclass
class Descent:
    """A victim in training, in place: order, views and learning rate are those of ``fit``, and so
    is the result, to the bit, where the loss is the cross entropy. In float32, each batch whole."""

    victim: Victim
    config: Training
    seed: int
    name: str
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = optimizer_of(self.victim, self.config)

    def epoch(self, number: int, clips: ClipSet, objective: Objective) -> None:
        """One pass over ``clips``, as many in each epoch. TrainingError if the loss is no longer
        finite."""
        victim, config, device = self.victim.train(), self.config, self.victim.mean.device
        order = Order(len(clips), config.batch_size, self.seed, epoch=number)
        source = loader(Clips(clips, self.seed, config.augmentation()), order, 0, device)
        what, total = f"{self.name}: epoch {number + 1} of {config.epochs}", 0.0
        shown = track(batches(source), what, len(clips), config.batch_size)
        with reading(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            for step, (frames, labels) in enumerate(shown):
                state = np.random.SeedSequence([self.seed, 3, number, step, 0]).generate_state(1)
                torch.manual_seed(int(state[0]))
                done = number * order.steps + step
                for group in self.optimizer.param_groups:
                    group["lr"] = config.learning_rate(done, config.epochs * order.steps)
                loss = objective(victim, to_batch(frames.to(device)), labels.to(device))
                loss.backward()
                if config.clip_norm is not None:
                    nn.utils.clip_grad_norm_(victim.parameters(), config.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
                total += finite(loss, what) * len(labels)
        say(f"{what}, loss {total / len(clips):.4g}")
