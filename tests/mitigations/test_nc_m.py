"""NC-M: what is stamped, on which clips, and that a planted backdoor is unlearnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import SHAPE, planted, rates

from vidoor.data.shapes import Shapes
from vidoor.errors import DataError, RecipeError
from vidoor.mitigations.fine_tuning import FineTuning
from vidoor.mitigations.nc_m import NCM, estimate, others
from vidoor.options import build
from vidoor.registry import lookup
from vidoor.types import Geometry, Verdict
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D

CLEAN = Shapes(train=24, test=4, frames=4, size=(16, 16), classes=4).open(0).train
RNG = np.random.default_rng(0)


def said(alarm: bool = True, **evidence) -> Verdict:
    return Verdict(
        ids=("a", "b", "c"), scores=(3.0, 0.0, 0.0), threshold=2.0, calibration="by hand",
        alarm=alarm, evidence=evidence,
    )  # fmt: skip


@pytest.mark.parametrize("over", ["frame", "volume"])
@pytest.mark.parametrize("masked", [None, "frame", "volume"])
def test_stamps_by_the_formula(over, masked):
    clips = RNG.random((2, 3, 4, 5, 6)).astype(np.float32)
    pattern = RNG.uniform(-300, 300, (3, 4, 5, 6)).astype(np.float32)
    mask = RNG.random((4, 5, 6)).astype(np.float32)
    if over == "frame":
        pattern[:] = pattern[:, :1]
    if masked == "frame":
        mask[:] = mask[:1]
    evidence = {"pattern": pattern[:, 0] if over == "frame" else pattern}
    if masked:
        evidence["mask"] = mask[0] if masked == "frame" else mask
        expected = (1 - mask) * clips + mask * pattern / 255
    else:
        expected = np.clip(clips + pattern / 255, 0, 1)
    stamped = estimate(said(**evidence), Geometry(4, 5, 6)).stamp(torch.from_numpy(clips))
    np.testing.assert_allclose(stamped.numpy(), expected, rtol=0, atol=1e-6)


def test_the_planted_backdoor_is_unlearnt_and_fine_tuning_leaves_it():
    victim, clean, pattern = planted()
    assert rates(victim, clean, pattern) == (1.0, 1.0)
    options = {"fraction": 0.5, "epochs": 30, "lr": 3e-3}
    mended = NCM(**options)(victim, clean, verdict=said(pattern=pattern))
    tuned = FineTuning(**options)(victim, clean)
    assert rates(mended, clean, pattern) == (1.0, 0.0)
    assert rates(tuned, clean, pattern) == (1.0, 1.0)


def test_with_nothing_stamped_it_is_fine_tuning_to_the_bit():
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0)
    options = {"fraction": 0.5, "epochs": 2, "batch_size": 5}
    verdict = said(pattern=RNG.normal(0, 30, (3, 16, 16)))
    tuned = FineTuning(**options)(victim, CLEAN).state_dict()
    plain = NCM(**options, stamped=0.0)(victim, CLEAN, verdict=verdict).state_dict()
    stamped = NCM(**options, stamped=0.3)(victim, CLEAN, verdict=verdict).state_dict()
    assert all(torch.equal(tuned[name], plain[name]) for name in tuned)
    assert any(not torch.equal(tuned[name], stamped[name]) for name in tuned)


def test_so_many_clips_carry_the_trigger_in_every_epoch():
    victim, clean, _ = planted()
    seen = []
    # White where stamped: clips have no white pixel of their own.
    verdict = said(pattern=np.full(SHAPE[:1] + SHAPE[2:], 1000.0))
    victim.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    NCM(fraction=0.5, epochs=2, batch_size=7)(victim, clean, verdict=verdict)
    white = [bool((clip == 1).all()) for clip in torch.cat(seen)]
    assert len(white) == 48
    assert [sum(white[:24]), sum(white[24:])] == [7, 7]  # 0.3 × 24 = 7.2


def test_without_an_alarm_the_paper_goes_on_and_others_need_not():
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0)
    quiet = said(alarm=False, pattern=RNG.normal(0, 3, (3, 16, 16)))
    before = victim.state_dict()
    left = NCM(always=False)(victim, CLEAN, verdict=quiet)
    assert left is not victim
    assert all(torch.equal(before[k], v) for k, v in left.state_dict().items())
    loud = NCM(always=False)(victim, CLEAN, verdict=replace(quiet, alarm=True)).state_dict()
    assert any(not torch.equal(before[k], loud[k]) for k in before)
    anyway = NCM()(victim, CLEAN, verdict=quiet).state_dict()
    assert all(torch.equal(loud[k], anyway[k]) for k in loud)


class TestPlacebo:
    """What other classes' perturbations do: the verdict's first class is the suspect."""

    preset = NCM.presets["placebo"]

    def test_the_other_classes_take_turns(self):
        victim, clean, pattern = planted()
        white, black = np.full(SHAPE, 1000.0), np.full(SHAPE, -1000.0)
        seen = []
        victim.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
        options = {"fraction": 0.5, "epochs": 2, "batch_size": 7, "stamped": 0.3}
        verdict = said(pattern=pattern, patterns=np.stack([pattern, white, black]))
        NCM(**{**self.preset, **options})(victim, clean, verdict=verdict)
        clips = torch.cat(seen)
        assert len(clips) == 48
        for epoch in clips.split(24):
            assert [int((epoch == level).flatten(1).all(1).sum()) for level in (1, 0)] == [4, 3]

    def test_it_leaves_the_planted_backdoor(self):
        victim, clean, pattern = planted()
        other = RNG.normal(0, 10, SHAPE)
        other -= (other * pattern).sum() / (pattern**2).sum() * pattern
        verdict = said(pattern=pattern, patterns=np.stack([pattern, other, -other]))
        options = {"fraction": 0.5, "epochs": 30, "lr": 3e-3}
        mended = NCM(**{**self.preset, **options})(victim, clean, verdict=verdict)
        assert rates(mended, clean, pattern) == (1.0, 1.0)

    def test_volume_inversion_keeps_what_it_needs(self):
        victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).eval()
        verdict = lookup("detector", "volume-inversion")(steps=3, clips=8).inspect(victim, CLEAN)
        target, *rest = estimate(verdict, CLEAN.geometry), *others(verdict, CLEAN.geometry)
        assert len(rest) == 3
        assert all(each.pattern.shape == (3, 4, 16, 16) for each in (target, *rest))
        assert not any(torch.allclose(each.pattern, target.pattern, rtol=1e-3) for each in rest)
        NCM(**{**self.preset, "epochs": 1})(victim, CLEAN, verdict=verdict)

    @pytest.mark.parametrize(
        ("evidence", "words"),
        [
            ({}, "of all classes, 3×3×4×16×16, and the verdict's are not kept; name"),
            ({"patterns": np.zeros((3, 3, 4, 8, 8))}, "and the verdict's are 3×3×4×8×8; name"),
        ],
    )
    def test_without_the_others_it_is_refused_in_one_line(self, evidence, words):
        verdict = said(pattern=np.zeros((3, 4, 16, 16)), **evidence)
        victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0)
        with pytest.raises(DataError, match=words) as error:
            NCM(**self.preset)(victim, CLEAN, verdict=verdict)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["pt-red", "nc", "tabor", "volume-inversion"])
def test_it_reads_what_detectors_by_inversion_say(name):
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).eval()
    verdict = lookup("detector", name)(steps=3, clips=8).inspect(victim, CLEAN)
    trigger = estimate(verdict, CLEAN.geometry)
    assert (trigger.mask is None) == (name in ("pt-red", "volume-inversion"))
    mended = NCM(epochs=1)(victim, CLEAN, verdict=verdict)
    assert all(weight.isfinite().all() for weight in mended.parameters())


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({}, "holds no pattern"),
        ({"pattern": np.zeros((3, 8, 8))}, r"pattern is 3×8×8; clips of 4×16×16 need 3×16×16 or"),
        ({"pattern": np.zeros((3, 2, 16, 16))}, "pattern is 3×2×16×16"),
        ({"pattern": np.zeros((3, 16, 16)), "mask": np.zeros((3, 16, 16))}, "mask is 3×16×16"),
    ],
)
def test_a_verdict_without_a_trigger_that_fits_is_refused_in_one_line(evidence, words):
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0)
    with pytest.raises(DataError, match=words) as error:
        NCM()(victim, CLEAN, verdict=said(**evidence))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options", [{"stamped": 1.5}, {"epochs": 0}, {"fraction": 0.0}, {"perturbation": "none"}]
)
def test_impossible_options_are_refused_in_one_line(options):
    with pytest.raises(RecipeError, match=next(iter(options))) as error:
        build(NCM, options, "mitigation")
    assert "\n" not in str(error.value)
