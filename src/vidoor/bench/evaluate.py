"""The stage ``run``: verdicts and predictions held against the truth, as the record of a run."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vidoor import SCHEMA, metrics
from vidoor.bench import store, trained, verdicts
from vidoor.bench.clips import ATTACK, FRAMES, Attacked, Clean, attacked, clean
from vidoor.bench.work import Work
from vidoor.files import write_text
from vidoor.meter import metered
from vidoor.recipe import Recipe, dumps, settled, table
from vidoor.report import arrays
from vidoor.report.page import write_page
from vidoor.report.tables import read_json
from vidoor.types import Cost, Verdict
from vidoor.victims.victim import Victim

RECIPE, SCORES = "recipe.toml", "scores.npz"


def run(work: Work) -> None:
    """Stage ``run``: the folder of a run, complete with its page."""
    recipe: Recipe = work["recipe"]
    write_text(work.folder / RECIPE, dumps(recipe))
    with metered() as meter:
        clips = clean(work)
        attack = attacked(work, clips)
        found = {
            name: verdicts.load(work.needs[f"detect {name}"]) for name in sorted(recipe.detector)
        }
        record = _record(work, clips, attack, found)
        store.write_arrays(work.folder / SCORES, scores(clips, attack, found))
        store.write_arrays(work.folder / FRAMES, _frames(work, found))
    costs = {need: Cost(**store.cost(folder)) for need, folder in work.needs.items()}
    record |= _costs({**costs, "evaluate": meter.cost})
    head = {"schema": SCHEMA, "run_id": work.folder.name}
    store.write_json(work.folder / store.RESULT, {**head, **record})
    write_page(work.folder)


def _record(
    work: Work, clips: Clean, attack: Attacked, found: Mapping[str, Verdict]
) -> dict[str, Any]:
    """The record of a run, but for its costs. Here truth and scores meet."""
    recipe: Recipe = work["recipe"]
    victim = trained.load(work, "train poisoned", clips.train)
    curves = {kind: trained.history(work.needs[f"train {kind}"]) for kind in ("clean", "poisoned")}
    judged = {name: _judge(verdict, clips, attack) for name, verdict in found.items()}
    leading = next(iter(recipe.detector), None)
    goal = recipe.poisoning.goal_class
    visible = read_json(work.needs["poison"] / ATTACK)
    return {
        "name": recipe.name,
        "arm": recipe.arm,
        "seed": recipe.seed,
        "clean_acc": curves["clean"][-1]["acc"],
        **trained.measured(work, victim, clips.test, attack.triggered),
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
            "parameters": sum(p.numel() for p in victim.network.parameters()),
            "weights_sha256": _weights_hash(victim),
        },
        "training": table(recipe.training),
        "curves": curves,
        "detectors": judged,
        "mitigations": {
            name: {
                **read_json(work.needs[f"mitigate {name}"] / trained.MEASURED),
                "cost": store.cost(work.needs[f"mitigate {name}"]),
            }
            for name in recipe.mitigation
        },
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


def _weights_hash(victim: Victim) -> str:
    """One hash of all weights, so that two runs can be compared by their records alone."""
    whole = hashlib.sha256()
    for name, value in sorted(victim.network.state_dict().items()):
        whole.update(name.encode())
        whole.update(value.cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def truth(clips: Clean, attack: Attacked) -> np.ndarray:
    """Which clips of the poisoned training set carry the trigger. Those with its noise do not."""
    mask = np.zeros(len(clips.train), bool)
    mask[list(attack.plan.poisoned)] = True
    return mask


def _judge(verdict: Verdict, clips: Clean, attack: Attacked) -> dict[str, Any]:
    """A verdict held against the truth."""
    scores, poisoned = np.asarray(verdict.scores), truth(clips, attack)
    flagged = verdicts.flags(verdict)
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
            if value is not None and not isinstance(value, np.ndarray)
        },
        "cost": asdict(verdict.cost),
    }


def scores(clips: Clean, attack: Attacked, found: Mapping[str, Verdict]) -> dict[str, np.ndarray]:
    """What scores.npz holds: ids, scores and truth for each detector."""
    arrays: dict[str, np.ndarray] = {}
    for name, verdict in found.items():
        arrays[f"{name}.ids"] = np.array(verdict.ids)
        arrays[f"{name}.scores"] = np.array(verdict.scores)
        arrays[f"{name}.poisoned"] = truth(clips, attack)
    return arrays


def _frames(work: Work, found: Mapping[str, Verdict]) -> dict[str, np.ndarray]:
    """What frames.npz holds: sample clips before and after, trigger, recovered template."""
    known = dict(arrays.read(work.needs["poison"] / FRAMES))
    templates = (found[name].evidence.get("template") for name in work["recipe"].detector)
    template = next((volume for volume in templates if volume is not None), None)
    return known if template is None else {**known, "template": np.asarray(template)}


def _costs(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """What each stage cost, those that other runs share included, and the seconds in sum."""
    groups = {"train": "train ", "detect": "detect ", "evaluate": "evaluate"}
    seconds = {
        group: sum(cost.seconds for stage, cost in costs.items() if stage.startswith(start))
        for group, start in groups.items()
    }
    total = sum(cost.seconds for cost in costs.values())
    return {
        "cost": {stage: asdict(cost) for stage, cost in costs.items()},
        "seconds": {"total": total, **seconds},
    }


def finished(folder: Path) -> None:
    """Draw the page of a complete run again if it was lost."""
    page = folder / store.PAGE
    if not page.exists() or not page.stat().st_size:
        write_page(folder)
