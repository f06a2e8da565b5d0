"""Activation clustering against planted partitions and scikit-learn."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import FastICA
from sklearn.metrics import silhouette_score

from vidoor.detectors import activation_clustering
from vidoor.detectors.activation_clustering import ActivationClustering
from vidoor.detectors.activations import Activations
from vidoor.metrics import auroc

WIDTH = 24
PLANTED = range(60, 75)
"""Clips of class b that lie apart from the others of their label."""


def planted(seed: int = 0, shift: float = 12.0) -> Activations:
    """Three classes of 60, 45 + 15 and 60 clips; 15 of the second lie apart."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], 60)
    features = rng.normal(size=(180, WIDTH)) + 5 * rng.normal(size=(3, WIDTH))[labels]
    direction = rng.normal(size=WIDTH)
    features[PLANTED] += shift * direction / np.linalg.norm(direction)
    return of(features, labels)


def of(features: np.ndarray, labels: np.ndarray) -> Activations:
    rows = features.astype(np.float32)
    ids = tuple(f"clip/{i}" for i in range(len(rows)))
    return Activations("penultimate", rows, rows[:, :3], labels, ids, ("a", "b", "c"))


def flagged(verdict) -> list[str]:
    pairs = zip(verdict.ids, verdict.scores, strict=True)
    return [clip for clip, score in pairs if score > verdict.threshold]


REDUCTIONS = pytest.mark.parametrize("reduction", ["pca", "ica"])


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_partition_is_found_clip_by_clip(seed):
    found = planted(seed)
    order = np.random.default_rng(seed).permutation(180)
    shuffled = replace(
        found,
        features=found.features[order],
        labels=found.labels[order],
        ids=tuple(found.ids[i] for i in order),
    )
    detector = ActivationClustering(reduction="pca")
    for each in (found, shuffled):
        verdict = detector.judge(each)
        assert verdict.alarm
        assert sorted(flagged(verdict)) == sorted(f"clip/{i}" for i in PLANTED)
    positive = np.isin(np.arange(180), PLANTED)
    assert auroc(np.array(detector.judge(found).scores), positive) == 1


@REDUCTIONS
def test_scores_follow_their_clips_to_the_bit(reduction):
    found, order = planted(), np.random.default_rng(1).permutation(180)
    shuffled = replace(found, features=found.features[order], labels=found.labels[order])
    detector = ActivationClustering(reduction=reduction)
    first, again = detector.judge(found), detector.judge(shuffled)
    assert again.scores == tuple(first.scores[i] for i in order)
    assert again.evidence == first.evidence


@REDUCTIONS
def test_evidence_tells_of_each_class(reduction):
    clusters = ActivationClustering(reduction=reduction).judge(planted()).evidence["clusters"]
    assert [each["class"] for each in clusters] == ["a", "b", "c"]
    assert [each["clips"] for each in clusters] == [60, 60, 60]
    assert all(0 <= each["share"] <= 0.5 for each in clusters)
    if reduction == "pca":
        assert clusters[1]["share"] == 0.25
        assert clusters[1]["flagged"] == 15


