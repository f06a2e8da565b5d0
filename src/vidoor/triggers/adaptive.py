"""A trigger that is another one in every clip: attackers who know that shared patterns are found.

Ours, to find where defences break: the DFT trigger of Li et al. (``spectral``), varied from clip to
clip. What varies is drawn from the clip's own bytes and the seed, so the same clip always gets the
same trigger, alone or in a batch, and nothing else tells which. The power of the complex pattern is
that of the unvaried one; on small clips the RMS of its real part may differ by up to a tenth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Complex128, Float
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vidoor.errors import unknown
from vidoor.registry import register
from vidoor.transforms.dft import DFT as DFTBasis
from vidoor.triggers._bands import COLUMNS, ROWS
from vidoor.triggers._spectral import Spectral, spatial_index
from vidoor.triggers.embedding import Clips, Pattern, embed, geometry_of
from vidoor.types import Frames, Geometry

Vary = Literal["phase", "half", "offset", "shift", "phases", "texture"]

WINDOW = 5
"""Side in pixels of the square that a pixel's texture is measured in."""

Factor = Complex128[np.ndarray, " n"]


@register("trigger", "adaptive")
@dataclass(frozen=True, kw_only=True)
class Adaptive(Spectral):
    """The DFT trigger, varied from clip to clip so that no two clips share a pattern.

    Its strength and its options are those of ``dft``.
    """

    vary: Vary = "phase"
    """What varies. ``phase``: one phase for the whole pattern. ``half``: half of X and half of Y
    are used, a quarter of the components, each of them stronger. ``offset``: the pattern is
    shifted in a circle along time; ``shift``: along rows and columns, too. ``phases``: each index
    of F, X and Y has a phase of its own, so nothing but the spectrum's magnitudes is in common.
    ``texture``: the pattern is multiplied by the clip's local contrast, so that it hides where much
    is going on; its real part then has the unvaried RMS, and a clip of one colour stays as it is.
    """

    varies: ClassVar[bool] = True
    """No pattern is that of all clips."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        vary: {"vary": vary, "rms": 1.16} for vary in get_args(Vary)
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vary not in get_args(Vary):
            raise ValueError(unknown("vary", self.vary, get_args(Vary)))

    def basis(self) -> DFTBasis:
        """The Fourier basis."""
        return DFTBasis()

    def __call__(self, clip: Clips) -> Clips:
        """The triggered clip, or each clip of a batch with a trigger of its own. TriggerError if
        the options do not fit its size."""
        if clip.ndim == 5:
            out = torch.empty(clip.shape, dtype=clip.dtype, device=clip.device)
            for one, into in zip(clip, out, strict=True):
                into.copy_(self(one))
            return out
        if self.vary == "texture":
            return _textured(clip, self.pattern(geometry_of(clip)))
        return embed(clip, self.drawn(clip))

    def drawn(self, clip: Frames) -> Pattern:
        """The pattern that this clip gets; with ``texture`` before it is multiplied."""
        geometry = geometry_of(clip)
        whole, rng = self.pattern(geometry), _generator(clip, self.seed)
        factors = whole.frames, whole.rows, whole.columns
        if self.vary == "phase":
            return Pattern(_phases(rng, 1) * whole.frames, whole.rows, whole.columns)
        if self.vary in ("offset", "shift"):
            shifts = rng.integers(geometry)
            moved = 1 if self.vary == "offset" else 3
            rolled = [np.roll(f, s) for f, s in zip(factors[:moved], shifts, strict=False)]
            return Pattern(*rolled, *factors[moved:])
        if self.vary == "texture":
            return whole
        return Pattern(
            *(
                _mixed(factor, waves, self._weights(axis, len(waves), rng))
                for axis, (factor, waves) in enumerate(
                    zip(factors, self._waves(geometry), strict=True)
                )
            )
        )

    def _weights(self, axis: int, count: int, rng: Generator) -> Factor:
        """A complex weight for each of an axis's indices."""
        if self.vary == "phases":
            return _phases(rng, count)
        used = rng.permutation(count) < (count + 1) // 2
        return (used | (axis == 0)).astype(complex)  # half: of X and of Y, and all of F

    def _waves(self, geometry: Geometry) -> list[Complex128[np.ndarray, "k n"]]:
        """The components' vectors along each axis, whose sums are the unvaried pattern's factors
        but for δ."""
        frames, height, width = geometry
        told = self.describe(geometry)
        band = range(int(told["first_index"]), int(told["last_index"]) + 1)
        return [
            _vectors(int(told["transform_frames"]), tuple(band), frames),
            _vectors(height, tuple(spatial_index(self, ROWS, height)), height),
            _vectors(width, tuple(spatial_index(self, COLUMNS, width)), width),
        ]


def _generator(clip: Frames, seed: int) -> Generator:
    """What a clip's trigger is drawn with. Clips without memory, which only stand for a shape, have
    no bytes."""
    content = b"" if clip.is_meta else clip.cpu().contiguous().numpy().tobytes()
    digest = blake2b(content, digest_size=16).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "little")])


def _phases(rng: Generator, count: int) -> Factor:
    phases: Factor = np.exp(2j * np.pi * rng.random(count))
    return phases


@lru_cache(maxsize=64)
def _vectors(length: int, index: tuple[int, ...], samples: int) -> Complex128[np.ndarray, "k n"]:
    """The first ``samples`` of each of the basis vectors ``index``."""
    return np.stack([DFTBasis().synthesis(length, [k])[:samples] for k in index])


def _mixed(factor: Factor, waves: Complex128[np.ndarray, "k n"], weights: Factor) -> Factor:
    """The weighted sum of an axis's components, with the power of the unvaried factor."""
    mixed = weights @ waves
    scaled: Factor = mixed * (np.linalg.norm(factor) / np.linalg.norm(mixed))
    return scaled


def _textured(clip: Frames, pattern: Pattern) -> Frames:
    """The clip with the pattern times its local contrast; as ``embed`` in all else. The pattern is
    no longer separable, so no kernel does it."""
    added = torch.from_numpy(pattern.volume()).to(clip.device)
    contrast = _contrast(clip)
    # At least so much: nothing divides by zero where there is no texture at all.
    spread = (added.real * contrast).square().mean().sqrt().clamp(min=1e-9)
    added = added * (contrast * (pattern.rms() / spread))
    levels = (clip.double() + added[:, None]).abs()
    return levels.clamp_(max=255).round_().to(torch.uint8).contiguous()


def _contrast(clip: Frames) -> Float[Tensor, "t h w"]:
    """Standard deviation of the grey levels around each pixel, channels averaged, within its
    frame."""
    grey = clip.double().mean(1)
    means = [
        avg_pool2d(each, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
        for each in (grey, grey.square())
    ]
    return (means[1] - means[0].square()).clamp(min=0).sqrt()
