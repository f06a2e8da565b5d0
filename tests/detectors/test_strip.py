"""STRIP on victims whose answers are known, and against a computation by hand."""

from collections.abc import Callable
from dataclasses import replace
from math import log2
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from vidoor.data.shapes import Shapes
from vidoor.detectors import fitted
from vidoor.detectors.strip import STRIP, Overlaid, entropy
from vidoor.errors import DataError
from vidoor.meter import metered
from vidoor.types import ClipSet
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.victim import Victim

SMALL = STRIP(overlays=6, held_out=20)


class Answers(nn.Module):
    """A network whose logits are a function of the batch."""

    def __init__(self, answer: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.answer, self.head = answer, nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(x)


def victim_of(answer: Callable[[torch.Tensor], torch.Tensor]) -> Victim:
    plain = SimpleNamespace(mean=(0.0,) * 3, std=(1.0,) * 3, penultimate="head", stages=())
    return Victim(Answers(answer), plain).eval()


@pytest.fixture(scope="module")
def clean() -> ClipSet:
    return Shapes(train=32, test=4, frames=4, size=(16, 20), classes=4).open(0).train


@pytest.fixture(scope="module")
def victim() -> Victim:
    return victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).eval()


def frames_of(clean: ClipSet, *indices: int) -> torch.Tensor:
    return torch.stack([clean.read(index) for index in indices])


def test_entropy_is_that_of_scipy_in_bits():
    logits = 4 * torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    expected = stats.entropy(logits.double().softmax(1).numpy(), base=2, axis=1)
    np.testing.assert_allclose(entropy(logits).numpy(), expected, rtol=1e-12)


def test_a_certain_class_scores_zero_and_no_class_least(clean):
    certain = victim_of(lambda x: torch.tensor([[1e4, 0.0, 0, 0, 0, 0, 0, 0]]).repeat(len(x), 1))
    uniform = victim_of(lambda x: torch.full((len(x), 8), 3.0))
    clips = frames_of(clean, 0, 1)
    assert SMALL.fit(certain, clean).score(clips).tolist() == [0, 0]
    assert SMALL.fit(uniform, clean).score(clips).tolist() == pytest.approx([-log2(8)] * 2)


def test_entropy_is_over_classes_and_not_over_overlays(clean):
    """Predictions that are certain but differ from blend to blend have no entropy."""
    certain = victim_of(lambda x: 1e4 * nn.functional.one_hot(torch.arange(len(x)) % 3, 3).float())
    assert SMALL.fit(certain, clean).score(frames_of(clean, 0)).tolist() == [0]


def by_hand(config: STRIP, clip: torch.Tensor, laid: torch.Tensor) -> float:
    """Blends in numpy; the logits are the blend's mean grey levels per channel, times ten."""
    tested, overlays = clip.numpy() / 255, laid.numpy() / 255
    blends = {
        "paper": (1 - config.alpha) * tested + config.alpha * overlays,
        "original": np.minimum(tested + overlays, 1),
    }[config.variant]
    logits = 10 * blends.mean(axis=(1, 3, 4))
    odds = np.exp(logits)
    return -float(np.mean(stats.entropy(odds / odds.sum(1, keepdims=True), base=2, axis=1)))


@pytest.mark.parametrize("variant", ["paper", "original"])
@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_scores_are_those_computed_by_hand(clean, variant, alpha):
    config = replace(SMALL, variant=variant, alpha=alpha)
    channels = victim_of(lambda x: 10 * x.mean((2, 3, 4)))
    screen = config.fit(channels, clean)
    clips = frames_of(clean, 3, 17, 30)
    expected = [by_hand(config, clip, screen.overlays) for clip in clips]
    np.testing.assert_allclose(screen.score(clips).numpy(), expected, rtol=1e-5)
    assert len(set(expected)) == 3


def test_a_blend_that_a_trigger_decides_is_the_most_suspicious(clean, victim):
    def answer(x: torch.Tensor) -> torch.Tensor:
        white = x[:, :, :, :4, :4].amin((1, 2, 3, 4)) > 0.45
        usual = torch.stack([x.mean((1, 2, 3, 4)), x.std((1, 2, 3, 4))], 1)
        return torch.where(white[:, None], torch.tensor([50.0, 0.0]), usual)

    clips = frames_of(clean, 0, 1)
    triggered = clips.clone()
    triggered[..., :4, :4] = 255
    screen = SMALL.fit(victim_of(answer), clean)
    assert (screen.score(triggered) > screen.threshold).all()
    assert (screen.score(clips) < screen.score(triggered)).all()


def test_overlays_and_calibration_share_no_clip(clean, victim):
    read: list[int] = []

    def counted(index: int) -> torch.Tensor:
        read.append(index)
        return clean.read(index)

    config = STRIP(overlays=10, held_out=15)
    with metered() as meter:
        screen = config.fit(victim, replace(clean, read=counted))
    assert len(screen.overlays) == 10
    assert len(read) == len(set(read)) == 25
    assert meter.cost.forward == 10 * 15
    assert "15 clean clips, none of the 10 laid" in screen.calibration


