"""Evaluation: bounded batches change nothing, and several views are those written out by hand."""

from math import prod
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vidoor.data.shapes import Shapes
from vidoor.types import ClipSet, Geometry
from vidoor.victims import prediction
from vidoor.victims import victim as victims
from vidoor.victims.prediction import evaluation_batch, predict, views_of
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.victim import Victim


def build(frames=None):
    return victims.build(R2Plus1D(width=4, depth=(1,)), 4, seed=1, frames=frames).eval()


@pytest.fixture(scope="module")
def clips():
    return Shapes(train=12, test=4, frames=8, size=(16, 24), classes=4).open(0).train


def probabilities(victim, clip):
    """Of one view T×C×H×W, by the definition."""
    with torch.no_grad():
        batch = clip.permute(1, 0, 2, 3)[None].double().div(255).float()
        logits = victim.logits(batch)[0].double().numpy()
    return np.exp(logits) / np.exp(logits).sum()


def test_views_are_windows_of_time_and_squares_of_the_frame(clips):
    """8 frames for a victim of 2: windows of 5 that start at 0, 1 (or 2) and 3."""
    frames = torch.stack([clips.read(i) for i in range(3)])
    seen = list(views_of(frames, 2, 3, 3))
    expected = [
        frames[:, [start, start + 4], :, :, left : left + 16]
        for start in (0, 2, 3)
        for left in (0, 4, 8)
    ]
    assert len(seen) == 9
    assert all(a.equal(b) for a, b in zip(seen, expected, strict=True))


@pytest.mark.parametrize(
    ("seen", "temporal", "spatial", "size", "count"),
    [(2, 10, 1, (16, 24), 4), (None, 10, 1, (16, 24), 1), (8, 4, 3, (16, 24), 3),
     (None, 1, 3, (16, 16), 1), (2, 10, 3, (24, 16), 12)],
)  # fmt: skip
def test_views_that_would_be_the_same_are_seen_once(seen, temporal, spatial, size, count):
    frames = torch.arange(8 * prod(size)).reshape(1, 8, 1, *size)
    views = list(views_of(frames, seen, temporal, spatial))
    assert len(views) == count
    assert len({v.numpy().tobytes() for v in views}) == count


def test_probabilities_of_views_are_averaged(clips):
    """Of a victim that is sure of each view, where averaging logits would say something else."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sure = torch.nn.Linear(3 * 2 * 16 * 16, 4)
        sure.weight.data.mul_(20)
    network = torch.nn.Sequential(torch.nn.Flatten(), sure)
    levels = SimpleNamespace(mean=(0.5,) * 3, std=(1.0,) * 3)
    victim = Victim(network, levels, frames=2).eval()
    told = np.array(
        [
            [
                probabilities(victim, clip[[start, start + 4], :, :, left : left + 16])
                for start in (0, 1, 2, 3)
                for left in (0, 4, 8)
            ]
            for clip in map(clips.read, range(len(clips)))
        ]
    )
    expected = told.mean(1).argmax(1)
    assert (expected != np.log(told + 1e-30).mean(1).argmax(1)).any()
    assert (predict(victim, clips, (4, 3)) == expected).all()


def test_one_view_is_the_clip(clips):
    victim = build(frames=4)
    told = [probabilities(victim, clips.read(i)).argmax() for i in range(len(clips))]
    assert predict(victim, clips).tolist() == told


def test_batches_are_bounded_by_bytes_and_by_count(clips, monkeypatch):
    def sized(*geometry):
        return evaluation_batch(ClipSet((), (), (), Geometry(*geometry), lambda _: None))

    assert sized(16, 112, 112) == 64
    assert sized(32, 224, 224) * 32 * 224 * 224 * 3 * 5 <= 2**28
    assert sized(32, 224, 224) == 11
    assert sized(4000, 1000, 1000) == 1
    victim = build()
    before = predict(victim, clips)
    monkeypatch.setattr(prediction, "EVALUATION_BYTES", 5 * 5 * 3 * prod(clips.geometry))
    assert evaluation_batch(clips) == 5
    assert (predict(victim, clips) == before).all()
