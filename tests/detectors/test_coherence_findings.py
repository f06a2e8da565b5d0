"""Who is listed, where labels tell to which class a trigger moved its clips; hand-made scores."""

from typing import Any

import pytest
import torch
from hand_made import clipset
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.detectors._coherence.findings import (
    DOUBT,
    Found,
    _census,
    _listed,
    _witnesses,
    distinct,
    joint,
    name,
)
from vidoor.detectors._coherence.groups import Group
from vidoor.detectors._coherence.leads import Lead
from vidoor.detectors._coherence.stamps import Stamp
from vidoor.detectors._coherence.stills import Stills
from vidoor.types import ClipSet

COUNT, CLASSES, FPR = 4000, 8, 0.001
HIT = range(0, 40 * CLASSES, CLASSES)
"""Forty clips of class a with a trigger."""


def suspects() -> ClipSet:
    frames = torch.zeros(COUNT, 2, 3, 1, 1, dtype=torch.uint8)
    return clipset(frames, tuple(i % CLASSES for i in range(COUNT)), CLASSES)


def found(scores: torch.Tensor, threshold: float = 8.0, **others: Any) -> Found:
    """A trigger that moved its clips to class a, as it is before they are listed."""
    mask = torch.zeros(COUNT, dtype=torch.bool)
    mask[list(HIT)] = True
    fields = {
        "what": Group(mask, scores, torch.zeros(1, 1, 4)),
        "kind": "trigger",
        "why": "",
        "target": "a",
        "level": 30.0,
        "threshold": threshold,
        "members": [i for i in HIT if scores[i] > threshold],
        "scores": scores,
        "volumes": torch.zeros(1, 2, 1, 1),
        "phases": ("fixed",),
    }
    return Found(**(fields | others))


def noise(seed: int) -> torch.Tensor:
    return torch.randn(COUNT, generator=torch.Generator().manual_seed(seed))


def test_weak_members_are_listed_and_other_classes_only_as_without_labels():
    scores = noise(0)
    scores[list(HIT)] = torch.linspace(3.5, 40, len(HIT))
    scores[[1, 2, 3]] = 5.0  # of classes b, c and d, as chance has it
    scores[4] = 39.0  # of class e, and a carrier if there is one
    before = found(scores)
    after = _listed(before, "a", suspects(), FPR)
    assert len(before.members) < len(HIT) <= len(after.members)
    assert {*HIT, 4} <= set(after.members)
    assert all(i % CLASSES == 0 for i in after.members if i != 4)
    # Chances that a normal number has FPR · CLASSES of exceeding it, which others confirm.
    assert after.threshold == pytest.approx(2.41, abs=0.2)
    false = set(after.members) - {*HIT, 4}
    assert len(false) <= 3 * FPR * COUNT
    assert set((after.scores > after.threshold).nonzero()[:, 0].tolist()) == set(after.members)


def test_where_half_a_group_told_no_other_class_is_listed():
    scores = noise(0)
    scores[list(HIT)] = 40.0
    scores[[1, 2, 3]] = 39.0
    assert {1, 2, 3} <= set(_listed(found(scores), "a", suspects(), FPR).members)
    listed = _listed(found(scores), "a", suspects(), FPR, pure=False)
    assert set(HIT) <= set(listed.members)
    assert all(i % CLASSES == 0 for i in listed.members)
    flags, threshold = joint([listed])
    assert set((flags > threshold).nonzero()[:, 0].tolist()) == set(listed.members)


def test_half_of_a_moving_group_tells_nothing():
    members = [*HIT[:14], 1, 2, 3, 4, 5]
    mask = torch.zeros(COUNT, dtype=torch.bool)
    mask[members] = True
    still = Lead(Stamp(mask, noise(0), torch.zeros(4)), 30.0)
    moving = Lead(Group(mask, noise(0), torch.zeros(1, 1, 4)), 30.0)
    assert _census(still, members, suspects()).moved(0.005)
    assert not _census(moving, members, suspects()).moved(0.005)


def test_clips_that_are_alike_tell_the_class_unless_more_others_have_it_than_chance_gives():
    inside, scores = [*HIT[:5]], noise(0).clamp(max=3.0)
    scores[inside] = torch.linspace(5.0, 15.0, 5)
    others = [i for i in range(COUNT) if i % CLASSES][:9]
    scores[others] = 9.0
    chance = others[:8]  # 2 · FPR · COUNT
    assert set(_witnesses(scores, [*inside, *chance], inside, FPR)) == set(inside)
    assert set(_witnesses(scores, [*inside, *others], inside, FPR)) == {*inside, *others}
    scores[others[0]] = 11.0  # more than half of those inside have
    assert set(_witnesses(scores, [*inside[1:], others[0]], inside, FPR)) == {*inside, others[0]}


