"""TABOR's regularisers worked by hand on 4×4 pixels, and the search that they are part of."""

import numpy as np
import pytest
import torch
from hand_made import patched

from vidoor.detectors.neural_cleanse import NeuralCleanse
from vidoor.detectors.tabor import TABOR, blocked, large, overlaid, scattered
from vidoor.registry import lookup

HALF = torch.zeros(1, 4, 4)
HALF[0, :2] = 0.5
"""A mask that is half open over the upper two rows."""

FLAT = torch.full((1, 3, 4, 4), 0.8)
"""A pattern of one grey."""


def test_registered():
    assert lookup("detector", "tabor") is TABOR


def test_r1_by_hand():
    of_mask, of_pattern = large((HALF, FLAT))
    # 8 pixels of 0.5: 4 + 8 · 0.25.
    assert of_mask.tolist() == pytest.approx([6.0])
    # Outside, 3 channels × (8 of 0.4, 8 of 0.8): 28.8 + 3 · (8 · 0.16 + 8 · 0.64).
    assert of_pattern.tolist() == pytest.approx([28.8 + 19.2])


def test_r2_by_hand():
    of_mask, of_pattern = scattered((HALF, FLAT))
    # One edge of 4 pixels: 4 · 0.5²; in each channel 4 · 0.4².
    assert of_mask.tolist() == pytest.approx([1.0])
    assert of_pattern.tolist() == pytest.approx([1.92])
    column = HALF.transpose(1, 2).contiguous()
    assert scattered((column, FLAT))[0].tolist() == pytest.approx([1.0])
    dot = torch.zeros(1, 4, 4)
    dot[0, 1, 2] = 1.0
    assert scattered((dot, FLAT))[0].tolist() == pytest.approx([4.0])


def test_what_r3_and_r4_look_at():
    clips = torch.rand(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = blocked((HALF, FLAT), clips)
    torch.testing.assert_close(seen[:, :, :, :2], 0.5 * clips[:, :, :, :2])
    torch.testing.assert_close(seen[:, :, :, 2:], clips[:, :, :, 2:])
    still = overlaid((HALF, FLAT), clips)
    assert still.shape == clips.shape
    torch.testing.assert_close(still[0, :, :, :2], torch.full((3, 2, 2, 4), 0.4))
    assert not still[0, :, :, 2:].any()


def test_the_search_weighs_them_as_it_says():
    search = TABOR(weights=(2.0, 3.0, 5.0, 7.0, 0.25, 0.5)).search()
    assert search.penalty is not None
    expected = 2 * 6.0 + 3 * 48.0 + 5 * 1.0 + 7 * 1.92
    assert search.penalty((HALF, FLAT)).tolist() == pytest.approx([expected])
    assert [(view.weight, view.paint, view.aim, view.every) for view in search.views] == [
        (0.25, blocked, "label", True),
        (0.5, overlaid, "goal", False),
    ]


def test_the_default_weights_are_the_published_ones_and_r3_costs_nothing():
    assert TABOR().weights == (1e-6, 1e-5, 1e-7, 1e-8, 0.0, 1e-2)
    assert [view.paint for view in TABOR().search().views] == [overlaid]
    victim, clean = patched(0)
    plain = NeuralCleanse(steps=1).inspect(victim, clean).cost.forward
    assert TABOR(steps=1).inspect(victim, clean).cost.forward == plain + 6
    both = TABOR(steps=1, weights=(0.0, 0.0, 0.0, 0.0, 1.0, 0.0)).inspect(victim, clean)
    assert both.cost.forward == 2 * plain


def test_without_weights_it_is_neural_cleanse():
    victim, clean = patched(0, target=2)
    ours = TABOR(weights=(0.0,) * 6, steps=40).inspect(victim, clean)
    theirs = NeuralCleanse(steps=40).inspect(victim, clean)
    assert ours.scores == theirs.scores
    np.testing.assert_array_equal(ours.evidence["mask"], theirs.evidence["mask"])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("target", [2, None])
def test_a_planted_patch_is_found_and_none_where_there_is_none(seed, target):
    victim, clean = patched(seed, target)
    verdict = TABOR().inspect(victim, clean)
    assert verdict.alarm == (target is not None)
    if target is not None:
        assert verdict.evidence["suspect"] == "c"


def test_scattered_masks_are_smoothed():
    victim, clean = patched(0)
    rough, smooth = (
        TABOR(weights=(0.0, 0.0, weight, 0.0, 0.0, 0.0), steps=60, schedule="full").inspect(
            victim, clean
        )
        for weight in (0.0, 1.0)
    )
    masks = [torch.from_numpy(v.evidence["mask"])[None] for v in (rough, smooth)]
    first, second = (float(scattered((m, FLAT.new_zeros(1, 3, 16, 16)))[0]) for m in masks)
    assert second < 0.5 * first


@pytest.mark.parametrize("weights", [(1.0,) * 5, (-1.0,) * 6, (float("inf"),) * 6])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="six finite numbers"):
        TABOR(weights=weights)