@pytest.mark.parametrize("seed", range(5))
def test_the_two_clusters_are_the_best_of_all(seed):
    """On a few points every partition can be tried: 2-means minimises the sum of squares."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(10, 5)).astype(np.float32)
    rows[: seed + 1] += 2
    split = ActivationClustering(reduction="pca", components=5).split(rows)

    def squares(small: np.ndarray) -> float:
        sides = rows[small], rows[~small]
        return sum(float(((side - side.mean(0)) ** 2).sum()) for side in sides)

    every = [
        np.isin(np.arange(10), chosen)
        for count in range(1, 6)
        for chosen in combinations(range(10), count)
    ]
    best = min(every, key=squares)
    assert (split.margins > 0).tolist() in (best.tolist(), (~best).tolist())
    small = split.margins > 0
    assert split.share == pytest.approx(small.mean())
    assert split.silhouette == pytest.approx(silhouette_score(rows, small), abs=1e-5)
    centres = np.stack([rows[~small].mean(0), rows[small].mean(0)])
    far, near = cdist(rows, centres).T
    np.testing.assert_allclose(split.margins, (far - near) / (far + near), atol=1e-5)


def test_independent_components_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    sources = rng.laplace(size=(400, 4)) * rng.uniform(1, 3, 4)
    rows = (sources @ rng.normal(size=(4, 20))).astype(np.float32)
    found, converged = ActivationClustering(components=4)._reduced(rows)
    assert converged
    other = FastICA(4, whiten="unit-variance", tol=1e-6, max_iter=1000, random_state=3)
    # Order and signs are arbitrary, distances are not.
    np.testing.assert_allclose(pdist(found), pdist(other.fit_transform(rows)), rtol=0.05, atol=0.05)


def test_a_score_is_the_least_of_the_margins():
    found = planted()
    plain = ActivationClustering(reduction="pca")
    for detector in (plain, replace(plain, share=0.35), replace(plain, share=0.2)):
        verdict = detector.judge(found)
        for name, members in found.groups():
            split = detector.split(found.features[members])
            room = np.inf if detector.share is None else detector.share - split.share
            expected = np.minimum(split.margins, min(split.silhouette - 0.10, room))
            assert np.array(verdict.scores)[members].tolist() == expected.tolist(), name
    assert flagged(replace(plain, share=0.35).judge(found))
    assert not flagged(replace(plain, share=0.2).judge(found))


def test_round_classes_are_less_apart():
    found = planted(shift=0.0)
    verdict = ActivationClustering(reduction="pca").judge(found)
    assert max(each["silhouette"] for each in verdict.evidence["clusters"]) < 0.15
    assert not ActivationClustering(reduction="pca", silhouette=0.15).judge(found).alarm


def test_a_large_class_is_judged_by_a_sample_of_both_clusters(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 6))
    rows[:20] += 9
    detector = ActivationClustering(reduction="pca", components=6)
    whole = detector.split(rows.astype(np.float32))
    monkeypatch.setattr(activation_clustering, "SAMPLE", 150)
    part = detector.split(rows.astype(np.float32))
    assert part.silhouette != whole.silhouette
    assert part.silhouette == pytest.approx(whole.silhouette, abs=0.03)
    assert (part.margins == whole.margins).all()


@REDUCTIONS
@pytest.mark.parametrize("kind", ["constant", "two values", "few clips", "one direction"])
def test_poor_classes_get_finite_scores(reduction, kind):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 8)), np.repeat([0, 1], 20)
    if kind == "constant":
        features[:] = 3.7
    elif kind == "two values":
        features[:] = np.repeat([1.0, 2.0], 20)[:, None]
    elif kind == "few clips":
        labels = np.array([0] * 37 + [1] * 2 + [2])
    else:
        features[:] = np.arange(40)[:, None] * features[0]
    verdict = ActivationClustering(reduction=reduction).judge(of(features, labels))
    assert np.isfinite(verdict.scores).all()
    if kind in ("constant", "two values"):  # all of a class are alike
        assert not verdict.alarm
    if kind == "few clips":
        assert max(verdict.scores[37:]) == -0.10


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_any_features_get_finite_scores(count, width, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, width)).round(int(rng.integers(0, 3)))
    labels = rng.integers(0, 3, count)
    for reduction in ("pca", "ica"):
        verdict = ActivationClustering(reduction=reduction, components=3).judge(
            of(np.pad(features, ((0, 0), (0, 3))), labels)
        )
        assert np.isfinite(verdict.scores).all()
        assert verdict.alarm == bool(flagged(verdict))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"reduction": "umap"}, "unknown reduction 'umap'"),
        ({"components": 0}, "components must be at least 1, not 0"),
        ({"silhouette": 1.0}, r"silhouette must be in \[-1, 1\), not 1.0"),
        ({"silhouette": float("nan")}, "silhouette must be"),
        ({"share": 0.6}, r"share must be in \(0, 0.5\], not 0.6"),
        ({"seed": -1}, "seed must be in"),
        ({"pool": "max"}, "unknown pool 'max'"),
    ],
)
def test_options_out_of_range(options, line):
    with pytest.raises(ValueError, match=line):
        ActivationClustering(**options)
