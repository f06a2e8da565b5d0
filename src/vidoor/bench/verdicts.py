"""Verdicts of detectors: what they are given to judge, and what they say, on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidoor.bench import store
from vidoor.report.tables import read_json
from vidoor.types import ClipSet, Cost, Frames, Verdict

VERDICT, SCORES, ARRAYS = "verdict.json", "scores.npz", "evidence.npz"


def level(detector: Any) -> str:
    """``dataset``, ``model`` or ``input``."""
    named: str = getattr(detector, "level", "dataset")
    return named


def anonymous(clips: ClipSet) -> ClipSet:
    """The set as a defender gets it: pixels and given labels. Original ids may name the true
    class, and the reader of a poisoned set knows the plan; neither goes along."""
    ids = tuple(f"clip-{index:07d}" for index in range(len(clips)))
    return replace(clips, ids=ids, read=_Nameless(clips.read))


@dataclass(frozen=True, slots=True)
class _Nameless:
    """Reads clips, and tells nothing else that the reader knows."""

    source: Callable[[int], Frames]

    def __call__(self, index: int) -> Frames:
        return self.source(index)


def renamed(verdict: Verdict, names: Mapping[str, str]) -> Verdict:
    """The verdict with other names for its clips."""
    ids = tuple(names.get(clip, clip) for clip in verdict.ids)
    return replace(verdict, ids=ids, evidence=_renamed(dict(verdict.evidence), names))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Evidence with other names for its clips."""
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
