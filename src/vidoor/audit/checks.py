"""What an audit asks, in which order, and whose alarm is a finding."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from scipy.stats import beta

from vidoor.bench.verdicts import level
from vidoor.errors import RecipeError, unknown
from vidoor.options import as_table, component
from vidoor.registry import lookup, methods

DEFAULT = (
    "coherence",
    "activation-clustering",
    "spectral-signatures",
    "volume-inversion",
    "pt-red",
    "nc",
)
"""Kinds of detectors that are asked, the first ones first, as far as they are registered. Those
that look at a model need one."""


class Measured(NamedTuple):
    """How often a detector accused what is clean, where that was tried."""

    alarms: int
    trials: int
    what: str
    independent: bool = True
    """Is each trial of clips, or a model, of its own? Only then their number bounds the rate."""

    def said(self) -> str:
        """As a phrase, of independent trials with the bound that the rate is below with 95 %
        confidence (Clopper and Pearson)."""
        told = f"{self.alarms} of {self.trials} {self.what}"
        if not self.independent:
            return told
        bound = float(beta.ppf(0.95, self.alarms + 1, self.trials - self.alarms))
        return f"{told}, so less than {bound:.1%} of such"


ACCUSERS: Mapping[str, tuple[Measured, ...]] = {
    "coherence": (
        Measured(0, 100, "clean sets of embedded clips"),
        Measured(0, 100, "overlapping draws from 246 clean real clips", independent=False),
    ),
    "volume-inversion": (Measured(0, 12, "small models trained on clean clips"),),
}
"""Detectors whose alarm is a finding: what they call an alarm is calibrated on clean data or clean
models, to be rare, and this is how rare it was (results/audits, results/clean-models). The alarm of
any other one is a hint, which stands beside the verdict."""

WEAK: Mapping[str, str] = {
    "activation-clustering": "clean classes have two clusters as well",
    "spectral-signatures": "it flags a fixed share of each class, whatever the clips are",
    "pt-red": "by its own rule 1 in 20 clean models has such an outlier",
    "nc": "of few classes one is such an outlier by chance, in up to 3 in 10 clean models",
    "tabor": "of few classes one is such an outlier by chance, in up to 3 in 10 clean models",
}
"""Why the alarm of a detector does not accuse."""

UNTRIED = "how often it accuses what is clean was measured with its usual options only"
UNKNOWN = "how often it accuses what is clean is not known"

Level = Literal["dataset", "model"]


@dataclass(frozen=True, slots=True)
class Check:
    """One detector of an audit. ``name`` is that of its table, its kind unless told otherwise."""

    name: str
    kind: str
    detector: Any
    level: Level

    @property
    def accuses(self) -> bool:
        """Is its alarm a finding?"""
        return self.kind in ACCUSERS

    @property
    def measured(self) -> str:
        """How often it accused what is clean; empty if it accuses nobody."""
        if not self.accuses:
            return ""
        usual = type(self.detector)()
        names = (spec.name for spec in fields(usual) if spec.name != "seed")
        tried = all(getattr(self.detector, name) == getattr(usual, name) for name in names)
        if not tried:
            return UNTRIED
        return "it has accused " + ", and ".join(one.said() for one in ACCUSERS[self.kind])

    @property
    def weakness(self) -> str:
        """Why its alarm is no finding; empty if it is one."""
        return "" if self.accuses else WEAK.get(self.kind, UNKNOWN)

    @property
    def of_model(self) -> bool:
        """Does it need a model?"""
        return needs_model(type(self.detector))


def needs_model(cls: Any) -> bool:
    """Does a detector of this class look at a model?"""
    return bool(getattr(cls, "needs_victim", True))


def plan(options: Mapping[str, Any], *, model: bool, seed: int) -> list[Check]:
    """The checks of an audit, in order. ``options`` are tables by name, as in a recipe; one that is
    no default adds its detector. RecipeError for what there is not, or what needs a ``model``."""
    known = methods("detector")
    usual = [kind for kind in DEFAULT if kind in known and (model or not needs_model(known[kind]))]
    return [
        _check(name, options.get(name, {}), model, seed)
        for name in (*usual, *(name for name in options if name not in usual))
    ]


def _check(name: str, options: Any, model: bool, seed: int) -> Check:
    options = as_table(options, f"detector.{name}")
    kind = options.get("kind", name)
    if name in DEFAULT and kind != name:
        raise RecipeError(
            f"detector.{name}.kind = {kind}: {name} is asked in every audit; add the other one "
            f"under a name of its own, e.g. --set detector.{kind}.kind={kind}"
        )
    cls = lookup("detector", kind) if isinstance(kind, str) else None
    if cls is not None and needs_model(cls) and not model:
        raise RecipeError(f"detector {kind} looks at a model; give one with --model")
    seeded = cls is not None and "seed" in {spec.name for spec in fields(cls)}
    own = {"kind": kind, **({"seed": seed} if seeded else {}), **options}
    detector = component("detector", own, name)
    asks = level(detector)
    if asks not in ("dataset", "model"):
        raise RecipeError(
            f"detector {kind} judges one clip at a time, which is no audit; "
            + unknown("detector", kind, [*DEFAULT])
        )
    return Check(name, kind, detector, "model" if asks == "model" else "dataset")
