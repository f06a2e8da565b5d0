"""Which clips are poisoned, and the poisoned set as a lazy view of the clean one."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vidoor.errors import RecipeError
from vidoor.types import ClipSet, Trigger


@dataclass(frozen=True, slots=True)
class PoisonPlan:
    """The clips that the attacker changes: index in the set -> the label given to it."""

    relabelled: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class Poisoner:
    """Label-flip poisoning, all-to-one (paper, section 3.1): any other class to the target."""

    rate: float = 0.2
    """Poisoning rate: fraction of the clips of every class but the target's (paper: 20 %)."""

    target: int = 0
    """Class index that triggered clips are labelled with (paper: class 0)."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be a fraction in [0, 1], not {self.rate}")
        if self.target < 0:
            raise ValueError(f"target must be a class index >= 0, not {self.target}")

    def check(self, classes: tuple[str, ...]) -> None:
        """RecipeError if the target is not one of ``classes``."""
        if self.target >= len(classes):
            raise RecipeError(
                f"poisoning.target = {self.target} is out of range: the data has {len(classes)} "
                f"classes; give 0..{len(classes) - 1} ({', '.join(classes[:8])}"
                f"{', …' if len(classes) > 8 else ''})"
            )

    def plan(self, clips: ClipSet, seed: int) -> PoisonPlan:
        """Draw the clips to poison, each class by itself, from ``seed``.

        RecipeError if the target is out of range, or if a rate above 0 selects no clip at all.
        """
        self.check(clips.classes)
        labels = np.asarray(clips.labels)
        rng = np.random.default_rng([seed, 1])
        chosen: list[int] = []
        for label in range(len(clips.classes)):
            members = np.flatnonzero(labels == label)
            if label != self.target:
                count = round(self.rate * len(members))
                chosen += rng.choice(members, count, replace=False).tolist()
        if self.rate and not chosen:
            raise RecipeError(
                f"poisoning.rate = {self.rate} selects no clip: the largest class but the target's "
                f"has {np.bincount(labels[labels != self.target], minlength=1).max()} clips; raise "
                "the rate, or set it to 0"
            )
        return PoisonPlan(dict.fromkeys(sorted(chosen), self.target))


@dataclass(frozen=True, slots=True)
class _Triggered:
    """Reads a clip and embeds the trigger where the plan says so."""

    clean: ClipSet
    trigger: Trigger
    chosen: frozenset[int]

    def __call__(self, index: int) -> Tensor:
        clip = self.clean.read(index)
        return self.trigger(clip) if index in self.chosen else clip


def apply(clips: ClipSet, plan: PoisonPlan, trigger: Trigger) -> ClipSet:
    """The poisoned set: same ids, planned clips triggered and relabelled, nothing copied."""
    labels = list(clips.labels)
    for index, label in plan.relabelled.items():
        labels[index] = label
    read = _Triggered(clips, trigger, frozenset(plan.relabelled))
    return replace(clips, labels=tuple(labels), read=read)


def triggered(clips: ClipSet, trigger: Trigger) -> ClipSet:
    """Every clip with the trigger, true labels kept: what ASR is measured on."""
    return replace(clips, read=_Triggered(clips, trigger, frozenset(range(len(clips)))))


def preflight(trigger: Trigger, clips: ClipSet) -> None:
    """TriggerError now, rather than in mid-run, if the trigger does not fit the clips."""
    frames, height, width = clips.geometry
    trigger(torch.zeros(frames, 3, height, width, dtype=torch.uint8))
