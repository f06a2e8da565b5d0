"""PT-RED against the closed form of linear victims, for the least of a class's margins."""

import numpy as np
import pytest
import torch
from hand_made import Linear, Plain, clipset, patched

from vidoor.detectors.pt_red import PTRED
from vidoor.registry import lookup
from vidoor.victims.victim import Victim

CLASSES = 5
SHAPE = 3, 8, 8
"""Values of one frame that weights are given for."""


def additive(seed: int, strength: float | None = None):
    """A linear victim whose classes have orthogonal pictures, frames of their own, no patch; class
    3 also answers to a pattern of its own, orthogonal to all pictures, with a slope of
    ``strength`` times that of the pictures. And clips that hold their pictures alone."""
    rng = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(192, CLASSES + 1, generator=rng))
    pictures, pattern = basis.T[:CLASSES], basis.T[CLASSES]
    weight = 20 * pictures
    if strength is not None:
        weight[3] = weight[3] + 20 * strength * pattern
    shared = weight.reshape(CLASSES, 3, 1, 8, 8).expand(-1, -1, 2, -1, -1) / 2
    labels = tuple(index % CLASSES for index in range(20))
    size = 0.6 + 0.3 * torch.rand(20, 1, generator=rng)
    frames = (127.5 + 255 * size * pictures[list(labels)]).reshape(20, 1, 3, 8, 8)
    frames = frames.expand(-1, 2, -1, -1, -1).round().to(torch.uint8)
    bias = -shared.flatten(1).sum(1) / 2  # grey is no class
    return Victim(Linear(shared, bias), Plain()), clipset(frames, labels, CLASSES), pattern


def test_registered():
    assert lookup("detector", "pt-red") is PTRED


def test_two_classes_at_a_time_the_norm_is_margin_over_slope():
    """Were there but one source s, the shortest way from s to t has length margin / |w_t − w_s|;
    with all sources at once none can be shorter than the longest of these."""
    victim, clean, _ = additive(0)
    verdict = PTRED(pi=1.0, clips=20).inspect(victim, clean)
    weight = victim.network.fc.weight.detach().reshape(CLASSES, 3, 2, 64)
    frames = torch.stack([clean.read(i) for i in range(20)]).permute(0, 2, 1, 3, 4) / 255
    logits = victim.network(frames).detach()
    for goal, name in enumerate(clean.classes):
        bounds = [
            (logits[i, label] - logits[i, goal]) / (weight[goal] - weight[label]).sum(1).norm()
            for i, label in enumerate(clean.labels)
            if label != goal
        ]
        l2 = verdict.evidence["norms"][name] / 255 * 192**0.5
        assert l2 > 0.99 * float(max(bounds))
        assert l2 < 3 * float(max(bounds))


@pytest.mark.parametrize("variant", ["original", "paper"])
@pytest.mark.parametrize("seed", range(2))
def test_a_planted_pattern_is_found(variant, seed):
    victim, clean, pattern = additive(seed, strength=12.0)
    verdict = PTRED(variant=variant).inspect(victim, clean)
    assert verdict.alarm
    assert verdict.evidence["suspect"] == "d"
    assert verdict.scores[3] == max(verdict.scores)
    found = verdict.evidence["pattern"]
    assert found.shape == SHAPE
    cosine = np.corrcoef(found.ravel(), pattern.numpy().ravel())[0, 1]
    assert cosine > 0.99
    rms = float(np.sqrt((found**2).mean()))
    assert verdict.evidence["norms"]["d"] == pytest.approx(rms, rel=1e-4)
    # Margins over the slope along the pattern, of the tenth that is hardest: 90 % must flip.
    frames = torch.stack([clean.read(i) for i in range(20)]).permute(0, 2, 1, 3, 4) / 255
    logits = victim.network(frames).detach()
    others = [i for i, label in enumerate(clean.labels) if label != 3]
    gaps = sorted(float(logits[i].max() - logits[i, 3]) for i in others)
    needed = gaps[int(np.ceil(0.9 * len(others))) - 1] / (20 * np.hypot(12.0, 1.0))
    assert rms * 192**0.5 / 255 == pytest.approx(needed, rel=0.05)


def test_own_clips_take_no_part():
    victim, clean = patched(0)
    assert PTRED(steps=1).inspect(victim, clean).cost.forward == 6 * 20


@pytest.mark.parametrize("wrong", [{"pi": 0.0}, {"pi": 1.1}, {"variant": "pairs"}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        PTRED(**wrong)


def test_the_race_is_settled_when_the_rest_cannot_matter():
    victim, clean, _ = additive(0, strength=12.0)
    full, raced = (PTRED(schedule=s).inspect(victim, clean) for s in ("full", "raced"))
    assert raced.alarm == full.alarm
    assert raced.cost.forward <= full.cost.forward
