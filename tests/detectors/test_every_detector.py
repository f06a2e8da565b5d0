"""What every registered detector must do, by its level. Registering one is enough to be here."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from travel import sent

from vidoor.data.shapes import Shapes
from vidoor.data.subset import pick
from vidoor.errors import DataError
from vidoor.meter import metered
from vidoor.options import build, table
from vidoor.registry import methods
from vidoor.types import Verdict
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.victim import Victim

LEVELS = ("dataset", "model", "input")
QUICK = {"steps": 4, "overlays": 4, "held_out": 20}
"""Options that make a detector quick; whichever of them it has."""

CUSTOM = {
    "factory": "vidoor.victims.r2plus1d:R2Plus1DNetwork",
    "options": {"width": 4, "depth": (1,)},
    "classes": "classes",
}


def level(cls) -> str:
    return getattr(cls, "level", "dataset")


def of(wanted: str):
    found = [pytest.param(c, id=n) for n, c in methods("detector").items() if level(c) == wanted]
    return pytest.mark.parametrize("cls", found)


def quick(cls, **options):
    known = {spec.name for spec in fields(cls)}
    return cls(**{name: value for name, value in {**QUICK, **options}.items() if name in known})


def plain(evidence):
    return {k: v for k, v in evidence.items() if not isinstance(v, np.ndarray | torch.Tensor)}


def given(cls, clips) -> dict:
    """What an input detector asks for beside a victim and clean clips."""
    pattern = np.random.default_rng(0).normal(0, 3, clips.geometry).astype(np.float32)
    verdict = Verdict(
        ids=clips.ids,
        scores=tuple(float(n % 5 == 0) for n in range(len(clips))),
        threshold=0.5,
        calibration="by hand",
        alarm=True,
        evidence={"template": pattern},
    )
    return {name: {"verdict": verdict}[name] for name in getattr(cls, "given", ())}


def fitted(cls, victim, clips, **options):
    return quick(cls, **options).fit(victim, clips, **given(cls, clips))


def state(victim: Victim) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in victim.state_dict().items()}


@pytest.fixture(scope="module")
def suspects():
    return Shapes(train=24, test=4, frames=6, size=(20, 26), classes=4).open(0).train


@pytest.fixture
def victim() -> Victim:
    return victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).eval()


@pytest.fixture
def untouched(victim):
    """Whatever a test does with it, the victim is as it was: weights, modes, gradients, hooks."""
    victim.train()
    victim.network.stem.eval()
    before, modes = state(victim), [module.training for module in victim.modules()]
    needs = [parameter.requires_grad for parameter in victim.parameters()]
    yield victim
    after = state(victim)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [module.training for module in victim.modules()] == modes
    assert [parameter.requires_grad for parameter in victim.parameters()] == needs
    assert all(parameter.grad is None for parameter in victim.parameters())
    assert not any(module._forward_hooks for module in victim.modules())


def same(one: Verdict, other: Verdict) -> bool:
    head = one.ids, one.scores, one.threshold, one.alarm, one.calibration
    return head == (other.ids, other.scores, other.threshold, other.alarm, other.calibration)


@pytest.mark.parametrize("cls", [pytest.param(c, id=n) for n, c in methods("detector").items()])
class TestEveryDetector:
    def test_it_has_one_of_three_levels(self, cls):
        assert level(cls) in LEVELS

    def test_it_goes_through_a_recipe_and_a_pickle_unchanged(self, cls):
        written = table(cls())
        written.pop("kind")
        assert build(cls, written, "detector") == cls()
        assert sent(cls()) == cls()

    def test_its_presets_can_be_built(self, cls):
        for name in getattr(cls, "presets", {}):
            assert isinstance(build(cls, {"preset": name}, "detector"), cls)

    def test_it_says_what_it_is(self, cls):
        assert (cls.__doc__ or "").strip()

    def test_what_it_checks_beforehand_is_what_it_can_look_at(self, cls, suspects):
        check = getattr(quick(cls), "check", None)  # optional
        if check is not None:
            check(len(suspects), suspects.geometry)


@of("dataset")
class TestEveryDatasetDetector:
    def test_a_score_for_every_clip_and_the_way_the_threshold_was_set(self, cls, suspects, victim):
        verdict = quick(cls).inspect(suspects, victim=victim)
        assert isinstance(verdict, Verdict)
        assert verdict.ids == suspects.ids
        assert len(verdict.scores) == len(suspects)
        assert np.isfinite(verdict.scores).all()
        assert verdict.calibration
        assert verdict.cost.seconds > 0

    def test_its_cost_is_what_it_spent(self, cls, suspects, victim):
        with metered() as meter:
            verdict = quick(cls).inspect(suspects, victim=victim)
        assert (verdict.cost.forward, verdict.cost.backward) == (
            meter.cost.forward,
            meter.cost.backward,
        )
        assert bool(verdict.cost.forward) == getattr(cls, "needs_victim", True)

    def test_the_same_verdict_every_time(self, cls, suspects, victim):
        assert same(*(quick(cls).inspect(suspects, victim=victim) for _ in range(2)))

    def test_victim_clips_and_labels_are_left_alone(self, cls, suspects, untouched):
        before = [suspects.read(i).clone() for i in range(3)]
        quick(cls).inspect(suspects, victim=untouched)
        assert all((suspects.read(i) == clip).all() for i, clip in enumerate(before))

    def test_ids_decide_nothing(self, cls, suspects, victim):
        verdict = quick(cls).inspect(suspects, victim=victim)
        renamed = quick(cls).inspect(replace(suspects, ids=suspects.ids[::-1]), victim=victim)
        assert same(replace(verdict, ids=suspects.ids[::-1]), renamed)

    def test_scores_follow_their_clips(self, cls, suspects, victim):
        order = tuple(np.random.default_rng(0).permutation(len(suspects)).tolist())
        verdict = quick(cls).inspect(suspects, victim=victim)
        again = quick(cls).inspect(pick(suspects, order), victim=victim)
        scores = tuple(verdict.scores[i] for i in order)
        assert same(
            replace(verdict, ids=tuple(suspects.ids[i] for i in order), scores=scores), again
        )

    def test_evidence_is_json_but_for_its_arrays(self, cls, suspects, victim):
        evidence = plain(quick(cls).inspect(suspects, victim=victim).evidence)
        json.dumps(evidence, allow_nan=False)
        assert None not in evidence.values()


@of("model")
class TestEveryModelDetector:
    def test_a_score_for_every_class_and_the_way_the_threshold_was_set(self, cls, suspects, victim):
        verdict = quick(cls).inspect(victim, suspects)
        assert isinstance(verdict, Verdict)
        assert verdict.ids == suspects.classes
        assert len(verdict.scores) == len(suspects.classes)
        assert np.isfinite(verdict.scores).all()
        assert verdict.calibration
        assert verdict.cost.seconds > 0
        assert verdict.cost.forward > 0

    def test_the_same_verdict_every_time(self, cls, suspects, victim):
        assert same(*(quick(cls).inspect(victim, suspects) for _ in range(2)))

    def test_the_state_of_global_generators_decides_nothing(self, cls, suspects, victim):
        verdict = quick(cls).inspect(victim, suspects)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(99)
            before = torch.random.get_rng_state()
            assert same(verdict, quick(cls).inspect(victim, suspects))
            assert torch.equal(before, torch.random.get_rng_state())

    def test_the_victim_is_left_alone(self, cls, suspects, untouched):
        quick(cls).inspect(untouched, suspects)

    def test_the_victim_s_mode_decides_nothing(self, cls, suspects, victim):
        verdict = quick(cls).inspect(victim, suspects)
        assert same(verdict, quick(cls).inspect(victim.train(), suspects))

    def test_evidence_is_json_but_for_its_arrays(self, cls, suspects, victim):
        evidence = plain(quick(cls).inspect(victim, suspects).evidence)
        json.dumps(evidence, allow_nan=False)
        assert None not in evidence.values()


@of("input")
class TestEveryInputDetector:
    @pytest.fixture
    def clips(self, suspects):
        return torch.stack([suspects.read(i) for i in range(5)])

    def test_a_score_for_every_clip_and_the_way_the_threshold_was_set(
        self, cls, suspects, victim, clips
    ):
        screen = fitted(cls, victim, suspects)
        scores = screen.score(clips)
        assert scores.shape == (5,)
        assert scores.isfinite().all()
        assert isinstance(screen.threshold, float)
        assert screen.calibration

    def test_a_clip_s_score_is_its_own(self, cls, suspects, victim, clips):
        screen = fitted(cls, victim, suspects)
        together = screen.score(clips)
        assert torch.equal(torch.cat([screen.score(clip[None]) for clip in clips]), together)
        assert torch.equal(screen.score(clips.flip(0)).flip(0), together)

    def test_the_same_screen_every_time(self, cls, suspects, victim, clips):
        first, second = (fitted(cls, victim, suspects) for _ in range(2))
        assert torch.equal(first.score(clips), second.score(clips))
        assert first.threshold == second.threshold

    def test_a_screen_is_saved_and_loaded_to_the_bit(self, cls, suspects, victim, clips, tmp_path):
        detector, file = quick(cls), tmp_path / "screen"
        screen = detector.fit(victim, suspects, **given(cls, suspects))
        screen.save(file)
        again = detector.load(file, victim)
        assert torch.equal(again.score(clips), screen.score(clips))
        assert (again.threshold, again.calibration) == (screen.threshold, screen.calibration)
        file.write_bytes(file.read_bytes()[:20])
        with pytest.raises(DataError, match=r"^[^\n]*$"):
            detector.load(file, victim)

    def test_about_as_many_clean_clips_are_flagged_as_it_was_asked(self, cls, victim):
        clips = Shapes(train=160, test=4, frames=4, size=(16, 16), classes=4).open(0).train
        known, fresh = (pick(clips, tuple(range(at, at + 80))) for at in (0, 80))
        screen = fitted(cls, victim, known, fpr=0.2, held_out=40)
        scores = screen.score(torch.stack([fresh.read(i) for i in range(80)]))
        # Of 40 + 80 clips: three standard deviations of the binomial law of both draws.
        assert float((scores > screen.threshold).double().mean()) == pytest.approx(0.2, abs=0.23)

    def test_victim_and_clips_are_left_alone(self, cls, suspects, untouched, clips):
        before = clips.clone()
        fitted(cls, untouched, suspects).score(clips)
        assert torch.equal(clips, before)


@pytest.mark.parametrize("kind", methods("victim"))
@pytest.mark.parametrize("cls", [pytest.param(c, id=n) for n, c in methods("detector").items()])
def test_it_works_on_every_victim(cls, kind):
    config = methods("victim")[kind]
    small = CUSTOM if kind == "custom" else getattr(config, "presets", {}).get("small", {})
    victim = victims.build(config(**small), 4, 0).eval()
    clips = Shapes(train=16, test=4, frames=8, size=(32, 32), classes=4).open(0).train
    detector = quick(cls)
    if level(cls) == "dataset":
        scores = detector.inspect(clips, victim=victim).scores
    elif level(cls) == "model":
        scores = detector.inspect(victim, clips).scores
    else:
        scores = fitted(cls, victim, clips).score(clips.read(0)[None])
    assert np.isfinite(np.asarray(scores)).all()
