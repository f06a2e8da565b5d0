"""I-BAU: the hypergradient against exact ones, the climb against its formula, and a backdoor."""

import numpy as np
import pytest
import torch
from planted import planted, rates

from vidoor.errors import RecipeError, TrainingError
from vidoor.mitigations.fine_tuning import FineTuning
from vidoor.mitigations.i_bau import IBAU, hypergradient
from vidoor.options import build
from vidoor.victims.victim import to_batch


def quadratic(seed: int, spread: float):
    """inner = ½ δᵀAδ − δᵀBw, so δ(w) = A⁻¹Bw; outer = ½ ‖δ − c‖² + ½ wᵀDw, so the slope by w is
    Dw + (A⁻¹B)ᵀ (δ(w) − c). A's eigenvalues are 10 · (1 ± spread)."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a = turn @ np.diag(10 * (1 + spread * rng.uniform(-1, 1, 6))) @ turn.T
    b, c, d, w = (rng.normal(size=s) for s in ((6, 4), 6, (4, 4), 4))
    d = d @ d.T
    best = np.linalg.solve(a, b @ w)
    exact = d @ w + np.linalg.solve(a, b).T @ (best - c)
    one, two, three, four = (torch.from_numpy(x) for x in (a, b, c, d))
    weight = torch.from_numpy(w).requires_grad_()
    losses = (
        lambda x: x @ one @ x / 2 - x @ two @ weight,
        lambda x: (x - three).square().sum() / 2 + weight @ four @ weight / 2,
    )
    return losses, torch.from_numpy(best), weight, (a, b, c, d, w), exact


@pytest.mark.parametrize("seed", range(5))
def test_the_hypergradient_of_a_quadratic_is_exact_within_a_thousandth(seed):
    """At step 0.1 and K = 5, the defaults, what is left out is at most 0.2⁵ of it."""
    (inner, outer), best, weight, (*_, c, d, w), exact = quadratic(seed, 0.2)
    options = {"step": IBAU().fixed_point_lr, "iterations": IBAU().fixed_point}
    value, (slope,) = hypergradient(inner, outer, best, [weight], **options)
    expected = ((best.numpy() - c) ** 2).sum() / 2 + w @ d @ w / 2
    assert value.item() == pytest.approx(expected)
    assert np.abs(slope.numpy() - exact).max() < 1e-3
    without = hypergradient(inner, outer, best, [weight], step=0.1, iterations=0)[1][0]
    np.testing.assert_allclose(without.numpy(), d @ w)
    assert np.abs(without.numpy() - exact).max() > 0.05


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_it_is_the_truncated_series_away_from_the_fixed_point_too(iterations):
    (inner, outer), _, weight, (a, b, c, d, w), _ = quadratic(0, 0.9)
    delta, step = np.linspace(-1, 1, 6), 0.07
    jacobian = np.eye(6) - step * a
    series = sum(np.linalg.matrix_power(jacobian, k) for k in range(iterations))
    expected = d @ w + (step * b).T @ series @ (delta - c)
    options = {"step": step, "iterations": iterations}
    _, (slope,) = hypergradient(inner, outer, torch.from_numpy(delta), [weight], **options)
    np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-10)


def test_weights_that_neither_loss_reaches_have_a_slope_of_0():
    (inner, outer), best, weight, _, _ = quadratic(0, 0.2)
    idle = torch.ones(3, requires_grad=True)
    _, slopes = hypergradient(inner, outer, best, [weight, idle], step=0.1, iterations=5)
    assert slopes[0].any()
    assert not slopes[1].any()


@pytest.mark.parametrize("shared", [False, True])
def test_the_climb_by_the_formula(shared):
    """Of a linear victim: the slope of the cross entropy is the mean of Wᵀ (p − what is said).
    ‖δ‖² is that of all frames, so that its slope by a shared δ is twice as large in two frames."""
    victim, clean, _ = planted()
    rows = [[3, 4, 5, 10], [6, 7], [11, 12, 14]]
    expected = torch.zeros(3, 1 if shared else 2, 8, 8)
    for each in rows:
        clips = to_batch(torch.stack([clean.read(row) for row in each]))
        with torch.no_grad():
            said = torch.nn.functional.one_hot(victim(clips).argmax(1), 3)
            errors = victim(clips + expected).softmax(1) - said
            slope = (errors @ victim.network[1].weight).mean(0).reshape(3, 2, 8, 8)
        slope = slope - 2e-3 * expected
        expected = expected + 10 * (slope.sum(1, keepdim=True) if shared else slope)
    found = IBAU(shared=shared, radius=1e6).climb(victim, clean, rows)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    # Every frame that it is added to counts.
    small = IBAU(shared=shared, radius=1e-3).climb(victim, clean, rows)
    assert small.expand(3, 2, 8, 8).norm().item() == pytest.approx(1e-3)
    torch.testing.assert_close(small / small.norm(), found / found.norm())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_planted_backdoor_is_unlearnt_and_fine_tuning_leaves_it(seed):
    victim, clean, pattern = planted(seed)
    assert rates(victim, clean, pattern) == (1.0, 1.0)
    options = {"fraction": 0.5, "batch_size": 8, "lr": 3e-3}
    # As far as the pattern reaches: its norm is 0.77.
    mended = IBAU(**options, rounds=30, stamped=1.0, radius=1.0)(victim, clean)
    accuracy, success = rates(mended, clean, pattern)
    # A linear victim has no way to resist any pattern; in the end it gives up a class for it.
    assert accuracy > 0.6
    assert success < 0.2
    assert rates(FineTuning(**options, epochs=30)(victim, clean), clean, pattern) == (1.0, 1.0)


def test_steps_that_lead_nowhere_end_in_one_line():
    victim, clean, _ = planted()
    with pytest.raises(TrainingError, match="no longer finite; lower") as error:
        IBAU(inner_lr=1e38, fraction=0.5)(victim, clean)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"rounds": 0},
        {"passes": 0},
        {"fixed_point": -1},
        {"fixed_point_lr": 0.0},
        {"inner_lr": 0.0},
        {"radius": -1.0},
        {"stamped": 0.0},
        {"lr": 0.0},
    ],
)
def test_impossible_options_are_refused_in_one_line(options):
    with pytest.raises(RecipeError, match=next(iter(options))) as error:
        build(IBAU, options, "mitigation")
    assert "\n" not in str(error.value)
