"""Fine-tuning: how many clips it takes, and that it trains on their true labels."""

from collections import Counter

import numpy as np
import pytest
import torch

from vidoor.data.shapes import Shapes
from vidoor.data.subset import draw, pick
from vidoor.errors import RecipeError
from vidoor.mitigations.fine_tuning import FineTuning
from vidoor.options import build
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import predict

CLEAN = Shapes(train=48, test=4, frames=4, size=(16, 16), classes=4).open(0).train


def test_it_learns_the_labels_of_the_clips_that_it_is_given():
    few = pick(CLEAN, tuple(range(8)))
    victim = victims.build(R2Plus1D(width=8, depth=(1,)), 4, 0)
    tuned = FineTuning(fraction=1.0, epochs=60, batch_size=8, lr=3e-3)(victim, few)
    assert (predict(tuned, few) == np.asarray(few.labels)).all()
    assert (predict(victim, few) != np.asarray(few.labels)).any()


@pytest.mark.parametrize(("fraction", "each"), [(0.25, 3), (0.01, 1), (1.0, 12)])
def test_a_draw_takes_the_same_share_of_every_class(fraction, each):
    drawn = draw(CLEAN, fraction, seed=0)
    assert Counter(drawn.labels) == dict.fromkeys(range(4), each)
    for place, name in enumerate(drawn.ids):
        index = CLEAN.ids.index(name)
        assert drawn.labels[place] == CLEAN.labels[index]
        assert torch.equal(drawn.read(place), CLEAN.read(index))
    assert draw(CLEAN, fraction, seed=0).ids == drawn.ids
    assert fraction == 1 or draw(CLEAN, fraction, seed=1).ids != drawn.ids


@pytest.mark.parametrize(
    "options", [{"fraction": 0.0}, {"fraction": 1.5}, {"epochs": 0}, {"lr": 0.0}]
)
def test_impossible_options_are_refused_in_one_line(options):
    with pytest.raises(RecipeError, match=next(iter(options))) as error:
        build(FineTuning, options, "mitigation")
    assert "\n" not in str(error.value)
