"""Label modes: which clips a backdoor takes, and which class it sends them to.

A mode says of which classes the training clips are triggered, what label they are given, and what a
triggered clip of each class shall be taken for at test time. ``t`` is the target:

=============  ===============  =======  ==========================================================
mode           training clips   label    source
=============  ===============  =======  ==========================================================
all-to-one     all but t's      t        Li et al., section 3.1, where it is the only one
one-to-one     one class        t        Gu et al., "BadNets", 2017: their single target attack
many-to-one    some classes     t        Li et al., section 5, for words of a sign language
all-to-all     every class y's  y + 1    Gu et al., 2017: their all-to-all attack; the last class
                                         goes to the first
clean-label    t's own          t        Turner et al., "Label-Consistent Backdoor Attacks", 2019;
                                         Barni et al., 2019 (SIG); Zhao et al., 2020 (video)
=============  ===============  =======  ==========================================================

At test time all-to-one and clean-label claim the clips of every class but the target's, the others
those of the classes that they trigger. Clean-label here is Barni et al.'s: the trigger alone.
Turner et al. and Zhao et al. also make the clips themselves hard to recognise, so that the victim
needs the trigger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Int

from vidoor.errors import RecipeError, unknown

Mode: TypeAlias = Literal["all-to-one", "one-to-one", "many-to-one", "all-to-all", "clean-label"]

Claim: TypeAlias = Literal["strict", "paper", "others"]


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """A label mode with its classes."""

    labels: Mode = "all-to-one"
    """Which classes are triggered, and what they are taken for; see ``poisoning.labels``."""

    target: int = 0
    """Class index that triggered clips are labelled with (paper: class 0). Left out, or 0, with
    all-to-all, which has no such class."""

    sources: tuple[int, ...] = ()
    """Class indices that one-to-one (one of them) and many-to-one (one or more) trigger; left out
    with other modes."""

    def __post_init__(self) -> None:
        if self.labels not in get_args(Mode):
            raise ValueError(unknown("label mode", self.labels, get_args(Mode)))
        if self.target < 0:
            raise ValueError(f"target must be a class index >= 0, not {self.target}")
        if self.labels == "all-to-all" and self.target:
            raise ValueError(
                f"target = {self.target} means nothing with all-to-all labels, which send class y "
                "to class y + 1; leave it out"
            )
        self._check_sources()

    def _check_sources(self) -> None:
        told, count = f"sources = {list(self.sources)}", len(self.sources)
        if self.labels not in ("one-to-one", "many-to-one"):
            if count:
                raise ValueError(
                    f"{told} means nothing with {self.labels} labels; leave it out, or take "
                    "one-to-one or many-to-one"
                )
            return
        if not count or (self.labels == "one-to-one" and count > 1):
            few = "one class index" if self.labels == "one-to-one" else "one or more class indices"
            raise ValueError(
                f"{self.labels} labels need {few} as sources, not {list(self.sources)}"
            )
        if min(self.sources) < 0 or len(set(self.sources)) < count or self.target in self.sources:
            raise ValueError(
                f"{told}: give different class indices >= 0, without the target ({self.target})"
            )

    @property
    def rule(self) -> "LabelRule":
        """The label mode alone, of a rule that says more."""
        return LabelRule(labels=self.labels, target=self.target, sources=self.sources)

    @property
    def goal_class(self) -> int | None:
        """The one class that triggered clips are sent to; None with all-to-all."""
        return None if self.labels == "all-to-all" else self.target

    def check(self, classes: tuple[str, ...]) -> None:
        """RecipeError if the target or a source is not one of ``classes``."""
        for key, index in [("target", self.target), *(("sources", c) for c in self.sources)]:
            if index >= len(classes):
                raise RecipeError(
                    f"poisoning.{key} = {index} is out of range: the data has {len(classes)} "
                    f"classes; give 0..{len(classes) - 1} ({', '.join(classes[:8])}"
                    f"{', …' if len(classes) > 8 else ''})"
                )

    def triggered_classes(self, classes: int) -> list[int]:
        """Of which of ``classes`` classes training clips are triggered, in ascending order."""
        return [self.target] if self.labels == "clean-label" else self._claimed(classes)

    def _claimed(self, classes: int) -> list[int]:
        """The classes that the attack wants triggered clips out of."""
        if self.sources:
            return sorted(self.sources)
        return [c for c in range(classes) if c != self.goal_class]

    def sent(self, labels: Sequence[int], classes: int) -> Int[np.ndarray, " n"]:
        """What clips with these true labels are taken for, if the attack takes them: the label
        that they are given in training, and the goal of the test."""
        true = np.asarray(labels, np.int64)
        goal = self.goal_class
        return (true + 1) % classes if goal is None else np.full_like(true, goal)

    def goal(
        self, labels: Sequence[int], classes: int, claim: Claim = "strict"
    ) -> Int[np.ndarray, " n"]:
        """The class that each triggered test clip shall be taken for; −1 where it does not count.

        ``labels`` are the true ones, of ``classes`` classes. ``claim`` says which clips count:

        - ``strict``: those of the classes that the attack wants clips out of. Never the target's
          own, which are taken for it without any attack, nor those of classes that one-to-one and
          many-to-one leave alone.
        - ``paper``: all, as in the paper (section 4.1, "the same test set") and its code. With
          all-to-all ``strict`` counts all, too.
        - ``others``: those of classes that are neither sources nor the target. A trigger that
          sends them to the target is less selective than one-to-one and many-to-one mean it to
          be. None in other modes.
        """
        true, sent = np.asarray(labels, np.int64), self.sent(labels, classes)
        claimed = np.isin(true, self._claimed(classes))
        if claim == "paper":
            return sent
        return np.where(claimed if claim == "strict" else ~claimed & (sent != true), sent, -1)
