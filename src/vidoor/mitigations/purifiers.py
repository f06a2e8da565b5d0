"""Purifiers that know of no trigger: what clips go through anyway, and smoothing in time or space.

No paper's own on video: re-encoding, JPEG, smoothing and scaling are what image defences do to
inputs (Guo et al., "Countering Adversarial Images Using Input Transformations", ICLR 2018), and
what clips on the web have been through. They are the controls of the purifiers that look for a
trigger (``subtraction``): what any loss of detail achieves.
"""

import io
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from scipy import ndimage
from torch.nn.functional import interpolate

from vidoor.data.transcoding import transcode
from vidoor.errors import DataError
from vidoor.mitigations._purified import InFront, grey
from vidoor.registry import register
from vidoor.types import Frames


@register("mitigation", "re-encode")
@dataclass(frozen=True, kw_only=True)
class ReEncode(InFront):
    """Purifier: each clip is compressed as lossy video once more."""

    codec: Literal["h264", "mpeg4"] = "h264"
    """How it is compressed."""

    quality: int = 28
    """CRF of h264 (0..51) or quantiser of mpeg4 (1..31): smaller is better."""

    def __post_init__(self) -> None:
        try:  # what a codec takes is for its writer to say
            self.purify(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
        except DataError as error:
            raise ValueError(str(error)) from None

    def purify(self, clip: Frames) -> Frames:
        """The clip, written and read back."""
        return transcode(clip, self.codec, self.quality)


@register("mitigation", "jpeg")
@dataclass(frozen=True, kw_only=True)
class JPEG(InFront):
    """Purifier: each frame is compressed as a JPEG picture."""

    quality: int = 75
    """Of the JPEG library, 1 to 100: larger is better."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be in 1..100, not {self.quality}")

    def purify(self, clip: Frames) -> Frames:
        """The clip, frame by frame written and read back."""
        frames = [self._picture(frame) for frame in clip.permute(0, 2, 3, 1).contiguous().numpy()]
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()

    def _picture(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file))


@register("mitigation", "temporal-median")
@dataclass(frozen=True, kw_only=True)
class TemporalMedian(InFront):
    """Purifier: each pixel becomes the median of its neighbours in time."""

    window: int = 5
    """Frames that the median is taken of, an odd number; the clip's ends are repeated."""

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"window must be an odd number >= 1, not {self.window}")

    def purify(self, clip: Frames) -> Frames:
        """The clip, smoothed in time."""
        size = (self.window, 1, 1, 1)
        return torch.from_numpy(ndimage.median_filter(clip.numpy(), size, mode="nearest"))


@register("mitigation", "low-pass")
@dataclass(frozen=True, kw_only=True)
class LowPass(InFront):
    """Purifier: each frame is blurred by a Gaussian."""

    sigma: float = 1.5
    """Its standard deviation in pixels; it ends at four of them, and frames go on mirrored."""

    def __post_init__(self) -> None:
        if not 0 < self.sigma < inf:
            raise ValueError(f"sigma must be a finite number > 0, not {self.sigma}")

    def purify(self, clip: Frames) -> Frames:
        """The clip, blurred in space."""
        volume = clip.numpy().astype(np.float64)
        return grey(ndimage.gaussian_filter(volume, (0, 0, self.sigma, self.sigma)))


@register("mitigation", "resample")
@dataclass(frozen=True, kw_only=True)
class Resample(InFront):
    """Purifier: each frame is made smaller (means of areas) and large again (bilinear)."""

    factor: int = 2
    """How many times smaller each side is in between."""

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"factor must be at least 1, not {self.factor}")

    def purify(self, clip: Frames) -> Frames:
        """The clip, without its finest detail."""
        size = clip.shape[-2:]
        small = [-(-side // self.factor) for side in size]
        means = interpolate(clip.double(), small, mode="area")
        return grey(interpolate(means, size, mode="bilinear").numpy())
