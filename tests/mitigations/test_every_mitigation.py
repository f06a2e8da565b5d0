"""What every registered mitigation must do. Registering one is enough to be here."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from travel import sent

from vidoor.data.shapes import Shapes
from vidoor.meter import metered
from vidoor.mitigations._purified import Purified
from vidoor.options import build, table
from vidoor.registry import methods
from vidoor.types import ClipSet, Verdict
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import Training
from vidoor.victims.victim import Victim, to_batch

MITIGATIONS = [pytest.param(cls, id=name) for name, cls in methods("mitigation").items()]
VICTIMS = [pytest.param(cls, id=name) for name, cls in methods("victim").items()]

CUSTOM = {
    "factory": "vidoor.victims.r2plus1d:R2Plus1DNetwork",
    "options": {"width": 4, "depth": (1,)},
    "classes": "classes",
}
QUICK = {
    "epochs": 1, "teacher_epochs": 1, "rotation_epochs": 1, "head_epochs": 1, "rounds": 1,
    "fixed_point": 2, "fraction_pruned": 0.1,
}  # fmt: skip
"""Options that make a mitigation quick; whichever of them it has."""


@pytest.fixture(scope="module")
def clean():
    return Shapes(train=32, test=4, frames=4, size=(16, 16), classes=4).open(0).train


@pytest.fixture
def victim() -> Victim:
    return victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).eval()


def weights(victim: Victim) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in victim.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def verdict(level: str, clips: ClipSet) -> Verdict:
    """A detector's word: every fifth clip, or the first class by a faint pattern."""
    ids = clips.ids if level == "dataset" else clips.classes
    _, height, width = clips.geometry
    pattern = np.random.default_rng(0).normal(0, 3, (3, height, width)).astype(np.float32)
    return Verdict(
        ids=ids,
        scores=tuple(float(n % 5 == 0) for n in range(len(ids))),
        threshold=0.5,
        calibration="by hand",
        alarm=True,
        evidence={"pattern": pattern} if level == "model" else {},
    )


def given(mitigation, clean: ClipSet) -> dict:
    """What a mitigation asks for beside a victim and clean clips."""
    offered = {
        "suspects": clean,
        "verdict": verdict(getattr(mitigation, "verdict_of", ""), clean),
        "training": Training(epochs=1),
        "seed": 0,
    }
    return {name: offered[name] for name in getattr(mitigation, "given", ())}


@pytest.mark.parametrize("cls", MITIGATIONS)
class TestEveryMitigation:
    def test_it_returns_another_victim_and_leaves_its_input_alone(self, cls, victim, clean):
        before = weights(victim)
        with metered() as block:
            mended = cls()(victim, clean, **given(cls(), clean))
        weights_stay = isinstance(mended, Purified)
        assert block.cost.forward or weights_stay
        assert isinstance(mended, Victim)
        assert mended is not victim
        assert equal(weights(victim), before)
        assert not victim.training
        assert equal(weights(mended), before) == weights_stay
        logits = mended.eval().logits(to_batch(clean.read(0)[None]))
        assert logits.shape == (1, 4)
        assert logits.isfinite().all()

    def test_the_same_weights_every_time(self, cls, victim, clean):
        made = [cls()(victim, clean, **given(cls(), clean)) for _ in range(2)]
        assert equal(*(weights(each) for each in made))

    @pytest.mark.parametrize("architecture", VICTIMS)
    def test_any_victim_will_do_and_stays_what_it_is(self, cls, architecture, tmp_path):
        """What is mended is saved and loaded as any victim is, so it has the same architecture."""
        clean = Shapes(train=8, test=4, frames=4, size=(24, 24), classes=4).open(0).train
        config = architecture(**getattr(architecture, "presets", {}).get("small", CUSTOM))
        mitigation = cls(**{f.name: QUICK[f.name] for f in fields(cls) if f.name in QUICK})
        victim, again = (victims.build(config, 4, seed).eval() for seed in (0, 1))
        mended = mitigation(victim, clean, **given(mitigation, clean)).eval()
        victims.save(mended, tmp_path / "w.safetensors")
        victims.load(again, tmp_path / "w.safetensors")
        clips = to_batch(clean.read(0)[None])
        weights_stay = isinstance(mended, Purified)
        seen = mended.purified(clips) if weights_stay else clips
        assert mended(clips).isfinite().all()
        assert torch.equal(mended(clips), again.eval()(seen))
        assert torch.equal(mended(clips), victim(seen)) == weights_stay

    def test_it_goes_through_a_recipe_and_a_pickle_unchanged(self, cls):
        for options in ({}, *getattr(cls, "presets", {}).values()):
            mitigation = cls(**options)
            written = table(mitigation)
            written.pop("kind")
            assert build(cls, written, "mitigation") == mitigation
            assert sent(mitigation) == mitigation

    def test_it_has_a_sentence(self, cls):
        assert (cls.__doc__ or "").strip()
