"""The stages of a run. Each depends on a part of the recipe and on nothing else.

prepare -> train (trained.py: a clean victim and a poisoned one) -> detect -> evaluate (evaluate.py)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vidoor.data import cache
from vidoor.errors import DataError, RecipeError
from vidoor.poisoning.poisoner import PoisonPlan, apply, preflight, triggered
from vidoor.progress import say
from vidoor.recipe import Recipe
from vidoor.types import ClipSet, Quarantined, Splits, Verdict
from vidoor.victims.victim import Victim

LARGEST = 2e9
"""Parameters of the largest victim that is tried."""


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
        outcome = f"ALARM, {flags(verdict).sum():,} clips flagged" if verdict.alarm else "no alarm"
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


def flags(verdict: Verdict) -> np.ndarray:
    """Which clips a verdict accuses: none without an alarm."""
    return (np.asarray(verdict.scores) > verdict.threshold) & verdict.alarm
