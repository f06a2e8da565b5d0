"""WaNet: every frame is warped, slightly and smoothly.

Nguyen and Tran, "WaNet – Imperceptible Warping-based Backdoor Attack", ICLR 2021. A k×k control
grid of displacements, uniform in (−1, 1) and divided by its mean magnitude, is interpolated to the
frame (bicubic, corners aligned), scaled by s / side and added to the identity in coordinates that
run from −1 to 1; the sum is clamped, and the frame sampled there (bilinear, corners aligned, as in
the original code). So a displacement is about s/2 pixels whatever the size of the frame. Li et al.
(appendix C): k = 8, s = 1.

The published frames are square. On others each axis is divided by its own side, which keeps the
displacement equal along both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from vidoor.registry import register
from vidoor.triggers.embedding import geometry_of
from vidoor.triggers.framewise import Clips, Framewise, grey_levels
from vidoor.types import Geometry

FINEST = 1024
"""Most control points along an axis."""


@register("trigger", "wanet")
@dataclass(frozen=True, kw_only=True)
class WaNet(Framewise):
    """A smooth warp of every frame.

    ``dynamic``: each frame has a control grid of its own.
    """

    s: float = 1.0
    """Strength of the warp: about twice the mean displacement along an axis, in pixels (paper: 1;
    original: 0.5)."""

    k: int = 8
    """Control points along each axis (paper: 8; original: 4)."""

    strength: ClassVar[str] = "s"
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "paper": {"k": 8, "s": 1.0},
        "original": {"k": 4, "s": 0.5},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k <= FINEST:
            raise ValueError(f"k must be in 1..{FINEST} control points, not {self.k}")

    def __call__(self, clip: Clips) -> Clips:
        """The warped clip."""
        return _warp(clip, _grids(self, geometry_of(clip)))

    def noisy(self, clip: Clips, seed: int) -> Clips:
        """The clip warped with a perturbed grid, for the original's noise mode.

        Noise mode trains on some clips (``cross_ratio`` for each poisoned one, 2 in the original)
        that are warped like this and keep their labels, so that the victim learns the one warp
        and not warps in general. Whoever poisons a set chooses these clips and a ``seed`` (0 or
        more) for each. To every point of the grid a displacement is added, uniform in (−1, 1)
        over the side, the same in all frames (``static``) or drawn for each (``dynamic``).
        """
        geometry = geometry_of(clip)
        grids = _grids(self, geometry)
        drawn = np.random.default_rng([self.seed, seed, 1]).uniform(-1, 1, grids.shape)
        noise = torch.from_numpy(drawn / [geometry.width, geometry.height]).float()
        return _warp(clip, (grids + noise).clamp(-1, 1))

    def describe(self, geometry: Geometry) -> dict[str, float | int]:
        """The mean length of the displacement in pixels."""
        _, height, width = geometry
        shift = _grids(self, geometry) - _identity(height, width).float()
        pixels = shift * torch.tensor([(width - 1) / 2, (height - 1) / 2])
        return {"displacement": float(pixels.norm(dim=-1).mean())}


def control_grid(generator: Generator, k: int) -> Float64[np.ndarray, "2 k k"]:
    """Displacements of the control points along width and height, of mean magnitude 1."""
    drawn = generator.uniform(-1, 1, (2, k, k))
    grid: Float64[np.ndarray, "2 k k"] = drawn / np.abs(drawn).mean()
    return grid


def _identity(height: int, width: int) -> Float64[Tensor, "h w 2"]:
    """Where each pixel lies, (x, y), in coordinates that run from −1 to 1."""
    y, x = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


@lru_cache(maxsize=4)
def _grids(trigger: WaNet, geometry: Geometry) -> Float32[Tensor, "n h w 2"]:
    """Where to sample the frames: one grid for all, or one for each."""
    frames, height, width = geometry
    control = np.stack([control_grid(g, trigger.k) for g in trigger.generators(frames)])
    flow = interpolate(
        torch.from_numpy(control), size=(height, width), mode="bicubic", align_corners=True
    )
    shift = trigger.s * flow.permute(0, 2, 3, 1) / torch.tensor([width, height])
    return (_identity(height, width) + shift).clamp(-1, 1).float()


def _warp(clip: Clips, grids: Float32[Tensor, "n h w 2"]) -> Clips:
    """Each frame sampled at its grid; ``n`` is 1 or the number of frames."""
    images, grids = clip.reshape(-1, *clip.shape[-3:]).float(), grids.to(clip.device)
    # Where all frames share one grid nothing is copied.
    grids = (
        grids.expand(len(images), -1, -1, -1)
        if len(grids) == 1
        else grids.repeat(len(images) // len(grids), 1, 1, 1)
    )
    return grey_levels(grid_sample(images, grids, align_corners=True)).reshape(clip.shape)
