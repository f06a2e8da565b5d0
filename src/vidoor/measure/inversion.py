"""What trigger inversion costs and finds: races of the classes against full schedules.

On small victims of ``shapes``: clean ones, and ones with a BadNet patch, which is what a search for
patches was made for. Passes are counted, so they do not depend on the machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import torch

from vidoor import metrics
from vidoor.data.shapes import Shapes
from vidoor.detectors.neural_cleanse import NeuralCleanse
from vidoor.detectors.pt_red import PTRED
from vidoor.detectors.tabor import TABOR
from vidoor.detectors.volume_inversion import VolumeInversion
from vidoor.poisoning.poisoner import Poisoner, apply, triggered
from vidoor.progress import say
from vidoor.triggers.badnet import BadNet
from vidoor.types import ClipSet, Verdict
from vidoor.victims.config import Training
from vidoor.victims.prediction import predict
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import fit
from vidoor.victims.victim import Victim, build

SHAPES = Shapes(train=1600, test=160, frames=6, size=(20, 20))
NETWORK = R2Plus1D(width=6, depth=(1, 1))
TRAINING = Training(epochs=10, batch_size=32, lr=0.01, schedule="one-cycle")
PATCH, POISONER = BadNet(side=3), Poisoner(rate=0.2, target=0)
CLIPS = 16
"""Clean test clips that a detector is given, two of each class."""

METHODS: Mapping[str, Any] = {
    "nc": NeuralCleanse(clips=CLIPS),
    "nc log": NeuralCleanse(clips=CLIPS, variant="log"),
    "nc paper": NeuralCleanse(clips=CLIPS, variant="paper"),
    "tabor": TABOR(clips=CLIPS),
    "pt-red": PTRED(clips=CLIPS),
    "volume-inversion": VolumeInversion(clips=CLIPS),
}


def inversion(
    clean: int = 1, attacked: int = 1, methods: Sequence[str] = ("nc paper", "nc", "pt-red")
) -> dict[str, Any]:
    """``methods`` (of ``METHODS``) on so many clean and attacked victims, of seeds 0, 1, …

    ``rows``, one for each victim and method: ``acc`` and ``asr`` (None: clean) of the victim;
    ``full_passes`` and ``raced_passes`` (clips forward, and as many backward), and ``ratio``, the
    second over the first; ``full_score`` and ``raced_score``, the highest of a class, with the
    ``threshold``; ``full_alarm`` and ``raced_alarm``; ``same``: both about the same class, or
    neither; ``right``: the full schedule's is about the target, or there is neither.

    ``summary``, one for each method: the ratio of all passes, shares of ``same`` and ``right``, and
    of clean victims with an alarm.
    """
    rows = []
    for attack, seeds in ((False, clean), (True, attacked)):
        for seed in range(seeds):
            victim, known, about = _victim(seed, attack)
            rows += [{**about, **_compared(name, victim, known, attack)} for name in methods]
            say(f"inversion: {about['victim']} victim {seed + 1} of {seeds}")
    return {"rows": rows, "summary": {name: _summary(rows, name) for name in methods}}


def _victim(seed: int, attack: bool) -> tuple[Victim, ClipSet, dict[str, Any]]:
    """A trained victim, the defender's clean clips, and what is known of it."""
    splits = SHAPES.open(seed)
    train, test = _held(splits.train), _held(splits.test)
    given = apply(train, POISONER.plan(train, seed), PATCH) if attack else train
    victim = build(NETWORK, SHAPES.classes, seed)
    victim, _ = fit(victim, given, TRAINING, seed=seed, name=f"victim {seed}", device="cpu")
    labels = np.asarray(test.labels)
    about: dict[str, Any] = {"victim": "badnet" if attack else "clean", "seed": seed}
    about |= {"acc": metrics.accuracy(predict(victim, test), labels), "asr": None}
    if attack:
        goal = POISONER.goal(test.labels, SHAPES.classes, "strict")
        shown = predict(victim, triggered(test, PATCH))
        about["asr"] = metrics.attack_success_rate(shown, goal)
    return victim, test, about


def _held(clips: ClipSet) -> ClipSet:
    frames = torch.stack([clips.read(index) for index in range(len(clips))])
    return replace(clips, read=frames.__getitem__)


def _compared(name: str, victim: Victim, known: ClipSet, attack: bool) -> dict[str, Any]:
    full, raced = (
        replace(METHODS[name], schedule=schedule).inspect(victim, known)
        for schedule in ("full", "raced")
    )
    return {
        "method": name,
        "full_passes": full.cost.forward,
        "raced_passes": raced.cost.forward,
        "ratio": raced.cost.forward / full.cost.forward,
        "full_score": max(full.scores),
        "raced_score": max(raced.scores),
        "threshold": full.threshold,
        "full_alarm": full.alarm,
        "raced_alarm": raced.alarm,
        "same": _accused(full) == _accused(raced),
        "right": _accused(full) == (POISONER.target if attack else None),
    }


def _accused(verdict: Verdict) -> int | None:
    """The class that an alarm is about most of all."""
    return int(np.argmax(verdict.scores)) if verdict.alarm else None


def _summary(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float | int | None]:
    mine = [row for row in rows if row["method"] == name]
    clean = [row["full_alarm"] for row in mine if row["victim"] == "clean"]
    full, raced = (sum(row[f"{kind}_passes"] for row in mine) for kind in ("full", "raced"))
    return {
        "victims": len(mine),
        "ratio": raced / full if full else None,
        "same": fmean(row["same"] for row in mine) if mine else None,
        "right": fmean(row["right"] for row in mine) if mine else None,
        "false_alarms": fmean(clean) if clean else None,
    }
