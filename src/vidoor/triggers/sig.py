"""SIG: a sinusoid along the width, added to every row.

Barni, Kallas and Tondi, "A New Backdoor Attack in CNNs by Training Set Corruption Without Label
Poisoning", ICIP 2019: v + Δ sin(2π x f / W). Li et al. (appendix C): Δ = 20, f = 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float64

from vidoor.errors import TriggerError
from vidoor.registry import register
from vidoor.triggers.framewise import MOST, Clips, Framewise, grey_levels


@register("trigger", "sig")
@dataclass(frozen=True, kw_only=True)
class SIG(Framewise):
    """Vertical stripes: a sinusoid of ``frequency`` periods along the width.

    ``dynamic``: each frame has a frequency of its own, uniform in [f/2, 3f/2).
    """

    delta: float = 20.0
    """Amplitude Δ in grey levels (paper: 20)."""

    frequency: float = 6.0
    """Periods f over the width of a frame (paper: 6)."""

    strength: ClassVar[str] = "delta"
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "paper": {"delta": 20.0, "frequency": 6.0}
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.frequency <= MOST:
            raise ValueError(
                f"frequency must be a number above 0, at most {MOST:g}, not {self.frequency}"
            )

    def __call__(self, clip: Clips) -> Clips:
        """The triggered clip. TriggerError if the sinusoid is zero in each of its pixels."""
        frames, _, _, width = clip.shape[-4:]
        waves = torch.from_numpy(self.delta * self._waves(frames, width)).float().to(clip.device)
        return grey_levels(clip + waves[:, None, None, :])

    def _waves(self, frames: int, width: int) -> Float64[np.ndarray, "n w"]:
        """sin(2π x f / W) for x = 0..W-1: one row for all frames, or one for each."""
        frequency = np.full(1, self.frequency)
        if self.temporal == "dynamic":
            frequency = self.frequency * np.array(
                [generator.uniform(0.5, 1.5) for generator in self.generators(frames)]
            )
        waves: Float64[np.ndarray, "n w"] = np.sin(
            2 * np.pi * np.outer(frequency, np.arange(width)) / width
        )
        if np.abs(waves).max() < 1e-6:  # every pixel lies on a zero of the sinusoid
            raise TriggerError(
                f"a sinusoid of {self.frequency:g} periods is zero in every pixel of {width} "
                f"columns; give a frequency below {width / 2:g}"
            )
        return waves
