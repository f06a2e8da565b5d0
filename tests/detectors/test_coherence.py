"""Coherence against clips of 1/f noise, into some of which a pattern of our own is planted."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from noise import COUNT, POISONED, SHAPE, clips, flagged, natural, pattern, poisoned
from numpy.typing import NDArray

from vidoor.detectors._coherence import groups
from vidoor.detectors._coherence.findings import same_footage
from vidoor.detectors.coherence import Coherence
from vidoor.errors import DataError
from vidoor.registry import lookup
from vidoor.types import Geometry, Verdict


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return Coherence().inspect(clips(poisoned(0)))


def test_registered() -> None:
    assert lookup("detector", "coherence") is Coherence


@pytest.mark.parametrize("seed", range(4))
def test_finds_every_poisoned_clip_and_no_other(seed: int) -> None:
    verdict = Coherence().inspect(clips(poisoned(seed)))
    assert verdict.alarm
    assert verdict.evidence["J"] > verdict.evidence["J_level"]
    assert flagged(verdict) == set(range(POISONED))
    assert set(verdict.evidence["members"]) == {f"clip/{i:03d}" for i in range(POISONED)}


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_finds_a_majority(rate: float) -> None:
    volumes = natural(3).astype(float)
    many = round(rate * COUNT)
    volumes[:many] += pattern(3)
    assert flagged(Coherence().inspect(clips(volumes))) == set(range(many))


@pytest.mark.parametrize("seed", range(8))
def test_clean_clips_do_not_alarm(seed: int) -> None:
    verdict = Coherence().inspect(clips(natural(seed)))
    assert not verdict.alarm
    assert not flagged(verdict)
    assert verdict.evidence["members"] == ()
    assert "template" not in verdict.evidence
    assert verdict.evidence["J"] < 0.7 * verdict.evidence["J_level"]


def test_the_template_looks_like_the_pattern(verdict: Verdict) -> None:
    template, planted = verdict.evidence["template"], pattern(0)
    assert template.shape == SHAPE
    assert template.dtype == np.float32
    assert np.corrcoef(template.ravel(), planted.ravel())[0, 1] > 0.5
    # In grey levels: the part of the pattern that it holds is as strong as the pattern.
    assert 0.5 < (template * planted).sum() / (planted**2).sum() < 1.5


def test_the_order_of_the_clips_does_not_matter(verdict: Verdict) -> None:
    volumes, shuffle = poisoned(0), np.random.default_rng(1).permutation(COUNT)
    first = clips(volumes)
    other = clips(volumes[shuffle])
    other = replace(other, ids=tuple(first.ids[i] for i in shuffle))
    again = Coherence().inspect(other)
    assert again.scores == tuple(verdict.scores[i] for i in shuffle)
    assert again.threshold == verdict.threshold
    assert again.evidence["members"] == verdict.evidence["members"]
    assert (again.evidence["template"] == verdict.evidence["template"]).all()


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(16)), names=st.permutations(range(16)), rms=st.floats(0, 6))
def test_neither_order_nor_ids_nor_copies_change_a_score(
    order: list[int], names: list[int], rms: float
) -> None:
    volumes = natural(5, 16, (4, 16, 16)).astype(float)
    volumes[:5] += pattern(5, rms, (4, 16, 16))
    volumes[[4, 9, 12]] = volumes[[1, 8, 8]]
    first = Coherence().inspect(clips(volumes))
    other = clips(volumes[order])
    other = replace(other, ids=tuple(f"clip/{i}" for i in names))
    again = Coherence().inspect(other)
    assert again.scores == tuple(first.scores[i] for i in order)
    assert (again.alarm, again.threshold) == (first.alarm, first.threshold)
    assert again.evidence["J"] == first.evidence["J"]
    assert [first.scores[i] for i in (4, 9, 12)] == [first.scores[i] for i in (1, 8, 8)]


def test_evidence_is_json_but_for_the_template(verdict: Verdict) -> None:
    plain = {k: v for k, v in verdict.evidence.items() if k != "template"}
    json.dumps(plain, allow_nan=False)
    assert isinstance(plain["J"], float)
    assert isinstance(plain["J_level"], float)
    assert all(isinstance(j, float) for j in plain["J_shifted"])


def test_every_clip_is_read_once_and_some_of_the_flagged_again() -> None:
    suspects, read = clips(poisoned(0)), Counter[int]()

    def counted(index: int) -> torch.Tensor:
        read[index] += 1
        return suspects.read(index)

    Coherence().inspect(replace(suspects, read=counted))
    assert all(read[i] == 1 for i in range(POISONED, COUNT))
    assert all(1 <= read[i] <= 2 for i in range(POISONED))


def test_the_victim_is_not_looked_at(verdict: Verdict) -> None:
    again = Coherence().inspect(clips(poisoned(0)), victim=object())
    assert (again.scores, again.threshold) == (verdict.scores, verdict.threshold)


def test_labels_lower_the_threshold_to_what_other_classes_reach(verdict: Verdict) -> None:
    labels = tuple(int(i < POISONED) for i in range(COUNT))
    again = Coherence().inspect(clips(poisoned(0), labels))
    # Where it is looked for depends on the classes, what is found does not.
    assert np.corrcoef(again.scores, verdict.scores)[0, 1] > 0.99
    # The share of the class that is a thousandth of all clips.
    share, others = Coherence().fpr * COUNT / POISONED, again.scores[POISONED:]
    chance = max(NormalDist().inv_cdf(1 - share), -float(np.quantile(again.scores, share)))
    knee = groups.KNEE * float(np.median(again.scores[:POISONED]))
    beyond = float(np.quantile(others, 1 - share))
    assert again.threshold == pytest.approx(max(chance, min(beyond, knee)), rel=1e-4)
    assert max(others) < again.threshold < min(again.scores[:POISONED])
    assert again.threshold < verdict.threshold
    assert again.evidence["groups"][0]["target"] == "b"


def test_a_member_is_scored_without_itself() -> None:
    """Of unrelated rows no ten agree: a template that held a row's own share would say they do."""
    rows = torch.nn.functional.normalize(torch.randn(60, 2000, generator=generator()))
    spectra = groups.Spectra(rows, torch.zeros(3, 1000), torch.eye(60) > 0)
    for depth in (1, 2):
        weights = torch.randn(60, depth, generator=generator())
        weights = weights.abs() if depth == 1 else weights
        members = torch.arange(60) < 10
        group = groups.matched(spectra, rows[30:].flip(1), members, weights, generator())
        assert abs(float(group.scores[:10].mean())) < 1.5


