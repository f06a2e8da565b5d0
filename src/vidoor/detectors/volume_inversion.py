"""Volume inversion: the faintest perturbation of the whole clip that turns clips into each class.

PT-RED's search in a larger space: every frame has values of its own, so triggers that live in the
motion between frames, to which masks and pictures are blind (Li et al., section 4.3), can be
followed, too. A backdoor is a shortcut: its class is reached by a far fainter perturbation than
any other. What is found activates the backdoor but does not look like the trigger: the victim
answers to many patterns, and the search takes the one that it answers to most.

The rule is a ratio, not an index: on nine small victims that were trained on clean clips the
faintest class took 0.67 to 0.88 of the median, on nine that had learnt the paper's trigger 0.15 to
0.31, whereas indices of both were between 0.8 and 3.5. The default threshold is set by clean
victims alone: of ten others, of three recipes, the median was 1.09 to 1.83 times the faintest norm;
were the logarithms of such ratios normal (0.33 ± 0.16), one clean victim in a hundred would be
above 2, or, with so few to tell by, one in thirty. Backdoors of bright triggers (BadNet, Blend,
SIG) are no shortcut of this kind: so faint a perturbation does not contain them, and they are
missed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

from vidoor.detectors._inspection import ByInversion
from vidoor.detectors._schedules import Growing
from vidoor.detectors._search import Additive, Trigger
from vidoor.detectors.inversion import Goals, Sample, Search, goals_of
from vidoor.detectors.outliers import Norms, Ratio, Rule
from vidoor.detectors.pt_red import rms
from vidoor.registry import register

FAINTEST = 0.05 / 255
"""Length of the first step, RMS: a tenth of what backdoors take."""

MOST_KEPT = 2**26
"""Bytes of the perturbations of all classes beyond which they are not kept."""


@register("detector", "volume-inversion")
@dataclass(frozen=True, kw_only=True)
class VolumeInversion(ByInversion):
    """Model detector: which class needs a conspicuously faint perturbation of the whole clip?

    Evidence: the suspect's ``pattern`` [c, t, h, w], signed, in grey levels, which activates its
    class; norms as RMS of all values in grey levels; where they are small enough to be kept, the
    ``patterns`` of all classes [k, c, t, h, w] in float16. Unless the schedule is ``full``, the
    others' searches end with the verdict, so that they may fall short of their classes.
    """

    revision: ClassVar[int] = 2

    pi: float = 0.9
    """π, the share of clips that must flip, above 0, at most 1."""

    ratio: float = 2.0
    """How many times fainter than the median class a suspect is, above 1, finite."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.pi <= 1:
            raise ValueError(f"pi must be above 0 and at most 1, not {self.pi}")
        if not 1 < self.ratio < inf:
            raise ValueError(f"ratio must be above 1 and finite, not {self.ratio}")

    def search(self) -> Search:
        """An additive perturbation of the volume, grown."""
        growing = Growing(steps=self.steps, success=self.pi, least=FAINTEST)
        return Search(space=Additive("volume"), schedule=growing)

    def goals(self, given: Sample, classes: int) -> Goals:
        """Clips of other classes to each class."""
        return goals_of(given, classes, own=False)

    def rule(self, classes: int) -> Rule:
        """The ratio to the median."""
        return Ratio(threshold=self.ratio)

    def norm(self, trigger: Trigger) -> Norms:
        """RMS in grey levels, at least a thousandth."""
        return rms(trigger)

    def pictures(self, trigger: Trigger) -> Mapping[str, Any]:
        """``pattern``."""
        return {"pattern": 255 * trigger[0][0].float().cpu().numpy()}

    def kept(self, triggers: Trigger) -> Mapping[str, Any]:
        """``patterns``, up to 64 MiB."""
        values = (255 * triggers[0].float()).half().cpu().numpy()
        return {"patterns": values} if values.nbytes <= MOST_KEPT else {}
