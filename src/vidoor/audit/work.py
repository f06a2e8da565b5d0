"""The work of an audit in stages, each kept on disk as soon as it is done.

DIR/stages/clips-<key>/        which clips can be read; their pixels where the cache has no room
DIR/stages/<check>-<key>/      a verdict
DIR/stages/activations-<key>/  what a model makes of the clips at one layer

A key is a hash of all that the result depends on: an audit that was stopped goes on where it was.
"""

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidoor.audit import source as sources
from vidoor.audit.checks import Check
from vidoor.audit.findings import accused
from vidoor.audit.model import Model
from vidoor.audit.source import Source
from vidoor.bench import store, verdicts
from vidoor.data import quarantine
from vidoor.data.subset import pick
from vidoor.detectors import activations
from vidoor.document import digest
from vidoor.errors import DataError, VidoorError
from vidoor.files import make_folder
from vidoor.meter import metered
from vidoor.options import identity
from vidoor.progress import say
from vidoor.report.tables import read_json
from vidoor.types import ClipSet, Quarantined, Verdict
from vidoor.victims.training import predict

STAGES, READ, SKILL = "stages", "read.json", "skill.json"

LEAST_SKILL = 0.2
"""Below it a model is not judged: it has not learnt these classes, or has them in another order,
and a class that it prefers anyway would look like a backdoor's target."""


class Spent(KeyboardInterrupt):
    """The budget is over. An interrupt like the one from the keyboard: whatever is safe from that
    one is safe from this one."""


@contextmanager
def budget(seconds: float | None) -> Iterator[None]:
    """Raises ``Spent`` inside after so many seconds, above 0; None: never. Main thread only."""
    if seconds is None:
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise Spent

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(slots=True)
class Work:
    """What is known of an audit so far."""

    source: Source
    checks: Sequence[Check]
    model: Model | None
    folder: Path
    clips: ClipSet
    """Those that can be read, once they have been read; until then all."""

    kept: tuple[int, ...] | None = None
    """Which of the listed clips these are; None until they have been read."""

    left_out: tuple[Quarantined, ...] = ()
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    impossible: dict[str, str] = field(default_factory=dict)
    """Why a check cannot be made."""

    _stamps: list[tuple[str, str | None]] = field(default_factory=list)
    _fresh: bool = False  # has this process seen to it that the clips are at hand?

    def undone(self) -> list[str]:
        """The checks without a verdict; but for hints that cannot be had."""
        return [
            check.name
            for check in self.checks
            if check.name not in self.verdicts
            and (check.accuses or check.name not in self.impossible)
        ]


def perform(work: Work, seconds: float | None) -> None:
    """Read the clips and make all checks, until the budget is spent."""
    at = "reading"
    try:
        with budget(seconds):
            _read(work)
            for check in work.checks:
                at = check.name
                _ask(work, check)
    except Spent:
        say(f"the budget is spent; the same command goes on with {at}, from its beginning")


def _read(work: Work) -> None:
    """Which clips can be read."""
    source, work._stamps = work.source, work.source.stamps()
    key = digest("clips", work._stamps, source.clips.geometry, str(source.root), source.strict)

    def make(folder: Path) -> None:
        for earlier in set(folder.parent.glob("clips-*")) - {folder}:
            shutil.rmtree(earlier, ignore_errors=True)  # of clips, or of sizes, that are no more
        kept, left_out = sources.read(source, folder)
        if source.stamps() != work._stamps:
            raise DataError("the clips changed while they were read; give the same command again")
        found = {"kept": kept, "left_out": [asdict(clip) for clip in left_out]}
        store.write_json(folder / READ, found)
        work._fresh = True

    folder = _stage(work, "clips", key, make)
    found = read_json(folder / READ)
    work.kept = tuple(found["kept"])
    work.left_out = tuple(Quarantined(**clip) for clip in found["left_out"])
    work.clips = sources.view(source, folder, work.kept)
    for line in (quarantine.faults(source.reported), quarantine.left_out(work.left_out)):
        if line:
            say(line)


