"""What methods ask for by their ``given``, beside the victim and the clean clips.

``suspects``: the training clips, as a defender gets them. ``verdict``: what the ``detector`` that
they name said of these or of the victim. ``training``: how the victim was trained. ``seed``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vidoor.bench import verdicts
from vidoor.bench.clips import Attacked, Clean
from vidoor.bench.judge import truth
from vidoor.bench.work import Work
from vidoor.types import ClipSet, Verdict

CONTROLS = PERFECT, RANDOM = "perfect", "random"
"""Verdicts that no detector gives: the truth, and as many flags on clips drawn at random."""


def given(work: Work, method: Any, clips: Clean, attack: Attacked | None) -> dict[str, Any]:
    """What a ``method`` asks for in a stage, by name. Without an attack the suspects are clean."""
    training = clips.train if attack is None else attack.poisoned
    suspects = verdicts.anonymous(training)

    def verdict() -> Verdict:
        if "verdict" in work.needs:
            said = verdicts.load(work.needs["verdict"])
            return verdicts.renamed(said, dict(zip(training.ids, suspects.ids, strict=True)))
        assert attack is not None
        return _control(work, method.detector, clips, attack, suspects)

    makers: Mapping[str, Callable[[], Any]] = {
        "suspects": lambda: suspects,
        "verdict": verdict,
        "training": lambda: work["training"],
        "seed": lambda: work["seed"],
    }
    return {name: makers[name]() for name in getattr(method, "given", ())}


def _control(work: Work, which: str, clips: Clean, attack: Attacked, suspects: ClipSet) -> Verdict:
    """One of the ``CONTROLS``."""
    known = truth("dataset", work["poisoning"], clips, attack).positive
    if which == RANDOM:
        known = np.random.default_rng([work["seed"], 8]).permutation(known)
    return Verdict(
        ids=suspects.ids,
        scores=tuple(known.astype(float).tolist()),
        threshold=0.5,
        calibration="a control: no detector says this",
        alarm=True,
    )
