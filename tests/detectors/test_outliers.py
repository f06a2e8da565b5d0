"""Rules for outliers against indices worked by hand, scipy's fits, and simulated clean victims."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vidoor.detectors.outliers import Deviation, OrderStatistic, Ratio, gamma_law

PAPER = Deviation(statistic="reciprocal", factor=1.0, sides="both")

LOG = Deviation(statistic="log")

norms = st.lists(st.floats(0.01, 1e4), min_size=5, max_size=12).map(np.array)


def test_the_index_of_neural_cleanse_by_hand():
    # Median 10; |deviations| 8, 1, 0, 1, 5, sorted 0 1 1 5 8, so MAD 1.
    index = Deviation().scores(np.array([2.0, 9.0, 10.0, 11.0, 15.0]))
    np.testing.assert_allclose(index * 1.4826, [8.0, 1.0, 0.0, -1.0, -5.0])


def test_the_same_on_both_sides():
    index = Deviation(sides="both").scores(np.array([2.0, 9.0, 10.0, 11.0, 15.0]))
    np.testing.assert_allclose(index * 1.4826, [8.0, 1.0, 0.0, 1.0, 5.0])


def test_the_index_of_the_paper_by_hand():
    # Reciprocals 5, 2, 1, 0.8, 0.5: median 1; |deviations| 4, 1, 0, 0.2, 0.5, so MAD 0.5.
    given = np.array([0.2, 0.5, 1.0, 1.25, 2.0])
    np.testing.assert_allclose(PAPER.scores(given), [8.0, 2.0, 0.0, 0.4, 1.0])
    small = Deviation(statistic="reciprocal", factor=1.0)
    np.testing.assert_allclose(small.scores(given), [8.0, 2.0, 0.0, -0.4, -1.0])


def test_the_ratio_by_hand():
    ratio = Ratio(threshold=2.2).scores(np.array([2.0, 9.0, 10.0, 20.0, 40.0]))
    np.testing.assert_allclose(ratio, [5.0, 10 / 9, 1.0, 0.5, 0.25])
    np.testing.assert_allclose(Ratio(threshold=2.2).scores(np.ones((2, 4))), np.ones((2, 4)))


def test_the_index_of_logarithms_by_hand():
    # Logarithms to base 2: 0, 3, 4, 5, 6: median 4; |deviations| 4, 1, 0, 1, 2, so MAD 1.
    index = LOG.scores(np.array([1.0, 8.0, 16.0, 32.0, 64.0]))
    np.testing.assert_allclose(index * 1.4826, [4.0, 1.0, 0.0, -1.0, -2.0])


def test_of_an_even_number_the_median_lies_between():
    # Median 2.5; |deviations| 1.5, 0.5, 0.5, 3.5, so MAD 1.
    index = Deviation(factor=1.0).scores(np.array([1.0, 2.0, 3.0, 6.0]))
    np.testing.assert_allclose(index, [1.5, 0.5, -0.5, -3.5])


def test_the_factor_makes_a_standard_deviation_of_the_mad():
    assert stats.norm.ppf(0.75) * Deviation().factor == pytest.approx(1, abs=1e-4)


@given(norms, st.floats(0.01, 100))
def test_a_common_factor_changes_nothing(given_norms, factor):
    for rule in (Deviation(), PAPER, LOG, OrderStatistic(classes=len(given_norms))):
        first, second = rule.scores(given_norms), rule.scores(factor * given_norms)
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-6)


@given(norms)
def test_every_row_is_scored_by_itself(given_norms):
    rows = np.stack([given_norms, given_norms[::-1]])
    for rule in (Deviation(), PAPER, LOG, OrderStatistic(classes=len(given_norms))):
        scores = rule.scores(rows)
        np.testing.assert_allclose(scores[0], rule.scores(rows[0]), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(scores[1], scores[0][::-1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("rule", [Deviation(), PAPER, LOG, OrderStatistic(classes=6)])
def test_equal_norms_are_no_outliers_and_scores_stay_finite(rule):
    assert (rule.scores(np.ones(6)) <= rule.threshold).all()
    scores = rule.scores(np.array([0.5, 1.0, 1.0, 1.0, 1.0, 1.0]))
    assert np.isfinite(scores).all()
    assert scores[0] > rule.threshold
    assert (scores[1:] < rule.threshold).all()


@pytest.mark.parametrize("shape", [0.5, 1.0, 4.0, 60.0])
def test_the_gamma_law_is_scipy_s(shape):
    values = np.random.default_rng(1).gamma(shape, 3.0, 40)
    expected = stats.gamma.fit(values, floc=0)
    assert tuple(map(float, gamma_law(values))) == pytest.approx(
        (expected[0], expected[2]), rel=1e-4
    )


def test_the_p_value_is_that_of_the_largest_of_all():
    given_norms = 1 / np.array([1.0, 2.0, 1.5, 1.2, 0.8, 4.0])
    shape, _, scale = stats.gamma.fit([1.0, 2.0, 1.5, 1.2, 0.8], floc=0)
    p = 1 - stats.gamma.cdf(4.0, shape, scale=scale) ** 6
    assert OrderStatistic(classes=6).scores(given_norms)[5] == pytest.approx(-np.log10(p), rel=1e-4)


@pytest.mark.parametrize("classes", [8, 20])
@pytest.mark.parametrize("shape", [1.0, 10.0])
def test_one_clean_victim_in_twenty_has_an_alarm_whatever_the_shape(classes, shape):
    rule = OrderStatistic(classes=classes)
    drawn = 1 / np.random.default_rng(7).gamma(shape, size=(2000, classes))
    # Four standard deviations of the share, and what the threshold differs between shapes.
    assert (rule.scores(drawn) > rule.threshold).any(1).mean() == pytest.approx(0.05, abs=0.03)


def test_the_shares_of_false_alarms_that_the_texts_name():
    drawn = 10 + np.random.default_rng(3).standard_normal((20_000, 8))
    original, paper = Deviation(), Deviation(factor=1.0, sides="both")
    assert (original.scores(drawn) > 2).any(1).mean() == pytest.approx(0.30, abs=0.02)
    assert (paper.scores(drawn) > 2).any(1).mean() == pytest.approx(0.82, abs=0.02)
    skewed = 1 / np.random.default_rng(7).gamma(4.0, size=(4000, 8))
    nominal = OrderStatistic(classes=8).scores(skewed)
    assert (nominal > -np.log10(0.05)).any(1).mean() == pytest.approx(0.30, abs=0.03)
    assert (PAPER.scores(skewed) > 2).any(1).mean() > 0.8


def test_rules_in_words():
    assert Deviation().words() == "(median - norm) / (1.4826 MAD) > 2"
    assert PAPER.words() == "|1/norm - median| / MAD > 2"
    assert LOG.words() == "(median - log norm) / (1.4826 MAD) > 2"
    assert "p < 0.05" in OrderStatistic(classes=8).words()
