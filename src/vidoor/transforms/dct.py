"""The discrete cosine transform of a clip (paper, section 3.3): the orthonormal DCT-II.

The paper prints the basis as cos(π n k/(2L)), without the half sample and the norm. Those vectors
are not orthogonal; its δ = 50 and its released code mean the orthonormal transform of the FFT
libraries, and so do we.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from vidoor.transforms._real import RealBasis


class DCT(RealBasis):
    """The cosine basis, orthonormal along frames, rows and columns."""

    def synthesis(
        self, length: int, index: Sequence[int], axis: int = 0
    ) -> Float64[np.ndarray, " n"]:
        """Sum over k in ``index`` of ``c_k cos(π(2n + 1)k/(2·length))``, for n = 0..length-1.

        c_0 = √(1/length) and c_k = √(2/length). The same along every ``axis``.
        """
        odd = 2 * np.arange(length) + 1
        wave = np.zeros(length)
        for k in index:
            # Reduced to one turn, 4·length, in integers: the phase stays exact for any length.
            phase = k * odd % (4 * length) / (2 * length)
            wave += np.sqrt((2 if k else 1) / length) * np.cos(np.pi * phase)
        return wave
