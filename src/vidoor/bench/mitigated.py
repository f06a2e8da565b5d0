"""The stage ``mitigate``: another victim, made from a poisoned one by what a defender has."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vidoor.bench import trained, verdicts
from vidoor.bench.clips import Attacked, Clean, attacked, clean
from vidoor.bench.judge import truth
from vidoor.bench.work import Work
from vidoor.types import ClipSet, Verdict

CONTROLS = PERFECT, RANDOM = "perfect", "random"
"""Verdicts that no detector gives: the truth, and as many flags on clips drawn at random."""


def mitigate(work: Work) -> None:
    """Stage ``mitigate``: another victim made from a poisoned one and clean clips."""
    clips = clean(work)
    attack = attacked(work, clips)
    given = _given(work, clips, attack)
    victim = work["mitigation"](trained.load(work, "victim", clips.train), clips.train, **given)
    trained.keep(work, victim, clips, attack)


def _given(work: Work, clips: Clean, attack: Attacked) -> dict[str, Any]:
    """What a mitigation asks for by its ``given``, beside the victim and the clean clips.

    ``suspects``: the training clips, as a defender gets them. ``verdict``: what its ``detector``
    said of them or of the victim. ``training``: how the victim was trained. ``seed``.
    """
    suspects = verdicts.anonymous(attack.poisoned)
    makers: Mapping[str, Callable[[], Any]] = {
        "suspects": lambda: suspects,
        "verdict": lambda: _verdict(work, clips, attack, suspects),
        "training": lambda: work["training"],
        "seed": lambda: work["seed"],
    }
    return {name: makers[name]() for name in getattr(work["mitigation"], "given", ())}


def _verdict(work: Work, clips: Clean, attack: Attacked, suspects: ClipSet) -> Verdict:
    """The verdict that a mitigation acts on: a detector's, or one of the two controls'."""
    if "verdict" in work.needs:
        verdict = verdicts.load(work.needs["verdict"])
        return verdicts.renamed(verdict, dict(zip(attack.poisoned.ids, suspects.ids, strict=True)))
    known = truth("dataset", work["poisoning"], clips, attack).positive
    if work["mitigation"].detector == RANDOM:
        known = np.random.default_rng([work["seed"], 8]).permutation(known)
    return Verdict(
        ids=suspects.ids,
        scores=tuple(known.astype(float).tolist()),
        threshold=0.5,
        calibration="a control: no detector says this",
        alarm=True,
    )
