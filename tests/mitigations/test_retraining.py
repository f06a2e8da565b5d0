"""Retraining: who is left out, and that the rest trains as any victim does."""

from dataclasses import replace

import pytest
import torch
from planted import planted, rates

from vidoor.data.shapes import Shapes
from vidoor.data.subset import pick
from vidoor.errors import DataError
from vidoor.mitigations._fresh import fresh
from vidoor.mitigations.retraining import Retraining, unflagged
from vidoor.registry import methods
from vidoor.types import ClipSet, Verdict
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import Training, fit
from vidoor.victims.victim import to_batch

CLEAN = Shapes(train=12, test=4, frames=4, size=(16, 16), classes=4).open(0).train
CONFIG = R2Plus1D(width=4, depth=(1,))
CUSTOM = {
    "factory": "vidoor.victims.r2plus1d:R2Plus1DNetwork",
    "options": {"width": 4, "depth": (1,)},
    "classes": "classes",
}


def said(clips: ClipSet, accused, alarm: bool = True) -> Verdict:
    scores = tuple(2.0 if index in accused else 1.0 for index in range(len(clips)))
    return Verdict(ids=clips.ids, scores=scores, threshold=1.0, calibration="by hand", alarm=alarm)


def same(one, other) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("cls", [pytest.param(c, id=n) for n, c in methods("victim").items()])
def test_a_fresh_victim_has_weights_of_its_seed_and_nothing_of_the_old_one(cls):
    config = cls(**getattr(cls, "presets", {}).get("small", CUSTOM))
    old = victims.build(config, 4, 0).eval()
    with torch.no_grad():  # as if trained: everything is somewhere else
        for value in (*old.network.parameters(), *old.network.buffers()):
            if value.is_floating_point():
                value.add_(9.0)
    before = {name: value.clone() for name, value in old.network.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = (fresh(old, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(first, again)
    assert not same(first, other)
    for name, value in first.network.state_dict().items():
        assert torch.equal(old.network.state_dict()[name], before[name])
        assert not value.is_floating_point() or not torch.equal(value, before[name]), name
    size = max(float(weight.detach().abs().max()) for weight in first.parameters())
    assert size < 9
    assert first(to_batch(CLEAN.read(0).repeat(1, 1, 2, 2)[None])).isfinite().all()


def test_it_is_built_as_the_old_one_was():
    old = victims.build(CONFIG, 4, 0, frames=2)
    new = fresh(old, 7, 3)
    assert same(new, victims.build(CONFIG, 7, 3))
    assert new.frames == 2


def test_it_is_a_training_on_the_clips_that_are_not_flagged():
    victim, training = victims.build(CONFIG, 4, 0).eval(), Training(epochs=2, batch_size=4)
    kept = pick(CLEAN, tuple(index for index in range(12) if index not in (3, 8)))
    expected, _ = fit(fresh(victim, 4, 5), kept, training, seed=5, device="cpu")
    options = {"suspects": CLEAN, "training": training, "seed": 5}
    found = Retraining()(victim, CLEAN, verdict=said(CLEAN, {3, 8}), **options)
    assert same(found, expected)
    other = Retraining()(victim, CLEAN, verdict=said(CLEAN, {3}), **options)
    assert not same(found, other)


def test_only_an_alarm_flags_and_only_above_the_threshold():
    verdict = said(CLEAN, {0, 5})
    assert unflagged(CLEAN, verdict).ids == tuple(
        name for index, name in enumerate(CLEAN.ids) if index not in (0, 5)
    )
    turned = replace(verdict, ids=verdict.ids[::-1], scores=verdict.scores[::-1])
    assert unflagged(CLEAN, turned).ids == unflagged(CLEAN, verdict).ids
    quiet = replace(verdict, alarm=False)
    assert unflagged(CLEAN, quiet).ids == CLEAN.ids
    victim = victims.build(CONFIG, 4, 0)
    options = {"suspects": CLEAN, "training": Training(epochs=1), "seed": 5}
    left = Retraining()(victim, CLEAN, verdict=quiet, **options)
    assert left is not victim
    assert same(left, victim)


def test_without_the_poisoned_clips_there_is_no_backdoor():
    victim, clean, pattern = planted()
    added = torch.from_numpy(pattern).transpose(0, 1)
    poisoned = {index for index in range(len(clean)) if clean.labels[index] and index % 2 == 0}

    def read(index: int) -> torch.Tensor:
        clip = clean.read(index)
        return (clip + added).round().clamp(0, 255).byte() if index in poisoned else clip

    labels = tuple(0 if n in poisoned else label for n, label in enumerate(clean.labels))
    suspects = replace(clean, labels=labels, read=read)
    options = {"suspects": suspects, "training": Training(epochs=60, lr=3e-3), "seed": 0}
    filtered = Retraining()(victim, clean, verdict=said(suspects, poisoned), **options)
    wrong = {(index + 1) % len(clean) for index in poisoned}
    anyway = Retraining()(victim, clean, verdict=said(suspects, wrong), **options)
    assert rates(filtered, clean, pattern) == (1.0, 0.0)
    assert rates(anyway, clean, pattern)[1] > 0.5


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (said(CLEAN, set(range(12))), "flags all of the 12 training clips"),
        (said(pick(CLEAN, (0, 1)), {0}), "on 2 clips, which are not the 12 training clips"),
    ],
)
def test_verdicts_that_leave_nothing_are_refused_in_one_line(verdict, words):
    victim = victims.build(CONFIG, 4, 0)
    options = {"suspects": CLEAN, "training": Training(epochs=1), "seed": 0}
    with pytest.raises(DataError, match=words) as error:
        Retraining()(victim, CLEAN, verdict=verdict, **options)
    assert "\n" not in str(error.value)
