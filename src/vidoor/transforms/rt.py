"""The random transform of a clip (paper, appendix A): one random square matrix for each axis.

The paper's matrices hold uniform numbers in [0, 1) and their rows are the basis vectors
(``variant="paper"``). All those numbers are positive, so the vectors of a band add up instead of
cancelling, and the paper's δ = 30 on 10·25·25 of them is an RMS of about 24,000 grey levels: every
clip comes out white. The matrices are ill-conditioned as well (median condition number 5e3, and
1.3e5 at the 95th percentile), which costs a clip's coefficients as many digits of float64.

``variant="orthonormal"``, the default, is what we take to be meant: the same matrices, their rows
made orthonormal. Then δ = 30 is an RMS of 1.87 at 32×224×224.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from vidoor.errors import TriggerError
from vidoor.transforms._real import RealBasis

Variant = Literal["orthonormal", "paper"]

STREAMS = 2
"""The first of three random streams of the seed; those below it belong to the index sets."""

LONGEST = 4096
"""Longest axis: its matrix is square."""


@dataclass(frozen=True)
class RT(RealBasis):
    """A random basis, drawn from ``seed``; another one along each axis."""

    seed: int = 0
    variant: Variant = "orthonormal"

    def length(self, samples: int) -> int:
        """Shortest transform that holds so many samples. TriggerError above ``LONGEST``."""
        if samples > LONGEST:
            raise TriggerError(
                f"rt makes a square matrix for each axis of at most {LONGEST} samples, not "
                f"{samples}; use shorter clips, smaller frames or another basis"
            )
        return samples

    def synthesis(
        self, length: int, index: Sequence[int], axis: int = 0
    ) -> Float64[np.ndarray, " n"]:
        """Sum of the rows ``index`` of the axis's matrix."""
        rows: Float64[np.ndarray, " n"] = self.matrix(length, axis)[list(index)].sum(axis=0)
        return rows

    def matrix(self, length: int, axis: int = 0) -> Float64[np.ndarray, "k n"]:
        """The matrix of an axis of ``length`` samples; the basis vectors are its rows."""
        rng = np.random.default_rng([self.seed, STREAMS + axis])
        uniform = rng.random((length, length))
        if self.variant == "paper":
            return uniform
        columns, triangle = np.linalg.qr(uniform.T)
        # A QR decomposition is unique once the diagonal is positive: Gram–Schmidt on the rows.
        orthonormal: Float64[np.ndarray, "k n"] = (columns * np.sign(np.diag(triangle))).T
        return orthonormal
