"""The plan: how many, of which classes, reproducibly; and the poisoned set as a view."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from travel import sent

from vidoor.data import video
from vidoor.errors import RecipeError, TriggerError
from vidoor.poisoning.poisoner import Poisoner, PoisonPlan, apply, triggered
from vidoor.triggers.spectral import DFT
from vidoor.types import ClipSet, Geometry

MODES = ("all-to-one", "one-to-one", "many-to-one", "all-to-all", "clean-label")


@dataclass(frozen=True)
class Grey:
    level: int = 50

    def __call__(self, index: int) -> torch.Tensor:
        return torch.full((2, 3, 4, 4), self.level + index % 100, dtype=torch.uint8)


@dataclass(frozen=True)
class Brighten:
    def __call__(self, clip):
        return clip + 1


@dataclass(frozen=True)
class Noisy(Brighten):
    """A trigger whose noise shows its seed."""

    def noisy(self, clip, seed):
        return clip + 2 + seed % 50


@dataclass(frozen=True)
class Noise:
    def __call__(self, index: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(index)
        return torch.randint(0, 256, (2, 3, 16, 16), generator=rng, dtype=torch.uint8)


def noise_clips() -> ClipSet:
    return ClipSet(("a", "b"), (0, 1), ("run", "walk"), Geometry(2, 16, 16), Noise())


def clips(labels: list[int], classes: int) -> ClipSet:
    names = tuple(f"class{i}" for i in range(classes))
    ids = tuple(f"clip{i}" for i in range(len(labels)))
    return ClipSet(ids, tuple(labels), names, Geometry(2, 4, 4), Grey())


@st.composite
def attacks(draw, every_class=False):
    """Clips of two to six classes in any order, and the options of a mode over them."""
    classes = draw(st.integers(2, 6))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=60))
    labels += range(classes) if every_class else ()
    mode = draw(st.sampled_from(MODES))
    target = 0 if mode == "all-to-all" else draw(st.integers(0, classes - 1))
    others = [c for c in range(classes) if c != target]
    most = {"one-to-one": 1, "many-to-one": len(others)}.get(mode, 0)
    sources = draw(st.permutations(others))[: draw(st.integers(1, most)) if most else 0]
    return clips(labels, classes), {"labels": mode, "target": target, "sources": tuple(sources)}


def expected_sources(options, classes: int) -> dict[int, int]:
    """Class whose clips are triggered -> label that they get."""
    target = options["target"]
    match options["labels"]:
        case "all-to-one":
            return {c: target for c in range(classes) if c != target}
        case "one-to-one" | "many-to-one":
            return dict.fromkeys(options["sources"], target)
        case "all-to-all":
            return {**{c: c + 1 for c in range(classes - 1)}, classes - 1: 0}
        case "clean-label":
            return {target: target}


@given(attack=attacks(), rate=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_every_source_class_loses_its_share_and_no_other_any(attack, rate, seed):
    clean, options = attack
    labels, classes = clean.labels, len(clean.classes)
    poisoner = Poisoner(rate=rate, **options)
    sources = expected_sources(options, classes)
    expected = [round(rate * labels.count(c)) if c in sources else 0 for c in range(classes)]
    if rate and not sum(expected):
        with pytest.raises(RecipeError, match="selects no clip"):
            poisoner.plan(clean, seed)
        return
    plan = poisoner.plan(clean, seed)
    drawn = np.bincount([labels[i] for i in plan.poisoned], minlength=classes)
    assert drawn.tolist() == expected
    assert all(given == sources[labels[i]] for i, given in plan.poisoned.items())
    assert not plan.noisy
    assert plan == poisoner.plan(clean, seed)


@given(attack=attacks(every_class=True), rate=st.floats(0.6, 1), seed=st.integers(0, 2**32))
def test_labels_change_where_the_plan_says_so_and_nowhere_else(attack, rate, seed):
    clean, options = attack
    plan = Poisoner(rate=rate, **options).plan(clean, seed)
    poisoned = apply(clean, plan, Brighten())
    for index, label in enumerate(clean.labels):
        assert poisoned.labels[index] == plan.poisoned.get(index, label)
    changed = {i for i, label in enumerate(clean.labels) if poisoned.labels[i] != label}
    assert changed == (set() if options["labels"] == "clean-label" else set(plan.poisoned))


@given(attack=attacks(), rate=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_a_global_draw_is_a_fraction_of_all_of_which_the_sources_are_kept(attack, rate, seed):
    clean, options = attack
    poisoner = Poisoner(rate=rate, draw="global", **options)
    sources = expected_sources(options, len(clean.classes))
    # Whom it draws does not depend on the mode: clips of other classes are skipped afterwards.
    drawn = np.random.default_rng([seed, 1]).choice(
        len(clean), round(rate * len(clean)), replace=False
    )
    expected = {int(i): sources[clean.labels[i]] for i in drawn if clean.labels[i] in sources}
    if rate and not expected:
        with pytest.raises(RecipeError, match="selects no clip"):
            poisoner.plan(clean, seed)
        return
    assert poisoner.plan(clean, seed) == PoisonPlan(expected)


def test_a_plan_of_earlier_records_is_the_same_today():
    """The draw is part of what a record means: these plans were made by version 0.1."""
    plan = Poisoner().plan(clips([0, 1, 2] * 10, 3), 7)
    assert plan == PoisonPlan({5: 0, 8: 0, 22: 0, 28: 0})
    plan = Poisoner(rate=0.5, target=2).plan(clips([0, 1, 2] * 4, 3), 3)
    assert plan == PoisonPlan({3: 2, 4: 2, 6: 2, 10: 2})


def test_the_order_of_sources_changes_nothing():
    clean = clips([0, 1, 2, 3] * 10, 4)
    one, other = (
        Poisoner(labels="many-to-one", sources=sources).plan(clean, 5)
        for sources in [(1, 3), (3, 1)]
    )
    assert one == other


def test_another_seed_draws_other_clips():
    suspects = clips([0, 1] * 50, 2)
    plans = [frozenset(Poisoner().plan(suspects, seed).poisoned) for seed in range(4)]
    assert len(set(plans)) == 4


@given(
    attack=attacks(every_class=True),
    rate=st.floats(0.6, 1),
    cross_ratio=st.floats(0, 3),
    seed=st.integers(0, 2**32),
)
def test_noise_goes_to_other_clips_in_proportion(attack, rate, cross_ratio, seed):
    clean, options = attack
    quiet = Poisoner(rate=rate, **options).plan(clean, seed)
    poisoner = Poisoner(rate=rate, cross_ratio=cross_ratio, **options)
    count = round(cross_ratio * len(quiet.poisoned))
    if count > len(clean) - len(quiet.poisoned) or (cross_ratio and quiet.poisoned and not count):
        with pytest.raises(RecipeError, match=f"asks for {count} with noise, of the"):
            poisoner.plan(clean, seed)
        return
    plan = poisoner.plan(clean, seed)
    assert plan.poisoned == quiet.poisoned
    assert len(plan.noisy) == count
    assert not plan.noisy.keys() & plan.poisoned.keys()
    assert all(0 <= index < len(clean) for index in plan.noisy)
    assert plan == poisoner.plan(clean, seed)
    labels = apply(clean, plan, Noisy()).labels
    assert all(labels[index] == clean.labels[index] for index in plan.noisy)


def test_noise_reaches_every_class_and_each_clip_has_its_own():
    clean = clips([0, 1, 2] * 40, 3)
    plan = Poisoner(cross_ratio=2.0).plan(clean, 0)
    assert {clean.labels[index] for index in plan.noisy} == {0, 1, 2}
    assert len(set(plan.noisy.values())) == len(plan.noisy) == 32


def test_the_view_changes_planned_clips_only_and_copies_nothing():
    clean = clips([0, 1, 1, 1, 1, 1], 2)
    plan = Poisoner(rate=0.4, cross_ratio=1.0).plan(clean, 0)
    assert (len(plan.poisoned), len(plan.noisy)) == (2, 2)
    poisoned = sent(apply(clean, plan, Noisy()))
    for index in range(len(clean)):
        planned = index in plan.poisoned
        assert poisoned.labels[index] == (0 if planned else clean.labels[index])
        difference = poisoned.read(index).int() - clean.read(index).int()
        noise = 2 + plan.noisy[index] % 50 if index in plan.noisy else 0
        assert (difference == int(planned) + noise).all()
    assert poisoned.ids == clean.ids


def test_triggered_keeps_true_labels():
    clean = clips([0, 1, 1], 2)
    attacked = triggered(clean, Brighten())
    assert attacked.labels == clean.labels
    assert all(attacked.read(i)[0, 0, 0, 0] == clean.read(i)[0, 0, 0, 0] + 1 for i in range(3))


def test_noise_needs_a_trigger_that_has_it():
    some = clips([0, 1, 1], 2)
    Poisoner().preflight(Brighten(), some)
    Poisoner(cross_ratio=2.0).preflight(Noisy(), some)
    line = r"cross_ratio = 2 asks for a trigger that has noise, such as wanet, and Brighten has"
    with pytest.raises(RecipeError, match=line):
        Poisoner(cross_ratio=2.0).preflight(Brighten(), some)
    whole = DFT(rms=1.0, start=0, count=2, components=1, transform_frames=2)
    Poisoner().preflight(whole, some)
    with pytest.raises(TriggerError, match=r"the band 0\.\.1 leaves no other of 2"):
        Poisoner(cross_ratio=2.0).preflight(whole, some)


def test_a_codec_that_does_not_fit_is_refused_at_once():
    with pytest.raises(ValueError, match="quality = 23 is of a codec"):
        Poisoner(quality=23)
    with pytest.raises(ValueError, match=r"quality 99 does not fit h264; valid: 0\.\.51"):
        Poisoner(codec="h264", quality=99)
    with pytest.raises(ValueError, match="'av1'"):
        Poisoner(codec="av1")
    assert Poisoner().publication is None


def test_a_published_set_is_the_set_in_files(tmp_path):
    """All of its clips, by the writer and the reader of files."""
    clean = noise_clips()
    published = Poisoner(codec="h264", quality=30).publication(clean)
    assert (published.ids, published.labels) == (clean.ids, clean.labels)
    for index in range(len(clean)):
        file = tmp_path / f"{index}.mp4"
        video.write(file, clean.read(index), codec="h264", quality=30)
        assert torch.equal(published.read(index), video.read(file))
        assert not torch.equal(published.read(index), clean.read(index))
    lossless = Poisoner(codec="ffv1").publication(clean)
    assert torch.equal(lossless.read(1), clean.read(1))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rate": 1.1}, "rate must be a fraction"),
        ({"rate": float("nan")}, "rate must be a fraction"),
        ({"target": -1}, "target must be"),
        ({"draw": "globally"}, "unknown draw 'globally'; valid: per-class, global"),
        ({"cross_ratio": -1.0}, "cross_ratio must be a number >= 0, not -1"),
        ({"cross_ratio": float("nan")}, "cross_ratio must be"),
        ({"cross_ratio": float("inf")}, "cross_ratio must be"),
        ({"labels": "one-to-one"}, "need one class index as sources"),
    ],
)
def test_impossible_options_are_refused(options, line):
    with pytest.raises(ValueError, match=line):
        Poisoner(**options)


def test_a_target_outside_the_classes_is_refused():
    with pytest.raises(RecipeError, match=r"target = 3 is out of range.*0\.\.2"):
        Poisoner(target=3).plan(clips([0, 1, 2], 3), 0)


def test_a_rate_that_selects_nothing_names_the_largest_class_it_draws_from():
    clean = clips([0] * 9 + [1] * 2 + [2] * 4, 3)
    with pytest.raises(RecipeError, match=r"largest class that all-to-one labels .* has 4 clips"):
        Poisoner(rate=0.1).plan(clean, 0)
    with pytest.raises(RecipeError, match=r"largest class that one-to-one labels .* has 2 clips"):
        Poisoner(rate=0.1, labels="one-to-one", sources=(1,)).plan(clean, 0)
