"""The plan: how many, of which classes, reproducibly; and the poisoned set as a view."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidoor.errors import RecipeError
from vidoor.poisoning.poisoner import Poisoner, apply, triggered
from vidoor.types import ClipSet, Geometry


@dataclass(frozen=True)
class Grey:
    level: int = 50

    def __call__(self, index: int) -> torch.Tensor:
        return torch.full((2, 3, 4, 4), self.level + index % 100, dtype=torch.uint8)


@dataclass(frozen=True)
class Brighten:
    def __call__(self, clip):
        return clip + 1


def clips(labels: list[int], classes: int) -> ClipSet:
    names = tuple(f"class{i}" for i in range(classes))
    ids = tuple(f"clip{i}" for i in range(len(labels)))
    return ClipSet(ids, tuple(labels), names, Geometry(2, 4, 4), Grey())


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    rate=st.floats(0, 1),
    target=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
def test_every_other_class_loses_its_share_and_the_target_none(counts, rate, target, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    suspects = clips(labels, len(counts))
    target %= len(counts)
    poisoner = Poisoner(rate=rate, target=target)
    expected = [0 if c == target else round(rate * n) for c, n in enumerate(counts)]
    if rate and not sum(expected):
        with pytest.raises(RecipeError, match="selects no clip"):
            poisoner.plan(suspects, seed)
        return
    plan = poisoner.plan(suspects, seed)
    drawn = np.bincount([labels[i] for i in plan.relabelled], minlength=len(counts))
    assert drawn.tolist() == expected
    assert set(plan.relabelled.values()) <= {target}
    assert plan == poisoner.plan(suspects, seed)


def test_another_seed_draws_other_clips():
    suspects = clips([0, 1] * 50, 2)
    plans = [frozenset(Poisoner().plan(suspects, seed).relabelled) for seed in range(4)]
    assert len(set(plans)) == 4


def test_the_view_changes_planned_clips_only_and_copies_nothing():
    clean = clips([0, 1, 1, 1, 1, 1], 2)
    plan = Poisoner(rate=0.4).plan(clean, 0)
    poisoned = apply(clean, plan, Brighten())
    for index in range(len(clean)):
        planned = index in plan.relabelled
        assert poisoned.labels[index] == (0 if planned else clean.labels[index])
        difference = poisoned.read(index).int() - clean.read(index).int()
        assert (difference == int(planned)).all()
    assert poisoned.ids == clean.ids
    assert pickle.loads(pickle.dumps(poisoned)).labels == poisoned.labels


def test_triggered_keeps_true_labels():
    clean = clips([0, 1, 1], 2)
    attacked = triggered(clean, Brighten())
    assert attacked.labels == clean.labels
    assert all(attacked.read(i)[0, 0, 0, 0] == clean.read(i)[0, 0, 0, 0] + 1 for i in range(3))


@pytest.mark.parametrize("options", [{"rate": 1.1}, {"rate": float("nan")}, {"target": -1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"rate must be|target must be"):
        Poisoner(**options)


def test_a_target_outside_the_classes_is_refused():
    with pytest.raises(RecipeError, match=r"target = 3 is out of range.*0\.\.2"):
        Poisoner(target=3).plan(clips([0, 1, 2], 3), 0)
