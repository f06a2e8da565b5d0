"""Spectral signatures against an SVD and closed cases."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vidoor.detectors.activations import Activations
from vidoor.detectors.spectral_signatures import SpectralSignatures, signature


def of(features: np.ndarray, labels: np.ndarray) -> Activations:
    rows = features.astype(np.float32)
    ids = tuple(f"clip/{i}" for i in range(len(rows)))
    return Activations("penultimate", rows, rows[:, :1], labels, ids, ("a", "b"))


def flagged(verdict) -> set[int]:
    return {i for i, score in enumerate(verdict.scores) if score > verdict.threshold}


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(2, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
    offset=st.floats(-100, 100),
)
def test_scores_are_those_of_an_svd_of_centred_features(count, width, seed, offset):
    rows = np.random.default_rng(seed).normal(offset, 1, (count, width)).astype(np.float32)
    centred = rows.astype(np.float64) - rows.astype(np.float64).mean(0)
    _, sizes, right = np.linalg.svd(centred, full_matrices=False)
    if len(sizes) > 1 and sizes[1] > 0.999 * sizes[0]:
        return  # the direction is hardly determined
    expected = (centred @ right[0]) ** 2
    np.testing.assert_allclose(signature(rows), expected, atol=1e-6 * sizes[0] ** 2)


def test_planted_outliers_are_what_is_removed():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(4, 1, (120, 16)), np.repeat([0, 1], 60)
    planted = range(70, 76)  # a tenth of the second class
    features[planted] += 8 * np.eye(16)[3]
    verdict = SpectralSignatures(epsilon=0.1).judge(of(features, labels))
    found = flagged(verdict)
    assert set(planted) <= found
    assert [len(found & set(range(60))), len(found & set(range(60, 120)))] == [9, 9]
    assert verdict.alarm
    assert verdict.threshold == 1
    assert [each["flagged"] for each in verdict.evidence["classes"]] == [9, 9]


@given(count=st.integers(1, 60), percent=st.integers(1, 66), seed=st.integers(0, 9))
@example(count=2, percent=34, seed=1)  # equal to the last digit
@example(count=2, percent=34, seed=0)
@settings(max_examples=40, deadline=None)
def test_one_and_a_half_epsilon_of_the_class_is_flagged(count, percent, seed):
    features = np.random.default_rng(seed).normal(size=(count, 7))
    detector = SpectralSignatures(epsilon=percent / 100)
    verdict = detector.judge(of(features, np.zeros(count, int)))
    # Two clips are each other's mirror image about their mean: neither stands out.
    assert len(flagged(verdict)) == (3 * percent * count // 200 if count != 2 else 0)
    assert np.isfinite(verdict.scores).all()


def test_a_class_s_own_scale_does_not_matter():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(80, 6)), np.repeat([0, 1], 40)
    features[40:] = 100 * features[:40] + 7
    scores = SpectralSignatures().judge(of(features, labels)).scores
    np.testing.assert_allclose(scores[40:], scores[:40], rtol=1e-4)


def test_scores_follow_their_clips_to_the_bit():
    rng = np.random.default_rng(2)
    found = of(rng.normal(size=(50, 9)), rng.integers(0, 2, 50))
    order = rng.permutation(50)
    other = replace(found, features=found.features[order], labels=found.labels[order])
    first, again = (SpectralSignatures().judge(each) for each in (found, other))
    assert again.scores == tuple(first.scores[i] for i in order)


def test_clips_that_are_all_alike_are_not_flagged():
    verdict = SpectralSignatures().judge(of(np.full((30, 5), 2.5), np.zeros(30, int)))
    assert not verdict.alarm
    assert set(verdict.scores) == {0.0}


def test_a_few_outliers_among_equal_clips_are_flagged():
    features = np.zeros((40, 5))
    features[[3, 4]] = [[9, 0, 0, 0, 0], [-9, 0, 0, 0, 0]]
    verdict = SpectralSignatures(epsilon=0.04).judge(of(features, np.zeros(40, int)))
    assert flagged(verdict) == {3, 4}
    assert np.isfinite(verdict.scores).all()


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 2 / 3, float("nan")])
def test_epsilon_out_of_range(epsilon):
    with pytest.raises(ValueError, match="epsilon must be above 0 and below 2/3"):
        SpectralSignatures(epsilon=epsilon)