def test_copies_of_clean_clips_are_listed_and_do_not_alarm() -> None:
    volumes = natural(6)
    volumes[1:5] = volumes[0] + np.random.default_rng(0).integers(-1, 2, (4, *SHAPE))
    verdict = Coherence().inspect(clips(volumes))
    assert not verdict.alarm
    copies = tuple(f"clip/{index:03}" for index in range(5))
    assert verdict.evidence["same_footage"] == (copies,)


def test_copies_of_copies_are_one_group_wherever_they_are() -> None:
    names = dict(enumerate([b"a", b"b", b"c", b"a", b"d", b"d", b"e"]))
    rank = torch.tensor([0, 1, 2, 0, -1, -1, -1])
    twins = torch.eye(3, dtype=torch.bool)
    twins[0, 1] = twins[1, 0] = True
    assert same_footage((*"0123456",), rank, twins, names) == [("0", "1", "3"), ("4", "5")]


def test_a_trigger_is_not_taken_for_a_copy(verdict: Verdict) -> None:
    assert verdict.evidence["same_footage"] == ()


def test_few_bins_are_enough(verdict: Verdict) -> None:
    little = Coherence(memory=1.0).inspect(clips(poisoned(0)))
    assert flagged(little) == set(range(POISONED))
    assert little.scores != verdict.scores


