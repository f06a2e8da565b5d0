"""A third-party package with one trigger of its own, found through its entry point."""

from dataclasses import dataclass

import torch

from vidoor.registry import register
from vidoor.types import Frames


@register("trigger", "sample-corner")
@dataclass(frozen=True, kw_only=True)
class Corner:
    """A dark square in the bottom left corner of every frame."""

    side: int = 3
    """Side of the square in pixels."""

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ValueError(f"side must be at least 1 pixel, not {self.side}")

    def __call__(self, clip: Frames) -> Frames:
        """The clip, or each clip of a batch, with the square in it."""
        out = clip.clone(memory_format=torch.contiguous_format)
        out[..., -self.side :, : self.side] = 0
        return out
