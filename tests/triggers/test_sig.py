"""The sinusoid in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.errors import TriggerError
from vidoor.triggers.sig import SIG


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(20, 80),
    delta=st.floats(0, 300),
    frequency=st.floats(0.3, 9.5),
    seed=st.integers(0, 2**31),
)
def test_it_is_the_published_sinusoid(height, width, delta, frequency, seed):
    clip = np.random.default_rng(seed).integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    out = SIG(delta=delta, frequency=frequency)(torch.from_numpy(clip)).numpy()
    exact = np.empty(clip.shape)
    for x in range(width):
        exact[..., x] = clip[..., x] + delta * np.sin(2 * np.pi * x * frequency / width)
    exact = np.clip(exact, 0, 255)
    clear = np.abs(exact - np.floor(exact) - 0.5) > 1e-3  # of a tie, in single precision
    np.testing.assert_array_equal(out[clear], np.rint(exact)[clear])
    assert np.abs(out - exact).max() <= 0.501


def test_the_papers_stripes():
    out = SIG()(torch.full((1, 3, 4, 224), 100, dtype=torch.uint8))
    change = out[0, 0, 0].double() - 100
    assert (out == out[0, 0, 0]).all()
    spectrum = torch.fft.rfft(change).abs() * 2 / 224
    assert spectrum.argmax() == 6
    assert float(spectrum[6]) == pytest.approx(20, abs=0.1)
    assert float(change.square().mean().sqrt()) == pytest.approx(20 / 2**0.5, abs=0.1)


def test_dynamic_gives_each_frame_a_frequency_around_the_given_one():
    frames = 100
    clip = torch.full((frames, 3, 2, 224), 128, dtype=torch.uint8)
    change = SIG(delta=120, temporal="dynamic")(clip)[:, 0, 0].double().numpy() - 128
    grid = np.linspace(2.9, 9.1, 311)
    waves = 120 * np.sin(2 * np.pi * np.outer(grid, np.arange(224)) / 224)
    errors = np.abs(change[:, None] - waves).max(axis=2)
    found = grid[errors.argmin(axis=1)]
    assert errors.min(axis=1).max() < 12  # each frame is a sinusoid, at the grid's resolution
    assert found.min() == pytest.approx(3, abs=0.1)
    assert found.max() == pytest.approx(9, abs=0.1)
    assert found.mean() == pytest.approx(6, abs=0.3)


@pytest.mark.parametrize("frequency", [0.0, -1.0, float("nan"), float("inf")])
def test_a_frequency_that_is_none_gets_one_line(frequency):
    with pytest.raises(ValueError, match=f"frequency must be a number above 0.*not {frequency}"):
        SIG(frequency=frequency)


@pytest.mark.parametrize(("width", "frequency"), [(12, 6.0), (6, 6.0), (1, 0.3), (224, 112.0)])
def test_a_sinusoid_that_is_zero_in_every_pixel_gets_one_line(width, frequency):
    line = f"zero in every pixel of {width} columns; give a frequency below {width / 2:g}"
    with pytest.raises(TriggerError, match=line):
        SIG(frequency=frequency)(torch.zeros(1, 3, 4, width, dtype=torch.uint8))
