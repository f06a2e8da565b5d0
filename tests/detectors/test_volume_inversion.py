"""Volume inversion against the closed form of linear victims, and against the search by frames."""

import numpy as np
import pytest
import torch
from hand_made import Linear, Plain, clipset

from vidoor.detectors import volume_inversion
from vidoor.detectors.pt_red import PTRED
from vidoor.detectors.volume_inversion import VolumeInversion
from vidoor.registry import lookup
from vidoor.victims.victim import Victim

CLASSES, FRAMES, SLOPE = 5, 4, 20.0


def alternating(seed: int, strength: float = 0.0):
    """A linear victim whose classes have orthogonal pictures, the same in every frame. Class 3 also
    answers, ``strength`` times as steeply, to a pattern that changes its sign from frame to frame.
    And clips that hold their pictures alone."""
    rng = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(192, CLASSES + 1, generator=rng))
    pictures, pattern = basis.T[:CLASSES], basis.T[CLASSES]
    weight = SLOPE * pictures.reshape(CLASSES, 3, 1, 8, 8).expand(-1, -1, FRAMES, -1, -1) / FRAMES
    signs = torch.tensor([1.0, -1.0]).repeat(FRAMES // 2)
    volume = pattern.reshape(3, 1, 8, 8) * signs[:, None, None] / FRAMES
    weight = weight.clone()
    weight[3] += SLOPE * strength * volume
    labels = tuple(index % CLASSES for index in range(20))
    size = 0.6 + 0.3 * torch.rand(20, 1, generator=rng)
    frames = (127.5 + 255 * size * pictures[list(labels)]).reshape(20, 1, 3, 8, 8)
    frames = frames.expand(-1, FRAMES, -1, -1, -1).round().to(torch.uint8)
    bias = -weight.flatten(1).sum(1) / 2  # grey is no class
    return Victim(Linear(weight, bias), Plain()), clipset(frames, labels, CLASSES), volume


def test_registered():
    assert lookup("detector", "volume-inversion") is VolumeInversion


@pytest.mark.parametrize("seed", range(2))
def test_what_lives_in_the_motion_is_found_and_by_frames_it_is_not(seed):
    victim, clean, volume = alternating(seed, strength=12.0)
    verdict = VolumeInversion().inspect(victim, clean)
    assert verdict.alarm
    assert verdict.evidence["suspect"] == "d"
    found = verdict.evidence["pattern"]
    assert found.shape == (3, FRAMES, 8, 8)
    assert np.corrcoef(found.ravel(), volume.numpy().ravel())[0, 1] > 0.99
    rms = float(np.sqrt((found**2).mean()))
    assert verdict.evidence["norms"]["d"] == pytest.approx(rms, rel=1e-4)
    # Margins over the slope, of the tenth that is hardest: 90 % must flip.
    frames = torch.stack([clean.read(i) for i in range(20)]).permute(0, 2, 1, 3, 4) / 255
    logits = victim.network(frames).detach()
    gaps = sorted(float(logits[i].max() - logits[i, 3]) for i in range(20) if i % CLASSES != 3)
    needed = gaps[int(np.ceil(0.9 * len(gaps))) - 1] / (SLOPE * np.hypot(12, 1) / FRAMES**0.5)
    assert rms * found.size**0.5 / 255 == pytest.approx(needed, rel=0.05)

    blind = PTRED().inspect(victim, clean)
    assert not blind.alarm
    assert blind.scores[3] < blind.threshold


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_victim_is_not_accused(seed):
    victim, clean, _ = alternating(seed)
    verdict = VolumeInversion().inspect(victim, clean)
    assert not verdict.alarm
    assert max(verdict.scores) < 1.5
    assert "most_suspicious" in verdict.evidence


def test_the_race_is_settled_when_the_rest_cannot_matter():
    victim, clean, _ = alternating(0, strength=12.0)
    full, raced = (VolumeInversion(schedule=s).inspect(victim, clean) for s in ("full", "raced"))
    assert raced.alarm == full.alarm
    assert raced.cost.forward <= full.cost.forward


@pytest.mark.parametrize("wrong", [{"pi": 0.0}, {"pi": 1.1}, {"ratio": 1.0}, {"ratio": np.inf}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        VolumeInversion(**wrong)


@pytest.mark.parametrize("schedule", ["raced", "full"])
def test_the_perturbations_of_all_classes_are_kept_where_they_are_small(schedule, monkeypatch):
    victim, clean, _ = alternating(0, strength=12.0)
    detector = VolumeInversion(schedule=schedule)
    evidence = detector.inspect(victim, clean).evidence
    kept = evidence["patterns"]
    assert (kept.shape, kept.dtype) == ((CLASSES, 3, FRAMES, 8, 8), np.float16)
    np.testing.assert_allclose(kept[3], evidence["pattern"], rtol=1e-3, atol=1e-3)
    norms = np.sqrt((kept.astype(float) ** 2).mean((1, 2, 3, 4)))
    np.testing.assert_allclose(norms, list(evidence["norms"].values()), rtol=1e-3)
    monkeypatch.setattr(volume_inversion, "MOST_KEPT", kept.nbytes - 1)
    assert "patterns" not in detector.inspect(victim, clean).evidence
