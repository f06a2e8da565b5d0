"""The test of one clip alone: planted patterns, closed forms, and what must not change a score."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vidoor.data.shapes import Shapes
from vidoor.detectors.in_clip import Alone, InClip, _crossing, low_rank, statistics
from vidoor.errors import DataError
from vidoor.types import ClipSet, Geometry

SIZE = Geometry(8, 20, 22)


def noise(count: int, seed: int, geometry: Geometry = SIZE) -> torch.Tensor:
    frames, height, width = geometry
    grey = np.random.default_rng(seed).normal(120, 12, (count, frames, 3, height, width))
    return torch.from_numpy(np.rint(grey).clip(0, 255).astype(np.uint8))


def clip_set(clips: torch.Tensor) -> ClipSet:
    frames, _, height, width = clips.shape[1:]
    ids = tuple(map(str, range(len(clips))))
    labels = tuple(n % 2 for n in range(len(clips)))
    return ClipSet(ids, labels, ("a", "b"), Geometry(frames, height, width), clips.__getitem__)


def separable(seed: int, rms: float, geometry: Geometry = SIZE) -> np.ndarray:
    rng = np.random.default_rng([seed, 2])
    a, b, c = (rng.normal(size=length) for length in geometry)
    volume = a[:, None, None] * b[:, None] * c
    return rms * volume / np.sqrt(np.mean(volume**2))


def plant(clips: torch.Tensor, rms: float) -> torch.Tensor:
    """Each clip with a pattern of its own."""
    frames, _, height, width = clips.shape[1:]
    added = [
        clip + separable(seed, rms, Geometry(frames, height, width))[:, None]
        for seed, clip in enumerate(clips.numpy())
    ]
    return torch.from_numpy(np.rint(added).clip(0, 255).astype(np.uint8))


def fit(clips: torch.Tensor, config: InClip | None = None) -> Alone:
    return (config or InClip()).fit(None, clip_set(clips))


def test_what_is_of_low_rank_is_all_of_its_energy():
    exact = torch.from_numpy(separable(0, 1.0) + 2 * separable(1, 1.0)).float()
    courses, energy = low_rank(exact, (2, 2, 2))
    assert energy == pytest.approx(float(exact.square().sum()), rel=1e-5)
    assert courses.shape == (8, 2)
    # The two courses span those of the patterns.
    unfolded = exact.flatten(1)
    assert torch.allclose(courses @ (courses.T @ unfolded), unfolded, atol=1e-4)


def test_the_energy_of_a_diagonal_tensor_is_that_of_its_largest_entries():
    volume = torch.zeros(6, 6, 6)
    for place, value in enumerate((7.0, 5.0, 4.0, 2.0, 1.0, 1.0)):
        volume[place, place, place] = value
    assert low_rank(volume, (2, 2, 2))[1] == pytest.approx(49 + 25)
    assert low_rank(volume, (3, 1, 2))[1] == pytest.approx(49)
    assert low_rank(volume, (9, 9, 9))[1] == pytest.approx(float(volume.square().sum()))


def test_energy_is_no_less_than_that_of_the_truncated_svd_and_no_more_than_of_any_axis():
    volume = torch.from_numpy(
        np.random.default_rng(0).normal(size=(7, 9, 11)) + separable(3, 0.4, Geometry(7, 9, 11))
    ).float()
    found = low_rank(volume, (2, 2, 2))[1]
    bases, bound = [], np.inf
    for axis in range(3):
        unfolded = np.moveaxis(volume.numpy(), axis, 0).reshape(volume.shape[axis], -1)
        left, sizes, _ = np.linalg.svd(unfolded, full_matrices=False)
        bases.append(left[:, :2])
        bound = min(bound, float((sizes[:2] ** 2).sum()))
    core = np.einsum("tyx,ti,yj,xk->ijk", volume.numpy(), *bases)
    assert float((core**2).sum()) <= found * (1 + 1e-5)
    assert found <= bound * (1 + 1e-5)


def test_a_spectrum_stands_out_where_rows_meet_columns():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(1, 32, 32))
    rows, columns = np.arange(32)[:, None], np.arange(32)
    crossed = flat + sum(
        0.5 * np.cos(2 * np.pi * (k * rows + m * columns) / 32 + rng.uniform(0, 6))
        for k, m in product((3, 9, 14, 27), (4, 7, 11, 13))
    )
    scattered = flat + sum(
        0.5 * np.cos(2 * np.pi * (k * rows + m * columns) / 32 + rng.uniform(0, 6))
        for k, m in zip(rng.permutation(32)[:16], rng.permutation(15)[:15], strict=False)
    )
    found = [_crossing(pictures.astype(np.float32)) for pictures in (flat, scattered, crossed)]
    assert found[2] > 1.5 * max(found[:2])
    # The strength of all changes nothing.
    assert _crossing((3 * crossed).astype(np.float32)) == pytest.approx(found[2], rel=1e-3)


def test_planted_patterns_stand_out_in_noise():
    screen = fit(noise(120, 0))
    fresh = noise(60, 1)
    assert float((screen.score(plant(fresh, 6.0)) > screen.threshold).double().mean()) > 0.9
    # What differs from the one in a clip only by chance does not.
    assert float((screen.score(fresh) > screen.threshold).double().mean()) < 0.15


def test_footage_with_a_pattern_stands_out_from_footage():
    clips = Shapes(train=100, test=4, frames=12, size=(40, 40), classes=4).open(0).train
    screen = InClip(fpr=0.05).fit(None, clips)
    fresh = Shapes(train=40, test=4, frames=12, size=(40, 40), classes=4).open(1).train
    clean = torch.stack([fresh.read(i) for i in range(40)])
    assert float((screen.score(plant(clean, 2.0)) > screen.threshold).double().mean()) > 0.9
    assert float((screen.score(clean) > screen.threshold).double().mean()) < 0.25


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(-60, 60))
def test_a_still_scene_changes_nothing(seed, light):
    screen = fit(noise(8, 0))
    clip = noise(1, seed)
    scene = np.random.default_rng(seed).integers(-40, 40, (1, 1, 3, *SIZE[1:])) + light
    lit = torch.from_numpy((clip.numpy() + scene).clip(0, 255).astype(np.uint8))
    if (lit.numpy() != clip.numpy() + scene).any():  # cut off, so not the same motion
        return
    volumes = [one[0].float().mean(1) for one in (clip, lit)]
    before, after = (statistics(volume, screen.level) for volume in volumes)
    np.testing.assert_allclose(after, before, rtol=2e-3)


def test_contrast_of_the_whole_clip_changes_nothing():
    screen, clip = fit(noise(8, 0)), noise(1, 1)[0].float().mean(1)
    np.testing.assert_allclose(
        statistics(2 * clip, screen.level), statistics(clip, screen.level), rtol=2e-3
    )


@pytest.mark.parametrize("fpr", [0.05, 0.2])
def test_false_alarms_on_exchangeable_noise_are_within_binomial_bounds(fpr):
    held, fresh = 150, 250
    screen = fit(noise(held + 40, 0), InClip(learnt=40, held_out=held, fpr=fpr))
    # At most half of the clips are held out.
    held = (held + 40) // 2
    flagged = int((screen.score(noise(fresh, 1)) > screen.threshold).sum())
    rank = int(np.ceil((1 - fpr) * (held + 1)))
    low, high = stats.betabinom.ppf([0.0005, 0.9995], fresh, held + 1 - rank, rank)
    assert low <= flagged <= high


@pytest.mark.parametrize("size", [(1, 9, 9), (5, 7, 11), (2, 1, 8), (1, 1, 1), (3, 2, 2)])
def test_odd_and_degenerate_clips_have_finite_scores(size):
    geometry = Geometry(*size)
    screen = fit(noise(8, 0, geometry))
    flat = torch.full_like(noise(1, 0, geometry), 77)
    assert screen.score(torch.cat([noise(2, 1, geometry), flat])).isfinite().all()
    still = fit(flat.expand(8, -1, -1, -1, -1))
    assert still.score(torch.cat([noise(2, 1, geometry), flat])).isfinite().all()


def test_a_clip_s_score_is_its_own():
    screen, clips = fit(noise(12, 0)), noise(5, 1)
    together = screen.score(clips)
    assert torch.equal(torch.cat([screen.score(clip[None]) for clip in clips]), together)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    screen = fit(noise(20, 0))
    screen.save(tmp_path / "screen")
    again = InClip().load(tmp_path / "screen", None)
    assert torch.equal(again.score(noise(4, 1)), screen.score(noise(4, 1)))
    assert (again.threshold, again.calibration) == (screen.threshold, screen.calibration)
    with pytest.raises(DataError, match="was fitted by in-clip with"):
        InClip(fpr=0.1).load(tmp_path / "screen", None)


def test_other_sizes_and_too_few_clips_are_refused():
    with pytest.raises(DataError, match=r"a clip of 8×20×20; this screen was fitted .* 8×20×22"):
        fit(noise(8, 0)).score(noise(1, 0)[..., :20])
    few = clip_set(noise(8, 0))
    few = replace(few, ids=few.ids[:3], labels=few.labels[:3])
    with pytest.raises(DataError, match="3 clean clips; give 4 or more"):
        InClip().fit(None, few)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"fpr": 1.0}, "fpr must be above 0 and below 1"),
        ({"learnt": 1}, "learnt and held_out must be at least 2"),
        ({"seed": 2**63}, "seed must be in"),
    ],
)
def test_options_out_of_range(options, line):
    with pytest.raises(ValueError, match=line):
        InClip(**options)