def _stage(work: Work, name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of a stage, made unless it is complete."""
    folder = work.folder / STAGES / f"{name}-{key}"
    if not store.done(folder):
        make_folder(folder)
        store.tidy(folder)
        with metered() as meter:
            make(folder)
        store.finish(folder, asdict(meter.cost))
    return folder


def _ask(work: Work, check: Check) -> None:
    """One check. What the user could mend costs that check, or, if it accuses clips, the audit."""
    try:
        found = _verdict(work, check)
        if check.accuses and not found.alarm and (why := _unheard(found)):
            raise DataError(why)
        work.verdicts[check.name] = found
        say(f"{check.name}: {'ALARM' if found.alarm else 'no alarm'}")
    except (VidoorError, MemoryError) as error:
        if check.accuses and check.level == "dataset":
            raise
        reason = work.impossible[check.name] = " ".join(str(error).split()) or "out of memory"
        say(f"{check.name}: not possible: {reason}")


def _unheard(verdict: Verdict) -> str:
    """Why a verdict without an alarm clears nothing; empty if it has looked at everything."""
    if verdict.evidence.get("budget") == "spent":
        return verdict.calibration
    missed, classes = len(verdict.evidence.get("not_reached", ())), len(verdict.ids)
    if 2 * missed <= classes:
        return ""
    return f"{missed} of {classes} classes were not reached; give it more steps"


def _verdict(work: Work, check: Check) -> Verdict:
    """The verdict of a check, from its stage. The detector sees pixels and given labels alone."""
    clips = clean(work) if check.level == "model" else work.clips
    key = digest(identity(check.detector), _identity(work, clips), _about(work, check))

    def make(folder: Path) -> None:
        if not work._fresh:
            sources.refresh(work.source.clips)
            work._fresh = True
        if check.of_model:
            _is_fit(work, clean(work))
        suspects = verdicts.anonymous(clips)
        verdict = _inspect(work, check, suspects)
        back = dict(zip(suspects.ids, clips.ids, strict=True))
        verdicts.save(verdicts.renamed(verdict, back), folder)

    return verdicts.load(_stage(work, check.name, key, make))


def _identity(work: Work, clips: ClipSet) -> list[Any]:
    """What is looked at: the files of these clips, their labels, and in which geometry."""
    stamps = dict(zip(work.source.clips.ids, work._stamps, strict=True))
    return [clips.geometry, clips.classes, clips.labels, [stamps[clip] for clip in clips.ids]]


def _about(work: Work, check: Check) -> dict[str, Any] | None:
    return work.model.about() if work.model and check.of_model else None


def skill(victim: Any, clips: ClipSet) -> float:
    """How far a victim agrees with the labels: 1 always, 0 as often as the most frequent label
    would. Of one class alone: 0."""
    labels = np.asarray(clips.labels)
    usual = float(np.bincount(labels).max()) / len(labels)
    right = float((predict(victim, clips) == labels).mean())
    return (right - usual) / (1 - usual) if usual < 1 else 0.0


def _is_fit(work: Work, clips: ClipSet) -> None:
    """DataError where the model has too little skill to be judged. Its skill is a stage."""
    model = work.model
    assert model is not None
    key = digest("skill", model.about(), _identity(work, clips))

    def make(folder: Path) -> None:
        store.write_json(folder / SKILL, {"skill": skill(model.victim, clips)})

    found = float(read_json(_stage(work, "skill", key, make) / SKILL)["skill"])
    if found < LEAST_SKILL:
        raise DataError(
            f"the model hardly agrees with the labels of the clips ({found:.2f}, needed "
            f"{LEAST_SKILL}): it has learnt little, is of other classes, or has them in another "
            "order than these (class folders count in the order of their names)"
        )


def _inspect(work: Work, check: Check, clips: ClipSet) -> Verdict:
    victim = work.model.victim if work.model and check.of_model else None
    found: Verdict
    if check.level == "model":
        found = check.detector.inspect(victim, clips)
    elif victim is not None and hasattr(check.detector, "judge"):
        found = check.detector.judge(_activations(work, check, clips))
    else:
        found = check.detector.inspect(clips, victim=victim)
    return found


def _activations(work: Work, check: Check, clips: ClipSet) -> activations.Activations:
    """What the model makes of the clips at the layer of a detector; others look there as well."""
    detector, model = check.detector, work.model
    assert model is not None
    layers = () if detector.layer is None else (detector.layer,)
    key = digest(layers, detector.pool, _identity(work, work.clips), model.about())

    def make(folder: Path) -> None:
        activations.collect(model.victim, clips, layers, pool=detector.pool, folder=folder)

    (seen,) = activations.load(_stage(work, "activations", key, make)).values()
    return seen


def clean(work: Work) -> ClipSet:
    """Clips that a model may be tried on: none that was accused; those for testing where there are
    any, as whoever poisons a training has no hand in these."""
    bad, kept = accused(work.checks, work.verdicts), work.kept or ()
    good = [row for row, clip in enumerate(work.clips.ids) if clip not in bad]
    tests = [row for row in good if work.source.splits[kept[row]] == "test"]
    return pick(work.clips, tuple(tests or good))