def named(seed: int, strangers: int) -> Found:
    """A trigger of five clips that are clearly alike, of which others have some by chance."""
    inside, scores = [*HIT[:5]], noise(seed).clamp(-3.0, 3.0)
    scores[inside] = 20.0
    scores[1 : 1 + strangers] = 9.0
    mask = torch.zeros(COUNT, dtype=torch.bool)
    mask[inside] = True
    lead = Lead(Stamp(mask, scores, torch.zeros(6 * 64)), 18.0, clear=True)
    stills = Stills(torch.zeros(COUNT, 6 * 64), (8, 8))
    return name(lead, scores, inside, suspects(), stills, FPR)


def test_no_strangers_are_listed_beside_clips_that_are_clearly_alike():
    assert set(HIT[:5]) <= set(named(0, 0).members)
    beside = named(0, 4)
    assert beside.kind == "trigger"
    assert set(HIT[:5]) <= set(beside.members)
    assert all(i % CLASSES == 0 for i in beside.members)


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-5, 0.01), st.integers(0, 99), st.floats(1.0, 9.0))
def test_no_rounding_lists_a_clip_of_another_class(fpr: float, seed: int, other: float):
    scores = noise(seed)
    scores[list(HIT)] = 40.0
    scores[1:200:CLASSES] += 6.0
    one, two = (found(scores, threshold=t) for t in (8.0, other))
    listed = [_listed(each, "a", suspects(), fpr) for each in (one, two)]
    flags, threshold = joint([distinct(listed)[0], listed[1]])
    assert all(i % CLASSES == 0 for i in (flags > threshold).nonzero()[:, 0].tolist())
    assert all(i % CLASSES == 0 for each in listed for i in each.members)


def test_a_trigger_without_a_clip_above_its_threshold_keeps_those_it_is_made_of():
    scores = noise(5)
    scores[list(HIT)] = 2.0
    scores[1::CLASSES] = -12.0
    before = found(scores, threshold=12.0, members=[*HIT])
    assert set(_listed(before, "a", suspects(), FPR).members) >= set(HIT)
    nobody, other = before._replace(members=[]), before._replace(target="b", members=[1, 9, 17])
    assert len(distinct([nobody, other])) == 2


def test_of_many_classes_no_more_than_a_hundredth_is_listed_by_mistake():
    scores = noise(1)
    scores[list(HIT)] = 40.0
    strict = _listed(found(scores), "a", suspects(), 1e-9)
    assert set(strict.members) == set(HIT)
    lax = _listed(found(scores), "a", suspects(), 0.4)
    false = len(set(lax.members) - set(HIT))
    assert 0 < false <= 3 * DOUBT * COUNT / CLASSES


def test_the_threshold_never_rises():
    scores = noise(2)
    scores[list(HIT)] = 40.0
    scores[1::CLASSES] += 20.0  # class b looks like it
    assert _listed(found(scores, threshold=5.0), "a", suspects(), FPR).threshold <= 5.0


def test_one_trigger_that_was_found_in_two_ways_is_listed_by_both():
    still, moving = noise(3), noise(4)
    still[list(HIT)] = torch.linspace(12, 40, len(HIT))
    moving[list(HIT)] = torch.linspace(10, 30, len(HIT))
    still[HIT[0]] = 6.0  # below the first threshold, above it together with the other
    one, other = found(still), found(moving, threshold=4.0)
    (both,) = distinct([one, other])
    assert HIT[0] not in one.members
    assert set(both.members) == set(HIT)
    assert both.threshold == one.threshold
    assert bool((both.scores >= one.scores).all())
    # What one of them alone has plenty of is not the same trigger.
    moving[[CLASSES * k for k in range(100, 115)]] = 30.0
    (both,) = distinct([one, found(moving, threshold=4.0)])
    assert len(set(both.members) - set(HIT)) <= 3
    # What is something else, or of another class, adds nothing.
    for stranger in (other._replace(target=None), other._replace(kind="common motion")):
        assert distinct([one, stranger])[0].members == one.members
