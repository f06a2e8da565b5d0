"""What the benchmark of detectors counts and sees."""

import numpy as np
import pytest
import torch

from vidoor.measure import detection


def test_memory_that_is_held_for_a_moment_is_seen():
    before = detection.rss_anon()

    def hold() -> None:
        torch.from_numpy(np.ones(2**26, np.uint8)).add(1).sum()

    assert before > 0
    assert detection.peak_of(hold) - before > 0.9 * 2**26


def test_no_pass_is_wasted_and_clips_are_not_kept(monkeypatch):
    monkeypatch.setattr(detection, "CLIPS", 70)
    monkeypatch.setattr(detection, "SCREENED", 6)
    monkeypatch.setattr(detection, "GROWN", 2)
    found = detection.looking()
    assert list(found) == ["activation-clustering", "spectral-signatures", "strip"]
    assert [each["passes"] for each in found.values()] == [70, 70, 4 * (16 + 6)]
    assert all(each["passes_ratio"] == pytest.approx(1.0) for each in found.values())
    assert all(np.isfinite(each["growth"]) for each in found.values())


def test_noise_is_the_same_whenever_it_is_read():
    clips = detection.noise(3)
    assert torch.equal(clips.read(1), clips.read(1))
    assert not torch.equal(clips.read(1), clips.read(2))
