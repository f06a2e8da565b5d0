"""The cosine basis against scipy's orthonormal DCT-II."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st

from vidoor.transforms.dct import DCT
from vidoor.types import Geometry

SHAPES = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))


@given(length=st.integers(1, 60), data=st.data())
def test_synthesis_is_scipys_inverse_of_ones_in_the_chosen_indices(length, data):
    index = data.draw(st.sets(st.integers(0, length - 1)).map(sorted))
    ones = np.zeros(length)
    ones[index] = 1
    expected = scipy.fft.idct(ones, norm="ortho")
    np.testing.assert_allclose(DCT().synthesis(length, index), expected, atol=1e-12)


@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_forward_is_scipys_and_inverse_undoes_it(shape, seed):
    volume = np.random.default_rng(seed).normal(size=shape)
    coefficients = DCT().forward(volume, Geometry(*shape))
    np.testing.assert_allclose(coefficients, scipy.fft.dctn(volume, norm="ortho"), atol=1e-12)
    np.testing.assert_allclose(DCT().inverse(coefficients), volume, atol=1e-12)


def test_forward_pads_with_zeros_at_the_end():
    volume = np.random.default_rng(0).normal(size=(3, 4, 5))
    expected = scipy.fft.dctn(np.pad(volume, ((0, 4), (0, 0), (0, 1))), norm="ortho")
    np.testing.assert_allclose(DCT().forward(volume, Geometry(7, 4, 6)), expected, atol=1e-12)


def test_phases_stay_exact_for_large_products():
    length = 1 << 20
    last = DCT().synthesis(length, [length - 1])[-1] * np.sqrt(length / 2)
    # cos(π(2n + 1)k/2L) at n = k = L - 1 is ±cos of π(3L - 1)/2L: the sine of π/2L, up to sign.
    assert abs(last) == pytest.approx(np.sin(np.pi / (2 * length)), rel=1e-9)
