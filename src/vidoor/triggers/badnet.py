"""BadNet: a white square in a corner of every frame.

Gu et al., "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017.
Li et al. (appendix C) put a 21×21 square in the top right corner of 224×224 frames. The opacity is
ours: it makes the strength continuous.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from vidoor.errors import TriggerError
from vidoor.registry import register
from vidoor.triggers.framewise import Clips, Framewise, grey_levels
from vidoor.types import Geometry


@register("trigger", "badnet")
@dataclass(frozen=True, kw_only=True)
class BadNet(Framewise):
    """A white square, in the top right corner or (dynamic) anywhere in each frame.

    ``dynamic``: the place of the square is uniform over all that lie inside the frame.
    """

    alpha: float = 1.0
    """Opacity of the square, 0 to 1 (paper: 1)."""

    side: int | float = 21 / 224
    """Side of the square: pixels (int), or a fraction of the frame's shorter side (float), at least
    one pixel. Paper: 21 pixels of 224."""

    strength: ClassVar[str] = "alpha"
    most: ClassVar[float] = 1.0
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "paper": {"alpha": 1.0, "side": 21 / 224}
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.side, float) and not 0 < self.side <= 1:
            raise ValueError(f"side as a fraction must be in (0, 1], not {self.side}")
        if isinstance(self.side, int) and self.side < 1:
            raise ValueError(f"side must be at least 1 pixel, not {self.side}")

    def __call__(self, clip: Clips) -> Clips:
        """The triggered clip. TriggerError if the square is larger than the frame."""
        frames, _, height, width = clip.shape[-4:]
        side = self._pixels(height, width)
        out = clip.clone(memory_format=torch.contiguous_format)
        white = torch.tensor(255.0, device=clip.device)
        for frame, row, column in self._places(Geometry(frames, height, width), side):
            square = out[..., frame, :, row : row + side, column : column + side]
            square.copy_(grey_levels(square.float().lerp(white, self.alpha)))
        return out

    def describe(self, geometry: Geometry) -> dict[str, float | int]:
        """The side of the square in pixels."""
        return {"side_pixels": self._pixels(geometry.height, geometry.width)}

    def _pixels(self, height: int, width: int) -> int:
        shorter = min(height, width)
        side = self.side if isinstance(self.side, int) else max(1, round(self.side * shorter))
        if side > shorter:
            raise TriggerError(
                f"a square of {side} pixels does not fit frames of {height}×{width}; give side = "
                f"1..{shorter}, or a fraction in (0, 1]"
            )
        return side

    def _places(self, geometry: Geometry, side: int) -> Iterator[tuple[slice, int, int]]:
        """Frames, and the square's top row and left column in them."""
        _, height, width = geometry
        if self.temporal == "static":
            yield slice(None), 0, width - side
            return
        for frame, generator in enumerate(self.generators(geometry.frames)):
            row, column = generator.integers((height - side + 1, width - side + 1)).tolist()
            yield slice(frame, frame + 1), row, column
