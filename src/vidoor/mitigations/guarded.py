"""Screen, then purify: what a screen does not flag reaches the victim as it is.

No paper's own. Every purifier costs clean clips something, and most clips are clean. An input
detector ("this clip, now?") spares those that it does not flag; what it misses passes untouched,
and what it flags in error costs what purifying costs, nothing more.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vidoor.errors import RecipeError, unknown
from vidoor.mitigations._purified import InFront, Purified
from vidoor.options import component, identity
from vidoor.registry import methods, register
from vidoor.types import ClipSet, Frames, InputDetector, Screen
from vidoor.victims.victim import Victim


@dataclass(frozen=True, eq=False)
class Guarded:
    """A purifier: another one, for the clips that a screen flags."""

    screen: Screen
    purifier: InFront

    def purify(self, clip: Frames) -> Frames:
        """The purified clip, or the clip itself where it is not flagged."""
        score = float(self.screen.score(clip[None])[0])
        return self.purifier.purify(clip) if score > self.screen.threshold else clip


@register("mitigation", "screened")
@dataclass(frozen=True, kw_only=True)
class Screened:
    """Purifier: acts only on clips that an input detector flags, fitted to the clean clips."""

    screen: Mapping[str, Any] = field(default_factory=lambda: {"kind": "in-clip"})
    """The input detector, as a table of its own: ``kind`` and options."""

    purifier: Mapping[str, Any] = field(default_factory=lambda: {"kind": "subspace"})
    """What is done to flagged clips, likewise: a mitigation that needs no verdict and trains
    nothing."""

    def __post_init__(self) -> None:
        self._screen()
        self._purifier()

    @property
    def revision(self) -> dict[str, Any]:
        """What the two tables come to, with all options and revisions."""
        return {"screen": identity(self._screen()), "purifier": identity(self._purifier())}

    @property
    def given(self) -> tuple[str, ...]:
        """What the screen asks for beside victim and clips; so do ``detector``, ``verdict_of``."""
        return getattr(self._screen(), "given", ())

    @property
    def detector(self) -> str | None:
        """Name of the recipe's detector whose verdict the screen acts on, if it does."""
        return getattr(self._screen(), "detector", None)

    @property
    def verdict_of(self) -> str:
        """Level of that detector."""
        return getattr(self._screen(), "verdict_of", "")

    def __call__(self, victim: Victim, clean: ClipSet, **asked: Any) -> Victim:
        """A copy of ``victim`` that purifies what the screen flags; ``asked``: see ``given``."""
        screen = self._screen().fit(copy.deepcopy(victim), clean, **asked)
        return Purified(victim, Guarded(screen, self._purifier()))

    def _screen(self) -> InputDetector:
        valid = [k for k, c in methods("detector").items() if getattr(c, "level", "") == "input"]
        detector: InputDetector = _built("detector", self.screen, "screen", valid)
        return detector

    def _purifier(self) -> InFront:
        valid = [kind for kind, cls in methods("mitigation").items() if issubclass(cls, InFront)]
        purifier: InFront = _built("mitigation", self.purifier, "purifier", valid)
        return purifier


def _built(group: str, options: Mapping[str, Any], name: str, valid: list[str]) -> Any:
    """The method that a table describes. ValueError, one line, if it is none of the ``valid``
    kinds or has options that this one has not."""
    kind = options.get("kind")
    if kind not in valid:
        raise ValueError(f"{name}: {unknown('kind', str(kind), valid)}")
    try:
        return component(group, options, where=name)
    except RecipeError as error:
        raise ValueError(str(error)) from None
