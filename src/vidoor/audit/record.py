"""What an audit comes to, as one frozen record: the form of ``audit.json``."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from vidoor.bench.store import dumps
from vidoor.wording import as_unicode

SCHEMA = "vidoor-audit/1"

Status = Literal["findings", "clean", "unfinished"]
State = Literal["done", "impossible", "not done"]
Level = Literal["dataset", "model"]

EXIT: dict[Status, int] = {"clean": 0, "findings": 1, "unfinished": 2}
"""Exit status of the command. An audit that was not finished has cleared nothing."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """The verdict. ``false_alarms`` says, for each detector that had its say and may accuse, how
    often it accused what is clean."""

    status: Status
    text: str
    false_alarms: dict[str, str]
    exit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A reason for the alarm: a pattern that clips share, or a class that a model is too easily
    sent to. ``statistic`` exceeded ``at``."""

    check: str
    level: Level
    text: str
    clips: int = 0
    classes: tuple[str, ...] = ()
    """Given labels of the clips, the most frequent first; or the class of the model."""

    target: str | None = None
    statistic: float | None = None
    at: float | None = None
    why: str = ""
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What clips share that is no trigger: ``kind`` says what it is; ``clips`` are groups of
    clip ids."""

    check: str
    kind: str
    text: str
    clips: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Hint:
    """An alarm of a detector that does not accuse, and why it does not."""

    check: str
    text: str
    weakness: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A clip that is accused. ``score`` is that of the first check in ``by``; ranks begin at 1."""

    rank: int
    clip: str
    label: str
    split: str
    score: float
    by: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A clip that was not judged."""

    clip: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """What was audited. ``geometry``: frames, height and width in which clips were looked at."""

    source: str
    root: str
    kind: str
    labelled: bool
    classes: tuple[str, ...]
    geometry: tuple[int, int, int]
    listed: int
    judged: int
    quarantined: tuple[LeftOut, ...]
    reported: tuple[LeftOut, ...]
    """What the lists name wrongly, or do not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One detector's part. What it says is None unless it is ``done``."""

    name: str
    kind: str
    level: Level
    accuses: bool
    weakness: str
    state: State
    reason: str
    options: dict[str, Any]
    alarm: bool | None = None
    flagged: int | None = None
    threshold: float | None = None
    calibration: str | None = None
    evidence: dict[str, Any] | None = None
    cost: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All of an audit. ``seconds``: of this command, and of the checks, earlier commands
    included."""

    schema: str
    vidoor: str
    verdict: Sentence
    clips: Clips
    model: dict[str, Any] | None
    findings: tuple[Finding, ...]
    observations: tuple[Observation, ...]
    hints: tuple[Hint, ...]
    suspicious: tuple[Suspect, ...]
    checks: tuple[Checked, ...]
    not_done: tuple[str, ...]
    seconds: dict[str, float]
    folder: str
    files: dict[str, str]
    """Names in the folder, by what they are."""

    environment: dict[str, Any]


def document(record: Record) -> dict[str, Any]:
    """The record as JSON has it, file names that are not UTF-8 spelt out."""
    plain: dict[str, Any] = _as_unicode(asdict(record))
    return plain


def text(record: Record) -> str:
    """The record as JSON."""
    return dumps(document(record)) + "\n"


def _as_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return as_unicode(value)
    if isinstance(value, dict):
        return {_as_unicode(key): _as_unicode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_unicode(item) for item in value]
    return value
