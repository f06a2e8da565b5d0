"""The record in words: what a detector found, what the attack did, and numbers fit for a sentence.

The sentences are for an auditor and say what the record can carry and no more: a miss is called a
miss, and where the truth is not known nothing is called right or wrong.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

Section: TypeAlias = Mapping[str, Any]

HEALTHY = 0.05
"""A poisoned model within 5 points of a clean one passes for healthy (paper, section 4.2)."""

WORKS, LEARNT = 0.9, 0.2
"""ASR from which a backdoor works, and below which it was hardly learnt."""

GROUPS = 5
"""Most groups of near-duplicates that are named, and most clips of each."""


def percent(fraction: Any) -> str:
    """0.975 -> "97.5 %". Only exactly 0 and 1 read "0 %" and "100 %"; no value is "–"."""
    if fraction is None or math.isnan(fraction):
        return "–"
    if 0 < fraction < 0.0005:
        return "< 0.1\u202f%"
    if 0.9995 <= fraction < 1:
        return "> 99.9\u202f%"
    return f"{100 * fraction:.{0 if fraction in (0, 1) else 1}f}\u202f%"


def number(value: Any) -> str:
    """A scalar for the eye: 1,600 · 1.16 · 5.88e-05 · yes; no value is "–"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if math.isnan(value):
            return "–"
        digits = ",.0f" if value.is_integer() else ",.1f" if 1000 <= abs(value) < 1e7 else ".4g"
        return f"{value:{digits}}"
    return "–" if value is None else str(value)


def duration(seconds: float) -> str:
    """101.2 -> "1 min 41 s"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one detector said, joined with the truth where the record has it.

    ``unit`` is what was judged ("training clips", "clips" or "classes"), ``total`` how many.
    ``planted``, ``found`` and ``false`` are None where the truth is not known.
    """

    name: str
    record: Section
    unit: str
    total: int
    flagged: int | None = None
    planted: int | None = None
    found: int | None = None
    false: int | None = None


def judge(record: Section, name: str, scores: Mapping[str, NDArray[Any]]) -> Judged:
    """The outcome of detector ``name`` as counts; ``scores`` are the arrays of scores.npz."""
    own, data = record["detectors"][name], record.get("data") or {}
    total, planted = data.get("train") or 0, (record.get("poisoning") or {}).get("poisoned")
    unit, ids, truth = "training clips", scores.get(f"{name}.ids"), scores.get(f"{name}.poisoned")
    if ids is not None:
        unit = "training clips" if len(ids) == total else "clips"
        unit = "classes" if set(ids.tolist()) <= set(data.get("classes") or ()) else unit
        total, planted = len(ids), None if truth is None else int(truth.sum())
    flagged, tpr, fpr = own.get("flagged"), own.get("tpr"), own.get("fpr")
    counts: dict[str, int] = {}
    if planted is not None and (tpr is not None or planted == 0):
        found = round((tpr or 0.0) * planted)
        false = round((fpr or 0.0) * (total - planted)) if flagged is None else flagged - found
        counts = {"planted": planted, "found": found, "false": max(0, false)}
    return Judged(name=name, record=own, unit=unit, total=total, flagged=flagged, **counts)


class Finding(NamedTuple):
    """The verdict: a tone (alarm, warn, clear or unknown), a label, a sentence and its numbers."""

    tone: str
    label: str
    sentence: str
    numbers: str


def finding(record: Section, judged: Judged | None) -> Finding:
    """The verdict in words from the leading detector, or from none."""
    if judged is not None:
        return _alarm(judged) if judged.record.get("alarm") else _quiet(judged)
    planted = (record.get("poisoning") or {}).get("poisoned")
    train = (record.get("data") or {}).get("train")
    sentence = "No detector has examined the training clips."
    known = f"{_of(planted, train)} training clips were planted. " if planted and train else ""
    advice = "Whether a detector would find a backdoor here is open: name one in the recipe."
    return Finding("unknown", "Not examined", sentence, known + advice)


