"""The Fourier basis against numpy's FFT and its own inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidoor.transforms.dft import DFT
from vidoor.types import Geometry


@given(length=st.integers(1, 60), data=st.data())
def test_synthesis_is_the_inverse_of_ones_in_the_chosen_bins(length, data):
    index = data.draw(st.sets(st.integers(0, length - 1)).map(sorted))
    bins = np.zeros(length)
    bins[index] = 1
    np.testing.assert_allclose(DFT().synthesis(length, index), np.fft.ifft(bins), atol=1e-12)


@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)),
    seed=st.integers(0, 2**32),
)
def test_inverse_undoes_forward(shape, seed):
    volume = np.random.default_rng(seed).normal(size=shape)
    coefficients = DFT().forward(volume, Geometry(*shape))
    np.testing.assert_allclose(DFT().inverse(coefficients), volume, atol=1e-12)


def test_forward_pads_with_zeros_at_the_end():
    volume = np.random.default_rng(0).normal(size=(3, 4, 5))
    back = DFT().inverse(DFT().forward(volume, Geometry(7, 4, 5)))
    assert back[:3].real == pytest.approx(volume)
    assert np.abs(back[3:]).max() < 1e-12


def test_phases_stay_exact_for_large_products():
    wave = DFT().synthesis(1 << 20, [(1 << 20) - 1])
    assert wave[-1] * (1 << 20) == pytest.approx(np.exp(2j * np.pi / (1 << 20)), abs=1e-15)
