"""Training again without the clips that a detector of training clips has flagged.

What filters are for (Tran et al., "Spectral Signatures in Backdoor Attacks", NeurIPS 2018; Chen et
al., 2019): their hits count where the victim of the remaining clips has no backdoor. With a control
for detector it shows what the best filter achieves (``perfect``) and what clips fewer do by
themselves (``random``).
"""

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

from vidoor.data.subset import pick
from vidoor.errors import DataError
from vidoor.mitigations._fresh import device_of, fresh
from vidoor.progress import say
from vidoor.registry import register
from vidoor.types import ClipSet, Verdict
from vidoor.victims.training import Training, fit
from vidoor.victims.victim import Victim


@register("mitigation", "retraining")
@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Filter and retrain: a new victim, trained as the first was, without the flagged clips."""

    given: ClassVar[tuple[str, ...]] = ("suspects", "verdict", "training", "seed")
    verdict_of: ClassVar[Literal["dataset"]] = "dataset"

    detector: str = "coherence"
    """Name of the recipe's detector that flags training clips, or a control: ``perfect`` or
    ``random``."""

    def __call__(
        self, victim: Victim, clean: ClipSet, *,
        suspects: ClipSet, verdict: Verdict, training: Training, seed: int,
    ) -> Victim:  # fmt: skip
        """A new victim; a copy of ``victim`` where nothing is flagged. DataError if all is."""
        kept = unflagged(suspects, verdict)
        left_out = len(suspects) - len(kept)
        say(f"retraining: {left_out:,} of {len(suspects):,} clips are flagged")
        if not left_out:
            return copy.deepcopy(victim)
        trained, _ = fit(
            fresh(victim, len(suspects.classes), seed),
            kept,
            training,
            seed=seed,
            name="retraining",
            device=device_of(victim),
        )
        return trained


def unflagged(suspects: ClipSet, verdict: Verdict) -> ClipSet:
    """The clips that a verdict does not accuse: all of them without an alarm. DataError if none is
    left, or if it is a verdict on others."""
    if set(verdict.ids) != set(suspects.ids):
        raise DataError(
            f"the verdict is on {len(verdict.ids):,} clips, which are not the {len(suspects):,} "
            "training clips; give a verdict on those"
        )
    scored = zip(verdict.ids, verdict.scores, strict=True)
    flagged = {name for name, score in scored if verdict.alarm and score > verdict.threshold}
    kept = tuple(index for index, name in enumerate(suspects.ids) if name not in flagged)
    if not kept:
        raise DataError(
            f"the verdict flags all of the {len(suspects):,} training clips, so none is left to "
            "train on; raise the detector's threshold"
        )
    return pick(suspects, kept)