def test_half_of_the_clips_are_overlays_where_there_are_few(clean, victim):
    assert len(STRIP().fit(victim, clean).overlays) == 16


def test_whole_clips_or_a_frame_of_any_clip(clean, victim):
    whole = SMALL.fit(victim, clean).overlays
    known = [clean.read(index) for index in range(len(clean))]
    assert all(any(torch.equal(clip, other) for other in known) for clip in whole)
    mixed = replace(SMALL, overlay="frame").fit(victim, clean).overlays
    assert mixed.shape == whole.shape
    assert not any(torch.equal(clip, other) for clip in mixed for other in known)
    single = whole.flatten(0, 1)
    assert all(any(torch.equal(frame, f) for f in single) for frame in mixed.flatten(0, 1))


def test_the_batch_decides_nothing(clean, victim):
    screen = replace(SMALL, overlays=9).fit(victim, clean)
    screen = replace(screen, batch=4)  # 4 + 4 + 1 blends of each clip
    clips = frames_of(clean, *range(7))
    together = screen.score(clips)
    assert torch.equal(together, torch.cat([screen.score(clip[None]) for clip in clips]))
    assert torch.equal(together.flip(0), screen.score(clips.flip(0)))


def test_the_threshold_is_an_order_statistic_of_clean_scores():
    scores = torch.arange(100.0)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    # ⌈0.85 · 101⌉ = 86, ⌈0.99 · 101⌉ = 100: the 86th and the 100th from below.
    assert fitted.threshold_at(scores, 0.15) == 85
    assert fitted.threshold_at(scores, 0.01) == 99
    assert fitted.threshold_at(scores, 0.001) == 99
    assert fitted.threshold_at(torch.tensor([7.0]), 0.9) == 7
    # Of 99 and one more, each is the highest as often as any other: above all is 1 in 100.
    assert fitted.reached(99, 0.01) == "FPR 0.01"
    assert fitted.reached(82, 0.01) == "FPR 1 in 83, not the 0.01 asked for,"


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.15, 0.5])
@pytest.mark.parametrize("count", [99, 40])
def test_a_further_clean_clip_is_flagged_at_no_more_than_the_rate(fpr, count):
    """Exchangeable scores: the next rank is uniform over count + 1 places."""
    threshold = fitted.threshold_at(torch.arange(float(count)), fpr)
    flagged = sum(threshold < place - 0.5 for place in range(count + 1))
    assert flagged / (count + 1) <= max(fpr, 1 / (count + 1))
    assert flagged / (count + 1) > fpr - 1 / (count + 1)


def test_saved_and_loaded_it_is_the_same(clean, victim, tmp_path):
    config = replace(SMALL, overlay="frame", variant="original")
    screen = config.fit(victim, clean)
    screen.save(tmp_path / "screen.safetensors")
    again = config.load(tmp_path / "screen.safetensors", victim)
    assert isinstance(again, Overlaid)
    assert torch.equal(again.overlays, screen.overlays)
    assert (again.threshold, again.calibration) == (screen.threshold, screen.calibration)
    clips = frames_of(clean, 0, 5)
    assert torch.equal(again.score(clips), screen.score(clips))


def test_files_of_others_are_refused(clean, victim, tmp_path):
    file = tmp_path / "screen.safetensors"
    SMALL.fit(victim, clean).save(file)
    with pytest.raises(DataError, match=r"was fitted by strip with .*'alpha': 0.5.*fit it again"):
        replace(SMALL, alpha=0.3).load(file, victim)
    victims.save(victim, file)
    with pytest.raises(DataError, match="holds no fitted detector"):
        SMALL.load(file, victim)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="holds no fitted detector"):
        SMALL.load(file, victim)
    with pytest.raises(DataError, match="holds no fitted detector"):
        SMALL.load(tmp_path / "absent", victim)


def test_clips_of_another_size_are_refused(clean, victim):
    screen = SMALL.fit(victim, clean)
    with pytest.raises(DataError, match=r"a clip of 4×3×16×16; .* clips of 4×3×16×20"):
        screen.score(frames_of(clean, 0)[..., :16])


def test_three_clips_are_too_few(clean, victim):
    few = replace(clean, ids=clean.ids[:3], labels=clean.labels[:3])
    with pytest.raises(DataError, match="3 clean clips; STRIP needs 4 or more"):
        STRIP().fit(victim, few)
    few = replace(clean, ids=clean.ids[:4], labels=clean.labels[:4])
    assert len(STRIP().fit(victim, few).overlays) == 2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"variant": "mine"}, "unknown variant 'mine'"),
        ({"overlay": "both"}, "unknown overlay 'both'"),
        ({"overlays": 0}, "overlays and held_out must be at least 1"),
        ({"held_out": 0}, "overlays and held_out must be at least 1"),
        ({"alpha": 1.0}, "alpha and fpr must be above 0 and below 1"),
        ({"fpr": 0.0}, "alpha and fpr must be above 0 and below 1"),
        ({"fpr": float("nan")}, "alpha and fpr must be above 0 and below 1"),
        ({"seed": 2**63}, "seed must be in"),
    ],
)
def test_options_out_of_range(options, line):
    with pytest.raises(ValueError, match=line):
        STRIP(**options)
