"""From a document to cells: every recipe that it asks for, checked, and the stages of each.

Everything that can be wrong with a recipe is found here, before anything is computed or written.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from vidoor.bench.given import CONTROLS
from vidoor.bench.grid import expand
from vidoor.bench.stages import Stage, awaits, stages
from vidoor.bench.status import Asked
from vidoor.bench.verdicts import level
from vidoor.document import Document
from vidoor.errors import DataError, RecipeError, VidoorError, unknown
from vidoor.options import identity, table
from vidoor.poisoning.poisoner import preflight
from vidoor.recipe import Recipe, parse
from vidoor.types import ClipSet, Splits
from vidoor.victims.victim import Victim

LARGEST = 2e9
"""Parameters of the largest victim that is tried."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a grid. ``stage`` is its last stage."""

    recipe: Recipe
    label: str
    stage: Stage


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was found about parts of recipes: looked at once, however many cells share them."""

    known: dict[str, Any] = field(default_factory=dict)

    def once(self, look: Callable[[], T], *at: Any) -> T:
        """``look()``, or what it gave before for equal parts ``at``."""
        told = [table(part) if is_dataclass(part) else part for part in at]
        key = json.dumps(told, default=str, sort_keys=True)
        if key not in self.known:
            self.known[key] = look()
        found: T = self.known[key]
        return found


def plan(document: Document, out: Path | None = None) -> list[Cell]:
    """The cells of a document. VidoorError, one line, names the first that cannot be run."""
    looked, cells = _Looked(), []
    settings = expand(document)
    for setting in settings:
        try:
            recipe = parse(setting.document)
            if out is not None:
                recipe = replace(recipe, runtime=replace(recipe.runtime, out=out))
            _check(recipe, looked)
        except VidoorError as error:
            if len(settings) == 1:
                raise
            raise RecipeError(f"{setting.label}: {error}") from None
        data = recipe.data
        content = looked.once(partial(identity, data), "content", data)
        seeded = looked.once(partial(getattr, data, "seeded", True), "seeded", data)
        cells.append(Cell(recipe, setting.label, stages(recipe, content, seeded=seeded)))
    # A grid may name one setting twice; it is one run.
    return list({cell.stage.folder: cell for cell in reversed(cells)}.values())[::-1]


def _check(recipe: Recipe, looked: _Looked) -> None:
    data, seed, attack = recipe.data, recipe.seed, recipe.poisoning
    splits = looked.once(lambda: _opened(data, seed), "open", data, seed)
    train, test = splits.train, splits.test
    for name, trigger in recipe.probe.items():
        looked.once(partial(_check_probe, name, trigger, train), trigger, train.geometry)
    fits = (recipe.trigger, attack, train.geometry)
    looked.once(lambda: attack.preflight(recipe.trigger, train), *fits)
    looked.once(lambda: attack.plan(train, seed), attack, data, seed)
    if not (attack.goal(test.labels, len(test.classes)) >= 0).any():
        sources = f"a class of poisoning.sources = {list(attack.sources)}"
        wanted = sources if attack.sources else "another class than the target"
        raise DataError(
            f"none of the {len(test)} test clips is of {wanted}, so ASR cannot be measured; "
            "give more test clips (data.holdout, or another split)"
        )
    shape = (len(train), len(train.classes), train.geometry)
    looked.once(lambda: _check_victim(recipe, train), recipe.victim, recipe.training, shape)
    for name, detector in recipe.detector.items():
        _check_verdict(recipe, f"detector.{name}", detector)
        if hasattr(detector, "check"):
            detector.check(len(train), train.geometry)
    for name, mitigation in recipe.mitigation.items():
        _check_verdict(recipe, f"mitigation.{name}", mitigation, CONTROLS)
        if hasattr(mitigation, "check"):
            parts = (mitigation, recipe.victim, recipe.training, shape)
            looked.once(partial(_check_layers, recipe, mitigation, train), *parts)


def _check_probe(name: str, trigger: Any, clips: ClipSet) -> None:
    """RecipeError if a trigger of the test does not fit the clips."""
    try:
        preflight(trigger, clips)
    except VidoorError as error:
        raise RecipeError(f"probe.{name}: {error}") from None


def _check_verdict(recipe: Recipe, where: str, method: Any, controls: tuple[str, ...] = ()) -> None:
    """RecipeError if a method acts on a verdict that there will not be, or not of its kind."""
    judged, wanted = getattr(method, "detector", None), getattr(method, "verdict_of", "")
    if judged is None:
        return
    valid = [
        name
        for name, detector in recipe.detector.items()
        if level(detector) == wanted and not awaits(detector)
    ]
    valid += controls if wanted == "dataset" else ()
    if judged not in valid:
        raise RecipeError(f"{where}.detector: {unknown(f'{wanted} detector', judged, valid)}")


def _check_layers(recipe: Recipe, mitigation: Any, clips: ClipSet) -> None:
    """VidoorError if a mitigation cannot work on the layers that it names."""
    with _dry():
        network = recipe.victim.build(len(clips.classes))
        mitigation.check(Victim(network, recipe.victim, recipe.training.frames), clips.geometry)


@contextmanager
def _dry() -> Iterator[None]:
    """A trial on torch's meta device, without memory or arithmetic. Some operations have no dry
    form, and yet they train: the trial ends there, and finds nothing wrong."""
    with suppress(NotImplementedError), torch.device("meta"):
        yield


def _opened(data: Any, seed: int) -> Splits:
    splits: Splits = data.open(seed)
    if len(splits.train.classes) < 2:
        raise DataError(f"the data has one class, {splits.train.classes[0]!r}; give two or more")
    return splits


def _check_victim(recipe: Recipe, clips: ClipSet) -> None:
    """RecipeError if the victim is too large or cannot train on such clips."""
    batch, (frames, height, width) = recipe.training.batch_size, clips.geometry
    if hasattr(recipe.victim, "check"):
        recipe.victim.check()
    seen, parts = recipe.training.frames or frames, recipe.training.accumulate
    if seen > frames:
        raise RecipeError(
            f"training.frames = {seen} is more than the {frames} frames of the clips; give at "
            f"most {frames}, or leave it out"
        )
    sizes = {min(batch, len(clips)), len(clips) % batch or batch}
    size = max(sizes)
    try:
        with _dry():
            network = recipe.victim.build(len(clips.classes)).train()
            parameters = sum(p.numel() for p in network.parameters())
            if parameters > LARGEST:
                raise RecipeError(
                    f"the victim would have {parameters:.3g} parameters; lower its width"
                )
            for size in {part for whole in sizes for part in _parts(whole, parts)}:
                network(torch.empty(size, 3, seen, height, width))
    except (RuntimeError, ValueError) as error:
        reason, shape = str(error).splitlines()[0], f"{seen}×{height}×{width}"
        raise RecipeError(
            f"the victim cannot train on batches of {size} clips of {shape}: {reason}"
        ) from None


def _parts(size: int, parts: int) -> set[int]:
    """Sizes of the parts that a batch is worked off in."""
    return {part for part in (size // parts, -(-size // parts)) if part}


def asked(cells: Sequence[Cell]) -> Asked:
    """The cells as a plain document, for those who only look."""
    runtime = cells[0].recipe.runtime
    trees = [{stage.folder: stage for stage in cell.stage.tree()} for cell in cells]
    return {
        "name": cells[0].recipe.name,
        "workers": runtime.workers,
        "settled": not any(hasattr(cell.recipe.data, "identity") for cell in cells),
        "cells": [
            {"label": cell.label, "run": cell.stage.folder, "stages": list(tree)}
            for cell, tree in zip(cells, trees, strict=True)
        ],
        "stages": {
            name: {"label": stage.label, "like": stage.like}
            for tree in trees
            for name, stage in tree.items()
        },
    }
