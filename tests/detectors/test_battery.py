"""What every registered data-set detector must do. Registering one is enough to be here."""

from dataclasses import replace

import numpy as np
import pytest

from vidoor.data.shapes import Shapes
from vidoor.recipe import build, table
from vidoor.registry import methods
from vidoor.types import Verdict
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D


@pytest.fixture(scope="module")
def suspects():
    return Shapes(train=24, test=4, frames=6, size=(20, 26), classes=4).open(0).train


@pytest.fixture(scope="module")
def victim():
    return victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).eval()


@pytest.mark.parametrize("cls", [pytest.param(c, id=n) for n, c in methods("detector").items()])
class TestEveryDetector:
    def test_a_score_for_every_clip_and_the_way_the_threshold_was_set(self, cls, suspects, victim):
        verdict = cls().inspect(suspects, victim=victim)
        assert isinstance(verdict, Verdict)
        assert verdict.ids == suspects.ids
        assert len(verdict.scores) == len(suspects)
        assert np.isfinite(verdict.scores).all()
        assert verdict.calibration
        assert verdict.cost.seconds > 0

    def test_the_same_verdict_every_time(self, cls, suspects, victim):
        first, second = (cls().inspect(suspects, victim=victim) for _ in range(2))
        assert first.scores == second.scores
        assert (first.alarm, first.threshold) == (second.alarm, second.threshold)

    def test_clips_and_labels_are_left_alone(self, cls, suspects, victim):
        before = [suspects.read(i).clone() for i in range(3)]
        cls().inspect(suspects, victim=victim)
        assert all((suspects.read(i) == clip).all() for i, clip in enumerate(before))

    def test_ids_decide_nothing(self, cls, suspects, victim):
        renamed = replace(suspects, ids=tuple(f"x/{name}" for name in suspects.ids))
        verdict = cls().inspect(renamed, victim=victim)
        assert verdict.scores == cls().inspect(suspects, victim=victim).scores

    def test_it_goes_through_a_recipe_unchanged(self, cls):
        written = table(cls())
        written.pop("kind")
        assert build(cls, written, "detector") == cls()
