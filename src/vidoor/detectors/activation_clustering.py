"""Activation clustering: do the clips of a class fall into two clusters, one of them small?

Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering", SafeAI
at AAAI 2019; used on video by Li et al. (AAAI 2024, appendix D). Penultimate activations of each
class, by given label, are reduced to ten components and split by 2-means.

Departures: every class is judged, where Li et al. look at the target class alone, which a defender
does not know. Components are at most half as many as clips, since whitened clips in more dimensions
are all equally far apart. FastICA's whitening is our own PCA. Chen et al. also retrain to see which
cluster is poisoned; that is left out, as it is by Li et al.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int

from vidoor.detectors.activations import Activations, OfActivations, principal
from vidoor.errors import unknown
from vidoor.meter import metered
from vidoor.registry import register
from vidoor.types import Verdict

LEAST = 4
"""Fewest clips of a class that can be told apart; in smaller classes nothing is flagged."""

STARTS = 10
"""First guesses of 2-means, of which the best end is taken."""

STEPS, TOLERANCE = 1000, 0.005
"""Most iterations of FastICA, and the change at which it has converged."""

SAMPLE = 5000
"""Most clips of a class that the silhouette is taken over, from both clusters in proportion."""

WORKING_MEMORY = 64
"""MiB for the distances that the silhouette is taken from."""


class Split(NamedTuple):
    """Two clusters of a class."""

    margins: Float64[np.ndarray, " n"]
    """In [-1, 1] for each clip: (far − near) / (far + near), in distances to the centres of the
    larger and of the smaller cluster; above 0 in the smaller one."""

    silhouette: float
    share: float
    """Of the clips that is in the smaller cluster."""

    converged: bool


@register("detector", "activation-clustering")
@dataclass(frozen=True, kw_only=True)
class ActivationClustering(OfActivations):
    """Data-set detector: the smaller of two clusters of a class's activations, if they are apart.

    A clip is flagged if it is in the smaller cluster of its class, the silhouette is above
    ``silhouette``, and the cluster's share below ``share``. Its score is the least of the three
    margins by which these hold, the first being ``Split.margins``: above 0 where all do. Breaks
    where poisoned clips are most of a class, or activations of both kinds mix.
    """

    reduction: Literal["ica", "pca"] = "ica"
    """FastICA, as in both papers, or PCA: many times faster, and better on one round cluster."""

    components: int = 10
    """Dimensions that activations are reduced to, at least 1."""

    silhouette: float = 0.10
    """Mean silhouette, -1 to 1, above which two clusters are apart (both papers)."""

    share: float | None = None
    """Share of the class, 0 to 0.5, below which the smaller cluster is suspicious; None: any."""

    seed: int = 0
    """Seed of FastICA and of 2-means, 0 to 2**32 - 1."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        # The defaults of the Adversarial Robustness Toolbox, by the authors of the method.
        "art": {"reduction": "pca", "share": 0.35},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction not in ("ica", "pca"):
            raise ValueError(unknown("reduction", self.reduction, ("ica", "pca")))
        if self.components < 1:
            raise ValueError(f"components must be at least 1, not {self.components}")
        if not -1 <= self.silhouette < 1:
            raise ValueError(f"silhouette must be in [-1, 1), not {self.silhouette}")
        if self.share is not None and not 0 < self.share <= 0.5:
            raise ValueError(f"share must be in (0, 0.5], not {self.share}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in 0..2**32 - 1, not {self.seed}")

    def judge(self, found: Activations) -> Verdict:
        """The verdict on clips whose activations are known."""
        with metered() as meter:
            scores, told = np.empty(len(found.ids)), []
            for name, members in found.groups():
                split = self.split(found.features[members])
                held = [split.silhouette - self.silhouette]
                if self.share is not None:
                    held.append(self.share - split.share)
                scores[members] = np.minimum(split.margins, min(held))
                flagged = int((scores[members] > 0).sum())
                told.append({"class": name, "clips": len(members), "flagged": flagged})
                told[-1] |= split._asdict()
                del told[-1]["margins"]
        apart = f"silhouette > {self.silhouette:g}"
        small = "" if self.share is None else f" and share < {self.share:g}"
        return Verdict(
            ids=found.ids,
            scores=tuple(scores.tolist()),
            threshold=0.0,
            calibration=f"smaller cluster of a class with {apart}{small}; nothing is fitted",
            alarm=bool((scores > 0).any()),
            evidence={"layer": found.layer, "clusters": told},
            cost=meter.cost,
        )

    def split(self, rows: Float32[np.ndarray, "n d"]) -> Split:
        """The two clusters of one class's activations; none of it apart where all are alike."""
        from sklearn.cluster import KMeans  # here: it is a fifth of what starting vidoor costs

        alike = Split(np.zeros(len(rows)), 0.0, 0.0, True)
        if len(rows) < LEAST:
            return alike
        points, converged = self._reduced(rows)
        if not points.shape[1]:
            return alike
        means = KMeans(2, n_init=STARTS, random_state=self.seed).fit(points)
        far = means.transform(points)
        near = far.argmin(1)
        small = int(np.bincount(near, minlength=2).argmin())
        total = far.sum(1)
        margins = (far[:, 1 - small] - far[:, small]) / np.where(total > 0, total, 1.0)
        share = float(np.mean(near == small))
        return Split(margins, _silhouette(points, near), share, converged)

    def _reduced(self, rows: Float32[np.ndarray, "n d"]) -> tuple[Float64[np.ndarray, "n k"], bool]:
        """The clips in few dimensions, and whether that came to an end."""
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        points = principal(rows, min(self.components, len(rows) // 2))
        if self.reduction == "pca" or not points.shape[1]:
            return points, True
        ica = FastICA(whiten=False, max_iter=STEPS, tol=TOLERANCE, random_state=self.seed)
        with warnings.catch_warnings():
            # Clips of no structure have no independent components; the evidence says so.
            warnings.simplefilter("ignore", ConvergenceWarning)
            sources: Float64[np.ndarray, "n k"] = ica.fit_transform(points / points.std(0))
        return sources, bool(ica.n_iter_ < STEPS)


def _silhouette(points: Float64[np.ndarray, "n k"], near: Int[np.ndarray, " n"]) -> float:
    """Mean silhouette (Rousseeuw 1987) of two clusters."""
    from sklearn import config_context
    from sklearn.metrics import silhouette_score

    if len(points) > SAMPLE:
        members = [np.flatnonzero(near == cluster) for cluster in (0, 1)]
        wanted = [max(2, round(SAMPLE * len(each) / len(points))) for each in members]
        picks = [
            each[np.linspace(0, len(each) - 1, min(count, len(each))).astype(int)]
            for each, count in zip(members, wanted, strict=True)
        ]
        chosen = np.concatenate(picks)
        points, near = points[chosen], near[chosen]
    with config_context(working_memory=WORKING_MEMORY):
        return float(silhouette_score(points, near))
