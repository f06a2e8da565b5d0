"""The stage ``mitigate``: another victim, made from a poisoned one by what a defender has."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vidoor.bench import trained, verdicts
from vidoor.bench.clips import Attacked, Clean, attacked, clean
from vidoor.bench.judge import truth
from vidoor.bench.work import Work
from vidoor.types import ClipSet, Verdict
from vidoor.victims.victim import Victim

CONTROLS = PERFECT, RANDOM = "perfect", "random"
"""Verdicts that no detector gives: the truth, and as many flags on clips drawn at random."""


def mitigate(work: Work) -> None:
    """Stage ``mitigate``: another victim made from a poisoned one and clean clips."""
    clips = clean(work)
    attack = attacked(work, clips)
    trained.keep(work, _made(work, clips, attack), clips, attack)


def _made(work: Work, clips: Clean, attack: Attacked) -> Victim:
    given = _given(work, clips, attack)
    victim = trained.load(work, "victim", clips.train)
    mitigated: Victim = work["mitigation"](victim, clips.train, **given)
    return mitigated


def load(work: Work, clips: Clean) -> Victim:
    """The victim that the stage ``mitigated`` has made, in a stage that needs what that one needs.

    A purifier lies in front of a network and is no weight of it. It is made again, as all is whose
    weights are still those of the poisoned victim: nothing was trained there.
    """
    before, after = (
        trained.measured(work.needs[need])["victim"]["weights_sha256"]
        for need in ("victim", "mitigated")
    )
    if before != after:
        return trained.load(work, "mitigated", clips.train)
    return _made(work, clips, attacked(work, clips))


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
