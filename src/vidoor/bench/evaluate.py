"""The last stage: verdicts and predictions against the truth, as the records of a run."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from vidoor import metrics
from vidoor.bench.stages import Prepared, flags
from vidoor.recipe import Recipe, table
from vidoor.types import ClipSet, Verdict
from vidoor.victims.training import predict
from vidoor.victims.victim import Victim

IMPERCEPTIBILITY_CLIPS = 100
"""Test clips, evenly spaced, that PSNR and SSIM are averaged over."""

SAMPLE_CLIPS = 4
"""Test clips whose frames are kept for the report."""


def asr(
    recipe: Recipe, predicted: np.ndarray, labels: np.ndarray, variant: str = "strict"
) -> float:
    """ASR of predictions on the triggered test clips."""
    return metrics.attack_success_rate(predicted, labels, recipe.poisoning.target, variant=variant)


def evaluate(
    recipe: Recipe,
    prepared: Prepared,
    victim: Victim,
    curves: Mapping[str, list[dict[str, float]]],
    verdicts: Mapping[str, Verdict],
) -> dict[str, Any]:
    """The record of a run, but for its times. Here truth and scores meet."""
    labels = np.asarray(prepared.test.labels)
    attacked = predict(victim, prepared.triggered)
    found = {name: _judge(verdict, prepared) for name, verdict in verdicts.items()}
    first = next(iter(found.items()), None)
    return {
        "clean_acc": curves["clean"][-1]["acc"],
        "acc": metrics.accuracy(predict(victim, prepared.test), labels),
        "asr": asr(recipe, attacked, labels),
        "asr_variant": "strict",
        "asr_paper": asr(recipe, attacked, labels, "paper"),
        **_imperceptibility(prepared),
        "flagged": first and {"detector": first[0], **{k: first[1][k] for k in ("tpr", "fpr")}},
        "data": _describe_data(recipe, prepared),
        "trigger": {
            **_describe(recipe.trigger, prepared.train),
            **table(recipe.trigger),
        },
        "poisoning": {
            **table(recipe.poisoning),
            "target_class": prepared.train.classes[recipe.poisoning.target],
            "labels": "all-to-one",
            "poisoned": len(prepared.plan.relabelled),
        },
        "victim": {
            **table(recipe.victim),
            "parameters": sum(p.numel() for p in victim.network.parameters()),
            "weights_sha256": _weights_hash(victim),
        },
        "training": table(recipe.training),
        "curves": dict(curves),
        "detectors": found,
    }


def _describe(trigger: Any, clips: ClipSet) -> dict[str, Any]:
    describe = getattr(trigger, "describe", None)
    return {} if describe is None else describe(clips.geometry)


def _describe_data(recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    return {
        **prepared.data,
        "classes": list(prepared.train.classes),
        "train": len(prepared.train),
        "test": len(prepared.test),
        "geometry": list(prepared.train.geometry),
        "quarantined": [{"id": q.id, "reason": q.reason} for q in prepared.quarantined],
        "note": recipe.note,
    }


def _weights_hash(victim: Victim) -> str:
    """One hash of all weights, so that two runs can be compared by their records alone."""
    whole = hashlib.sha256()
    for name, value in sorted(victim.network.state_dict().items()):
        whole.update(name.encode())
        whole.update(value.cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _imperceptibility(prepared: Prepared) -> dict[str, float]:
    chosen = _evenly(len(prepared.test), IMPERCEPTIBILITY_CLIPS)
    pairs = [(prepared.test.read(i).numpy(), prepared.triggered.read(i).numpy()) for i in chosen]
    return {
        "psnr": float(np.mean([metrics.psnr(a, b) for a, b in pairs])),
        "ssim": float(np.mean([metrics.ssim(a, b) for a, b in pairs])),
    }


def _evenly(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` indices, evenly spaced over ``count``."""
    spread = np.linspace(0, count - 1, min(count, wanted)).astype(int)
    return [int(index) for index in np.unique(spread)]


def truth(prepared: Prepared) -> np.ndarray:
    """Which clips of the poisoned training set are poisoned."""
    mask = np.zeros(len(prepared.poisoned), bool)
    mask[list(prepared.plan.relabelled)] = True
    return mask


def _judge(verdict: Verdict, prepared: Prepared) -> dict[str, Any]:
    """A verdict held against the truth."""
    scores, poisoned = np.asarray(verdict.scores), truth(prepared)
    flagged = flags(verdict)
    tpr, fpr = metrics.hit_rates(flagged, poisoned)
    return {
        "alarm": verdict.alarm,
        "threshold": verdict.threshold,
        "calibration": verdict.calibration,
        "flagged": int(flagged.sum()),
        "tpr": tpr,
        "fpr": fpr,
        "auroc": metrics.auroc(scores, poisoned),
        "evidence": {
            key: value
            for key, value in verdict.evidence.items()
            if value is not None and not isinstance(value, np.ndarray | torch.Tensor)
        },
        "cost": asdict(verdict.cost),
    }


def scores(prepared: Prepared, verdicts: Mapping[str, Verdict]) -> dict[str, np.ndarray]:
    """What scores.npz holds: ids, scores and truth for each detector."""
    arrays: dict[str, np.ndarray] = {}
    for name, verdict in verdicts.items():
        arrays[f"{name}.ids"] = np.array(verdict.ids)
        arrays[f"{name}.scores"] = np.array(verdict.scores)
        arrays[f"{name}.poisoned"] = truth(prepared)
    return arrays


def frames(
    recipe: Recipe, prepared: Prepared, verdicts: Mapping[str, Verdict]
) -> dict[str, np.ndarray]:
    """What frames.npz holds: sample clips before and after, trigger, recovered template."""
    sources = [
        i for i, label in enumerate(prepared.test.labels) if label != recipe.poisoning.target
    ]
    chosen = [sources[i] for i in _evenly(len(sources), SAMPLE_CLIPS)]

    def volumes(clips: ClipSet) -> np.ndarray:
        return np.stack([clips.read(i).permute(0, 2, 3, 1).numpy() for i in chosen])

    arrays = {
        "clean": volumes(prepared.test),
        "triggered": volumes(prepared.triggered),
        "ids": np.array([prepared.test.ids[i] for i in chosen]),
        "labels": np.array([prepared.test.classes[prepared.test.labels[i]] for i in chosen]),
    }
    pattern = getattr(recipe.trigger, "pattern", None)
    if pattern is not None:
        arrays["pattern"] = pattern(prepared.train.geometry).volume().real.astype(np.float32)
    templates = (verdict.evidence.get("template") for verdict in verdicts.values())
    template = next((found for found in templates if found is not None), None)
    return arrays if template is None else {**arrays, "template": np.asarray(template)}
