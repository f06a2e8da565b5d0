"""The fused kernel: every separable trigger in one pass over the bytes of a clip.

The bases of the paper are linear and separable and its index sets are products F × X × Y, so
perturbing a transform and inverting it adds one fixed rank-one pattern to the clip:

    embed(v) = project(v + a ⊗ b ⊗ c)

No clip is transformed. Arithmetic is float64, hence equal, byte for byte, to transform → add →
invert → magnitude → clip → round in float64 wherever that path is itself defined: where its exact
result lies halfway between two grey levels, its own rounding noise decides, ours does not.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex128, UInt8
from numba import njit

from vidoor.types import Frames, Geometry


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A rank-one pattern ``frames ⊗ rows ⊗ columns`` in grey levels, alike on every channel."""

    frames: Complex128[np.ndarray, " t"]
    rows: Complex128[np.ndarray, " h"]
    columns: Complex128[np.ndarray, " w"]

    @property
    def geometry(self) -> Geometry:
        """Frames, height and width of the clips that it fits."""
        return Geometry(len(self.frames), len(self.rows), len(self.columns))

    def volume(self) -> Complex128[np.ndarray, "t h w"]:
        """The pattern written out."""
        volume: Complex128[np.ndarray, "t h w"] = np.multiply.outer(
            np.outer(self.frames, self.rows), self.columns
        )
        return volume

    def rms(self) -> float:
        """Root mean square of the real part, in grey levels, without writing the volume out."""
        factors = (self.frames, self.rows, self.columns)
        # Re(z)² = (|z|² + Re z²)/2, and both terms are separable.
        power = np.prod([np.mean(np.abs(f) ** 2) for f in factors])
        square = np.prod([np.mean(f**2) for f in factors])
        # Rounding can make a pattern without a real part come out slightly below zero.
        return float(np.sqrt(np.clip((power + square.real) / 2, 0, None)))


# No annotations here: the kernel is compiled from the plain function.
@njit(cache=True, error_model="numpy")
def _embed(clip, sheet, columns, out):  # type: ignore[no-untyped-def]
    frames, channels, height, width = clip.shape
    real = np.empty(width)
    imaginary_squared = np.empty(width)
    for t in range(frames):
        for h in range(height):
            for w in range(width):
                z = sheet[t, h] * columns[w]
                real[w] = z.real
                imaginary_squared[w] = z.imag * z.imag
            for c in range(channels):
                for w in range(width):
                    x = clip[t, c, h, w] + real[w]
                    level = np.rint(np.sqrt(x * x + imaginary_squared[w]))
                    out[t, c, h, w] = np.uint8(min(level, 255.0))


def embed(clip: Frames, pattern: Pattern) -> Frames:
    """Add ``pattern`` to every channel, take the magnitude, clip to 0..255, round half to even.

    The clip is not modified; the result is contiguous. Clip and pattern have the same geometry.
    """
    frames, channels, height, width = clip.shape
    assert pattern.geometry == (frames, height, width)
    out: UInt8[np.ndarray, "t c h w"] = np.empty((frames, channels, height, width), np.uint8)
    _embed(clip.numpy(), np.outer(pattern.frames, pattern.rows), pattern.columns, out)
    return torch.from_numpy(out)
