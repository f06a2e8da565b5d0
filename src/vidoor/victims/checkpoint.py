"""Where a training stands, in one file that is never executed."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vidoor.files import whole
from vidoor.progress import say


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where training stands: finished epochs, what was measured after each, what they cost, and
    how far the next one is."""

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    step: int = 0
    """Finished steps of the epoch that has begun."""
    loss: float = 0.0
    """Sum of the losses of the clips that it has seen so far."""
    seen: float = 0
    """How many these are."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of fp16's loss scaling."""


def save(path: Path, victim: nn.Module, optimizer: torch.optim.Optimizer, at: Checkpoint) -> None:
    """One file, written whole or not at all: weights, optimizer state, progress."""
    tensors = {f"victim.{name}": value for name, value in victim.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
    progress = json.dumps(asdict(at))
    with whole(path) as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"progress": progress})


def load(path: Path, victim: nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    """Put victim and optimizer where the file says that training stands; where there is none, or a
    damaged one, at the start."""
    weights: dict[str, Tensor] = {}
    state: dict[int, dict[str, Tensor]] = {}
    if not path.exists():
        return Checkpoint()
    try:
        with safe_open(path, "pt") as file:
            at = Checkpoint(**json.loads(file.metadata()["progress"]))
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
    return at


@dataclass
class Keeper:
    """Writes a training's checkpoints: after each epoch, and within one where it takes long."""

    path: Path | None
    """None: none is written."""

    every: float
    """Seconds from one checkpoint to the next within an epoch, at least."""

    victim: nn.Module
    optimizer: torch.optim.Optimizer
    spent: Callable[[], dict[str, float]]
    last: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Is it time for one?"""
        return self.path is not None and time.monotonic() - self.last >= self.every

    def save(self, at: Checkpoint) -> None:
        """Write one now."""
        if self.path is not None:
            save(self.path, self.victim, self.optimizer, replace(at, spent=self.spent()))
            self.last = time.monotonic()
