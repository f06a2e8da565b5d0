"""The manifest: one JSON line per clip of a poisoned set, and the set as files.

The manifest is the truth about a poisoned set. Detectors never see it; ``metrics`` joins it with
their verdicts afterwards.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vidoor.data.video import write
from vidoor.errors import DataError
from vidoor.poisoning.poisoner import PoisonPlan
from vidoor.progress import track
from vidoor.types import ClipSet, Frames

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One clip of a poisoned set."""

    id: str
    sha256: str
    """Hash of the clip's bytes as they are in the set (T×C×H×W order), trigger included."""

    label: int
    """Class index before poisoning."""

    given: int
    """Class index that the set gives to it."""

    trigger: str | None
    """Id of the trigger that it carries, None if it is clean."""

    file: str | None = None
    """Where it was written, relative to the manifest."""


def content_hash(clip: Frames) -> str:
    """SHA-256 of the clip's bytes in T×C×H×W order."""
    return hashlib.sha256(clip.contiguous().numpy().tobytes()).hexdigest()


def lines(clean: ClipSet, poisoned: ClipSet, plan: PoisonPlan, trigger: str) -> Iterator[Line]:
    """The manifest of ``poisoned``, which ``plan`` made of ``clean``; reads every clip once."""
    for index, name in enumerate(poisoned.ids):
        yield Line(
            id=name,
            sha256=content_hash(poisoned.read(index)),
            label=clean.labels[index],
            given=poisoned.labels[index],
            trigger=trigger if index in plan.relabelled else None,
        )


def save(manifest: list[Line], path: Path) -> None:
    """Write the manifest as JSON lines."""
    path.write_text("".join(json.dumps(asdict(line)) + "\n" for line in manifest))


def load(path: Path) -> list[Line]:
    """Read a manifest; DataError names the first line that is not one."""
    manifest = []
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        try:
            manifest.append(Line(**json.loads(text)))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}, line {number}: not a manifest line ({error})") from None
    return manifest


def write_set(
    folder: Path,
    clean: ClipSet,
    poisoned: ClipSet,
    plan: PoisonPlan,
    trigger: str,
    test: ClipSet,
) -> dict[str, int]:
    """Write a poisoned training set, and a clean test set beside it, as lossless video.

    Each clip lies in the folder of the class that the set gives to it; ``classInd.txt`` and split
    "01" list them in UCF-101's way, so that vidoor's ``folder`` data set and other training code
    read them back. ``manifest.jsonl`` holds the truth. Returns the counts.
    """
    listed: dict[str, list[str]] = {"trainlist01.txt": [], "testlist01.txt": []}
    manifest = []
    what = "writing the poisoned set"
    for index, line in track(enumerate(lines(clean, poisoned, plan, trigger)), what, len(clean)):
        file = _place(folder, poisoned, index)
        write(folder / file, poisoned.read(index))
        manifest.append(replace(line, file=file))
        listed["trainlist01.txt"].append(f"{file} {line.given + 1}")
    for index in range(len(test)):
        file = _place(folder, test, index)
        write(folder / file, test.read(index))
        listed["testlist01.txt"].append(file)
    save(manifest, folder / MANIFEST)
    numbered = [f"{number} {name}" for number, name in enumerate(clean.classes, start=1)]
    for name, text in {**listed, "classInd.txt": numbered}.items():
        (folder / name).write_text("".join(f"{line}\n" for line in text))
    return {
        "clips": len(clean),
        "poisoned": len(plan.relabelled),
        "test": len(test),
    }


def _place(folder: Path, clips: ClipSet, index: int) -> str:
    """Where a clip goes: the folder of its given class, under a name that says whence it came."""
    name = clips.ids[index].rpartition(".")[0] or clips.ids[index]
    return f"{clips.classes[clips.labels[index]]}/{name.replace('/', '__')}.mkv"
