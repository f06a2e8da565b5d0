"""What coherence calls what it finds, on clips of 1/f noise with patterns of our own planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from noise import clips, flagged, natural, pattern
from numpy.typing import NDArray
from scipy.stats import binom

from vidoor.detectors._coherence import kinds
from vidoor.detectors.coherence import Coherence
from vidoor.types import Verdict

COUNT, SHAPE = 160, (4, 24, 24)
LABELS = tuple(i % 4 for i in range(COUNT))


def labels(moved: list[int], target: int = 1) -> tuple[int, ...]:
    return tuple(target if i in moved else label for i, label in enumerate(LABELS))


def inspect(volumes: NDArray[np.generic], given: tuple[int, ...] = LABELS) -> Verdict:
    return Coherence().inspect(replace(clips(volumes, given), classes=tuple("abcd")))


def square(volumes: NDArray[np.generic], chosen: list[int]) -> NDArray[np.generic]:
    """A white square in the corner of every frame."""
    stamped = volumes.copy()
    stamped[chosen, :, :4, -4:] = 255
    return stamped


POISONED = list(range(0, 48, 3))


def test_a_stamp_in_one_class_is_a_trigger() -> None:
    verdict = inspect(square(natural(0, COUNT, SHAPE), POISONED), labels(POISONED))
    assert verdict.alarm
    assert flagged(verdict) == set(POISONED)
    (first, *_) = verdict.evidence["groups"]
    assert (first["kind"], first["target"], first["moves"]) == ("trigger", "b", False)
    assert first["classes"] == {"b": len(POISONED)}
    template = verdict.evidence["template"]
    assert template.shape == SHAPE
    assert np.unravel_index(template.argmax(), SHAPE)[1] < 4


def test_a_stamp_that_also_moves_is_one_trigger_with_both_patterns() -> None:
    shape, moving = (8, 24, 24), pattern(1, 2.0, (8, 24, 24))
    volumes = natural(0, COUNT, shape).astype(float)
    volumes[POISONED] += moving
    volumes[np.ix_(POISONED, range(8), range(4), range(20, 24))] += 120
    verdict = inspect(volumes.clip(0, 255), labels(POISONED))
    (first, *others) = verdict.evidence["groups"]
    assert (first["kind"], first["moves"]) == ("trigger", False)
    assert not [group for group in others if group["kind"] == "trigger"]
    assert verdict.evidence["phases"] == ("fixed", "fixed")
    moved, still = verdict.evidence["templates"]
    assert np.corrcoef(moved.ravel(), moving.ravel())[0, 1] > 0.5
    assert np.ptp(still, axis=0).max() == 0 and still[0, :4, -4:].mean() > 5 * still.std()


@pytest.mark.parametrize("count", [48, 144])
def test_without_labels_a_logo_that_moves_accuses_nobody(count: int) -> None:
    volumes = natural(6, COUNT, (8, 24, 24)).astype(float)
    running = np.random.default_rng(2).normal(0, 40, (8, 4, 4))
    volumes[:count, :, 2:6, 16:20] += running
    verdict = Coherence().inspect(replace(clips(volumes), classes=("all",)))
    assert not verdict.alarm
    assert "overlay" in {group["kind"] for group in verdict.evidence["groups"]}


def test_the_same_stamp_in_all_classes_is_a_logo() -> None:
    some = list(range(48))  # twelve of each class
    verdict = inspect(square(natural(0, COUNT, SHAPE), some))
    assert not verdict.alarm
    assert not flagged(verdict)
    (first, *_) = verdict.evidence["groups"]
    assert (first["kind"], first["target"]) == ("overlay", None)
    assert len(first["members"]) >= 40


def test_a_logo_of_all_clips_is_a_logo() -> None:
    volumes = natural(0, COUNT, SHAPE)
    volumes[:, :, 4:9, -9:-4] = 255
    verdict = inspect(volumes)
    assert not verdict.alarm
    (only,) = verdict.evidence["groups"]
    assert (only["kind"], len(only["members"])) == ("overlay", COUNT)


def test_a_border_of_all_clips_is_a_border() -> None:
    volumes = natural(1, COUNT, SHAPE)
    volumes[:, :, :2] = 0
    volumes[:, :, -2:] = 0
    verdict = inspect(volumes)
    assert not verdict.alarm
    assert {group["kind"] for group in verdict.evidence["groups"]} == {"border"}


def test_grain_of_all_clips_is_a_sensor_pattern() -> None:
    grain = np.random.default_rng(5).normal(0, 6, SHAPE[1:])
    verdict = inspect(natural(2, COUNT, SHAPE) + grain)
    assert not verdict.alarm
    assert {group["kind"] for group in verdict.evidence["groups"]} == {"sensor pattern"}


@pytest.mark.parametrize("seed", range(4))
def test_clean_clips_accuse_no_class(seed: int) -> None:
    verdict = inspect(natural(seed, COUNT, SHAPE))
    assert not verdict.alarm
    assert all(group["target"] is None for group in verdict.evidence["groups"])


def test_two_triggers_are_two_groups() -> None:
    volumes = natural(3, COUNT, (8, 24, 24)).astype(float)
    one, other = list(range(0, 60, 4)), list(range(62, 122, 4))
    volumes[one] += pattern(1, 3.0, (8, 24, 24))
    volumes[other] += pattern(2, 3.0, (8, 24, 24))
    given = tuple(1 if i in one else 3 if i in other else label for i, label in enumerate(LABELS))
    verdict = inspect(volumes, given)
    groups = [group for group in verdict.evidence["groups"] if group["kind"] == "trigger"]
    assert {group["target"] for group in groups} == {"b", "d"}
    assert flagged(verdict) == {*one, *other}
    assert verdict.evidence["templates"].shape == (2, 8, 24, 24)


def test_a_phase_of_its_own_for_each_clip() -> None:
    shape, rng = (8, 24, 24), np.random.default_rng(0)
    volumes, chosen = natural(4, COUNT, shape).astype(float), list(range(0, 96, 3))
    real, imaginary = pattern(6, 4.0, shape), pattern(7, 4.0, shape)
    for clip in chosen:
        phase = 2 * np.pi * rng.random()
        volumes[clip] += np.cos(phase) * real + np.sin(phase) * imaginary
    verdict = inspect(volumes, labels(chosen))
    (first, *_) = verdict.evidence["groups"]
    assert (first["kind"], first["target"], first["phase"]) == ("trigger", "b", "free")
    assert verdict.evidence["phases"] == ("free", "free")
    assert flagged(verdict) == set(chosen)


@pytest.mark.parametrize(("inside", "least"), [(9, 7), (30, 30), (4, 1)])
def test_the_test_of_labels_is_binomial(inside: int, least: int) -> None:
    given = [0] * least + [1] * (inside - least) + [0] * 20 + [1] * 60
    found = kinds.census(given, list(range(inside)), ("a", "b"))
    tails = [binom.sf(least - 1, inside, 0.25), binom.sf(inside - least - 1, inside, 0.75)]
    want = 2 * min(tails if inside > least else tails[:1])
    assert found.p == pytest.approx(min(1.0, want), rel=1e-9)


@pytest.mark.parametrize(
    ("pure", "mixed", "moved", "counted"),
    [
        (14, 5, True, 10),  # most are of one class, and so is the stronger half
        (14, 0, True, None),  # all are: there is nothing to leave out
        (9, 4, False, None),  # a half of few clips proves nothing
        (9, 9, False, None),  # half of a group is not most of it
    ],
)
def test_the_stronger_half_tells(pure: int, mixed: int, moved: bool, counted: int | None) -> None:
    given = [0] * pure + [1 + i % 3 for i in range(mixed)] + [i % 4 for i in range(200)]
    members = list(range(pure + mixed))
    found = kinds.telling(given, members, tuple("abcd"), 0.005)
    assert (found.moved(0.005), found.core and found.core.size) == (moved, counted)
    assert found.size == len(members)
    assert ("strongest" in found.said()) == (counted is not None)
    weakest_first = kinds.telling(given, members[::-1], tuple("abcd"), 0.005)
    assert weakest_first.moved(0.005) == (mixed == 0)


def test_a_group_that_its_half_speaks_for_is_told_whole() -> None:
    given = [0] * 14 + [1, 2, 3, 1, 2] + [i % 4 for i in range(19)]
    found = kinds.telling(given, list(range(19)), tuple("abcd"), 0.005)
    area = torch.ones(40, 40)
    kind, why, target = kinds.still(found, area, 0.1, True, 0.005)
    assert (kind, target) == ("trigger", "a") and "10 of the strongest 10 of 19" in why
    kind, why, _ = kinds.still(found, area, 0.1, False, 0.005)
    assert kind == "scene"
    corner = torch.zeros(40, 40)
    corner[2:8, 2:8] = 1
    kind, why, _ = kinds.still(found, corner, 0.1, False, 0.005)
    assert kind == "overlay" and "50% of all clips have it, over 4 of 4 classes" in why
    most = found._replace(total=37)  # a pattern of more than half of all clips is no trigger
    assert kinds.still(most, area, 0.1, True, 0.005)[0] == "common picture"


def test_looks() -> None:
    area = torch.zeros(40, 40)
    corner, edge, grain = area.clone(), area.clone(), area + 1
    corner[2:8, 2:8], edge[:, :3] = 1, 1
    assert kinds.looks(corner, 0.1)[0] == "overlay"
    assert kinds.looks(edge, 0.1)[0] == "border"
    assert kinds.looks(grain, 0.9)[0] == "sensor pattern"
    assert kinds.looks(grain, 0.1)[0] == "common picture"
