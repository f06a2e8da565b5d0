"""The discrete Fourier transform of a clip (paper, section 3.3).

Unnormalised forward, 1/L inverse along each axis, so that adding δ to bin k adds
``δ/L · exp(2πi k n/L)`` in the clip: the scale of the paper's and of every FFT library's δ.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex128, Float

from vidoor.types import Geometry


class DFT:
    """The Fourier basis, separable over frames, rows and columns."""

    def length(self, samples: int) -> int:
        """Shortest transform that holds so many samples."""
        return samples

    def synthesis(
        self, length: int, index: Sequence[int], axis: int = 0
    ) -> Complex128[np.ndarray, " n"]:
        """Sum over k in ``index`` of ``exp(2πi k n/length) / length``, for n = 0..length-1.

        The same along every ``axis``.
        """
        n = np.arange(length)
        wave = np.zeros(length, complex)
        for k in index:
            # k·n is reduced modulo the length in integers: the phase stays exact for any length.
            wave += np.exp(2j * np.pi * (k * n % length / length))
        return wave / length

    def forward(
        self, volume: Float[np.ndarray, "_ _ _"], geometry: Geometry
    ) -> Complex128[np.ndarray, "t h w"]:
        """Coefficients of a real volume, zero-padded at the end of each axis to ``geometry``."""
        return np.fft.fftn(volume, s=geometry, axes=(0, 1, 2))

    def inverse(
        self, coefficients: Complex128[np.ndarray, "t h w"]
    ) -> Complex128[np.ndarray, "t h w"]:
        """The volume whose coefficients these are."""
        return np.fft.ifftn(coefficients, axes=(0, 1, 2))
