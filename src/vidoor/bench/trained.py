"""The training stage: victims by what they depend on, trained once and found again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from vidoor import metrics
from vidoor.bench import store
from vidoor.bench.evaluate import asr
from vidoor.bench.executors import apart
from vidoor.bench.stages import Prepared, prepare
from vidoor.errors import DataError, VidoorError
from vidoor.progress import say
from vidoor.recipe import Recipe, digest, identity
from vidoor.report.tables import read_json
from vidoor.victims import victim as victims
from vidoor.victims.training import fit, pick_device, predict
from vidoor.victims.victim import Victim

Trained: TypeAlias = tuple[Victim, list[dict[str, float]]]
"""A victim, and what was measured after each epoch of its training."""

WEIGHTS, HISTORY, CHECKPOINT = "weights.safetensors", "history.json", "checkpoint.safetensors"


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
            measured["asr"] = asr(recipe, predict(victim, prepared.triggered), labels)
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
