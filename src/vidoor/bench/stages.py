"""The stages of a run. Each depends on a part of the recipe and on nothing else.

prepare -> train (a clean victim and a poisoned one) -> detect -> evaluate
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from vidoor import metrics
from vidoor.bench import store
from vidoor.bench.executors import apart
from vidoor.data import cache
from vidoor.errors import DataError, RecipeError, VidoorError
from vidoor.poisoning.poisoner import PoisonPlan, apply, preflight, triggered
from vidoor.progress import say
from vidoor.recipe import Recipe, digest, identity, table
from vidoor.report.tables import read_json
from vidoor.types import ClipSet, Quarantined, Splits, Verdict
from vidoor.victims import victim as victims
from vidoor.victims.training import fit, pick_device, predict
from vidoor.victims.victim import Victim

IMPERCEPTIBILITY_CLIPS = 100
"""Test clips, evenly spaced, that PSNR and SSIM are averaged over."""

SAMPLE_CLIPS = 4
"""Test clips whose frames are kept for the report."""

LARGEST = 2e9
"""Parameters of the largest victim that is tried."""

Trained: TypeAlias = tuple[Victim, list[dict[str, float]]]
"""A victim, and what was measured after each epoch of its training."""

WEIGHTS, HISTORY, CHECKPOINT = "weights.safetensors", "history.json", "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The clips of a run: clean and poisoned training set, clean and triggered test set."""

    train: ClipSet
    poisoned: ClipSet
    plan: PoisonPlan
    test: ClipSet
    triggered: ClipSet
    quarantined: tuple[Quarantined, ...]
    data: Mapping[str, Any]
    """Identity of the data: part of every key."""


def check(recipe: Recipe) -> Splits:
    """Everything that can be wrong with a recipe, found before anything is computed or written."""
    splits: Splits = recipe.data.open(recipe.seed)
    if len(splits.train.classes) < 2:
        raise DataError(f"the data has one class, {splits.train.classes[0]!r}; give two or more")
    preflight(recipe.trigger, splits.train)
    recipe.poisoning.plan(splits.train, recipe.seed)
    if all(label == recipe.poisoning.target for label in splits.test.labels):
        raise DataError(
            f"none of the {len(splits.test)} test clips is of another class than the target, so "
            "ASR cannot be measured; give more test clips (data.holdout, or another split)"
        )
    check_victim(recipe, splits.train)
    for detector in recipe.detector.values():
        if hasattr(detector, "check"):
            detector.check(len(splits.train), splits.train.geometry)
    return splits


def check_victim(recipe: Recipe, clips: ClipSet) -> None:
    """RecipeError if the victim cannot train on such clips; tried without memory or arithmetic."""
    batch = recipe.training.batch_size
    try:
        with torch.device("meta"):
            network = recipe.victim.build(len(clips.classes)).train()
            for size in {min(batch, len(clips)), len(clips) % batch or batch}:
                network(torch.empty(size, 3, *clips.geometry))
    except NotImplementedError:
        return  # an operation that only runs on real numbers; training will tell
    except (RuntimeError, ValueError) as error:
        reason, shape = str(error).splitlines()[0], "×".join(map(str, clips.geometry))
        raise RecipeError(
            f"the victim cannot train on batches of {size} clips of {shape}: {reason}"
        ) from None
    parameters = sum(p.numel() for p in network.parameters())
    if parameters > LARGEST:
        raise RecipeError(f"the victim would have {parameters:.3g} parameters; lower its width")


def prepare(recipe: Recipe, splits: Splits, data: Mapping[str, Any]) -> Prepared:
    """Read the clips and poison the training set."""
    train, unread = cache.hold(splits.train, "training clips")
    test, unread_test = cache.hold(splits.test, "test clips")
    plan = recipe.poisoning.plan(train, recipe.seed)
    # The poisoned sets stay lazy views: embedding again costs less than holding another copy.
    poisoned = apply(train, plan, recipe.trigger)
    attacked = triggered(test, recipe.trigger)
    return Prepared(train, poisoned, plan, test, attacked, (*unread, *unread_test), data)


def train(recipe: Recipe, prepared: Prepared, *, poisoned: bool) -> Trained:
    """A trained victim and its learning curve; from the store if this training was done before."""
    # A victim just trained comes from the store too: every later number is made the same way.
    found = _stored(recipe, prepared, poisoned=poisoned)
    if found is None:
        _train(recipe, prepared, poisoned=poisoned)
        found = _stored(recipe, prepared, poisoned=poisoned)
    assert found is not None
    return found


