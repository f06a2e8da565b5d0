"""One level of the discrete wavelet transform of a clip with db1, the Haar wavelet (paper, A).

Indices are interleaved as in appendix A: 2k is the low-pass and 2k + 1 the high-pass vector of the
samples 2k and 2k + 1. A band of indices is therefore a stretch of the axis, in both sub-bands.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from vidoor.transforms._real import RealBasis


class DWT(RealBasis):
    """The db1 basis, orthonormal along frames, rows and columns."""

    def length(self, samples: int) -> int:
        """Shortest transform that holds so many samples: an even number."""
        return samples + samples % 2

    def synthesis(
        self, length: int, index: Sequence[int], axis: int = 0
    ) -> Float64[np.ndarray, " n"]:
        """Sum over 2k + m in ``index`` of ``(e_2k + (-1)^m e_2k+1) / √2``; ``length`` is even.

        The same along every ``axis``.
        """
        assert length % 2 == 0
        chosen = np.array(index, int)
        first, sign = chosen - chosen % 2, 1 - 2 * (chosen % 2)
        wave = np.zeros(length)
        np.add.at(wave, first, np.sqrt(0.5))
        np.add.at(wave, first + 1, sign * np.sqrt(0.5))
        return wave
