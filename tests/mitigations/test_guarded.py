"""Screened purifiers: who is purified, against screen and purifier asked one by one."""

import copy

import pytest
import torch
from planted import planted, rates
from travel import sent

from vidoor.detectors.matched_filter import MatchedFilter
from vidoor.detectors.strip import STRIP
from vidoor.errors import DataError, RecipeError
from vidoor.mitigations._purified import Purified
from vidoor.mitigations.guarded import Screened
from vidoor.mitigations.purifiers import LowPass
from vidoor.options import build, component, identity, table
from vidoor.types import ClipSet, Geometry, Verdict
from vidoor.victims.victim import to_batch

SCREEN = {"kind": "strip", "overlays": 24, "fpr": 0.05}
OPTIONS = {"screen": SCREEN, "purifier": {"kind": "low-pass", "sigma": 1.5}}


def clips_of(clean, pattern):
    """The clean clips, and all of them with the pattern."""
    plain = torch.stack([clean.read(index) for index in range(len(clean))])
    added = plain.float() + torch.from_numpy(pattern).transpose(0, 1)
    return plain, added.round().clamp(0, 255).to(torch.uint8)


def test_flagged_clips_are_purified_and_others_are_not():
    victim, clean, pattern = planted()
    mended = Screened(**OPTIONS)(victim, clean)
    screen = STRIP(overlays=24, fpr=0.05).fit(victim, clean)
    flagged = []
    for clips in clips_of(clean, pattern):
        flags = screen.score(clips) > screen.threshold
        seen = [
            LowPass(sigma=1.5).purify(clip) if flag else clip
            for clip, flag in zip(clips, flags, strict=True)
        ]
        with torch.no_grad():
            assert torch.equal(mended(to_batch(clips)), victim(to_batch(torch.stack(seen))))
        flagged.append(float(flags.float().mean()))
    assert flagged[0] < 0.2 < 0.8 < flagged[1]


def test_accuracy_stays_where_purifying_everything_costs_it():
    victim, clean, pattern = planted()
    strong = {"kind": "low-pass", "sigma": 30.0}
    mended = Screened(screen={**SCREEN, "fpr": 0.01}, purifier=strong)(victim, clean)
    everything = LowPass(sigma=30.0)(victim, clean)
    assert rates(everything, clean, pattern)[0] < 0.7 < 0.9 < rates(mended, clean, pattern)[0]


def test_a_victim_like_any_other():
    victim, clean, pattern = planted()
    mended = Screened(**OPTIONS)(victim, clean)
    batch = to_batch(torch.cat(clips_of(clean, pattern))[::7])
    with torch.no_grad():
        logits = mended(batch)
        for twin in (copy.deepcopy(mended), sent(mended)):
            assert isinstance(twin, Purified)
            assert torch.equal(twin(batch), logits)
        next(victim.parameters()).zero_()  # neither network nor screen is the victim's own
        assert torch.equal(mended(batch), logits)


def test_a_recipe_names_screen_and_purifier_as_tables_of_their_own():
    written = {"kind": "screened", **OPTIONS}
    mitigation = component("mitigation", written)
    assert mitigation == Screened(**OPTIONS)
    assert table(mitigation) == written
    assert component("mitigation", {"kind": "screened"}) == Screened()


def test_a_screen_has_its_presets():
    screen = {"kind": "strip", "preset": "original"}
    assert build(Screened, {"screen": screen}, "one") == Screened(screen=screen)


def test_what_screen_and_purifier_come_to_is_part_of_the_identity(monkeypatch):
    before = identity(Screened(**OPTIONS))
    assert identity(Screened()) != before
    monkeypatch.setattr(LowPass, "revision", 7, raising=False)
    assert identity(Screened(**OPTIONS)) != before


def test_a_screen_that_acts_on_a_verdict_is_given_it():
    victim, clean, pattern = planted()
    assert Screened(**OPTIONS).given == ()
    mitigation = Screened(screen={"kind": "matched-filter", "detector": "c", "fpr": 0.05})
    asked = mitigation.given, mitigation.detector, mitigation.verdict_of
    assert asked == (("verdict",), "c", "dataset")
    evidence = {"template": pattern.mean(0)}
    found = Verdict(ids=(), scores=(), threshold=0.0, calibration="", alarm=True, evidence=evidence)
    (guard,) = mitigation(victim, clean, verdict=found).purifiers
    alone = MatchedFilter(detector="c", fpr=0.05).fit(None, clean, verdict=found)
    clips = torch.cat(clips_of(clean, pattern))
    assert torch.equal(guard.screen.score(clips), alone.score(clips))
    assert guard.screen.threshold == alone.threshold


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"screen": {"kind": "coherence"}}, "screen: unknown kind 'coherence'; valid: .*strip"),
        ({"screen": {}}, "screen: unknown kind 'None'"),
        ({"screen": {"kind": "strip", "overlay": "no"}}, "screen.overlay: input should be 'clip'"),
        ({"screen": {"kind": "strip", "fpr": 1.0}}, "screen: alpha and fpr must be above 0"),
        ({"screen": {"kind": "strip", "overlays": 2.5}}, "screen.overlays: .* integer"),
        ({"purifier": {"kind": "nad"}}, "purifier: unknown kind 'nad'; valid: .*subspace"),
        ({"purifier": {"kind": "screened"}}, "purifier: unknown kind 'screened'"),
        (
            {"purifier": {"kind": "jpeg", "qualty": 3}},
            r"\[purifier\] has an unknown key 'qualty'.*'quality'",
        ),
    ],
)
def test_what_is_no_screen_or_purifier_is_refused_in_one_line(options, words):
    with pytest.raises(RecipeError, match=words) as error:
        build(Screened, options, "mitigation.screened")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("mitigation.screened: ")


def test_too_few_clips_to_fit_a_screen_get_one_line():
    victim, clean, _ = planted()
    few = ClipSet(clean.ids[:2], clean.labels[:2], clean.classes, Geometry(2, 8, 8), clean.read)
    with pytest.raises(DataError, match="2 clean clips; STRIP needs 4") as error:
        Screened(**OPTIONS)(victim, few)
    assert "\n" not in str(error.value)