def _alarm(judged: Judged) -> Finding:
    carry = "The model carries" if judged.unit == "classes" else f"The {judged.unit} carry"
    flags = _flags(judged)
    if judged.planted is None:
        text = f"{flags} The truth is not on record: look at what was flagged before you act."
        return Finding("alarm", "Alarm", f"{carry} signs of a backdoor.", text)
    if judged.planted == 0:
        text = f"{flags} Nothing was planted in this run."
        return Finding("warn", "False alarm", "The alarm is false: there is no backdoor.", text)
    text = f"{flags} {_tally(judged)}"
    if judged.found == judged.planted:
        return Finding("alarm", "Backdoor found", f"{carry} a backdoor.", text)
    if judged.found:
        sentence = f"{carry} a backdoor, and only a part of it was found."
        return Finding("warn", "Partly found", sentence, text)
    sentence = f"{carry} a backdoor, but the alarm points elsewhere."
    return Finding("warn", "Backdoor missed", sentence, text)


def _quiet(judged: Judged) -> Finding:
    silent = f"{judged.name} raises no alarm over {number(judged.total)} {judged.unit}"
    if judged.planted is None:
        text = f"{silent}. A backdoor weaker than the detector can see would pass unnoticed."
        return Finding("clear", "No alarm", "No backdoor was found.", text)
    if judged.planted == 0:
        return Finding(
            "clear", "Clean", "No backdoor was found, and none was planted.", f"{silent}."
        )
    text = f"{silent}, although {_of(judged.planted, judged.total)} were planted."
    return Finding("warn", "Backdoor missed", "The backdoor was missed.", text)


def _flags(judged: Judged) -> str:
    if not judged.flagged:
        return f"{judged.name} raises an alarm without naming any of the {judged.unit}."
    unit = judged.unit.removeprefix("training ")
    shared = (judged.record.get("evidence") or {}).get("members") and judged.flagged > 1
    what = "share one hidden pattern" if shared else f"flagged by {judged.name}"
    return f"{_of(judged.flagged, judged.total)} {unit} {what}."


def _tally(judged: Judged) -> str:
    assert judged.planted is not None and judged.found is not None
    unit = "target classes" if judged.unit == "classes" else "planted clips"
    missed = judged.planted - judged.found
    parts = [f"{_of(judged.found, judged.planted)} {unit} found"]
    parts += [f"{number(missed)} missed"] if missed else []
    parts += [f"{number(judged.false)} false alarm{'' if judged.false == 1 else 's'}"]
    return ", ".join(parts) + "."


def _of(part: int, whole: int) -> str:
    return f"{number(part)} of {number(whole)}"


def copies(judged: Judged) -> str:
    """Clips that are the same footage, which the detector did not take for agreement; or ""."""
    told = (judged.record.get("evidence") or {}).get("same_footage")
    if not isinstance(told, list):
        return ""
    groups = [group for group in told if isinstance(group, list) and len(group) > 1]
    if not groups:
        return ""
    shown = "; ".join(_some(group) for group in groups[:GROUPS])
    rest = f"; and {number(len(groups) - GROUPS)} more" if len(groups) > GROUPS else ""
    noun = "group" if len(groups) == 1 else "groups"
    return f"{number(len(groups))} {noun} of near-duplicate clips: {shown}{rest}."


def _some(group: Sequence[Any]) -> str:
    rest = f" and {number(len(group) - GROUPS)} more" if len(group) > GROUPS else ""
    return " and ".join(map(str, group[:GROUPS])) + rest


def attack(record: Section) -> str:
    """What the attack did to the model, in a sentence; "" if the record measured neither number."""
    accuracy, rate = record.get("acc"), record.get("asr")
    poisoning = record.get("poisoning") or {}
    model = "The model" if poisoning.get("poisoned") == 0 else "The poisoned model"
    target = poisoning.get("target_class")
    goal = f"go to “{target}”" if target else "go where the attacker wants them"
    if accuracy is None:
        return "" if rate is None else f"{percent(rate)} of triggered clips {goal}."
    state, healthy = _health(model, accuracy, record.get("clean_acc"))
    if rate is None:
        return f"{state}."
    if rate < LEARNT:
        return (
            f"{state}. The backdoor was hardly learnt: {percent(rate)} of triggered clips {goal}."
        )
    link = ", but" if healthy and rate >= WORKS else ", and"
    return f"{state}{link} {percent(rate)} of triggered clips {goal}."


def _health(model: str, accuracy: float, clean: float | None) -> tuple[str, bool]:
    if clean is None:
        return f"{model} has an accuracy of {percent(accuracy)}", False
    healthy = round(clean - accuracy, 9) <= HEALTHY  # 1.0 - 0.95 is more than 0.05 in binary
    state = "looks healthy" if healthy else "has lost accuracy"
    return f"{model} {state}: accuracy {percent(accuracy)} against {percent(clean)} clean", healthy
