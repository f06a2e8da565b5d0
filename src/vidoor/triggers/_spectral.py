"""What the triggers of all bases share: options, the pattern they come to, noise.

Patterns are the sum over F × X × Y of a basis's synthesis vectors, hence one factor for each axis.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from vidoor.errors import TriggerError
from vidoor.options import check_seed
from vidoor.progress import say
from vidoor.transforms.dct import DCT as DCTBasis
from vidoor.transforms.dft import DFT as DFTBasis
from vidoor.transforms.dwt import DWT as DWTBasis
from vidoor.transforms.rt import RT as RTBasis
from vidoor.triggers._bands import COLUMNS, ROWS, Amount, Band, check_spatial, spatial
from vidoor.triggers.embedding import Clips, Pattern, embed, geometry_of
from vidoor.types import Geometry

Basis = DFTBasis | DCTBasis | DWTBasis | RTBasis

STRONGEST = 1e6
"""Largest grey level that a pattern may reach; 255 saturates any pixel."""


@dataclass(frozen=True, kw_only=True)
class Spectral(ABC):
    """Options shared by the triggers of all bases. Strength is one of ``delta`` and ``rms``."""

    delta: float | None = None
    """δ of equation 1, in the units of the basis. The paper's values are for 32×224×224."""

    rms: float | None = None
    """Strength as the root mean square of the real pattern over the clip, in grey levels: equal
    values are equally strong whatever the clip's size. 1.16 is the paper's DFT at 32×224×224."""

    start: int | float = 35
    """First temporal index k0: an index (int) or a fraction of the transform's length (float)."""

    count: int | float = 10
    """Number of temporal indices, or likewise a fraction (at least one index)."""

    transform_frames: int | None = None
    """Length of the transform along time; None: the clip's, or for DFT and DCT start + count if
    that is longer."""

    components: int | float = 25 / 224
    """|X| and |Y|: a count (int) or a fraction of each axis (float, at least one index)."""

    rows: tuple[int, ...] | None = None
    """X, in place of a drawn one."""

    columns: tuple[int, ...] | None = None
    """Y, in place of a drawn one."""

    seed: int = 0
    """Seed from which X and Y are drawn, without replacement."""

    pads: ClassVar[bool] = True
    """Whether time is padded to hold a band that ends past the clip."""

    def __post_init__(self) -> None:
        if (self.delta is None) == (self.rms is None):
            given = "both" if self.delta is not None else "neither"
            raise ValueError(f"give exactly one of delta and rms as the strength; {given} arrived")
        strength = self.delta if self.delta is not None else self.rms
        assert strength is not None
        if not (math.isfinite(strength) and strength >= 0):
            raise ValueError(f"strength must be a finite number >= 0, not {strength}")
        check_seed(self.seed)
        self._band.check()
        check_spatial(self.components, (self.rows, self.columns))

    @abstractmethod
    def basis(self) -> Basis:
        """The basis that the components belong to."""

    @property
    def _band(self) -> Band:
        return Band(self.start, self.count, self.transform_frames)

    def __call__(self, clip: Clips) -> Clips:
        """The triggered clip, or batch. TriggerError if the options do not fit its size."""
        return embed(clip, self.pattern(geometry_of(clip)))

    def noisy(self, clip: Clips, seed: int) -> Clips:
        """The clip with a pattern of another band, for noise mode (``poisoning.cross_ratio``).

        The paper's attack has none; WaNet's is carried over: a victim that sees other bands keep
        their label learns the band itself. The band is drawn by ``seed`` (0 or more) from those of
        the same transform that share no index with the trigger's: as many as fit beside it, of DWT
        and RT two to four. Rows, columns and RMS are the trigger's own. TriggerError if there is
        no other band.
        """
        geometry = geometry_of(clip)
        length = _length(self, geometry)
        own = self._band.index(length)
        starts = np.random.default_rng([self.seed, seed, 2]).permutation(length - len(own) + 1)
        for start in starts[abs(starts - own[0]) >= len(own)].tolist():
            band = range(start, start + len(own))
            if self.basis().synthesis(length, band, 0)[: geometry.frames].any():
                rms = self.pattern(geometry).rms()
                other = {"start": start, "count": len(own), "transform_frames": length}
                return replace(self, **other, delta=None, rms=rms)(clip)
        raise TriggerError(
            f"the band {own[0]}..{own[-1]} leaves no other of {len(own)} in a transform of "
            f"{length} frames, so there is no noise; lower count or raise transform_frames"
        )

    def pattern(self, geometry: Geometry) -> Pattern:
        """The pattern that is added to a clip of ``geometry``, in grey levels."""
        # 1 (one index) equals 1.0 (every index) in Python: the cache must see the types.
        return _pattern(self, geometry, self.start, self.count, self.components)

    def remark(self, pattern: Pattern) -> str:
        """What whoever uses such a pattern should know, a line; told when it is made."""
        return ""

    def describe(self, geometry: Geometry) -> dict[str, float | int]:
        """What the options come to on clips of ``geometry``: both strengths, padding and band."""
        pattern, length = self.pattern(geometry), _length(self, geometry)
        band = self._band.index(length)
        return {
            "rms": pattern.rms(),
            "delta": self.delta if self.delta is not None else _delta(self, geometry),
            "transform_frames": length,
            "first_index": band[0],
            "last_index": band[-1],
        }


