"""The manifest: one JSON line per clip of a poisoned set, and the set as files.

The manifest is the truth about a poisoned set. Detectors never see it; ``metrics`` joins it with
their verdicts afterwards.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from multiprocessing.pool import ThreadPool
from pathlib import Path

from vidoor.data.layout import Clip, Layout
from vidoor.data.video import VIDEO_SUFFIXES, Codec, read, write
from vidoor.errors import DataError
from vidoor.files import whole
from vidoor.poisoning.poisoner import PoisonPlan
from vidoor.progress import track
from vidoor.types import ClipSet, Frames

MANIFEST = "manifest.jsonl"

SUFFIXES: dict[Codec, str] = {"ffv1": ".mkv", "h264": ".mp4", "mpeg4": ".avi"}
"""How the files of a set end that is written with each codec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One clip of a poisoned set."""

    id: str
    """The clip in the set that it comes from."""

    sha256: str
    """Hash of the clip's bytes as they are in the set (T×C×H×W order), trigger included: what its
    file decodes to, where it was written to one."""

    label: int
    """Class index before poisoning."""

    given: int
    """Class index that the set gives to it."""

    trigger: str | None
    """Id of the trigger that it carries, None if it carries none."""

    noise: int | None = None
    """Seed of the trigger's noise that it carries instead (noise mode), None if it carries none."""

    file: str | None = None
    """Where it was written, relative to the manifest: its id in the poisoned set."""

    file_sha256: str | None = None
    """Hash of that file."""

    split: str = "train"
    """``train``, or ``test`` for the clips that are written beside the poisoned ones."""


def content_hash(clip: Frames) -> str:
    """SHA-256 of the clip's bytes in T×C×H×W order."""
    return hashlib.sha256(clip.contiguous().numpy().tobytes()).hexdigest()


def lines(clean: ClipSet, poisoned: ClipSet, plan: PoisonPlan, trigger: str) -> Iterator[Line]:
    """The manifest of ``poisoned``, which ``plan`` made of ``clean``; reads every clip once."""
    for index in range(len(poisoned)):
        line = _line(clean, poisoned, plan, trigger, index)
        yield replace(line, sha256=content_hash(poisoned.read(index)))


def _line(clean: ClipSet, poisoned: ClipSet, plan: PoisonPlan, trigger: str, index: int) -> Line:
    """All of a line but for its hashes and its file."""
    return Line(
        id=poisoned.ids[index],
        sha256="",
        label=clean.labels[index],
        given=poisoned.labels[index],
        trigger=trigger if index in plan.poisoned else None,
        noise=plan.noisy.get(index),
    )


def save(manifest: Iterable[Line], path: Path) -> None:
    """Write the manifest as JSON lines in ASCII, whole or not at all."""
    text = "".join(f"{json.dumps(asdict(line), ensure_ascii=True)}\n" for line in manifest)
    with whole(path) as partial:
        partial.write_text(text, encoding="ascii")


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


def _each(put: Callable[[int], Line], count: int, workers: int | None) -> list[Line]:
    """The line of every clip, written by ``workers`` threads: FFmpeg works without the lock.

    Whatever ends a writer is raised here, once all others have ended. The threads are there before
    they get work: one that an interrupt meets while it is started writes nothing.
    """

    def safely(index: int) -> Line | BaseException:
        try:
            return put(index)
        except BaseException as error:  # a pool's threads die of what is no Exception
            return error

    pool, lines = ThreadPool(workers), list[Line]()
    try:
        for line in track(pool.imap(safely, range(count)), "writing the poisoned set", count):
            if isinstance(line, BaseException):
                raise line
            lines.append(line)
    finally:
        pool.terminate()  # what was not begun is not begun
        pool.join()
    return lines


def write_set(
    folder: Path,
    clean: ClipSet,
    poisoned: ClipSet,
    plan: PoisonPlan,
    trigger: str,
    test: ClipSet,
    layout: Layout,
    *,
    codec: Codec = "ffv1",
    quality: int | None = None,
    workers: int | None = None,
) -> dict[str, int]:
    """Write a poisoned training set, and a clean test set beside it, in the form of ``layout``.

    What lists and folders say of a clip is the label that the set gives to it; ``manifest.jsonl``
    holds the truth. Each clip is read, written and let go, by ``workers`` threads (one for each
    core), which changes no byte. Returns the counts.

    Every clip has a place of its own. Raises DataError, before anything is written, for a class
    name that the layout cannot hold.
    """
    count = len(poisoned)
    told = [_line(clean, poisoned, plan, trigger, index) for index in range(count)]
    told += [
        Line(id=clip, sha256="", label=label, given=label, trigger=None, split="test")
        for clip, label in zip(test.ids, test.labels, strict=True)
    ]
    places = _places(told, clean.classes, layout, SUFFIXES[codec])

    def put(index: int) -> Line:
        clip = poisoned.read(index) if index < count else test.read(index - count)
        file = folder / places[index]
        write(file, clip, codec=codec, quality=quality)
        return replace(
            told[index],
            sha256=content_hash(clip if codec == "ffv1" else read(file)),
            file=places[index],
            file_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        )

    manifest = _each(put, len(told), workers)
    clips = [Clip(str(line.file), clean.classes[line.given]) for line in manifest]
    for name, content in layout.lists(clean.classes, clips[:count], clips[count:]).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as partial:
            partial.write_bytes(content)
    save(manifest, folder / MANIFEST)
    noisy = {"noisy": len(plan.noisy)} if plan.noisy else {}
    return {"clips": len(clean), "poisoned": len(plan.poisoned), **noisy, "test": len(test)}


def _places(
    told: list[Line], classes: tuple[str, ...], layout: Layout, suffix: str
) -> dict[int, str]:
    """Where the clips go, by their index: under their own names, as far as these are free.

    A name that is taken gets its old class in front if the clip comes from another class, else
    keeps its old ending; if that is not enough, it gets a number. Clips with a new label give way.
    Nothing is overwritten, on no file system (some fold case).
    """
    places: dict[int, str] = {}
    taken: set[str] = set()
    for moved, index in sorted((line.label != line.given, i) for i, line in enumerate(told)):
        line = told[index]
        folder, slash, name = layout.place(line.id, classes[line.given]).rpartition("/")
        name = re.sub(r"[\r\n\0\\]", "_", name).strip() or "_"
        stem, dot, ending = name.rpartition(".")
        short = stem if stem and dot + ending.lower() in VIDEO_SUFFIXES else name
        origin = re.sub(r"[^\w-]", "_", classes[line.label])
        names = chain(
            (short, f"{origin}__{short}" if moved else name),
            (f"{name}~{number}" for number in count(2)),
        )
        tries = (f"{folder}{slash}{name}" for name in names)
        free = next(place for place in tries if place.casefold() not in taken)
        taken.add(free.casefold())
        places[index] = free + suffix
    return places
