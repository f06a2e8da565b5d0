"""Verdicts held against the truth: the one place where scores and truth meet."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from vidoor import metrics
from vidoor.bench import verdicts
from vidoor.bench.clips import Attacked, Clean
from vidoor.poisoning.poisoner import Poisoner
from vidoor.types import Verdict

RATES = (1, 5, 15)
"""False-positive rates, in percent, at which the true-positive rate is read from the ROC curve; the
last one is the paper's for STRIP."""

INTERVAL_DRAWS = 200
"""Resamplings of what was judged, for the interval of AUROC."""

FEWEST = 5
"""With and without a trigger, that such an interval needs at least."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of each id of a verdict: is it ``positive``, and does it count at all?"""

    positive: Bool[np.ndarray, " n"]
    counted: Bool[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Found:
    """A verdict, and what there was to be found."""

    verdict: Verdict
    truth: Truth


def truth(level: str, poisoning: Poisoner, clips: Clean, attack: Attacked) -> Truth:
    """What a detector of this level should have found.

    Training clips that carry the trigger (those with its noise do not); classes that the attack
    leads to; triggered test clips, among them only those that count for ASR.
    """
    goal = poisoning.goal(clips.test.labels, len(clips.test.classes))
    if level == "dataset":
        positive = np.zeros(len(clips.train), bool)
        positive[list(attack.plan.poisoned)] = True
    elif level == "model":
        positive = np.isin(np.arange(len(clips.train.classes)), goal[goal >= 0])
    else:
        count = len(clips.test)
        positive = np.arange(2 * count) >= count
        return Truth(positive, ~positive | (np.concatenate([goal, goal]) >= 0))
    return Truth(positive, np.ones(len(positive), bool))


def judge(verdict: Verdict, known: Truth) -> dict[str, Any]:
    """A verdict beside the truth: rates of its flags, and of its scores at other thresholds."""
    scores, positive = np.asarray(verdict.scores)[known.counted], known.positive[known.counted]
    flagged = verdicts.flags(verdict)[known.counted]
    tpr, fpr = metrics.hit_rates(flagged, positive)
    low, high = _interval(scores, positive)
    return {
        **_said(verdict),
        "flagged": int(flagged.sum()),
        "tpr": tpr,
        "fpr": fpr,
        "auroc": metrics.auroc(scores, positive),
        "auroc_low": low,
        "auroc_high": high,
        **{f"tpr_at_{rate}": metrics.tpr_at_fpr(scores, positive, rate / 100) for rate in RATES},
        "top": bool(positive[scores == scores.max()].all()),
        "highest_true": float(scores[positive].max()) if positive.any() else None,
    }


def _interval(scores: np.ndarray, positive: np.ndarray) -> tuple[float | None, float | None]:
    """Of AUROC; None where so few are on one side, as the one target among the classes of a model,
    that drawing them again tells nothing."""
    if min(positive.sum(), (~positive).sum()) < FEWEST:
        return None, None
    return metrics.bootstrap(metrics.auroc, (scores, positive), draws=INTERVAL_DRAWS)


def control(verdict: Verdict) -> dict[str, Any]:
    """A verdict where there was nothing to be found: each flag is false."""
    flagged = verdicts.flags(verdict)
    return {**_said(verdict), "flagged": int(flagged.sum()), "fpr": float(flagged.mean())}


def _said(verdict: Verdict) -> Mapping[str, Any]:
    return {
        "alarm": verdict.alarm,
        "threshold": verdict.threshold,
        "calibration": verdict.calibration,
        "highest": float(np.max(verdict.scores)),
        "evidence": {
            key: value
            for key, value in verdict.evidence.items()
            if value is not None and not isinstance(value, np.ndarray)
        },
        "cost": asdict(verdict.cost),
    }
