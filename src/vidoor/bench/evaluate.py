"""The stage ``run``: verdicts and predictions held against the truth, as the record of a run."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vidoor import SCHEMA
from vidoor.bench import judge, probed, store, trained, verdicts
from vidoor.bench.clips import ATTACK, FRAMES, Attacked, Clean, attacked, clean
from vidoor.bench.judge import Found, truth
from vidoor.bench.work import Work
from vidoor.files import write_text
from vidoor.meter import metered
from vidoor.options import table
from vidoor.recipe import Recipe, dumps, settled
from vidoor.report import arrays
from vidoor.report.page import write_page
from vidoor.report.record import PAGE, RESULT
from vidoor.report.tables import read_json
from vidoor.types import Cost

RECIPE, SCORES = "recipe.toml", "scores.npz"


def run(work: Work) -> None:
    """Stage ``run``: the folder of a run, complete with its page."""
    recipe: Recipe = work["recipe"]
    write_text(work.folder / RECIPE, dumps(recipe))
    with metered() as meter:
        clips = clean(work)
        attack = attacked(work, clips)
        found = {
            name: Found(
                verdicts.load(work.needs[f"detect {name}"]),
                truth(verdicts.level(detector), recipe.poisoning, clips, attack),
            )
            for name, detector in sorted(recipe.detector.items())
        }
        record = _record(work, clips, attack, found)
        store.write_arrays(work.folder / SCORES, scores(found))
        store.write_arrays(work.folder / FRAMES, _frames(work, found))
    costs = {need: Cost(**store.cost(folder)) for need, folder in work.needs.items()}
    record |= _costs({**costs, "evaluate": meter.cost})
    head = {"schema": SCHEMA, "run_id": work.folder.name}
    store.write_json(work.folder / RESULT, {**head, **record})
    write_page(work.folder)


def _record(
    work: Work, clips: Clean, attack: Attacked, found: Mapping[str, Found]
) -> dict[str, Any]:
    """The record of a run, but for its costs."""
    recipe: Recipe = work["recipe"]
    victim = trained.measured(work.needs["train poisoned"])
    curves = {kind: trained.history(work.needs[f"train {kind}"]) for kind in ("clean", "poisoned")}
    judged = {name: _judged(work, name, each) for name, each in found.items()}
    leading = next(iter(recipe.detector), None)
    goal = recipe.poisoning.goal_class
    visible = read_json(work.needs["poison"] / ATTACK)
    return {
        "name": recipe.name,
        "arm": recipe.arm,
        "seed": recipe.seed,
        "clean_acc": curves["clean"][-1]["acc"],
        **victim["rates"],
        "asr_variant": "strict",
        "psnr": visible["psnr"],
        "ssim": visible["ssim"],
        "flagged": leading
        and {"detector": leading, **{rate: judged[leading][rate] for rate in ("tpr", "fpr")}},
        "data": _describe_data(work, clips),
        "trigger": {**visible["trigger"], **table(recipe.trigger)},
        "poisoning": {
            **table(recipe.poisoning),
            "target_class": None if goal is None else clips.train.classes[goal],
            "poisoned": len(attack.plan.poisoned),
            "noisy": len(attack.plan.noisy),
        },
        "victim": {
            **table(recipe.victim),
            **victim["victim"],
        },
        "training": table(recipe.training),
        "curves": curves,
        "detectors": judged,
        "mitigations": {
            name: {
                **trained.measured(work.needs[f"mitigate {name}"])["rates"],
                **probed.after(work, name),
                "cost": store.cost(work.needs[f"mitigate {name}"]),
            }
            for name in recipe.mitigation
        },
        "probes": probed.told(work, clips.train),
        "recipe": settled(recipe),
        # What matters is where the victim was trained.
        "environment": (store.done(work.needs["train poisoned"]) or {}).get("environment", {}),
    }


def _describe_data(work: Work, clips: Clean) -> dict[str, Any]:
    return {
        **work["content"],
        "classes": list(clips.train.classes),
        "train": len(clips.train),
        "test": len(clips.test),
        "geometry": list(clips.train.geometry),
        "quarantined": [asdict(clip) for clip in clips.quarantined],
        "note": work["recipe"].note,
    }


def _judged(work: Work, name: str, found: Found) -> dict[str, Any]:
    """One detector's part of the record, with what it said where nothing was to be found."""
    judged = judge.judge(found.verdict, found.truth)
    if work["recipe"].controls:
        judged["control"] = judge.control(verdicts.load(work.needs[f"control {name}"]))
    return judged


def scores(found: Mapping[str, Found]) -> dict[str, np.ndarray]:
    """What scores.npz holds: ids, scores and truth for each detector."""
    arrays: dict[str, np.ndarray] = {}
    for name, each in found.items():
        counted = each.truth.counted
        arrays[f"{name}.ids"] = np.array(each.verdict.ids)[counted]
        arrays[f"{name}.scores"] = np.array(each.verdict.scores)[counted]
        arrays[f"{name}.poisoned"] = each.truth.positive[counted]
    return arrays


def _frames(work: Work, found: Mapping[str, Found]) -> dict[str, np.ndarray]:
    """What frames.npz holds: sample clips before and after, trigger, recovered template."""
    known = dict(arrays.read(work.needs["poison"] / FRAMES))
    templates = (found[name].verdict.evidence.get("template") for name in work["recipe"].detector)
    template = next((volume for volume in templates if volume is not None), None)
    return known if template is None else {**known, "template": np.asarray(template)}


def _costs(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """What each stage cost, those that other runs share included, and the seconds in sum."""
    groups = {
        "train": ("train ",),
        "detect": ("detect ", "control ", "activations "),
        "evaluate": ("evaluate", "probe "),
    }
    seconds = {
        group: sum(cost.seconds for stage, cost in costs.items() if stage.startswith(starts))
        for group, starts in groups.items()
    }
    total = sum(cost.seconds for cost in costs.values())
    return {
        "cost": {stage: asdict(cost) for stage, cost in costs.items()},
        "seconds": {"total": total, **seconds},
    }


def finished(folder: Path) -> None:
    """Draw the page of a complete run again if it was lost."""
    page = folder / PAGE
    if not page.exists() or not page.stat().st_size:
        write_page(folder)
