"""Neural Cleanse on victims with a patch planted by hand, and on the same without it."""

import numpy as np
import pytest
import torch
from hand_made import PLACE, patched

from vidoor.detectors.neural_cleanse import OPEN, NeuralCleanse
from vidoor.options import build
from vidoor.registry import lookup

SEEDS = range(3)


def overlap(mask: np.ndarray) -> float:
    """Intersection over union of what the mask mostly replaces and the planted patch."""
    planted = np.zeros(mask.shape, bool)
    planted[PLACE] = True
    found = mask > 0.5
    return float((found & planted).sum() / (found | planted).sum())


def test_registered():
    assert lookup("detector", "nc") is NeuralCleanse
    assert NeuralCleanse.level == "model"
    assert build(NeuralCleanse, {"variant": "paper"}, "detector") == NeuralCleanse(variant="paper")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("schedule", ["full", "raced"])
def test_a_planted_patch_is_found_where_it_is(seed, schedule):
    victim, clean = patched(seed, target=2)
    verdict = NeuralCleanse(schedule=schedule).inspect(victim, clean)
    evidence = verdict.evidence
    assert verdict.alarm
    assert evidence["suspect"] == "c"
    assert np.argmax(verdict.scores) == 2
    assert overlap(evidence["mask"]) >= 0.5
    assert evidence["mask"].shape == (16, 16)
    assert evidence["pattern"].shape == (3, 16, 16)
    # In colour as well: what the mask lets through has the signs of the planted pattern.
    rows, columns = PLACE
    seen = np.sign(evidence["pattern"][:, rows, columns] - 127.5)
    weight = evidence["mask"][rows, columns] > 0.5
    assert (seen == victim.network.patch.numpy())[:, weight].mean() > 0.9
    assert evidence["success"]["c"] >= 0.99


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_victim_without_the_patch_is_clean(seed):
    victim, clean = patched(seed)
    verdict = NeuralCleanse().inspect(victim, clean)
    assert not verdict.alarm
    assert max(verdict.scores) < 2
    assert "suspect" not in verdict.evidence
    assert verdict.evidence["most_suspicious"] == verdict.ids[np.argmax(verdict.scores)]


def test_norms_are_those_of_the_variants():
    mask = torch.tensor(
        [[[0.0, 0.05, 0.9 * OPEN], [0.11, 0.5, 1.0]], [[0.0, 0.01, 0.0], [0.0] * 3]]
    )
    trigger = mask, torch.zeros(2, 3, 2, 3)
    assert NeuralCleanse().norm(trigger) == pytest.approx([1.75, 0.01])
    assert NeuralCleanse(variant="log").norm(trigger) == pytest.approx([1.75, 0.01])
    # Pixels that are replaced by more than a tenth, and never none.
    assert NeuralCleanse(variant="paper").norm(trigger).tolist() == [3.0, 1.0]


def test_the_variant_decides_the_rule():
    victim, clean = patched(0, target=2)
    original, paper, log = (
        NeuralCleanse(variant=v).inspect(victim, clean) for v in ("original", "paper", "log")
    )
    assert original.evidence["rule"] == "(median - norm) / (1.4826 MAD) > 2"
    assert paper.evidence["rule"] == "|1/norm - median| / MAD > 2"
    assert original.evidence["rule"] in original.calibration
    assert log.evidence["rule"] == "(median - log norm) / (1.4826 MAD) > 2"
    assert original.alarm and paper.alarm and log.alarm
    with pytest.raises(ValueError, match="unknown variant 'papr'"):
        NeuralCleanse(variant="papr")


def test_a_race_takes_fewer_passes():
    victim, clean = patched(2, target=2)
    full, raced = (NeuralCleanse(schedule=s).inspect(victim, clean) for s in ("full", "raced"))
    assert raced.evidence["end"] == "settled"
    assert raced.cost.forward < 0.9 * full.cost.forward
