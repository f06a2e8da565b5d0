"""Random views of training clips: horizontal flip and random crop, on bytes.

All frames of a clip are treated alike. Each draw comes from (seed, epoch, clip), so a batch is the
same whichever process makes it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from torch import Tensor, nn

from vidoor.errors import unknown
from vidoor.types import Frames

Crop = Literal["pad", "resized"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to a clip at random. Nothing by default."""

    flip: bool = False
    crop: Crop | None = None
    crop_share: float = 0.125

    def __post_init__(self) -> None:
        if self.crop is not None and self.crop not in get_args(Crop):
            raise ValueError(unknown("crop", str(self.crop), get_args(Crop)))
        if not 0 < self.crop_share < 1:
            raise ValueError(f"crop_share must be between 0 and 1, not {self.crop_share}")

    def __bool__(self) -> bool:
        return self.flip or self.crop is not None

    def __call__(self, clip: Frames, rng: np.random.Generator) -> Frames:
        """One view of ``clip``, of its geometry. The clip is not modified."""
        height, width = clip.shape[-2:]
        mirrored = self.flip and rng.random() < 0.5
        if self.crop == "pad":
            clip = _shifted(clip, *(_draw(rng, self.crop_share * n) for n in (height, width)))
        elif self.crop == "resized":
            clip = _resized(clip, self.crop_share, rng)
        return clip.flip(-1) if mirrored else clip


def _draw(rng: np.random.Generator, largest: float) -> int:
    """A whole number of pixels in ±``largest``."""
    bound = int(largest)
    return int(rng.integers(-bound, bound + 1))


def _shifted(clip: Tensor, down: int, right: int) -> Tensor:
    """The clip moved by so many pixels; what comes into view is black."""
    height, width = clip.shape[-2:]
    out = clip.new_zeros(clip.shape)
    out[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = clip[
        ..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    return out


def _resized(clip: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """A random window, resized to the whole frame; each of its sides is drawn alone."""
    size = clip.shape[-2:]
    top_left, sides = [], []
    for side in size:
        kept = int(rng.integers(max(1, round(side * (1 - share))), side + 1))
        top_left.append(int(rng.integers(side - kept + 1)))
        sides.append(kept)
    (top, left), (height, width) = top_left, sides
    window = clip[..., top : top + height, left : left + width]
    return nn.functional.interpolate(window, size, mode="bilinear", align_corners=False)
