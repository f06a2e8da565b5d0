"""Metrics against closed forms and exhaustive small cases."""

import itertools
import math

import numpy as np
import pytest

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
