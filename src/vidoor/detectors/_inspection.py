"""What the model-level detectors by trigger inversion have in common: one search for each class, a
rule for outliers among the norms, a verdict."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from vidoor import meter
from vidoor.detectors._racing import Race
from vidoor.detectors._search import Trigger
from vidoor.detectors.inversion import (
    Found,
    Goals,
    Precision,
    Sample,
    Search,
    goals_of,
    invert,
    resting,
    sample,
)
from vidoor.detectors.outliers import Norms, Rule
from vidoor.errors import DataError, unknown
from vidoor.options import check_seed
from vidoor.types import ClipSet, Cost, Verdict
from vidoor.victims.victim import Victim

Schedule = Literal["raced", "full"]

FEWEST = 3
"""Classes below which nothing can be an outlier."""


@dataclass(frozen=True, kw_only=True)
class ByInversion(ABC):
    """A model detector by trigger inversion. A method gives ``search``, ``rule`` and ``norm``."""

    level: ClassVar[Literal["model"]] = "model"
    needs_victim: ClassVar[bool] = True

    clips: int = 64
    """Clean clips that triggers are sought on, of each class as many, at least 1."""

    steps: int = 1000
    """Most steps for each class, at least 1; a step passes each of its clips once."""

    schedule: Schedule = "raced"
    """``full``: every class until its search ends. ``raced``: until the verdict is settled, which
    takes fewer passes and has not changed a verdict in our tests; see ``_racing``."""

    max_passes: int | None = None
    """Most clips that are passed forward (each goes back as well), at least 1; None: any. A search
    that runs out of them ends without an alarm."""

    batch_size: int = 64
    """Clips that are passed at once, at least 1: for as many as memory holds with gradients."""

    precision: Precision = "fp32"
    """Arithmetic of forward and backward passes; ``bf16`` for GPUs. Triggers stay in float32."""

    seed: int = 0
    """Seed of the draw of clips and of the start, 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        least = {name: getattr(self, name) for name in ("clips", "steps", "batch_size")}
        if self.max_passes is not None:
            least["max_passes"] = self.max_passes
        for name, value in least.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for name, valid in (("schedule", get_args(Schedule)), ("precision", get_args(Precision))):
            if getattr(self, name) not in valid:
                raise ValueError(unknown(name, getattr(self, name), valid))
        check_seed(self.seed)

    @abstractmethod
    def search(self) -> Search:
        """Space, schedule and what else a trigger is weighed by."""

    @abstractmethod
    def rule(self, classes: int) -> Rule:
        """What makes an outlier."""

    @abstractmethod
    def norm(self, trigger: Trigger) -> Norms:
        """What the rule judges, above 0, [g]."""

    def goals(self, given: Sample, classes: int) -> Goals:
        """What is sought: all clips to each class."""
        return goals_of(given, classes, own=True)

    @abstractmethod
    def pictures(self, trigger: Trigger) -> Mapping[str, Any]:
        """One trigger as float32 arrays for the report; the trigger has a single row."""

    def kept(self, triggers: Trigger) -> Mapping[str, Any]:
        """What is kept of the triggers of all classes, as arrays; nothing unless a method says."""
        return {}

    def inspect(self, victim: Victim, clean: ClipSet) -> Verdict:
        """A score for each class. DataError for fewer than three classes or no clips, WeightsError
        for a victim whose output is not finite."""
        begin, classes = time.perf_counter(), clean.classes
        if len(classes) < FEWEST or not len(clean):
            have = f"{len(clean)} clean clips of {len(classes)} classes"
            raise DataError(f"{have}; outliers need {FEWEST} classes or more, and clips of them")
        rule, search = self.rule(len(classes)), self.search()
        shrinking = search.schedule.shrinking
        race = Race(rule, self.norm, shrinking, self.seed) if self.schedule == "raced" else None
        with meter.metered() as block, resting(victim):
            given = sample(clean, self.clips, self.seed, victim.mean.device)
            found = invert(
                victim,
                given,
                self.goals(given, len(classes)),
                search,
                seed=self.seed,
                batch_size=self.batch_size,
                precision=self.precision,
                max_passes=self.max_passes,
                race=race,
            )
        norms = self.norm(found.triggers)
        # Nothing that fails to reach a class is its trigger, however small.
        scores = np.where(found.reached, rule.scores(norms), np.minimum(rule.scores(norms), 0.0))
        alarm = bool((scores > rule.threshold).any()) and found.end != "spent"
        return Verdict(
            ids=classes,
            scores=tuple(scores.tolist()),
            threshold=rule.threshold,
            calibration=_words(rule, found, self.max_passes),
            alarm=alarm,
            evidence=self._evidence(classes, rule, found, norms, int(scores.argmax()), alarm),
            cost=Cost(
                forward=block.cost.forward,
                backward=block.cost.backward,
                seconds=time.perf_counter() - begin,
                memory=block.cost.memory,
            ),
        )

    def _evidence(
        self,
        classes: tuple[str, ...],
        rule: Rule,
        found: Found,
        norms: Norms,
        first: int,
        alarm: bool,
    ) -> dict[str, Any]:
        suspect = tuple(part[first : first + 1] for part in found.triggers)
        return {
            "rule": rule.words(),
            "norms": dict(zip(classes, norms.tolist(), strict=True)),
            "steps": dict(zip(classes, found.steps.tolist(), strict=True)),
            "success": dict(zip(classes, found.success.tolist(), strict=True)),
            "not_reached": [c for c, hit in zip(classes, found.reached, strict=True) if not hit],
            "passes": found.passes,
            "end": found.end,
            "budget": "spent" if found.end == "spent" else "enough",
            ("suspect" if alarm else "most_suspicious"): classes[first],
            **self.pictures(suspect),
            **self.kept(found.triggers),
        }


def _words(rule: Rule, found: Found, budget: int | None) -> str:
    if found.end == "spent":
        return f"{rule.words()}; unfinished, as {budget:,} passes were spent: no alarm is raised"
    return f"{rule.words()}" + ("; settled early" if found.end == "settled" else "")
