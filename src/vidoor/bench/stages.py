"""The stages of a run. Each depends on a part of the recipe and on nothing else.

prepare -> train (a clean victim and a poisoned one) -> detect -> evaluate
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidoor import metrics
from vidoor.bench import store
from vidoor.data import cache
from vidoor.poisoning.poisoner import PoisonPlan, apply, preflight, triggered
from vidoor.progress import say
from vidoor.recipe import Recipe, digest, identity, table
from vidoor.types import ClipSet, Quarantined, Splits, Verdict
from vidoor.victims import victim as victims
from vidoor.victims.training import fit, predict
from vidoor.victims.victim import Victim

IMPERCEPTIBILITY_CLIPS = 100
"""Test clips, evenly spaced, that PSNR and SSIM are averaged over."""

SAMPLE_CLIPS = 4
"""Test clips whose frames are kept for the report."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The clips of a run: clean and poisoned training set, clean and triggered test set."""

    train: ClipSet
    poisoned: ClipSet
    plan: PoisonPlan
    test: ClipSet
    triggered: ClipSet
    quarantined: tuple[Quarantined, ...]


def check(recipe: Recipe) -> Splits:
    """Everything that can be wrong with a recipe, found before anything is computed or written."""
    splits: Splits = recipe.data.open(recipe.seed)
    preflight(recipe.trigger, splits.train)
    recipe.poisoning.plan(splits.train, recipe.seed)
    return splits


def prepare(recipe: Recipe) -> Prepared:
    """Read the clips and poison the training set."""
    splits = check(recipe)
    train, unread = cache.hold(splits.train, "training clips")
    test, unread_test = cache.hold(splits.test, "test clips")
    plan = recipe.poisoning.plan(train, recipe.seed)
    # The poisoned sets stay lazy views: embedding again costs less than holding another copy.
    poisoned = apply(train, plan, recipe.trigger)
    attacked = triggered(test, recipe.trigger)
    return Prepared(train, poisoned, plan, test, attacked, (*unread, *unread_test))


def train(
    recipe: Recipe, prepared: Prepared, *, poisoned: bool
) -> tuple[Victim, list[dict[str, float]]]:
    """A trained victim and its learning curve; from the store if this training was done before."""
    attack = [identity(recipe.trigger), identity(recipe.poisoning)] if poisoned else None
    parts = (identity(recipe.data), recipe.seed, identity(recipe.victim), identity(recipe.training))
    folder = store.make_folder(
        recipe.runtime.out / "stages" / f"train-{digest('train', *parts, attack)}"
    )
    victim = victims.build(recipe.victim, len(prepared.train.classes), recipe.seed)
    weights, history, checkpoint = (
        folder / name for name in ("weights.safetensors", "history.json", "checkpoint.safetensors")
    )
    if history.exists():
        victims.load(victim, weights)
        return victim, store.read_json(history)
    labels = np.asarray(prepared.test.labels)

    def measure(victim: Victim) -> dict[str, float]:
        measured = {"acc": metrics.accuracy(predict(victim, prepared.test), labels)}
        if poisoned:
            measured["asr"] = _asr(recipe, predict(victim, prepared.triggered), labels)
        return measured

    victim, curve = fit(
        victim,
        prepared.poisoned if poisoned else prepared.train,
        recipe.training,
        seed=recipe.seed,
        checkpoint=checkpoint,
        name="poisoned victim" if poisoned else "clean victim",
        device=recipe.runtime.device,
        measure=measure,
    )
    victims.save(victim, weights)
    store.write_json(history, curve)
    checkpoint.unlink(missing_ok=True)
    return victim, curve


def detect(recipe: Recipe, prepared: Prepared, victim: Victim) -> dict[str, Verdict]:
    """What each detector says of the poisoned training set. None of them is told the truth."""
    verdicts = {}
    for name, detector in recipe.detector.items():
        verdicts[name] = detector.inspect(prepared.poisoned, victim=victim)
        verdict = verdicts[name]
        outcome = f"ALARM, {_flags(verdict).sum():,} clips flagged" if verdict.alarm else "no alarm"
        say(f"detector {name}: {outcome}")
    return verdicts


def _asr(
    recipe: Recipe, predicted: np.ndarray, labels: np.ndarray, variant: str = "strict"
) -> float:
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
        "asr": _asr(recipe, attacked, labels),
        "asr_variant": "strict",
        "asr_paper": _asr(recipe, attacked, labels, "paper"),
        **_imperceptibility(prepared),
        "flagged": first and {"detector": first[0], **{k: first[1][k] for k in ("tpr", "fpr")}},
        "data": _describe_data(recipe, prepared),
        "trigger": {
            **table(recipe.trigger),
            **_describe(recipe.trigger, prepared.train),
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
        **identity(recipe.data),
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


def _flags(verdict: Verdict) -> np.ndarray:
    """Which clips a verdict accuses: none without an alarm."""
    return (np.asarray(verdict.scores) > verdict.threshold) & verdict.alarm


def _judge(verdict: Verdict, prepared: Prepared) -> dict[str, Any]:
    """A verdict held against the truth."""
    scores, poisoned = np.asarray(verdict.scores), truth(prepared)
    flagged = _flags(verdict)
    tpr, fpr = metrics.hit_rates(flagged, poisoned)
    scalars = {k: v for k, v in verdict.evidence.items() if np.ndim(v) == 0}
    return {
        "alarm": verdict.alarm,
        "threshold": verdict.threshold,
        "calibration": verdict.calibration,
        "flagged": int(flagged.sum()),
        "tpr": tpr,
        "fpr": fpr,
        "auroc": metrics.auroc(scores, poisoned),
        "evidence": scalars,
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
    templates = (v.evidence["template"] for v in verdicts.values() if "template" in v.evidence)
    template = next(templates, None)
    return arrays if template is None else {**arrays, "template": np.asarray(template)}


def with_out(recipe: Recipe, out: Path) -> Recipe:
    """The same run, written to another folder."""
    return replace(recipe, runtime=replace(recipe.runtime, out=out))
