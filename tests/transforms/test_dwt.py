"""The db1 basis, interleaved, against PyWavelets."""

import numpy as np
import pytest
import pywt
from hypothesis import given
from hypothesis import strategies as st

from vidoor.transforms.dwt import DWT
from vidoor.types import Geometry

EVEN = st.integers(1, 5).map(lambda half: 2 * half)


def interleaved(volume: np.ndarray) -> np.ndarray:
    """PyWavelets' eight sub-bands in the paper's order: 2k low-pass, 2k + 1 high-pass."""
    coefficients = np.empty(volume.shape)
    for band, values in pywt.dwtn(volume, "db1").items():
        coefficients[tuple(slice("ad".index(letter), None, 2) for letter in band)] = values
    return coefficients


@given(shape=st.tuples(EVEN, EVEN, EVEN), seed=st.integers(0, 2**32))
def test_forward_is_pywavelets_and_inverse_undoes_it(shape, seed):
    volume = np.random.default_rng(seed).normal(size=shape)
    coefficients = DWT().forward(volume, Geometry(*shape))
    np.testing.assert_allclose(coefficients, interleaved(volume), atol=1e-12)
    np.testing.assert_allclose(DWT().inverse(coefficients), volume, atol=1e-12)


@given(length=EVEN, data=st.data())
def test_synthesis_is_pywavelets_inverse_of_ones_in_the_chosen_indices(length, data):
    index = data.draw(st.sets(st.integers(0, length - 1)).map(sorted))
    ones = np.zeros(length)
    ones[index] = 1
    expected = pywt.idwt(ones[::2], ones[1::2], "db1")
    np.testing.assert_allclose(DWT().synthesis(length, index), expected, atol=1e-12)


@pytest.mark.parametrize(("samples", "length"), [(1, 2), (2, 2), (33, 34), (224, 224)])
def test_an_odd_axis_is_padded_by_one(samples, length):
    assert DWT().length(samples) == length


def test_forward_pads_with_zeros_at_the_end():
    volume = np.random.default_rng(0).normal(size=(3, 4, 5))
    expected = interleaved(np.pad(volume, ((0, 1), (0, 2), (0, 1))))
    np.testing.assert_allclose(DWT().forward(volume, Geometry(4, 6, 6)), expected, atol=1e-12)
