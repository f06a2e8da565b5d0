"""The manifest: one JSON line per clip of a poisoned set, and the set as files.

The manifest is the truth about a poisoned set. Detectors never see it; ``metrics`` joins it with
their verdicts afterwards.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path

from vidoor.data.folder import plain
from vidoor.data.video import write
from vidoor.errors import DataError
from vidoor.files import whole
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
    """Id of the trigger that it carries, None if it carries none."""

    noise: int | None = None
    """Seed of the trigger's noise that it carries instead (noise mode), None if it carries none."""

    file: str | None = None
    """Where it was written, relative to the manifest."""


def content_hash(clip: Frames) -> str:
    """SHA-256 of the clip's bytes in T×C×H×W order."""
    return hashlib.sha256(clip.contiguous().numpy().tobytes()).hexdigest()


def lines(clean: ClipSet, poisoned: ClipSet, plan: PoisonPlan, trigger: str) -> Iterator[Line]:
    """The manifest of ``poisoned``, which ``plan`` made of ``clean``; reads every clip once."""
    for index in range(len(poisoned)):
        yield _line(clean, poisoned, plan, trigger, index, poisoned.read(index))


def _line(
    clean: ClipSet,
    poisoned: ClipSet,
    plan: PoisonPlan,
    trigger: str,
    index: int,
    clip: Frames,
    file: str | None = None,
) -> Line:
    return Line(
        id=poisoned.ids[index],
        sha256=content_hash(clip),
        label=clean.labels[index],
        given=poisoned.labels[index],
        trigger=trigger if index in plan.poisoned else None,
        noise=plan.noisy.get(index),
        file=file,
    )


def save(manifest: Iterable[Line], path: Path) -> None:
    """Write the manifest as JSON lines in ASCII, whole or not at all."""
    _write_lines(path, [json.dumps(asdict(line), ensure_ascii=True) for line in manifest])


def _write_lines(path: Path, text: list[str]) -> None:
    with whole(path) as partial:  # clip names need not be valid UTF-8
        partial.write_text(
            "".join(f"{line}\n" for line in text), encoding="utf-8", errors="surrogateescape"
        )


def load(path: Path) -> list[Line]:
    """Read a manifest; DataError names the first line that is not one."""
    manifest = []
    whole_text = path.read_text(encoding="utf-8", errors="surrogateescape")
    for number, text in enumerate(whole_text.splitlines(), start=1):
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

    Every clip has a place of its own. Raises DataError, before anything is written, for a class
    name that cannot be a folder's name and stand in a split file.
    """
    places = _places(poisoned, test)
    ours, tests = places[: len(poisoned)], places[len(poisoned) :]

    def put(index: int) -> Line:
        clip = poisoned.read(index)
        write(folder / ours[index], clip)
        return _line(clean, poisoned, plan, trigger, index, clip, ours[index])

    def put_test(index: int) -> None:
        write(folder / tests[index], test.read(index))

    pool = ThreadPoolExecutor(os.cpu_count())  # FFmpeg works without the interpreter's lock
    try:
        written = pool.map(put, range(len(poisoned)))
        manifest = list(track(written, "writing the poisoned set", len(poisoned)))
        list(pool.map(put_test, range(len(test))))
    finally:
        pool.shutdown(cancel_futures=True)  # after a fault, what was not begun is not begun
    listed = {
        "trainlist01.txt": [f"{line.file} {line.given + 1}" for line in manifest],
        "testlist01.txt": tests,
    }
    save(manifest, folder / MANIFEST)
    numbered = [f"{number} {name}" for number, name in enumerate(clean.classes, start=1)]
    for name, text in {**listed, "classInd.txt": numbered}.items():
        _write_lines(folder / name, text)
    noisy = {"noisy": len(plan.noisy)} if plan.noisy else {}
    return {"clips": len(clean), "poisoned": len(plan.poisoned), **noisy, "test": len(test)}


def _places(*sets: ClipSet) -> list[str]:
    """Where the clips of all sets go, each in the folder of its given class.

    The name says whence a clip came. One that is taken keeps its suffix and, if that is not
    enough, gets a number: nothing is overwritten, on no file system (some fold case).
    """
    places: list[str] = []
    taken: set[str] = set()
    for clips in sets:
        for name in clips.classes:
            if not plain(name) or name != " ".join(name.splitlines()).strip():
                raise DataError(
                    f"class {name!r} cannot be written: its name must be that of a folder, without "
                    "separators, line breaks or spaces at its ends; rename it"
                )
        for clip, label in zip(clips.ids, clips.labels, strict=True):
            long = re.sub(r"[\r\n\0]", "_", re.sub(r"[/\\]", "__", clip))
            short = long.rpartition(".")[0] or long
            tries = chain((short, long), (f"{long}~{number}" for number in count(2)))
            name = next(name for name in tries if _key(clips.classes[label], name) not in taken)
            taken.add(_key(clips.classes[label], name))
            places.append(f"{clips.classes[label]}/{name}.mkv")
    assert len(places) == len(taken)
    return places


def _key(folder: str, name: str) -> str:
    return f"{folder}/{name}".casefold()
