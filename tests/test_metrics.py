"""Metrics against closed forms and exhaustive small cases."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from vidoor import metrics


def test_accuracy_counts_hits():
    assert metrics.accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75


def test_asr_counts_clips_that_have_a_goal_and_those_that_reach_it():
    predicted = np.array([0, 0, 1, 0])
    assert metrics.attack_success_rate(predicted, np.array([-1, 0, 0, 0])) == pytest.approx(2 / 3)
    assert metrics.attack_success_rate(predicted, np.array([0, 0, 0, 0])) == 0.75
    assert metrics.attack_success_rate(predicted, np.array([1, 2, 1, -1])) == pytest.approx(1 / 3)
    assert math.isnan(metrics.attack_success_rate(predicted[:1], np.array([-1])))


def test_psnr_of_a_constant_shift_is_known():
    clean = np.full((2, 3, 8, 8), 100, np.uint8)
    assert metrics.psnr(clean, clean + np.uint8(5)) == pytest.approx(20 * math.log10(255 / 5))


def test_psnr_does_not_wrap_and_is_capped():
    low, high = np.zeros((1, 3, 4, 4), np.uint8), np.full((1, 3, 4, 4), 255, np.uint8)
    assert metrics.psnr(low, high) == pytest.approx(0.0)
    assert metrics.psnr(low, low) == pytest.approx(98.13, abs=0.01)


def test_ssim_is_one_for_equal_clips_and_falls_with_noise():
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    slight = np.clip(clean + rng.normal(0, 5, clean.shape), 0, 255).astype(np.uint8)
    strong = np.clip(clean + rng.normal(0, 60, clean.shape), 0, 255).astype(np.uint8)
    assert metrics.ssim(clean, clean) == pytest.approx(1.0)
    assert metrics.ssim(clean, strong) < metrics.ssim(clean, slight) < 1


def test_ssim_equals_its_definition_on_one_window():
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 256, (1, 1, 7, 7), dtype=np.uint8) for _ in range(2))
    x, y = a.astype(float).ravel(), b.astype(float).ravel()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance = np.cov(x, y)
    expected = ((2 * x.mean() * y.mean() + c1) * (2 * covariance[0, 1] + c2)) / (
        (x.mean() ** 2 + y.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    )
    assert metrics.ssim(a, b) == pytest.approx(expected)


def test_auroc_equals_counting_every_pair():
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.4
    pairs = list(itertools.product(scores[positive], scores[~positive]))
    expected = np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs])
    assert metrics.auroc(scores, positive) == pytest.approx(expected)


def test_auroc_and_rates_are_nan_without_both_kinds():
    ones = np.ones(3, bool)
    assert math.isnan(metrics.auroc(np.arange(3.0), ones))
    tpr, fpr = metrics.hit_rates(np.array([True, False, True]), ones)
    assert tpr == pytest.approx(2 / 3)
    assert math.isnan(fpr)


def drawn(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and which of them are positive."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 12, count).astype(float), rng.random(count) < 0.3


@pytest.mark.parametrize("seed", range(5))
def test_roc_and_the_area_under_it_are_those_of_scikit_learn(seed):
    scores, positive = drawn(seed)
    found = metrics.roc(scores, positive)
    expected = roc_curve(positive, scores, drop_intermediate=False)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert metrics.auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert np.trapezoid(found[1], found[0]) == pytest.approx(metrics.auroc(scores, positive))


def test_roc_of_a_perfect_and_of_a_useless_score():
    positive = np.array([False, False, True, True])
    fpr, tpr, thresholds = metrics.roc(np.arange(4.0), positive)
    assert fpr.tolist() == [0, 0, 0, 0.5, 1]
    assert tpr.tolist() == [0, 0.5, 1, 1, 1]
    assert thresholds.tolist() == [math.inf, 3, 2, 1, 0]
    fpr, tpr, thresholds = metrics.roc(np.ones(4), positive)
    assert (fpr.tolist(), tpr.tolist(), thresholds.tolist()) == ([0, 1], [0, 1], [math.inf, 1])


def test_roc_without_one_kind_has_no_such_rate():
    fpr, tpr, _ = metrics.roc(np.arange(3.0), np.ones(3, bool))
    assert np.isnan(fpr).all()
    assert tpr.tolist() == [0, 1 / 3, 2 / 3, 1]
    assert np.isnan(metrics.roc(np.arange(3.0), np.zeros(3, bool))[1]).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.15, 0.5, 1.0])
def test_tpr_at_fpr_is_the_best_of_every_threshold(seed, rate):
    scores, positive = drawn(seed)
    rates = [metrics.hit_rates(scores >= cut, positive) for cut in [*np.unique(scores), math.inf]]
    expected = max(tpr for tpr, fpr in rates if fpr <= rate)
    assert metrics.tpr_at_fpr(scores, positive, rate) == expected


def test_tpr_at_fpr_of_closed_cases():
    scores, positive = np.arange(200.0), np.arange(200) >= 100
    assert metrics.tpr_at_fpr(scores, positive, 0.01) == 1
    assert metrics.tpr_at_fpr(-scores, positive, 0.99) == 0
    assert metrics.tpr_at_fpr(np.zeros(200), positive, 0.15) == 0
    assert math.isnan(metrics.tpr_at_fpr(scores, positive | True, 0.15))


def test_bootstrap_intervals_are_those_of_scipy():
    values = np.random.default_rng(3).exponential(size=80)
    low, high = metrics.bootstrap(np.mean, (values,), draws=4000)
    other = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", random_state=1
    ).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.02)


def test_bootstrap_draws_rows_of_all_arrays_together():
    scores, positive = np.arange(20.0), np.arange(20) >= 10
    assert metrics.bootstrap(metrics.auroc, (scores, positive), draws=50) == (1, 1)
    narrow, wide = (
        metrics.bootstrap(metrics.auroc, drawn(0), draws=200, level=level) for level in (0.5, 0.99)
    )
    assert wide[0] < narrow[0] < metrics.auroc(*drawn(0)) < narrow[1] < wide[1]
    again = metrics.bootstrap(metrics.auroc, drawn(0), draws=200, level=0.5)
    assert again == narrow
    assert metrics.bootstrap(metrics.auroc, drawn(0), draws=200, level=0.5, seed=1) != narrow


def test_bootstrap_leaves_out_draws_without_a_number():
    scores, positive = np.array([1.0, 0, 0]), np.array([True, False, False])
    assert metrics.bootstrap(metrics.auroc, (scores, positive), draws=50) == (1, 1)
    none = metrics.bootstrap(metrics.auroc, (scores, ~positive & False), draws=50)
    assert all(map(math.isnan, none))