def _length(trigger: Spectral, geometry: Geometry) -> int:
    """Frames of the transform."""
    return trigger.basis().length(trigger._band.length(geometry.frames, trigger.pads))


def spatial_index(trigger: Spectral, axis: int, pixels: int) -> list[int]:
    """The index set X (axis ``ROWS``) or Y (``COLUMNS``) on an axis of so many pixels."""
    given = trigger.columns if axis == COLUMNS else trigger.rows
    length = trigger.basis().length(pixels)
    return spatial(given, trigger.components, trigger.seed, axis, length)


def _unit_pattern(trigger: Spectral, geometry: Geometry) -> Pattern:
    """The pattern of δ = 1."""
    basis, length = trigger.basis(), _length(trigger, geometry)
    _, height, width = geometry
    axes = (
        (length, trigger._band.index(length)),
        (basis.length(height), spatial_index(trigger, ROWS, height)),
        (basis.length(width), spatial_index(trigger, COLUMNS, width)),
    )
    factors = [
        basis.synthesis(size, index, axis)[:samples]
        for axis, ((size, index), samples) in enumerate(zip(axes, geometry, strict=True))
    ]
    if not all(factor.any() for factor in factors):
        raise TriggerError(
            f"the chosen components touch no pixel of {'×'.join(map(str, geometry))} clips; lower "
            "start"
        )
    return Pattern(*factors)


def _delta(trigger: Spectral, geometry: Geometry) -> float:
    """δ that gives the trigger's ``rms`` on clips of ``geometry``."""
    assert trigger.rms is not None
    unit = _unit_pattern(trigger, geometry).rms()
    if trigger.rms and not unit:
        raise TriggerError(
            f"the pattern has no real part on {geometry.frames}×{geometry.height}×"
            f"{geometry.width} clips, so no delta gives rms = {trigger.rms}; change the band or "
            "the seed, or give delta"
        )
    return trigger.rms / unit if trigger.rms else 0.0


@lru_cache(maxsize=64, typed=True)
def _pattern(
    trigger: Spectral, geometry: Geometry, _start: Amount, _count: Amount, _components: Amount
) -> Pattern:
    unit = _unit_pattern(trigger, geometry)
    delta = trigger.delta if trigger.delta is not None else _delta(trigger, geometry)
    factors = (unit.frames, unit.rows, unit.columns)
    peak = delta * math.prod(float(np.abs(factor).max()) for factor in factors)
    if not peak <= STRONGEST:
        raise TriggerError(
            f"the strength gives a pattern of {peak:.3g} grey levels, and 255 saturate a pixel; "
            "lower delta or rms"
        )
    pattern = Pattern(delta * unit.frames, unit.rows, unit.columns)
    if remark := trigger.remark(pattern):
        say(remark)
    return pattern
