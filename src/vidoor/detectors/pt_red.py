"""PT-RED: the faintest perturbation, the same in all frames, that turns clips into each class.

Xiang, Miller and Kesidis, "Detection of Backdoors in Trained Classifiers Without Access to the
Training Set", TNNLS 2020. From nothing, a perturbation follows the slope of the cross entropy until
a share π of the clips of other classes takes the class; its l2 norm is the statistic. For video as
in Li et al. (appendix D): one perturbation for each class, shared by all frames.

Departures: the original seeks one for each pair of source and target class, K (K − 1) searches of
which each sees the clips of one class; like Li et al. we seek one for each target, on the clips of
all other classes. Its steps follow the slope times a rate that grows in stages; ours have a length
of their own, 5 % of the norm so far, so that a norm is exact to that whatever the victim's logits.
Its rule, p < 0.05 by a gamma law of the other classes, calls one of eight numbers of such a law an
outlier in 30 % of the cases; ours has a threshold at which it is 5 % (``outliers.OrderStatistic``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vidoor.detectors._inspection import ByInversion
from vidoor.detectors._schedules import Growing
from vidoor.detectors._search import Additive, Trigger, l2
from vidoor.detectors.inversion import Goals, Sample, Search, goals_of
from vidoor.detectors.outliers import Deviation, Norms, OrderStatistic, Rule
from vidoor.errors import unknown
from vidoor.registry import register

Variant = Literal["original", "paper"]


@register("detector", "pt-red")
@dataclass(frozen=True, kw_only=True)
class PTRED(ByInversion):
    """Model detector: which class needs a conspicuously faint perturbation, the same in all frames?

    Evidence: the suspect's ``pattern`` [c, h, w], signed, in grey levels; norms as RMS of all its
    values in grey levels, the l2 norm but for a factor that classes share.
    """

    pi: float = 0.9
    """π, the share of clips that must flip, above 0, at most 1."""

    variant: Variant = "original"
    """What is an outlier. ``original``: a reciprocal norm beyond a gamma law of the other classes',
    p < 0.05, calibrated for the number of classes. ``paper`` (Li et al.): a reciprocal norm more
    than 2 MAD from the median, to either side. The default is the original's, as the other rule
    calls one of eight random numbers an outlier in more than 80 % of the cases."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.pi <= 1:
            raise ValueError(f"pi must be above 0 and at most 1, not {self.pi}")
        if self.variant not in get_args(Variant):
            raise ValueError(unknown("variant", self.variant, get_args(Variant)))

    def search(self) -> Search:
        """An additive perturbation, grown."""
        return Search(space=Additive(), schedule=Growing(steps=self.steps, success=self.pi))

    def goals(self, given: Sample, classes: int) -> Goals:
        """Clips of other classes to each class."""
        return goals_of(given, classes, own=False)

    def rule(self, classes: int) -> Rule:
        """The p-value or the index of the variant."""
        if self.variant == "original":
            return OrderStatistic(classes=classes)
        return Deviation(statistic="reciprocal", factor=1.0, sides="both")

    def norm(self, trigger: Trigger) -> Norms:
        """RMS in grey levels, at least a thousandth."""
        return rms(trigger)

    def pictures(self, trigger: Trigger) -> Mapping[str, Any]:
        """``pattern``."""
        return {"pattern": 255 * trigger[0][0].float().cpu().numpy()}


def rms(trigger: Trigger) -> Norms:
    """RMS of each perturbation in grey levels, at least a thousandth, [g]."""
    values = trigger[0].double().cpu()
    norms: Norms = (255 * l2(values) / values[0].numel() ** 0.5).clamp(min=1e-3).numpy()
    return norms