@pytest.mark.parametrize(
    ("make", "different"),
    [
        (lambda: np.full((9, 4, 16, 16), 7), 1),
        (lambda: np.broadcast_to(np.arange(9)[:, None, None, None], (9, 4, 16, 16)), 1),
        (lambda: np.concatenate([natural(2, 5, (4, 16, 16)), np.zeros((20, 4, 16, 16))]), 6),
        (lambda: np.repeat(natural(3, 1, (4, 16, 16)), 12, 0), 1),
        (lambda: natural(3, 1, (4, 16, 16)) + np.arange(12)[:, None, None, None], 1),
    ],
    ids=["one-grey", "greys", "mostly-black", "one-clip-twelve-times", "one-clip-brightened"],
)
def test_sets_of_the_same_footage_cannot_be_judged(
    make: Callable[[], NDArray[np.generic]], different: int
) -> None:
    with pytest.raises(DataError, match=f" clips, but {different} of different footage"):
        Coherence().inspect(clips(make()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: natural(0, 8, (2, 8, 8)),
        lambda: natural(1, 9, (4, 16, 16)),
        lambda: np.concatenate([natural(2, 8, (4, 16, 16)), np.zeros((20, 4, 16, 16))]),
    ],
    ids=["smallest", "tiny", "mostly-black"],
)
def test_poor_sets_are_clean(make: Callable[[], NDArray[np.generic]]) -> None:
    verdict = Coherence().inspect(clips(make()))
    assert not verdict.alarm
    assert np.isfinite(verdict.scores).all()


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(8, 24),
    shape=st.tuples(st.integers(2, 6), st.integers(8, 17), st.integers(8, 17)),
    seed=st.integers(0, 99),
)
def test_any_clean_set_gets_a_finite_score_for_each_clip(
    count: int, shape: tuple[int, int, int], seed: int
) -> None:
    verdict = Coherence(seed=seed).inspect(clips(natural(seed, count, shape)))
    assert len(verdict.scores) == count
    assert np.isfinite(verdict.scores).all()
    assert not verdict.alarm


@pytest.mark.parametrize(
    ("count", "shape"), [(7, (4, 16, 16)), (8, (1, 16, 16)), (8, (4, 7, 16)), (8, (4, 16, 7))]
)
def test_too_few_or_too_small(count: int, shape: tuple[int, int, int]) -> None:
    one_line = rf"^{count} clips of {'×'.join(map(str, shape))}; give 8 of 2×8×8 or more$"
    with pytest.raises(DataError, match=one_line):
        Coherence().check(count, Geometry(*shape))
    with pytest.raises(DataError, match=one_line):
        Coherence().inspect(clips(np.zeros((count, *shape))))


def test_just_enough_clips_just_large_enough() -> None:
    Coherence().check(8, Geometry(2, 8, 8))


@pytest.mark.parametrize(
    "options",
    [
        {"fpr": 1e-10},
        {"fpr": 1e-320},
        {"fpr": 0.5},
        {"fpr": float("nan")},
        {"floor": -1.0},
        {"floor": float("inf")},
        {"floor": float("nan")},
        {"memory": 0.0},
        {"memory": 2.0**20 + 1},
        {"memory": float("inf")},
        {"memory": float("nan")},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 10**22},
    ],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give 1e-9 <= fpr < 0\.5, .*seed < 2\*\*63$") as caught:
        Coherence(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"fpr": 1e-9}, {"fpr": 0.499}, {"memory": 1e-6}, {"memory": 2**20}, {"seed": 2**63 - 1}],
)
def test_options_at_their_bounds_work(options: dict[str, Any]) -> None:
    verdict = Coherence(**options).inspect(clips(poisoned(0)))
    assert np.isfinite(verdict.scores).all()
