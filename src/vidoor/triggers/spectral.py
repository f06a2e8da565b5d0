"""The paper's triggers: δ added to chosen components of a transform of the whole clip.

Li et al., "Temporal-Distributed Backdoor Attack Against Video Based Action Recognition", AAAI 2024,
equation 1 and appendices A and C. The components are I = F × X × Y: a band of ``count`` temporal
indices from ``start``, and randomly drawn rows and columns of the spectrum.

The paper's band F = {35..44} lies outside the N0 = 32 frames of its clips. As in its released code,
time is zero-padded to ``transform_frames`` before the DFT and the DCT and cropped afterwards, by
default to the shortest length that holds both clip and band: 45, where 35..44 are the ten lowest
non-zero (negative) frequencies of the DFT, and the ten highest of the DCT. Wavelets and random
vectors are not padded unless ``transform_frames`` says so: their default band, the paper's {12..21}
for the DWT, lies inside the clip, as fractions of its length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vidoor.registry import register
from vidoor.transforms.dct import DCT as DCTBasis
from vidoor.transforms.dft import DFT as DFTBasis
from vidoor.transforms.dwt import DWT as DWTBasis
from vidoor.transforms.rt import RT as RTBasis
from vidoor.transforms.rt import Variant
from vidoor.triggers._spectral import Spectral
from vidoor.triggers.embedding import Clips, Pattern, Projection, embed, geometry_of

# fmt: off
RELEASED_ROWS = (96, 72, 60, 149, 124, 57, 7, 66, 203, 140, 46, 97, 169,
                 21, 191, 196, 61, 95, 77, 184, 171, 75, 89, 218, 205)
RELEASED_COLUMNS = (99, 2, 205, 40, 22, 7, 187, 70, 148, 177, 204, 77, 176,
                    120, 88, 156, 190, 81, 30, 93, 206, 10, 157, 48, 165)
"""X and Y of the paper's released code, for 224×224 pixels."""
# fmt: on


@register("trigger", "dft")
@dataclass(frozen=True, kw_only=True)
class DFT(Spectral):
    """The paper's main trigger: δ added in the discrete Fourier domain (paper: δ = 50,000).

    The sum is complex, and its magnitude is what is clipped. ``preset = "released"`` is the
    authors' code as its training script runs it, at 224×224 pixels: fixed X and Y, δ = 5,000 (its
    data set's own default is 500,000), and a stretch that is most of the change at that strength.
    """

    projection: Projection = "clip"
    """``clip`` (paper): clip to 0..255 and round. ``stretch`` (released): stretch every frame of
    every channel to 0..255 and truncate, which changes a clip at δ = 0 too."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"delta": 50_000.0},
        "released": {
            "delta": 5_000.0,
            "projection": "stretch",
            "rows": RELEASED_ROWS,
            "columns": RELEASED_COLUMNS,
        },
    }

    def basis(self) -> DFTBasis:
        """The Fourier basis."""
        return DFTBasis()

    def __call__(self, clip: Clips) -> Clips:
        """The triggered clip, or batch. TriggerError if the options do not fit its size."""
        return embed(clip, self.pattern(geometry_of(clip)), projection=self.projection)


@register("trigger", "dct")
@dataclass(frozen=True, kw_only=True)
class DCT(Spectral):
    """δ added in the discrete cosine domain (paper: δ = 50, the DFT's components)."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"delta": 50.0}}

    def basis(self) -> DCTBasis:
        """The cosine basis."""
        return DCTBasis()


@register("trigger", "dwt")
@dataclass(frozen=True, kw_only=True)
class DWT(Spectral):
    """δ added in the wavelet domain, db1, to all rows and columns (paper: δ = 10, F = {12..21}).

    The sum over whole sub-bands is a grid of dots: +28.28 grey levels at every other row and column
    of every other frame in the band. ``preset = "released"`` is the band of the authors' released
    code, the middle quarter of the clip: 12..19 of 32.
    """

    start: int | float = 12 / 32
    """First index of the band, interleaved: 2k low-pass, 2k + 1 high-pass of frames 2k, 2k + 1."""

    count: int | float = 10 / 32
    components: int | float = 1.0
    pads: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"delta": 10.0},
        "released": {"delta": 10.0, "start": 3 / 8, "count": 1 / 4},
    }

    def basis(self) -> DWTBasis:
        """The db1 basis."""
        return DWTBasis()


@register("trigger", "rt")
@dataclass(frozen=True, kw_only=True)
class RT(Spectral):
    """δ added in the domain of random matrices (paper: δ = 30).

    ``variant = "orthonormal"`` (default) departs from the paper: the rows of its random matrices
    are made orthonormal, and F is {12..21} of 32, because {35..44} do not exist without padding.
    As written (``variant = "paper"``) the matrices hold numbers in [0, 1), whose sums over the
    components do not cancel: about 24,000 grey levels, so that every clip comes out white.
    """

    variant: Variant = "orthonormal"
    """Which random matrices: ``orthonormal``, or ``paper`` (which saturates)."""

    start: int | float = 12 / 32
    count: int | float = 10 / 32
    pads: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"delta": 30.0},
        "paper-verbatim": {"delta": 30.0, "variant": "paper"},
    }

    def basis(self) -> RTBasis:
        """The random basis; its matrices come from the trigger's seed."""
        return RTBasis(self.seed, self.variant)

    def remark(self, pattern: Pattern) -> str:
        """That clips saturate, where they do."""
        if self.variant == "orthonormal":
            return ""
        return (
            f"rt: variant = 'paper' adds rows of positive random numbers, {pattern.rms():.3g} grey "
            "levels RMS here: clips saturate; variant = 'orthonormal' does not"
        )
