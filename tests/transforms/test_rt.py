"""The random basis: Gram–Schmidt on the paper's matrices, and those matrices themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.errors import TriggerError
from vidoor.transforms.rt import LONGEST, RT
from vidoor.types import Geometry


def gram_schmidt(rows: np.ndarray) -> np.ndarray:
    """The textbook, one vector at a time, each projection taken out twice against rounding."""
    done: list[np.ndarray] = []
    for row in rows:
        for other in done * 2:
            row = row - (row @ other) * other
        done.append(row / np.linalg.norm(row))
    return np.stack(done)


@settings(deadline=None)
@given(length=st.integers(1, 40), axis=st.integers(0, 2), seed=st.integers(0, 2**63 - 1))
def test_orthonormal_rows_are_gram_schmidt_on_the_papers_matrix(length, axis, seed):
    written = RT(seed, "paper").matrix(length, axis)
    assert written.min() >= 0
    assert written.max() < 1
    rows = RT(seed).matrix(length, axis)
    np.testing.assert_allclose(rows @ rows.T, np.eye(length), atol=1e-12)
    np.testing.assert_allclose(rows, gram_schmidt(written), atol=1e-9)


def test_axes_and_seeds_differ_and_repeat():
    matrices = [RT(seed).matrix(16, axis) for seed in (0, 1) for axis in range(3)]
    for i, a in enumerate(matrices):
        assert not any(np.allclose(a, b) for b in matrices[:i])
    np.testing.assert_array_equal(matrices[0], RT(0).matrix(16, 0))


def test_synthesis_is_the_sum_of_rows():
    basis = RT(3)
    expected = basis.matrix(20, 1)[[2, 3, 11]].sum(axis=0)
    np.testing.assert_array_equal(basis.synthesis(20, [2, 3, 11], 1), expected)


@pytest.mark.parametrize("variant", ["orthonormal", "paper"])
def test_inverse_undoes_forward(variant):
    volume = np.random.default_rng(0).normal(size=(6, 7, 8))
    basis = RT(1, variant)
    coefficients = basis.forward(volume, Geometry(9, 7, 8))
    back = basis.inverse(coefficients)
    np.testing.assert_allclose(back[:6], volume, atol=1e-8)
    assert np.abs(back[6:]).max() < 1e-8


def test_coefficients_are_coordinates():
    """Step 1 of the paper: v = Σ r_k b_k, here with a single b_k."""
    basis = RT(2, "paper")
    one = [basis.synthesis(length, [2], axis) for axis, length in enumerate((4, 5, 6))]
    coefficients = basis.forward(np.multiply.outer(np.outer(*one[:2]), one[2]), Geometry(4, 5, 6))
    expected = np.zeros((4, 5, 6))
    expected[2, 2, 2] = 1
    np.testing.assert_allclose(coefficients, expected, atol=1e-8)


def test_an_axis_too_long_for_a_matrix_gets_one_line():
    assert RT().length(LONGEST) == LONGEST
    with pytest.raises(TriggerError, match=f"at most {LONGEST} samples, not {LONGEST + 1}"):
        RT().length(LONGEST + 1)