def train_ahead(recipe: Recipe, data: Mapping[str, Any]) -> None:
    """Train what the store lacks, victims side by side; ``train`` finds them there afterwards."""
    missing = [
        kind for kind in (False, True) if not (_folder(recipe, data, kind) / HISTORY).exists()
    ]
    together = len(missing) > 1 and recipe.runtime.workers > 1
    if together and pick_device(recipe.runtime.device).type == "cpu":
        apart(_train_apart, [(recipe, data, poisoned) for poisoned in missing])


def _train_apart(recipe: Recipe, data: Mapping[str, Any], poisoned: bool) -> None:
    torch.set_num_threads(recipe.runtime.threads)
    prepared = prepare(recipe, recipe.data.open(recipe.seed), data)
    _train(recipe, prepared, poisoned=poisoned)


def _folder(recipe: Recipe, data: Mapping[str, Any], poisoned: bool) -> Path:
    """Where a trained victim is stored: named after everything that it depends on."""
    attack = [identity(recipe.trigger), identity(recipe.poisoning)] if poisoned else None
    parts = (data, recipe.seed, identity(recipe.victim), identity(recipe.training), attack)
    return recipe.runtime.out / "stages" / f"train-{digest('train', *parts)}"


def _stored(recipe: Recipe, prepared: Prepared, *, poisoned: bool) -> Trained | None:
    """The victim that the store holds; None if it holds none, or a damaged one."""
    folder = _folder(recipe, prepared.data, poisoned)
    if not (folder / HISTORY).exists():
        return None
    victim = victims.build(recipe.victim, len(prepared.train.classes), recipe.seed)
    try:
        history = read_json(folder / HISTORY)
        victims.load(victim, folder / WEIGHTS)
        if len(history) != recipe.training.epochs:
            raise DataError(f"{folder / HISTORY}: {len(history)} epochs are not all")
    except VidoorError as error:
        say(f"damaged, so it is made again: {error}")
        return None
    return victim.to(pick_device(recipe.runtime.device)).eval(), history


def _train(recipe: Recipe, prepared: Prepared, *, poisoned: bool) -> None:
    folder = store.make_folder(_folder(recipe, prepared.data, poisoned))
    labels = np.asarray(prepared.test.labels)

    def measure(victim: Victim) -> dict[str, float]:
        measured = {"acc": metrics.accuracy(predict(victim, prepared.test), labels)}
        if poisoned:
            measured["asr"] = _asr(recipe, predict(victim, prepared.triggered), labels)
        return measured

    victim, history = fit(
        victims.build(recipe.victim, len(prepared.train.classes), recipe.seed),
        prepared.poisoned if poisoned else prepared.train,
        recipe.training,
        seed=recipe.seed,
        checkpoint=folder / CHECKPOINT,
        name="poisoned victim" if poisoned else "clean victim",
        device=recipe.runtime.device,
        measure=measure,
    )
    victims.save(victim, folder / WEIGHTS)
    store.write_json(folder / HISTORY, history)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def detect(recipe: Recipe, prepared: Prepared, victim: Victim) -> dict[str, Verdict]:
    """What each detector says of the poisoned training set. None of them is told the truth."""
    verdicts = {}
    suspects = anonymous(prepared.poisoned)
    names = dict(zip(suspects.ids, prepared.poisoned.ids, strict=True))
    for name, detector in recipe.detector.items():
        verdict = detector.inspect(suspects, victim=victim)
        verdicts[name] = replace(
            verdict,
            ids=tuple(names.get(clip, clip) for clip in verdict.ids),
            evidence=_renamed(dict(verdict.evidence), names),
        )
        outcome = f"ALARM, {_flags(verdict).sum():,} clips flagged" if verdict.alarm else "no alarm"
        say(f"detector {name}: {outcome}")
    return verdicts


def anonymous(clips: ClipSet) -> ClipSet:
    """The set as a defender gets it: pixels and given labels. Original ids may name the true
    class, and the reader of a poisoned set knows the plan; neither goes along."""
    ids = tuple(f"clip-{index:07d}" for index in range(len(clips)))
    return replace(clips, ids=ids, read=lambda index: clips.read(index))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Evidence with the clips under their own names again."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(item, names) for item in value]
    return value


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


def _flags(verdict: Verdict) -> np.ndarray:
    """Which clips a verdict accuses: none without an alarm."""
    return (np.asarray(verdict.scores) > verdict.threshold) & verdict.alarm


def _judge(verdict: Verdict, prepared: Prepared) -> dict[str, Any]:
    """A verdict held against the truth."""
    scores, poisoned = np.asarray(verdict.scores), truth(prepared)
    flagged = _flags(verdict)
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
