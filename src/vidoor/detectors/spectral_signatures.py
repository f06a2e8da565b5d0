"""Spectral signatures: poisoned clips stand out along a class's main direction of variation.

Tran, Li and Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018. For each class, by
given label: centre the activations, take their top right singular vector v, score each clip by
⟨activation − mean, v⟩² and remove 1.5 ε of the class, the highest.

Departures: activations of video networks are pooled over time and space. Scores are divided by
their class's cut, so that one threshold, 1, serves all classes; the method itself has no way to
compare classes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from vidoor.detectors.activations import Activations, OfActivations, principal
from vidoor.meter import metered
from vidoor.registry import register
from vidoor.types import Verdict

EXCESS = 1.5
"""Clips that are removed, for each that is assumed to be poisoned (algorithm 1)."""

TINY, TIE = 1e-9, 1e-9


@register("detector", "spectral-signatures")
@dataclass(frozen=True, kw_only=True)
class SpectralSignatures(OfActivations):
    """Data-set detector: the clips farthest along the top singular direction of their class.

    It assumes an attack and cannot clear a set: of each class ⌊1.5 ε n⌋ clips are flagged, poisoned
    or not, but for ties with the highest one that is not. A score is the squared projection over
    the highest one in its class that is not flagged.
    """

    epsilon: float = 0.1
    """ε: share of poisoned clips to reckon with in a class, above 0 and below 2/3."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < EXCESS * self.epsilon < 1:
            raise ValueError(f"epsilon must be above 0 and below 2/3, not {self.epsilon}")

    def judge(self, found: Activations) -> Verdict:
        """The verdict on clips whose activations are known."""
        with metered() as meter:
            scores, told = np.empty(len(found.ids)), []
            for name, members in found.groups():
                squared = signature(found.features[members])
                removed = int(EXCESS * self.epsilon * len(members) + TINY)
                ranked = np.sort(squared)[::-1]
                cut = max(ranked[removed], TINY * ranked[0])
                scores[members] = _over(squared, float(cut))
                flagged = int((scores[members] > 1).sum())
                told.append({"class": name, "clips": len(members), "flagged": flagged})
                told[-1]["cut"] = float(cut)
        return Verdict(
            ids=found.ids,
            scores=tuple(scores.tolist()),
            threshold=1.0,
            calibration=f"the highest {EXCESS * self.epsilon:.3g} of each class, whatever they are",
            alarm=bool((scores > 1).any()),
            evidence={"layer": found.layer, "classes": told},
            cost=meter.cost,
        )


def _over(squared: Float64[np.ndarray, " n"], cut: float) -> Float64[np.ndarray, " n"]:
    """The scores of a class. Clips that are all alike are no outliers among themselves, nor is one
    of a tie at the cut, as two clips are about their mean: rounding would choose."""
    if cut <= 0:
        return np.zeros(len(squared))
    return np.where(np.isclose(squared, cut, rtol=TIE, atol=0), 1.0, squared / cut)


def signature(rows: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    """Squared projection of each centred row on the top right singular vector of all."""
    along = principal(rows, 1)
    return np.square(along[:, 0]) if along.shape[1] else np.zeros(len(rows))
