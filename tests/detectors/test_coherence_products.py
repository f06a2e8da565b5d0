"""Products and means with less work, against those of matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.detectors._coherence import stamps
from vidoor.detectors._coherence.products import means, products, sparse_products
from vidoor.detectors._coherence.stills import CAP, Stills, learn_eye, sight


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(st.integers(0, 70), st.integers(1, 9))
def test_products_of_all_pairs_are_those_of_a_matrix_and_itself(rows: int, columns: int):
    values = numbers(rows, rows, columns)
    assert torch.allclose(products(values), values @ values.T, atol=1e-5)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 9), st.data())
def test_means_are_those_of_the_members(rows: int, groups: int, data: st.DataObject):
    values = numbers(rows, rows, 5)
    members = data.draw(
        st.lists(st.lists(st.booleans(), min_size=rows, max_size=rows), max_size=groups)
    )
    found = means(values, torch.tensor(members, dtype=torch.bool).view(-1, rows))
    by_hand = [values[torch.tensor(each)].mean(0).nan_to_num(0.0) for each in members]
    assert len(found) == len(by_hand)
    for one, other in zip(found, by_hand, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(1, 9), st.integers(0, 99))
def test_products_with_few_factors_are_those_of_matrices(count: int, rows: int, seed: int):
    values, factors = numbers(seed, rows, 5), numbers(seed + 1, count, rows)
    few = torch.where(factors > 1, factors, 0.0)
    assert torch.allclose(sparse_products(few, values), few @ values, atol=1e-5)


def test_a_member_is_scored_without_what_it_has_in_the_template() -> None:
    """By hand: the mean of the members where it is sure, times each clip; of a member, less its own
    part of that mean."""
    seen = Stills(numbers(0, 40, 6 * 64), (8, 8))
    members = torch.arange(40) < 6
    seen.features[members, 10:14] += 5.0
    template = stamps._templates(seen.features, members[None])[0]
    assert template.nonzero()[:, 0].tolist() == [10, 11, 12, 13]
    (scores,) = stamps._leave_one_out(seen, members[None])
    raw = seen.features @ template
    for k in range(6):
        raw[k] -= seen.features[k, 10:14].square().sum() / 6
    middle, deviation = stamps._normal(raw, members, stamps.FLAT * template.norm())
    assert torch.allclose(scores, (raw - middle) / deviation, atol=1e-4)


@pytest.mark.parametrize("wave", [False, True])
def test_no_peak_counts_for_more_than_the_cap(wave: bool) -> None:
    """A bright dot, and a strong wave: by the deviation of pixels and of coefficients."""
    pictures = 10 * numbers(0, 20, 3, 24, 24)
    if wave:
        pictures[0] += 1000 * torch.cos(torch.pi / 24 * 9 * (torch.arange(24) + 0.5))
    else:
        pictures[0, :, 5, 7] += 10_000.0
    eye, _ = learn_eye(torch.stack([*map(sight, pictures)]))
    peak = eye.features(sight(pictures[0])[None]).mul(eye.scale).add(eye.centre).abs()
    assert float(peak.max()) == pytest.approx(CAP[wave], rel=1e-4)
