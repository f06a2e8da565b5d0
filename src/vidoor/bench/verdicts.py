"""The stage ``detect``: what a detector says of the poisoned training set, kept for the record."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidoor.bench import store
from vidoor.bench.clips import attacked, clean
from vidoor.bench.trained import load as load_victim
from vidoor.bench.work import Work
from vidoor.errors import VidoorError
from vidoor.progress import say
from vidoor.report.tables import read_json
from vidoor.types import ClipSet, Cost, Verdict

VERDICT, SCORES, ARRAYS = "verdict.json", "scores.npz", "evidence.npz"


def detect(work: Work) -> None:
    """Stage ``detect``. The detector is not told the truth."""
    clips = clean(work)
    poisoned = attacked(work, clips).poisoned
    suspects = anonymous(poisoned)
    victim = load_victim(work, "victim", clips.train) if "victim" in work.needs else None
    verdict = _sound(work["detector"].inspect(suspects, victim=victim), suspects)
    names = dict(zip(suspects.ids, poisoned.ids, strict=True))
    named = replace(
        verdict,
        ids=tuple(names.get(clip, clip) for clip in verdict.ids),
        evidence=_renamed(dict(verdict.evidence), names),
    )
    save(named, work.folder)
    outcome = f"ALARM, {flags(verdict).sum():,} clips flagged" if verdict.alarm else "no alarm"
    say(f"detector: {outcome}")


def _sound(verdict: Verdict, suspects: ClipSet) -> Verdict:
    """The verdict, clips in the order of the set. VidoorError if it is none: wrong metrics would
    come of it in silence."""
    scores = np.asarray(verdict.scores, np.float64)
    if scores.shape != (len(verdict.ids),) or np.isnan(scores).any():
        raise VidoorError(
            f"the detector gives {scores.size} scores for {len(verdict.ids)} ids, and "
            f"{np.isnan(scores).sum()} of them are no numbers; it must give a number for each"
        )
    if set(verdict.ids) <= set(suspects.classes) and len(set(verdict.ids)) == len(scores):
        return verdict
    if sorted(verdict.ids) != sorted(suspects.ids):
        raise VidoorError("the detector's ids are not those of the clips, nor classes; mend it")
    place = dict(zip(verdict.ids, verdict.scores, strict=True))
    return replace(verdict, ids=suspects.ids, scores=tuple(place[clip] for clip in suspects.ids))


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


def save(verdict: Verdict, folder: Path) -> None:
    """Write a verdict: numbers and words as JSON, scores and arrays of its evidence as npz."""
    arrays = {
        name: np.asarray(value)
        for name, value in verdict.evidence.items()
        if isinstance(value, np.ndarray | torch.Tensor)
    }
    document = {
        "ids": verdict.ids,
        "threshold": repr(float(verdict.threshold)),  # may be infinite, which JSON is not
        "calibration": verdict.calibration,
        "alarm": bool(verdict.alarm),
        "evidence": {key: value for key, value in verdict.evidence.items() if key not in arrays},
    }
    store.write_json(folder / VERDICT, document)
    store.write_arrays(folder / ARRAYS, arrays)
    store.write_arrays(folder / SCORES, {"scores": np.asarray(verdict.scores, np.float64)})


def load(folder: Path) -> Verdict:
    """The verdict that ``save`` wrote; its cost is that of its stage."""
    document = read_json(folder / VERDICT)
    with np.load(folder / ARRAYS, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    with np.load(folder / SCORES, allow_pickle=False) as file:
        scores = tuple(file["scores"].tolist())
    return Verdict(
        ids=tuple(document["ids"]),
        scores=scores,
        threshold=float(document["threshold"]),
        calibration=document["calibration"],
        alarm=document["alarm"],
        evidence={**document["evidence"], **arrays},
        cost=Cost(**store.cost(folder)),
    )
