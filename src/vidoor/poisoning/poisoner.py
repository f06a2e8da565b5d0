"""Which clips are poisoned, and the poisoned set as a lazy view of the clean one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Int
from numpy.random import Generator
from torch import Tensor

from vidoor.data.video import Codec
from vidoor.errors import DataError, RecipeError, unknown
from vidoor.poisoning.labels import LabelRule
from vidoor.poisoning.publication import Publication
from vidoor.types import ClipSet, Geometry, Trigger

Draw = Literal["per-class", "global"]

NOISE_SEEDS = 2**32
"""Each clip with noise has one of so many seeds."""


@dataclass(frozen=True, slots=True)
class PoisonPlan:
    """The clips that the attacker changes, by their index in the set."""

    poisoned: Mapping[int, int]
    """Clip that gets the trigger -> the label given to it, which is its own in clean-label."""

    noisy: Mapping[int, int] = field(default_factory=dict)
    """Clip that gets the trigger's noise and keeps its label -> the seed of its noise."""


@dataclass(frozen=True, kw_only=True)
class Poisoner(LabelRule):
    """Poisoning by a label mode (the paper's: all-to-one), with WaNet's noise mode or without."""

    rate: float = 0.2
    """Poisoning rate: fraction of the clips of every class that is triggered (paper: 20 %)."""

    draw: Draw = "per-class"
    """``per-class``: that fraction of each such class (paper). ``global``: the fraction is drawn
    from the whole set, and clips of other classes are then left alone (released code)."""

    cross_ratio: float = 0.0
    """Noise mode (Nguyen and Tran, WaNet, 2021): clips for each poisoned one, of any class, that
    get the trigger's noise and keep their labels, so that the victim learns the trigger itself and
    not all that resembles it (original: 2). Needs a trigger that has noise."""

    codec: Codec | None = None
    """Codec of the files that the set comes to the victim as, all its clips and the triggered ones
    of the test: ``h264``, ``mpeg4`` or, without loss, ``ffv1``. None: the pixels themselves."""

    quality: int | None = None
    """Its quality, see ``Publication``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quality is not None and self.codec is None:
            raise ValueError(f"quality = {self.quality} is of a codec; give codec, or leave it out")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be a fraction in [0, 1], not {self.rate}")
        if self.draw not in get_args(Draw):
            raise ValueError(unknown("draw", self.draw, get_args(Draw)))
        if not 0 <= self.cross_ratio < math.inf:
            raise ValueError(f"cross_ratio must be a number >= 0, not {self.cross_ratio}")
        if self.publication is not None:
            try:
                self.publication.check(Geometry(1, 16, 16))
            except DataError as error:
                raise ValueError(str(error)) from None

    @property
    def publication(self) -> Publication | None:
        """What happens to the set on its way to the victim, None if nothing does."""
        if self.codec is None:
            return None
        return Publication(codec=self.codec, quality=self.quality)

    def preflight(self, trigger: Trigger, clips: ClipSet) -> None:
        """VidoorError now, rather than in mid-run, if the trigger, its noise where that is asked
        for, or the codec does not fit the clips."""
        preflight(trigger, clips)
        noisy = getattr(trigger, "noisy", None)
        if self.cross_ratio and noisy is None:
            raise RecipeError(
                f"poisoning.cross_ratio = {self.cross_ratio:g} asks for a trigger that has noise, "
                f"such as wanet, and {type(trigger).__name__} has none; take another trigger, or "
                "leave cross_ratio out"
            )
        if self.cross_ratio and noisy is not None:
            preflight(lambda clip: noisy(clip, 0), clips)
        if self.publication is not None:
            self.publication.check(clips.geometry)

    def plan(self, clips: ClipSet, seed: int) -> PoisonPlan:
        """Draw the clips to poison from ``seed``.

        RecipeError if a class is out of range, if a rate or a ratio above 0 selects no clip, or if
        more clips shall have noise than there are.
        """
        self.check(clips.classes)
        rng = np.random.default_rng([seed, 1])
        chosen = self._draw(np.asarray(clips.labels, np.int64), len(clips.classes), rng)
        sent = self.sent(clips.labels, len(clips.classes))
        poisoned = {index: int(sent[index]) for index in sorted(chosen)}
        return PoisonPlan(poisoned, self._noise(poisoned, len(clips), rng))

    def _draw(self, labels: Int[np.ndarray, " n"], classes: int, rng: Generator) -> list[int]:
        triggered = self.triggered_classes(classes)
        members = [np.flatnonzero(labels == c) for c in triggered]
        chosen: list[int] = []
        if self.draw == "global":
            drawn = rng.choice(len(labels), round(self.rate * len(labels)), replace=False)
            chosen = drawn[np.isin(labels[drawn], triggered)].tolist()
        else:
            for clips in members:
                count = round(self.rate * len(clips))
                chosen += rng.choice(clips, count, replace=False).tolist()
        if self.rate and not chosen:
            raise RecipeError(
                f"poisoning.rate = {self.rate} selects no clip: the largest class that "
                f"{self.labels} labels trigger has {max(map(len, members), default=0)} clips; "
                "raise the rate, or set it to 0"
            )
        return chosen

    def _noise(self, poisoned: Mapping[int, int], clips: int, rng: Generator) -> dict[int, int]:
        count = round(self.cross_ratio * len(poisoned))
        rest = np.setdiff1d(np.arange(clips), list(poisoned))
        if count > len(rest) or (self.cross_ratio and poisoned and not count):
            raise RecipeError(
                f"poisoning.cross_ratio = {self.cross_ratio:g} with {len(poisoned)} poisoned clips "
                f"asks for {count} with noise, of the {len(rest)} others; give another ratio"
            )
        chosen = np.sort(rng.choice(rest, count, replace=False))
        seeds = rng.integers(NOISE_SEEDS, size=count)
        return dict(zip(chosen.tolist(), seeds.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class _Triggered:
    """Reads a clip and embeds the trigger, or its noise, where the plan says so."""

    clean: ClipSet
    trigger: Any
    chosen: frozenset[int]
    noise: Mapping[int, int] = field(default_factory=dict)

    def __call__(self, index: int) -> Tensor:
        clip = self.clean.read(index)
        if index in self.noise:
            clip = self.trigger.noisy(clip, self.noise[index])
        return self.trigger(clip) if index in self.chosen else clip


def apply(clips: ClipSet, plan: PoisonPlan, trigger: Trigger) -> ClipSet:
    """The poisoned set: same ids, planned clips triggered and relabelled, nothing copied."""
    labels = list(clips.labels)
    for index, label in plan.poisoned.items():
        labels[index] = label
    read = _Triggered(clips, trigger, frozenset(plan.poisoned), plan.noisy)
    return replace(clips, labels=tuple(labels), read=read)


def triggered(clips: ClipSet, trigger: Trigger) -> ClipSet:
    """Every clip with the trigger, true labels kept: what ASR is measured on."""
    return replace(clips, read=_Triggered(clips, trigger, frozenset(range(len(clips)))))


def preflight(trigger: Trigger, clips: ClipSet) -> None:
    """TriggerError now, rather than in mid-run, if the trigger does not fit the clips."""
    frames, height, width = clips.geometry
    trigger(torch.zeros(frames, 3, height, width, dtype=torch.uint8))
