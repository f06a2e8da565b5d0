"""FTtrojan: δ added to a few frequencies of the colour-difference planes of every frame.

Wang et al., "An Invisible Black-box Backdoor Attack through Frequency Domain" (FTrojan), ECCV 2022:
the frame in YUV, orthonormal DCT-II of U and V, + 30 at (15, 15) and (31, 31), and back.
``original`` does so in blocks of 32×32; Li et al. (appendix C) perturb "frequency 15 and 31 in each
spectrum" after a DCT "on each frame", which we read as one DCT of the whole frame: ``paper``, the
default.

All of this is linear, so no frame is transformed: δ times the basis functions is added, in the
colour of U and V. The original code calls its planes YUV, and converts to YCrCb (BT.601, full
range, as in JPEG): so do we. It also rounds the planes to bytes on the way in and cuts them off to
bytes on the way out, a change of its own that is there at δ = 0. We round once, at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64

from vidoor.errors import unknown
from vidoor.registry import register
from vidoor.triggers.framewise import Clips, Framewise, check_rgb, grey_levels
from vidoor.types import Geometry

Variant = Literal["paper", "original"]

BLOCK = 32
"""Side of the original's blocks in pixels."""

HIGHEST = 9999
"""Largest frequency index."""

KR, KB = 0.299, 0.114
"""Weights of red and blue in BT.601's luminance."""

V, U = 2 * (1 - KR), 2 * (1 - KB)
COLOUR = (V, -(KR * V + KB * U) / (1 - KR - KB), U)
"""RGB of one grey level in both U and V: about (1.402, −1.058, 1.772)."""


@register("trigger", "fttrojan")
@dataclass(frozen=True, kw_only=True)
class FTtrojan(Framewise):
    """Faint coloured ripples: a few frequencies of the colour-difference planes.

    An axis shorter than the transform (32 pixels for the published frequencies) is zero-padded
    before it and cropped afterwards, as the paper does with time; so are the last blocks of an
    axis that is not a whole number of them.

    ``dynamic``: each frame has as many frequencies, but these are drawn for it: distinct pairs
    (row, column) other than (0, 0), of indices up to the largest of ``frequencies``.
    """

    delta: float = 30.0
    """δ, added to each coefficient, in grey levels of an orthonormal transform (paper: 30)."""

    frequencies: tuple[int, ...] = (15, 31)
    """Indices k of the perturbed coefficients (k, k) (paper: 15 and 31)."""

    variant: Variant = "paper"
    """``paper``: one transform of the whole frame; ``original``: blocks of 32×32 pixels."""

    strength: ClassVar[str] = "delta"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        variant: {"delta": 30.0, "frequencies": (15, 31), "variant": variant}
        for variant in get_args(Variant)
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in get_args(Variant):
            raise ValueError(unknown("variant", self.variant, get_args(Variant)))
        highest = BLOCK - 1 if self.variant == "original" else HIGHEST
        distinct = set(self.frequencies)
        if not distinct or len(distinct) < len(self.frequencies):
            raise ValueError(f"frequencies must be different indices, not {self.frequencies}")
        if not 1 <= min(distinct) <= max(distinct) <= highest:
            raise ValueError(
                f"frequencies must be in 1..{highest} ({self.variant}), not {self.frequencies}"
            )

    def __call__(self, clip: Clips) -> Clips:
        """The triggered clip. TriggerError if it is not RGB."""
        check_rgb(clip)
        frames, _, height, width = clip.shape[-4:]
        ripples = self._ripples(Geometry(frames, height, width))
        pattern = ripples[:, None] * np.array(COLOUR)[:, None, None]
        return grey_levels(clip + torch.from_numpy(pattern).float().to(clip.device))

    def describe(self, geometry: Geometry) -> dict[str, float | int]:
        """Root mean square of the pattern in grey levels, and the transform's size in pixels."""
        _, height, width = geometry
        colour = np.mean(np.square(COLOUR))
        return {
            "rms": float(np.sqrt(np.mean(self._ripples(geometry) ** 2) * colour)),
            "transform_height": self._length(height),
            "transform_width": self._length(width),
        }

    def _length(self, side: int) -> int:
        """Length of the transform along an axis of ``side`` pixels."""
        return BLOCK if self.variant == "original" else max(side, max(self.frequencies) + 1)

    def _ripples(self, geometry: Geometry) -> Float64[np.ndarray, "n h w"]:
        """What is added to U and V: one sheet for all frames, or one for each."""
        _, height, width = geometry
        rows = basis(self._length(height), max(self.frequencies) + 1, height)
        columns = basis(self._length(width), max(self.frequencies) + 1, width)
        sheets = [
            sum(np.outer(rows[m], columns[n]) for m, n in pairs) for pairs in self._pairs(geometry)
        ]
        ripples: Float64[np.ndarray, "n h w"] = self.delta * np.stack(sheets)
        return ripples

    def _pairs(self, geometry: Geometry) -> list[list[tuple[int, int]]]:
        """The perturbed coefficients, for all frames or for each."""
        if self.temporal == "static":
            return [[(k, k) for k in self.frequencies]]
        size = max(self.frequencies) + 1
        drawn = [
            1 + generator.choice(size**2 - 1, len(self.frequencies), replace=False)
            for generator in self.generators(geometry.frames)
        ]
        return [[divmod(int(flat), size) for flat in one] for one in drawn]


def basis(length: int, count: int, samples: int) -> Float64[np.ndarray, "k n"]:
    """The first ``count`` vectors of the orthonormal DCT-II of ``length``, repeated with that
    period and cut to ``samples``."""
    turns = np.outer(np.arange(count), 2 * (np.arange(samples) % length) + 1)
    vectors: Float64[np.ndarray, "k n"] = np.sqrt(2 / length) * np.cos(np.pi * turns / (2 * length))
    vectors[0] /= np.sqrt(2)
    return vectors
