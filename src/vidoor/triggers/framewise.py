"""What triggers that act on every frame by itself have in common.

The paper's baselines are image triggers embedded in each frame (section 4.1, appendix C), after
Hammoud et al., "Look, Listen, and Attack: Backdoor Attacks Against Video Action Recognition", CVPR
Workshops 2024, who extend them over time in two ways: statically, the same in every frame, and
dynamically, changing from one frame to the next. Each trigger says what it is that changes. In
which order it does is ours: it is drawn for each frame from the seed and the index of the frame,
so the trigger does not depend on the clip's length.

Values are computed in float32, clipped to 0..255 and rounded half to even.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.random import Generator
from torch import Tensor

from vidoor.errors import TriggerError, unknown
from vidoor.options import check_seed

Temporal = Literal["static", "dynamic"]

Clips = UInt8[Tensor, "*b t c h w"]
"""One clip, or a batch of clips of one geometry; each clip of a batch is triggered alike."""

MOST = 1e6
"""Largest strength of a trigger that has no natural limit; far less saturates every pixel."""


@dataclass(frozen=True, kw_only=True)
class Framewise:
    """Options shared by the frame-wise triggers."""

    temporal: Temporal = "static"
    """``static``: the same in every frame; ``dynamic``: drawn anew for each frame."""

    seed: int = 0
    """Seed of everything that the trigger draws."""

    strength: ClassVar[str]
    """The option that sets the strength: any value from 0, which changes nothing, to ``most``."""

    most: ClassVar[float] = MOST

    def __post_init__(self) -> None:
        if self.temporal not in get_args(Temporal):
            raise ValueError(unknown("temporal mode", self.temporal, get_args(Temporal)))
        check_seed(self.seed)
        if not 0 <= getattr(self, self.strength) <= self.most:
            raise ValueError(
                f"{self.strength} must be a number from 0 to {self.most:g}, "
                f"not {getattr(self, self.strength)}"
            )

    def generators(self, frames: int) -> list[Generator]:
        """One random generator for all frames alike (static), or one for each (dynamic)."""
        count = frames if self.temporal == "dynamic" else 1
        return [np.random.default_rng([self.seed, frame]) for frame in range(count)]


def grey_levels(values: Float32[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Clipped to 0..255 and rounded half to even, contiguous. ``values`` is used up."""
    return values.clamp_(0, 255).round_().to(torch.uint8).contiguous()


def check_rgb(clip: Clips) -> None:
    """TriggerError if the clip's frames are not RGB."""
    channels = clip.shape[-3]
    if channels != 3:
        raise TriggerError(
            f"this trigger is a coloured one, and the clip has {channels} channels; give it an "
            "RGB clip, or take another trigger"
        )
