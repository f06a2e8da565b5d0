"""Order statistics against torch's, and spectra of the sizes that are fast."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fft import irfftn

from vidoor.detectors._coherence import order
from vidoor.detectors._coherence.views import moving, sizes

COUNTS = st.integers(1, 40)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).round(decimals=1)


@settings(deadline=None)
@given(COUNTS, COUNTS, st.integers(0, 1), st.integers(0, 99))
def test_a_median_is_that_of_torch(rows: int, columns: int, dim: int, seed: int):
    values = numbers(seed, rows, columns)
    assert order.median(values.clone(), dim).equal(values.median(dim, keepdim=True).values)


@settings(deadline=None)
@given(COUNTS, COUNTS, st.data())
def test_the_least_of_the_highest_is_that_of_torch(rows: int, columns: int, data: st.DataObject):
    values, many = numbers(rows, rows, columns), data.draw(st.integers(1, columns))
    assert order.least_of_top(values, many).equal(values.topk(many, 1).values[:, -1:])


@settings(deadline=None)
@given(COUNTS, COUNTS, st.floats(-2, 2, width=32))
def test_what_is_beyond_a_level_is_counted(rows: int, columns: int, level: float):
    values = numbers(columns, rows, columns)
    above = [sum(value > level for value in column) for column in values.T.tolist()]
    below = [sum(value < -level for value in column) for column in values.T.tolist()]
    high, low = order.count_beyond(values, level)
    assert (high.tolist(), low.tolist()) == (above, below)


@pytest.mark.parametrize("count", [*range(2, 40), 64, 112, 224])
def test_spectra_have_odd_sizes_of_small_factors(count):
    (size,) = sizes([count])
    assert size >= count - 1 and size % 2 == 1
    for factor in (3, 5, 7, 11):
        while size % factor == 0:
            size //= factor
    assert size == 1


def test_a_spectrum_is_that_of_the_differences():
    """In the last frame, row and column too."""
    volume = numbers(0, 6, 9, 12)
    volume[-1, -1, -1] = 50.0
    spectrum = moving(volume)
    change = irfftn(spectrum, s=sizes(volume.shape))[:5, :8, :11]
    assert torch.allclose(change, volume.diff(dim=0).diff(dim=1).diff(dim=2), atol=1e-4)
