"""The words that the whole house shares: array aliases and frozen records, no behaviour.

Shape letters: b batch, t frames, c channels, h height, w width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from jaxtyping import Float, UInt8
from torch import Tensor

Frames = UInt8[Tensor, "t c h w"]
"""One clip as it is stored, triggered and exchanged: uint8 grey levels 0..255, RGB."""

FramesBatch = UInt8[Tensor, "b t c h w"]
"""Several clips of one geometry."""

Batch = Float[Tensor, "b c t h w"]
"""What a victim sees: values in [0, 1]. Only the victim normalises, inside itself."""


class Geometry(NamedTuple):
    """Size of every clip of a set: frames, height and width in pixels."""

    frames: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class ClipSet:
    """A labelled set of clips of one geometry, read lazily.

    ``read(i)`` returns clip ``i`` as ``Frames`` of ``geometry`` and is pure: the same clip every
    time, from any process (it must pickle). A set is changed by making another one.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    geometry: Geometry
    read: Callable[[int], Tensor]

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.labels)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A clip that was left out of a set, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Splits:
    """The training and the test clips of one data set, over the same classes.

    ``reported`` are clips that its lists name wrongly, such as missing ones, and how.
    """

    train: ClipSet
    test: ClipSet
    reported: tuple[Quarantined, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a method spent: forward and backward passes in clips, wall-clock seconds, and the peak
    of its memory in bytes (None where that is not known)."""

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a detector found.

    ``ids`` names what was judged (clips, or classes for a model detector), ``scores`` one number
    for each, higher = more suspicious, ``threshold`` the score above which one is flagged and
    ``calibration`` how that threshold was set. ``alarm`` is the answer to "is anything wrong
    here?"; ``evidence`` holds the method's own numbers and arrays for the report.
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    threshold: float
    calibration: str
    alarm: bool
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost = Cost()


Level: TypeAlias = Literal["dataset", "model", "input"]
"""What a detector judges: training clips, the classes of a victim, or one clip at a time."""


class DatasetDetector(Protocol):
    """Which of these clips are poisoned? ``level`` may be left out."""

    def inspect(self, suspects: ClipSet, *, victim: Any = None) -> Verdict:
        """A score for each clip, by its id."""
        ...


class ModelDetector(Protocol):
    """Which class of this victim, if any, is a backdoor's target?"""

    level: ClassVar[Level]

    def inspect(self, victim: Any, clean: ClipSet) -> Verdict:
        """A score for each class, by its name. ``victim`` is left as it was."""
        ...


class Screen(Protocol):
    """An input detector once it has been fitted; a value, like any other."""

    @property
    def threshold(self) -> float:
        """A clip whose score is above it is flagged."""
        ...

    @property
    def calibration(self) -> str:
        """How the threshold was set."""
        ...

    def score(self, frames: FramesBatch) -> Float[Tensor, " b"]:
        """One number for each clip, higher = more suspicious, whatever else is in the batch."""
        ...

    def save(self, path: Path) -> None:
        """Write what was fitted; neither the victim nor the detector's options go along."""
        ...


class InputDetector(Protocol):
    """Is this clip, now, triggered? What ``fit`` needs beside victim and clips, an attribute
    ``given`` names, as mitigations have it."""

    level: ClassVar[Level]

    def fit(self, victim: Any, clean: ClipSet) -> Screen:
        """Calibrate on clean clips. ``victim`` is left as it was."""
        ...

    def load(self, path: Path, victim: Any) -> Screen:
        """The screen that was saved, for the same victim. DataError if it is none of this
        detector's."""
        ...


class Dataset(Protocol):
    """A source of clips, as named in the ``[data]`` table of a recipe."""

    def open(self, seed: int) -> Splits:
        """List the clips without decoding them."""
        ...


class Trigger(Protocol):
    """A backdoor trigger. Pure and deterministic given its config; the input is not modified."""

    def __call__(self, clip: Frames) -> Frames: ...
