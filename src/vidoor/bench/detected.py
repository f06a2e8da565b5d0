"""The stages ``activations`` and ``detect``: what a detector says of clips or of a victim.

There are three questions and hence three levels of detectors. *dataset*: which of these training
clips? *model*: which class of this victim, if any? *input*: this clip, now? A control asks the same
where there is nothing to be found: clean clips, or the victim that was trained on them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from vidoor.bench.clips import Attacked, Clean, attacked, clean
from vidoor.bench.given import given
from vidoor.bench.trained import load as load_victim
from vidoor.bench.verdicts import anonymous, flags, level, renamed, save
from vidoor.bench.work import Work
from vidoor.detectors import activations
from vidoor.errors import VidoorError
from vidoor.progress import say, track
from vidoor.types import ClipSet, Verdict

CLEAN, TRIGGERED = "clean/", "triggered/"
"""What the ids of test clips begin with where an input detector has judged them twice."""

SCREENED_AT_ONCE = 16
"""Test clips that an input detector is given in one batch."""


def detect(work: Work) -> None:
    """Stage ``detect``. The detector is not told the truth."""
    verdict = LEVELS[level(work["detector"])](work, clean(work))
    save(verdict, work.folder)
    outcome = f"ALARM, {flags(verdict).sum():,} flagged" if verdict.alarm else "no alarm"
    say(f"detector: {outcome}")


def activate(work: Work) -> None:
    """Stage ``activations``: what the victim makes of the training clips at one layer."""
    clips = clean(work)
    layers = () if work["layer"] is None else (work["layer"],)
    suspects = anonymous(_suspects(work, clips))
    activations.collect(
        _victim(work, clips), suspects, layers, pool=work["pool"], folder=work.folder
    )


def _suspects(work: Work, clips: Clean) -> ClipSet:
    """The training clips: poisoned where there is an attack, else clean."""
    attack = _attack(work, clips)
    return clips.train if attack is None else attack.poisoned


def _attack(work: Work, clips: Clean) -> Attacked | None:
    return attacked(work, clips) if "poison" in work.needs else None


def _victim(work: Work, clips: Clean) -> Any:
    return load_victim(work, "victim", clips.train) if "victim" in work.needs else None


def _of_data(work: Work, clips: Clean) -> Verdict:
    """Which of the training clips?"""
    named = _suspects(work, clips)
    suspects = anonymous(named)
    if "activations" in work.needs:
        (seen,) = activations.load(work.needs["activations"]).values()
        verdict = work["detector"].judge(seen)
    else:
        verdict = work["detector"].inspect(suspects, victim=_victim(work, clips))
    verdict = _sound(verdict, suspects.ids, "clips")
    return renamed(verdict, dict(zip(suspects.ids, named.ids, strict=True)))


def _of_model(work: Work, clips: Clean) -> Verdict:
    """Which class of the victim? The defender has clean clips of the same classes."""
    verdict = work["detector"].inspect(_victim(work, clips), anonymous(clips.train))
    return _sound(verdict, clips.train.classes, "classes")


def _of_inputs(work: Work, clips: Clean) -> Verdict:
    """Which of the test clips? Each is judged clean and, where there is an attack, triggered."""
    attack = _attack(work, clips)
    asked = given(work, work["detector"], clips, attack)
    screen = work["detector"].fit(_victim(work, clips), anonymous(clips.train), **asked)
    sets = {CLEAN: clips.test}
    if attack is not None:
        sets[TRIGGERED] = attack.triggered
    ids = tuple(start + clip for start, each in sets.items() for clip in each.ids)
    scores = torch.cat([_screened(screen, each) for each in sets.values()])
    verdict = Verdict(
        ids=ids,
        scores=tuple(scores.double().tolist()),
        threshold=float(screen.threshold),
        calibration=screen.calibration,
        alarm=bool((scores > screen.threshold).any()),
    )
    return _sound(verdict, ids, "clips")


def _screened(screen: Any, clips: ClipSet) -> torch.Tensor:
    batches = [
        range(at, min(at + SCREENED_AT_ONCE, len(clips)))
        for at in range(0, len(clips), SCREENED_AT_ONCE)
    ]
    return torch.cat(
        [
            screen.score(torch.stack([clips.read(index) for index in batch]))
            for batch in track(batches, "screening", len(clips), SCREENED_AT_ONCE)
        ]
    )


LEVELS: Mapping[str, Callable[[Work, Clean], Verdict]] = {
    "dataset": _of_data,
    "model": _of_model,
    "input": _of_inputs,
}


def _sound(verdict: Verdict, asked: tuple[str, ...], what: str) -> Verdict:
    """The verdict in the order in which was asked. VidoorError if it is none: wrong metrics would
    come of it in silence."""
    scores = np.asarray(verdict.scores, np.float64)
    if scores.shape != (len(verdict.ids),) or np.isnan(scores).any():
        raise VidoorError(
            f"the detector gives {scores.size} scores for {len(verdict.ids)} ids, and "
            f"{np.isnan(scores).sum()} of them are no numbers; it must give a number for each"
        )
    if sorted(verdict.ids) != sorted(asked):
        raise VidoorError(f"the detector's ids are not those of the {what}; mend it")
    place = dict(zip(verdict.ids, verdict.scores, strict=True))
    return replace(verdict, ids=asked, scores=tuple(place[name] for name in asked))
