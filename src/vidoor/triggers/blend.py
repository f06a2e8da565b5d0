"""Blend: every frame is mixed with one image.

Chen et al., "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning", 2017:
(1 − α) v + α p. Li et al. (appendix C) blend a cartoon figure at α = 0.15. None comes with vidoor:
the default p is a plaid of three waves.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

from vidoor.errors import TriggerError
from vidoor.registry import register
from vidoor.triggers.framewise import Clips, Framewise, check_rgb, grey_levels

WAVES = ((3, 5), (-4, 2), (1, -6))
"""Cycles over width and height of the default image's red, green and blue."""


@register("trigger", "blend")
@dataclass(frozen=True, kw_only=True)
class Blend(Framewise):
    """A faint image over every frame.

    ``dynamic``: in each frame the image is shifted by a number of rows and columns of its own,
    uniform over all shifts; what leaves on one side comes back on the other.
    """

    alpha: float = 0.15
    """Opacity α of the image, 0 to 1 (paper: 0.15)."""

    image: Path | None = None
    """Any image file, scaled to the frame; its transparency is ignored. None: three coloured waves,
    (255/2)(1 + sin 2π(ux/W + vy/H)) with (u, v) = (3, 5), (−4, 2), (1, −6) for R, G, B."""

    strength: ClassVar[str] = "alpha"
    most: ClassVar[float] = 1.0
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {"paper": {"alpha": 0.15}}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image is not None:
            try:
                _read(self.image)
            except TriggerError as error:
                raise ValueError(str(error)) from None

    def __call__(self, clip: Clips) -> Clips:
        """The triggered clip. TriggerError if it is not RGB."""
        check_rgb(clip)
        frames, _, height, width = clip.shape[-4:]
        images = picture(self.image, height, width)[None]
        if self.temporal == "dynamic":
            shifts = [g.integers((height, width)).tolist() for g in self.generators(frames)]
            images = torch.stack([images[0].roll(shift, (-2, -1)) for shift in shifts])
        return grey_levels(torch.lerp(clip.float(), images.to(clip.device), self.alpha))

    def identity(self) -> dict[str, Any]:
        """What results depend on: of the image not the path, but the content."""
        options = asdict(self)
        image = options.pop("image")
        if image is None:
            return options
        return {**options, "image": hashlib.sha256(_read(image).tobytes()).hexdigest()}


@lru_cache(maxsize=8)
def picture(image: Path | None, height: int, width: int) -> Float32[Tensor, "3 h w"]:
    """The image p at the size of a frame, in grey levels. TriggerError if it cannot be read."""
    if image is not None:
        scaled = Image.fromarray(_read(image)).resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(scaled).astype(np.float32)).permute(2, 0, 1).contiguous()
    y, x = np.ogrid[:height, :width]
    turns = np.stack([u * x / width + v * y / height for u, v in WAVES])
    return torch.from_numpy(127.5 * (1 + np.sin(2 * np.pi * turns))).float()


@lru_cache(maxsize=8)
def _read(image: Path) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with Image.open(image) as opened:
            return np.asarray(opened.convert("RGBA").convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "it is not an image, or a damaged one"
        raise TriggerError(
            f"image {str(image)!r} cannot be read ({reason}); give a PNG, JPEG or other image file"
        ) from None
