"""The stages of a run: what each depends on, and hence where its result lies.

    data ─┬─ poison ─┬─ train poisoned ─┬─ detect (each detector) ─┬─────────────────── run
          │          ├──────────────────┴──────────────────────────┴─ mitigate (each) ──┤
          └─ train clean ─── detect (again, where there is nothing to find: controls) ──┘

Detectors that look at a layer of the victim need the stage ``activations`` instead of the victim.
What any victim, clean, poisoned or mitigated, makes of a trigger of the test is a stage ``probe``.
A stage is a pure function of its parts and of what it needs, and it is given nothing else. Its key
is the hash of these, so stages of different runs that depend on the same things are one stage:
forty defences share one victim, and every attack shares the clean one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from typing import Any

from vidoor.document import digest
from vidoor.options import identity, table
from vidoor.recipe import Recipe, run_id

KINDS = ("data", "poison", "train", "activations", "detect", "mitigate", "probe", "run")
"""In the order in which work that is ready is taken up."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One piece of work. ``folder`` is where its result lies, relative to the output folder."""

    kind: str
    label: str
    folder: str
    like: str
    """Equal for stages that should cost the same: seeds and attacks differ, sizes do not."""

    parts: Mapping[str, Any]
    """Methods, settings and plain values, by name."""

    needs: Mapping[str, "Stage"] = field(default_factory=dict)
    """The stages whose results it reads, by the name that it knows them under."""

    def tree(self) -> Iterator["Stage"]:
        """Everything that this stage rests on, then the stage itself."""
        for need in self.needs.values():
            yield from need.tree()
        yield self


def stages(recipe: Recipe, content: Mapping[str, Any], *, seeded: bool = True) -> Stage:
    """The last stage of a run; its ``tree`` holds the others. ``content`` is the data's identity,
    which may take reading every file; ``seeded``: does the seed change its clips?"""
    make = partial(_stage, content)
    seed, trigger, poisoning = recipe.seed, recipe.trigger, recipe.poisoning
    # Data that no seed changes are read once for all seeds.
    split = seed if seeded else 0
    source = {"data": recipe.data, "split": split}
    attack = {**source, "trigger": trigger, "poisoning": poisoning, "seed": seed}
    model = {"victim": recipe.victim, "training": recipe.training}
    schedule = {**model, "seed": seed}

    data = make("data", "", {**source, "content": dict(content)})
    poison = make("poison", "", attack, data=data)
    clean = make("train", "clean", {**source, **schedule}, data=data)
    poisoned = make("train", "poisoned", {**attack, **schedule}, data=data, poison=poison)
    needs = {"data": data, "poison": poison, "train clean": clean, "train poisoned": poisoned}
    attacked = {"data": data, "poison": poison}
    # Those that look into the verdict of another one come after it.
    for name, detector in sorted(recipe.detector.items(), key=lambda item: awaits(item[1])):
        needs[f"detect {name}"] = _detection(
            make,
            name,
            {**attack, "detector": detector},
            model,
            {**attacked, **_verdict(recipe, detector, needs, "detect")},
            poisoned,
        )
        if recipe.controls:
            needs[f"control {name}"] = _detection(
                make,
                f"{name} (control)",
                {**source, "detector": detector},
                model,
                {"data": data, **_verdict(recipe, detector, needs, "control")},
                clean,
            )
    for name, mitigation in recipe.mitigation.items():
        parts = {**attack, **model, "mitigation": mitigation}
        also = _verdict(recipe, mitigation, needs, "detect")
        needs[f"mitigate {name}"] = make(
            "mitigate", name, parts, data=data, poison=poison, victim=poisoned, **also
        )

    needs |= dict(_probes(make, recipe, {**source, **model}, needs))

    # Their cost is part of the run's, once.
    taps = (need.needs["activations"] for need in needs.values() if "activations" in need.needs)
    needs |= {tap.label: tap for tap in taps}
    run = run_id(recipe, content)
    methods = [recipe.data, *recipe.detector.values()]
    like = digest("run", [table(method) for method in methods])
    parts = {**attack, **model, "recipe": recipe, "content": content}
    return Stage("run", "run", run, like, parts, needs)


def awaits(detector: Any) -> bool:
    """Does it ask for the verdict of another one?"""
    return "verdict" in getattr(detector, "given", ())


def _verdict(recipe: Recipe, method: Any, made: Mapping[str, Stage], kind: str) -> dict[str, Stage]:
    """The stage whose verdict a method acts on, if it names a detector of the recipe."""
    judged = getattr(method, "detector", None)
    return {"verdict": made[f"{kind} {judged}"]} if judged in recipe.detector else {}


def _detection(
    make: Callable[..., Stage],
    name: str,
    parts: Mapping[str, Any],
    model: Mapping[str, Any],
    needs: Mapping[str, Stage],
    victim: Stage,
) -> Stage:
    """A stage ``detect``. A detector that looks at clips alone waits for no victim, and is run once
    for all of them; those that look at a layer share what the victim makes of the clips there."""
    detector = parts["detector"]
    if not getattr(detector, "needs_victim", True):
        return make("detect", name, parts, **needs)
    if hasattr(detector, "judge"):
        layer = {"layer": detector.layer, "pool": detector.pool}
        seen = {key: part for key, part in parts.items() if key != "detector"}
        where = f"{detector.layer or 'penultimate'}, {detector.pool}"
        of = where if "poison" in needs else f"{where} (control)"
        tapped = make("activations", of, {**seen, **model, **layer}, **needs, victim=victim)
        return make("detect", name, parts, **needs, activations=tapped)
    return make("detect", name, {**parts, **model}, **needs, victim=victim)


def _probes(
    make: Callable[..., Stage], recipe: Recipe, parts: Mapping[str, Any], made: Mapping[str, Stage]
) -> Iterator[tuple[str, Stage]]:
    """A stage ``probe`` for every trigger of the test and every victim, by their ``probing``."""
    publish = recipe.poisoning.publication
    sent = {} if publish is None else {"publication": publish}
    # What a victim makes of clips does not depend on how many of others were poisoned.
    alone = {**parts, "poisoning": recipe.poisoning.rule}
    for name, trigger in recipe.probe.items():
        for victim, stage in made.items():
            need = probing(name, victim)
            of = need.removeprefix("probe ")
            if stage.kind == "train":
                told = {**alone, **sent, "probe": trigger}
                yield need, make("probe", of, told, data=made["data"], victim=stage)
            elif stage.kind == "mitigate":
                told = {**stage.parts, **sent, "probe": trigger}
                yield need, make("probe", of, told, **stage.needs, mitigated=stage)


def probing(probe: str, victim: str) -> str:
    """What a run calls the stage in which a probe meets a victim, which it calls ``victim``."""
    return f"probe {probe}, {victim}"


def _stage(
    content: Mapping[str, Any], kind: str, of: str, parts: Mapping[str, Any], **needs: Stage
) -> Stage:
    """A stage whose key tells everything that it depends on."""
    told = {name: content if name == "data" else _identity(part) for name, part in parts.items()}
    key = digest(kind, told, {name: need.folder for name, need in needs.items()})
    alike = {
        name: table(part)
        for name, part in parts.items()
        if is_dataclass(part) and name not in ("trigger", "poisoning", "probe")
    }
    like = digest(kind, alike)
    return Stage(kind, f"{kind} {of}".strip(), f"stages/{kind}-{key}", like, parts, needs)


def _identity(part: Any) -> Any:
    return identity(part) if is_dataclass(part) else part
