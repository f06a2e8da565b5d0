"""The paper's trigger: δ added to chosen components of a transform of the whole clip.

Li et al., "Temporal-Distributed Backdoor Attack Against Video Based Action Recognition", AAAI 2024,
equation 1 and appendix C. The components are I = F × X × Y: a band of ``count`` temporal indices
from ``start``, and randomly drawn rows and columns of the spectrum.

The paper's band F = {35..44} lies outside the N0 = 32 frames of its clips. As in its released code,
time is zero-padded to ``transform_frames`` before the transform and cropped afterwards, by default
to the shortest length that holds both clip and band: 45, where 35..44 are the ten lowest non-zero
(negative) frequencies.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from vidoor.errors import TriggerError
from vidoor.registry import register
from vidoor.transforms.dft import DFT as DFTBasis
from vidoor.triggers.embedding import Pattern, embed
from vidoor.types import Frames, Geometry

ROWS, COLUMNS = 0, 1
"""Independent random streams for the indices of the two spatial axes."""

LONGEST = 100_000
"""Largest temporal index that a band may start from."""

STRONGEST = 1e6
"""Largest grey level that a pattern may reach; 255 saturates any pixel."""


@dataclass(frozen=True, kw_only=True)
class Spectral:
    """Options shared by the triggers of all bases. Strength is one of ``delta`` and ``rms``."""

    delta: float | None = None
    """δ of equation 1, in the units of the basis. The paper's values are for 32×224×224."""

    rms: float | None = None
    """Strength as the root mean square of the real pattern over the clip, in grey levels: equal
    values are equally strong whatever the clip's size. 1.16 is the paper's DFT at 32×224×224."""

    start: int = 35
    """First temporal index k0 of the band."""

    count: int = 10
    """Number of temporal indices in the band."""

    transform_frames: int | None = None
    """Length of the transform along time; None: the longer of the clip and start + count."""

    components: int | float = 25 / 224
    """|X| and |Y|: a count (int) or a fraction of each axis (float, at least one index)."""

    seed: int = 0
    """Seed from which X and Y are drawn, without replacement."""

    basis: ClassVar[DFTBasis]

    def __post_init__(self) -> None:
        if (self.delta is None) == (self.rms is None):
            given = "both" if self.delta is not None else "neither"
            raise ValueError(f"give exactly one of delta and rms as the strength; {given} arrived")
        strength = self.delta if self.delta is not None else self.rms
        assert strength is not None
        if not (math.isfinite(strength) and strength >= 0):
            raise ValueError(f"strength must be a finite number >= 0, not {strength}")
        if not (0 <= self.start <= LONGEST and 1 <= self.count <= LONGEST):
            raise ValueError(
                f"need start in 0..{LONGEST} and count in 1..{LONGEST}, "
                f"not {self.start} and {self.count}"
            )
        if not (self.transform_frames or 0) <= 2 * LONGEST:
            raise ValueError(
                f"transform_frames must be at most {2 * LONGEST}, not {self.transform_frames}"
            )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in 0..2**63 - 1, not {self.seed}")
        if self.transform_frames is not None and self.start + self.count > self.transform_frames:
            raise ValueError(
                f"the band {self.start}..{self.start + self.count - 1} does not fit a transform of "
                f"{self.transform_frames} frames (indices 0..{self.transform_frames - 1}); "
                "lower start or raise transform_frames"
            )
        if isinstance(self.components, float) and not 0 < self.components <= 1:
            raise ValueError(f"components as a fraction must be in (0, 1], not {self.components}")
        if isinstance(self.components, int) and self.components < 1:
            raise ValueError(f"components must be at least 1, not {self.components}")

    def __call__(self, clip: Frames) -> Frames:
        """The triggered clip. TriggerError if the options do not fit the clip's size."""
        frames, _, height, width = clip.shape
        return embed(clip, self.pattern(Geometry(frames, height, width)))

    def pattern(self, geometry: Geometry) -> Pattern:
        """The pattern that is added to a clip of ``geometry``, in grey levels."""
        # 1 (one index) equals 1.0 (every index) in Python: the cache must see the type.
        return _pattern(self, geometry, self.components)

    def describe(self, geometry: Geometry) -> dict[str, float | int]:
        """What the options come to on clips of ``geometry``: both strengths and the padding."""
        pattern = self.pattern(geometry)
        return {
            "rms": pattern.rms(),
            "delta": self.delta if self.delta is not None else _delta(self, geometry),
            "transform_frames": _transform_frames(self, geometry),
        }


def _transform_frames(trigger: Spectral, geometry: Geometry) -> int:
    if trigger.transform_frames is None:
        return max(geometry.frames, trigger.start + trigger.count)
    if trigger.transform_frames < geometry.frames:
        raise TriggerError(
            f"transform_frames = {trigger.transform_frames} is shorter than the clip's "
            f"{geometry.frames} frames; give at least {geometry.frames}, or leave it out"
        )
    return trigger.transform_frames


def spatial_index(trigger: Spectral, axis: int, length: int) -> list[int]:
    """The index set X (axis ``ROWS``) or Y (``COLUMNS``), drawn from the trigger's seed."""
    wanted = trigger.components
    size = wanted if isinstance(wanted, int) else max(1, round(wanted * length))
    if size > length:
        raise TriggerError(
            f"components = {size} is more than the {length} indices of a {length}-pixel axis; "
            f"give 1..{length}, or a fraction in (0, 1]"
        )
    drawn = np.random.default_rng([trigger.seed, axis]).choice(length, size, replace=False)
    return sorted(drawn.tolist())


def _unit_pattern(trigger: Spectral, geometry: Geometry) -> Pattern:
    """The pattern of δ = 1."""
    length = _transform_frames(trigger, geometry)
    band = range(trigger.start, trigger.start + trigger.count)
    _, height, width = geometry
    return Pattern(
        trigger.basis.synthesis(length, band)[: geometry.frames],
        trigger.basis.synthesis(height, spatial_index(trigger, ROWS, height)),
        trigger.basis.synthesis(width, spatial_index(trigger, COLUMNS, width)),
    )


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
def _pattern(trigger: Spectral, geometry: Geometry, _components: float) -> Pattern:
    unit = _unit_pattern(trigger, geometry)
    delta = trigger.delta if trigger.delta is not None else _delta(trigger, geometry)
    factors = (unit.frames, unit.rows, unit.columns)
    peak = delta * math.prod(float(np.abs(factor).max()) for factor in factors)
    if not peak <= STRONGEST:
        raise TriggerError(
            f"the strength gives a pattern of {peak:.3g} grey levels, and 255 saturate a pixel; "
            "lower delta or rms"
        )
    return Pattern(delta * unit.frames, unit.rows, unit.columns)


@register("trigger", "dft")
@dataclass(frozen=True, kw_only=True)
class DFT(Spectral):
    """The paper's main trigger: δ added in the discrete Fourier domain (paper: δ = 50,000)."""

    basis: ClassVar[DFTBasis] = DFTBasis()
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {"paper": {"delta": 50_000.0}}
