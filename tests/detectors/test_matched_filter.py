"""The matched filter against one computed by hand, and what must not change its scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vidoor.detectors import _whitened
from vidoor.detectors.matched_filter import CAP, Filter, MatchedFilter, _agreement
from vidoor.errors import DataError
from vidoor.types import ClipSet, Geometry, Verdict

SIZE = Geometry(6, 12, 14)


def noise(count: int, seed: int, geometry: Geometry = SIZE) -> torch.Tensor:
    frames, height, width = geometry
    rng = np.random.default_rng(seed)
    grey = rng.normal(120, 12, (count, frames, 3, height, width))
    return torch.from_numpy(np.rint(grey).clip(0, 255).astype(np.uint8))


def clip_set(clips: torch.Tensor) -> ClipSet:
    frames, _, height, width = clips.shape[1:]
    count = len(clips)
    ids = tuple(map(str, range(count)))
    labels = tuple(n % 2 for n in range(count))
    return ClipSet(ids, labels, ("a", "b"), Geometry(frames, height, width), clips.__getitem__)


def verdict(**evidence: object) -> Verdict:
    return Verdict(
        ids=("0",),
        scores=(1.0,),
        threshold=0.5,
        calibration="by hand",
        alarm=bool(evidence),
        evidence=evidence,
    )


def pattern(seed: int = 0, geometry: Geometry = SIZE) -> np.ndarray:
    return np.random.default_rng([seed, 1]).normal(0, 4, geometry).astype(np.float32)


def plant(clips: torch.Tensor, template: np.ndarray) -> torch.Tensor:
    added = clips.numpy() + template[:, None]
    return torch.from_numpy(np.rint(added).clip(0, 255).astype(np.uint8))


def fit(clips: torch.Tensor, config: MatchedFilter | None = None, **evidence: object) -> Filter:
    return (config or MatchedFilter()).fit(None, clip_set(clips), verdict=verdict(**evidence))


def by_hand(clip: np.ndarray, template: np.ndarray, level: np.ndarray) -> float:
    """In numpy, and in loops where that is clearer."""

    def spectrum(volume: np.ndarray) -> np.ndarray:
        moved = volume[1:] - volume[:-1]
        moved = moved[:, 1:] - moved[:, :-1]
        return np.fft.rfftn(moved[:, :, 1:] - moved[:, :, :-1]) / level

    seen, wanted = spectrum(clip.astype(float).mean(1)), spectrum(template.astype(float))
    seen /= np.median(np.abs(seen))
    seen = np.array([z if abs(z) < CAP else CAP * z / abs(z) for z in seen.ravel()])
    real = np.concatenate([seen.real, seen.imag]), np.concatenate([wanted.real, wanted.imag])
    cosine = np.dot(real[0].ravel(), real[1].ravel()) / np.prod([np.linalg.norm(r) for r in real])
    return float(cosine * np.sqrt(2 * seen.size))


def test_scores_are_those_computed_by_hand():
    clips = plant(noise(3, 5), 0.3 * pattern())
    screen = fit(noise(24, 0), template=pattern())
    level = screen.levels["moving"].double().numpy()
    expected = [by_hand(clip, pattern(), level) for clip in clips.numpy()]
    np.testing.assert_allclose(screen.score(clips).numpy(), expected, rtol=1e-3)


def test_the_usual_spectrum_is_a_geometric_mean():
    known = noise(5, 3)
    seen = [np.abs(_whitened.spectrum(_whitened.grey(clip)).numpy()) for clip in known]
    expected = stats.gmean([one / np.sort(one.ravel())[(one.size - 1) // 2] for one in seen])
    found = _whitened.usual(map(_whitened.grey, known)).numpy()
    np.testing.assert_allclose(found, np.maximum(expected, found.min()), rtol=1e-4)


def test_scores_of_random_phases_are_standard_normal():
    draw = torch.Generator().manual_seed(0)
    template, *clips = torch.randn(401, 5, 8, 7, dtype=torch.complex64, generator=draw)
    unit = template / torch.linalg.vector_norm(template)
    assert stats.kstest([_agreement(unit, clip) for clip in clips], "norm").pvalue > 0.01


def test_a_pattern_adds_its_energy_over_the_noise():
    """t·x/σ² of white noise grows by |t|²/σ², which in deviations is |t|/σ; what is cut off and
    what the ends of a clip lose is some of it."""
    screen = fit(noise(200, 1), template=pattern())
    fresh = noise(100, 2)
    expected = float(np.linalg.norm(pattern())) / (12 / np.sqrt(3))
    added = (screen.score(plant(fresh, pattern())) - screen.score(fresh)).mean()
    assert 0.7 * expected < float(added) < expected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(-60, 60))
def test_a_still_scene_changes_nothing(seed, light):
    screen = fit(noise(12, 0), template=pattern())
    clip = noise(1, seed)
    rng = np.random.default_rng(seed)
    scene = rng.integers(-40, 40, (1, 1, 3, *SIZE[1:])) + light
    lit = torch.from_numpy((clip.numpy() + scene).clip(0, 255).astype(np.uint8))
    if (lit.numpy() != clip.numpy() + scene).any():  # cut off, so not the same motion
        return
    assert float(screen.score(lit)) == pytest.approx(float(screen.score(clip)), abs=1e-2)


def test_a_template_that_stands_still_is_sought_in_the_mean_frame():
    still = np.broadcast_to(pattern()[:1], SIZE).copy()
    screen = fit(noise(60, 0), template=still)
    assert set(screen.levels) == {"still"}
    fresh = noise(40, 7)
    assert (screen.score(plant(fresh, still)) > screen.threshold).all()
    # The order of the frames says nothing about what stands still.
    assert torch.allclose(screen.score(fresh), screen.score(fresh.flip(1)), atol=1e-3)
    moving = fit(noise(60, 0), template=pattern())
    assert set(moving.levels) == {"moving"}


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_template_without_detail_gives_zeros(value):
    screen = fit(noise(12, 0), template=np.full(SIZE, value, np.float32))
    assert screen.score(noise(4, 1)).abs().max() < 1e-3


def test_of_several_templates_the_highest_score_counts_and_mirror_images_do():
    one, other = pattern(0), pattern(1)
    screen = fit(noise(60, 0), templates=np.stack([one, other]), template=one)
    single = [fit(noise(60, 0), template=each) for each in (one, other)]
    clips = torch.cat([plant(noise(3, 4), one), plant(noise(3, 5), -other), noise(3, 6)])
    expected = torch.stack([each.score(clips) for each in single]).abs().amax(0)
    assert torch.equal(screen.score(clips), expected)
    assert (screen.score(clips[:6]) > screen.threshold).all()


def test_without_a_template_nothing_is_flagged(tmp_path):
    screen = fit(noise(12, 0))
    assert screen.score(noise(3, 1)).tolist() == [0, 0, 0]
    assert not (screen.score(plant(noise(3, 1), pattern())) > screen.threshold).any()
    assert screen.calibration == "the verdict of coherence holds no template: nothing is flagged"
    screen.save(tmp_path / "screen")
    assert MatchedFilter().load(tmp_path / "screen", None).score(noise(3, 1)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("fpr", [0.05, 0.2])
def test_false_alarms_on_exchangeable_noise_are_within_binomial_bounds(fpr):
    config = MatchedFilter(learnt=60, held_out=200, fpr=fpr)
    screen = fit(noise(260, 0), config, template=pattern())
    flagged = int((screen.score(noise(400, 1)) > screen.threshold).sum())
    # The rate given the threshold is Beta(k, n + 1 - k) distributed, the count binomial: 0.1 %.
    held = 200
    rank = int(np.ceil((1 - fpr) * (held + 1)))
    low, high = stats.betabinom.ppf([0.0005, 0.9995], 400, held + 1 - rank, rank)
    assert low <= flagged <= high


def test_clips_to_learn_from_and_to_calibrate_on_are_others():
    read: list[int] = []
    clips = noise(40, 0)
    known = replace(clip_set(clips), read=lambda i: read.append(i) or clips[i])
    config = MatchedFilter(learnt=10, held_out=15)
    screen = config.fit(None, known, verdict=verdict(template=pattern()))
    assert len(read) == len(set(read)) == 25
    assert "15 clean clips, none of the 10 learnt from" in screen.calibration


@pytest.mark.parametrize("size", [(1, 9, 9), (5, 7, 11), (2, 1, 8), (1, 1, 1), (3, 2, 2)])
def test_odd_and_degenerate_clips_have_finite_scores(size):
    geometry = Geometry(*size)
    screen = fit(noise(8, 0, geometry), template=pattern(0, geometry))
    flat = torch.full_like(noise(1, 0, geometry), 77)
    assert screen.score(torch.cat([noise(2, 1, geometry), flat])).isfinite().all()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    templates = np.stack([pattern(0), np.broadcast_to(pattern(1)[:1], SIZE)])
    screen = fit(noise(20, 0), templates=templates)
    screen.save(tmp_path / "screen")
    again = MatchedFilter().load(tmp_path / "screen", None)
    assert torch.equal(again.score(noise(4, 1)), screen.score(noise(4, 1)))
    assert (again.threshold, again.calibration) == (screen.threshold, screen.calibration)
    with pytest.raises(DataError, match="was fitted by matched-filter with"):
        MatchedFilter(fpr=0.1).load(tmp_path / "screen", None)


def test_other_sizes_are_refused():
    screen = fit(noise(8, 0), template=pattern())
    with pytest.raises(DataError, match=r"a clip of 6×12×12; this screen was fitted .* 6×12×14"):
        screen.score(noise(1, 0)[..., :12])
    with pytest.raises(DataError, match="the template is 6×12×12, clips are 6×12×14; give clips"):
        fit(noise(8, 0), template=pattern()[..., :12])
    with pytest.raises(DataError, match="3 clean clips; give 4 or more"):
        fit(noise(3, 0), template=pattern())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"fpr": 0.0}, "fpr must be above 0 and below 1"),
        ({"fpr": float("nan")}, "fpr must be above 0 and below 1"),
        ({"learnt": 1}, "learnt and held_out must be at least 2"),
        ({"held_out": 0}, "learnt and held_out must be at least 2"),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_options_out_of_range(options, line):
    with pytest.raises(ValueError, match=line):
        MatchedFilter(**options)
