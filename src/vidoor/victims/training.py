"""The training loop: every victim, poisoned or clean, on one CPU or many GPUs.

An epoch's order comes from (seed, epoch) and the learning rate from the step alone, so an
interrupted run continues from its last checkpoint exactly as if it had not stopped.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from vidoor import meter
from vidoor.errors import TrainingError
from vidoor.files import whole
from vidoor.progress import say, track
from vidoor.types import ClipSet
from vidoor.victims.victim import Victim, to_batch

V = TypeVar("V", bound=nn.Module)

EVALUATION_BATCH = 64
"""Clips per batch where no gradient is kept."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a victim is trained. The defaults are the paper's (section 4.1 and appendix C)."""

    epochs: int = 10
    """Passes over the training set."""

    batch_size: int = 16
    """Clips per step."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """``sgd`` has momentum 0.9."""

    lr: float = 3e-4
    """Initial (constant, cosine) or highest (one-cycle) learning rate."""

    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    """``one-cycle``: linear warm-up over the first fifth of the steps, then cosine to zero."""

    weight_decay: float = 0.01
    """AdamW's decoupled decay; with ``sgd``, L2."""

    frames: int | None = None
    """Frames of each clip that the victim sees, evenly taken; None: all. Triggers are embedded
    before that (paper, section 4.2: embedded in 32, trained on 16)."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of forward and backward; weights stay in float32, and so does evaluation."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1:
            raise ValueError(
                f"epochs and batch_size must be at least 1, not {self.epochs} and {self.batch_size}"
            )
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"frames must be at least 1, not {self.frames}")
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise ValueError(
                f"need a finite lr > 0 and weight_decay >= 0, not {self.lr} and {self.weight_decay}"
            )


class _Clips(Dataset[tuple[Tensor, int]]):
    def __init__(self, clips: ClipSet) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.clips.read(index), self.clips.labels[index]


@dataclass
class _Shuffle(Sampler[int]):
    """A permutation that depends on (seed, epoch) alone."""

    length: int
    seed: int
    epoch: int = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        yield from (
            np.random.default_rng([self.seed, 2, self.epoch]).permutation(self.length).tolist()
        )


def _optimizer(network: nn.Module, config: Training) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        network.parameters(), lr=config.lr, weight_decay=config.weight_decay, momentum=0.9
    )


def learning_rate(config: Training, step: int, steps: int) -> float:
    """Learning rate of ``step`` (0-based) out of ``steps``."""
    if config.schedule == "constant":
        return config.lr
    warm = steps // 5 if config.schedule == "one-cycle" else 0
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where training stands: finished epochs, what was measured after each, what they cost."""

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)


def _save_checkpoint(
    path: Path, victim: nn.Module, optimizer: torch.optim.Optimizer, at: Checkpoint
) -> None:
    """One file, written whole or not at all: weights, optimizer state, history."""
    tensors = {f"victim.{name}": value for name, value in victim.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
    progress = json.dumps(asdict(at))
    with whole(path) as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"progress": progress})


def _load_checkpoint(path: Path, victim: nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    weights: dict[str, Tensor] = {}
    state: dict[int, dict[str, Tensor]] = {}
    if not path.exists():
        return Checkpoint()
    try:
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
            for key in file.keys():  # noqa: SIM118 - not a mapping
                owner, _, name = key.partition(".")
                if owner == "victim":
                    weights[name] = file.get_tensor(key)
                else:
                    index, _, slot = name.partition(".")
                    state.setdefault(int(index), {})[slot] = file.get_tensor(key)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        say(f"{path}: damaged ({error}); training starts anew")
        return Checkpoint()
    victim.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return Checkpoint(**progress)


def fit(
    victim: V,
    clips: ClipSet,
    config: Training,
    *,
    seed: int,
    checkpoint: Path | None = None,
    name: str = "training",
    device: str = "auto",
    measure: Callable[[V], dict[str, float]] = lambda _: {},
) -> tuple[V, list[dict[str, float]]]:
    """Train ``victim`` in place on ``clips`` and return it with what was measured at each epoch.

    ``measure`` is called after each epoch. ``checkpoint`` is written after each epoch and, where it
    exists, training goes on from it; without one a training that is stopped starts anew.
    """
    accelerator = Accelerator(cpu=device == "cpu")
    order = _Shuffle(len(clips), seed)
    # num_workers stays 0: clips are held in memory, and handing them between processes costs more.
    loader: Any = DataLoader(_Clips(clips), config.batch_size, sampler=order)
    optimizer = _optimizer(victim, config)
    at = _load_checkpoint(checkpoint, victim, optimizer) if checkpoint else Checkpoint()
    model, optimizer, loader = accelerator.prepare(victim, optimizer, loader)
    if at.epoch:
        say(f"{name}: goes on after epoch {at.epoch} of {config.epochs}")
    with meter.metered() as cost:
        meter.carry(at.spent)
        for epoch in range(at.epoch, config.epochs):
            order.epoch = epoch
            with torch.random.fork_rng():
                # What the network itself draws (dropout) hangs on (seed, epoch) alone as well.
                drawn = np.random.SeedSequence([seed, 3, epoch]).generate_state(1)
                torch.manual_seed(int(drawn[0]))
                loss = _epoch(accelerator, model, optimizer, loader, config, epoch, name)
            history = [*at.history, {"epoch": epoch + 1, "loss": loss, **measure(victim)}]
            at = Checkpoint(epoch + 1, history, cost.spent())
            say(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in history[-1].items()))
            if checkpoint and accelerator.is_main_process:
                _save_checkpoint(checkpoint, victim, optimizer.optimizer, at)
    return victim, at.history


def _epoch(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    loader: Any,
    config: Training,
    epoch: int,
    name: str,
) -> float:
    """One pass over the data; the mean loss. Stops at once where it is no longer finite."""
    model.train()
    steps, total, seen = len(loader), 0.0, 0
    what = f"{name}: epoch {epoch + 1} of {config.epochs}"
    for step, (frames, labels) in enumerate(
        track(loader, what, len(loader.dataset), config.batch_size)
    ):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, epoch * steps + step, config.epochs * steps)
        with torch.autocast(frames.device.type, torch.bfloat16, config.precision == "bf16"):
            loss = nn.functional.cross_entropy(model(to_batch(frames)), labels)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item() * len(labels)
        seen += len(labels)
        if not math.isfinite(total):
            raise TrainingError(f"{what}: the loss is no longer finite; lower training.lr")
    return total / seen


def pick_device(name: str) -> torch.device:
    """The device of ``runtime.device``: ``auto`` takes a GPU where there is one."""
    device: torch.device = Accelerator(cpu=name == "cpu").device
    return device


@torch.no_grad()
def predict(victim: Victim, clips: ClipSet) -> Int[np.ndarray, " n"]:
    """Predicted class of every clip, on the device where the victim is."""
    victim.eval()
    device = next(victim.parameters()).device
    predicted = []
    for start in range(0, len(clips), EVALUATION_BATCH):
        indices = range(start, min(start + EVALUATION_BATCH, len(clips)))
        frames = torch.stack([clips.read(index) for index in indices])
        predicted.append(victim.logits(to_batch(frames.to(device))).argmax(1).cpu())
    return torch.cat(predicted).numpy()
