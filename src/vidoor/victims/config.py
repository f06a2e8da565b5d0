"""How a victim is trained: the schedule that results depend on, apart from where it runs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from vidoor.victims.augmentation import Augmentation, Crop


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a victim is trained. The defaults are the paper's (section 4.1 and appendix C)."""

    epochs: int = 10
    """Passes over the training set."""

    batch_size: int = 16
    """Clips per optimizer step, over all processes and parts."""

    accumulate: int = 1
    """Parts that a process works its batch off in, one after another, for less memory. The gradient
    is that of the whole batch; batch norm sees the parts."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """``sgd`` has momentum 0.9."""

    lr: float = 3e-4
    """Initial (constant, cosine) or highest (one-cycle) learning rate."""

    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    """``one-cycle``: linear warm-up over the first fifth of the steps, then cosine to zero."""

    weight_decay: float = 0.01
    """AdamW's decoupled decay; with ``sgd``, L2."""

    clip_norm: float | None = None
    """Largest l2 norm of the gradient of all weights together; None: any."""

    frames: int | None = None
    """Frames of each clip that the victim sees, evenly taken; None: all. Triggers are embedded
    before that (paper, section 4.2: embedded in 32, trained on 16)."""

    flip: bool = False
    """Mirror every other clip left to right, at random. Not where left and right tell classes
    apart, as in ``shapes``."""

    crop: Crop | None = None
    """``pad``: shift clips at random, black beside them. ``resized``: a random part of each clip,
    resized. The trigger is embedded before: an attacker hands over clips, not batches."""

    crop_share: float = 0.125
    """Largest shift (pad), or largest part that is cut away (resized), of each side."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of forward and backward, ``fp16`` with loss scaling; weights stay in float32, and
    so does evaluation."""

    compile: bool = False
    """Train the network through ``torch.compile``, which rounds differently; weights keep their
    names. The first step takes a minute or so."""

    views: tuple[int, int] = (1, 1)
    """Views of each clip in evaluation, temporal × spatial, whose probabilities are averaged: see
    ``prediction.predict``."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"epochs": 10, "batch_size": 16, "optimizer": "adamw", "lr": 3e-4, "frames": 32},
        # The paper names neither batch nor decay: those of its other victims, and of TimeSformer.
        "paper-timesformer": {
            "epochs": 5,
            "batch_size": 16,
            "optimizer": "sgd",
            "lr": 3e-3,
            "weight_decay": 1e-4,
            "frames": 8,
        },
    }

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1:
            raise ValueError(
                f"epochs and batch_size must be at least 1, not {self.epochs} and {self.batch_size}"
            )
        if not 1 <= self.accumulate <= self.batch_size:
            raise ValueError(
                f"accumulate must be in 1..batch_size = {self.batch_size}, not {self.accumulate}"
            )
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"frames must be at least 1, not {self.frames}")
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise ValueError(
                f"need a finite lr > 0 and weight_decay >= 0, not {self.lr} and {self.weight_decay}"
            )
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm must be a finite number > 0, not {self.clip_norm}")
        if len(self.views) != 2 or self.views[0] < 1 or self.views[1] not in (1, 3):
            raise ValueError(
                "views must be a number of temporal views >= 1 and 1 or 3 spatial ones, not "
                f"{list(self.views)}"
            )
        self.augmentation()

    def augmentation(self) -> Augmentation:
        """What is done to training clips at random."""
        return Augmentation(flip=self.flip, crop=self.crop, crop_share=self.crop_share)

    def learning_rate(self, step: int, steps: int) -> float:
        """Learning rate of ``step`` (0-based) out of ``steps``."""
        if self.schedule == "constant":
            return self.lr
        warm = steps // 5 if self.schedule == "one-cycle" else 0
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
