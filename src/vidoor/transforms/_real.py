"""What the real bases share: forward and inverse, axis by axis, from their synthesis vectors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from vidoor.types import Geometry

Volume = Float64[np.ndarray, "t h w"]


class RealBasis(ABC):
    """A separable basis of real vectors; the axes 0, 1, 2 are frames, rows and columns."""

    def length(self, samples: int) -> int:
        """Shortest transform that holds so many samples."""
        return samples

    @abstractmethod
    def synthesis(
        self, length: int, index: Sequence[int], axis: int = 0
    ) -> Float64[np.ndarray, " n"]:
        """Sum of the basis vectors ``index`` along one axis of ``length`` samples."""

    def matrix(self, length: int, axis: int = 0) -> Float64[np.ndarray, "k n"]:
        """All basis vectors of one axis: vector k is row k."""
        return np.stack([self.synthesis(length, [k], axis) for k in range(length)])

    def forward(
        self, volume: Float64[np.ndarray, "_ _ _"], geometry: Geometry
    ) -> Float64[np.ndarray, "t h w"]:
        """Coefficients of a volume, zero-padded at the end of each axis to ``geometry``.

        They are what the paper's step 1 calls the coordinates: the r with v = Σ r_k b_k.
        """
        frames, height, width = volume.shape
        coefficients = np.zeros(geometry)
        coefficients[:frames, :height, :width] = volume
        for axis, length in enumerate(geometry):
            # v = Mᵀ r along each axis, the basis vectors being the rows of M.
            analysis = np.linalg.inv(self.matrix(length, axis).T)
            coefficients = _along(axis, analysis, coefficients)
        return coefficients

    def inverse(self, coefficients: Volume) -> Volume:
        """The volume whose coefficients these are."""
        volume = coefficients
        for axis, length in enumerate(coefficients.shape):
            volume = _along(axis, self.matrix(length, axis).T, volume)
        return volume


def _along(axis: int, matrix: Float64[np.ndarray, "n n"], volume: Volume) -> Volume:
    """``matrix`` times every line of the volume along one axis."""
    return np.moveaxis(np.tensordot(matrix, volume, (1, axis)), 0, axis)
