"""What every registered data-set detector must do. Registering one is enough to be here."""

import json
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
        verdict = cls().inspect(suspects, victim=victim)
        renamed = cls().inspect(replace(suspects, ids=suspects.ids[::-1]), victim=victim)
        assert renamed.ids == suspects.ids[::-1]
        assert renamed.scores == verdict.scores
        assert (renamed.alarm, renamed.threshold) == (verdict.alarm, verdict.threshold)

    def test_scores_follow_their_clips(self, cls, suspects, victim):
        order = np.random.default_rng(0).permutation(len(suspects)).tolist()
        shuffled = replace(
            suspects,
            ids=tuple(suspects.ids[i] for i in order),
            labels=tuple(suspects.labels[i] for i in order),
            read=lambda i: suspects.read(order[i]),
        )
        verdict = cls().inspect(suspects, victim=victim)
        again = cls().inspect(shuffled, victim=victim)
        assert again.scores == tuple(verdict.scores[i] for i in order)
        assert (again.alarm, again.threshold) == (verdict.alarm, verdict.threshold)

    def test_evidence_is_json_but_for_its_arrays(self, cls, suspects, victim):
        evidence = cls().inspect(suspects, victim=victim).evidence
        plain = {k: v for k, v in evidence.items() if not isinstance(v, np.ndarray)}
        json.dumps(plain, allow_nan=False)
        assert None not in plain.values()

    def test_what_it_checks_beforehand_is_what_it_can_inspect(self, cls, suspects):
        check = getattr(cls(), "check", None)  # optional
        if check is not None:
            check(len(suspects), suspects.geometry)

    def test_it_goes_through_a_recipe_unchanged(self, cls):
        written = table(cls())
        written.pop("kind")
        assert build(cls, written, "detector") == cls()
