"""What ``vidoor embed`` and ``vidoor inspect`` do: triggers on files."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from vidoor import imperceptibility, metrics
from vidoor.bench import store
from vidoor.data import cache, video
from vidoor.data.folder import Folder
from vidoor.document import digest
from vidoor.errors import DataError
from vidoor.files import make_folder, whole
from vidoor.poisoning.manifest import write_set
from vidoor.poisoning.poisoner import Poisoner, apply, preflight
from vidoor.recipe import table
from vidoor.report.sheet import sheet
from vidoor.types import Geometry, Trigger

ATTACK = "poisoning.json"
"""In a poisoned folder: how it was made."""

PNG = b"\x89PNG\r\n\x1a\n"


@contextmanager
def _one_line() -> Iterator[None]:
    """What the file system refuses (no space, no permission, a name too long) is the user's."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or 'files'}: {error.strerror or error}") from None


@_one_line()
def embed_file(source: Path, destination: Path, trigger: Trigger) -> dict[str, Any]:
    """Embed the trigger in one clip of any length, size and frame rate; what it cost in quality.

    Sound is dropped; the document says so (``"sound": "dropped"``) where the source has any.
    DataError if the destination is not a new .mkv file, before any folder is made.
    """
    _apart(source, destination)
    if destination.suffix.lower() != ".mkv":
        raise DataError(f"{destination}: a triggered clip is lossless FFV1; end its name in .mkv")
    if destination.exists():
        what = "is a folder" if destination.is_dir() else "exists"
        raise DataError(f"{destination} {what}; choose another name for the triggered clip")
    about = video.about(source)
    clip = video.read(source)
    triggered = trigger(clip)
    make_folder(destination.parent)
    video.write(destination, triggered, fps=about.rate)
    sound = {"sound": "dropped"} if about.sound else {}
    return {"written": _printable(str(destination)), **sound, **_quality(clip, triggered)}


@_one_line()
def embed_folder(
    source: Path,
    destination: Path,
    trigger: Trigger,
    *,
    seed: int,
    geometry: tuple[int, int, int],
    split: str | None,
    **poisoning: Any,
) -> dict[str, Any]:
    """Write a poisoned copy of a folder of classes, with split files and manifest.

    ``poisoning`` are options of the ``Poisoner``; ``poisoning.json`` in the copy names them, the
    trigger and the seed. Clips that cannot be read are left out before the plan is drawn, and
    named in the document (``"quarantined"``). The set appears under its name only when it is
    complete. DataError if the destination is not a new or empty folder apart from the source, or
    the seed not in 0..2^63 - 1.
    """
    destination = _new_folder(source, destination)
    if not 0 <= seed < 2**63:
        raise DataError(f"seed is {seed}; give 0 to {2**63 - 1}")
    frames, height, width = geometry
    poisoner = _valid(Poisoner, **poisoning)
    folder = _valid(
        Folder, root=source.resolve(), split=split, holdout=0.0, frames=frames, size=(height, width)
    )
    splits = folder.open(seed)
    preflight(trigger, splits.train)
    poisoner.check_trigger(trigger)
    poisoner.plan(splits.train, seed)  # what it refuses, it refuses before hours of reading
    train, unread = cache.hold(splits.train, "training clips")
    test, unread_test = cache.hold(splits.test, "test clips")
    plan = poisoner.plan(train, seed)
    poisoned = apply(train, plan, trigger)
    about = {"trigger": table(trigger), "poisoning": table(poisoner), "seed": seed}
    with _whole_folder(destination) as partial:
        store.write_json(partial / ATTACK, about)
        counts = write_set(partial, train, poisoned, plan, digest(table(trigger)), test)
    quarantined = [
        {"id": _printable(clip.id), "reason": _printable(clip.reason)}
        for clip in (*unread, *unread_test)
    ]
    return {**counts, "quarantined": quarantined}


def _valid(cls: type, **options: Any) -> Any:
    try:
        return cls(**options)
    except ValueError as error:
        raise DataError(str(error)) from None


def _apart(source: Path, destination: Path) -> None:
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.resolve() == destination.resolve():
        raise DataError(f"{destination} is the source itself; give another destination")


def _new_folder(source: Path, destination: Path) -> Path:
    """The destination, links followed, where a set may be written; DataError if it may not."""
    _apart(source, destination)
    here, there = source.resolve(), destination.resolve()
    if there.is_relative_to(here):
        raise DataError(f"{destination} lies inside {source}; give a folder outside of it")
    if here.is_relative_to(there):
        raise DataError(f"{source} lies inside {destination}; give another destination")
    if destination.exists() and not destination.is_dir():
        raise DataError(f"{destination} is a file; a poisoned folder needs a new folder")
    if destination.exists() and any(destination.iterdir()):
        raise DataError(f"{destination} is not empty; give a new folder")
    if destination.is_mount():  # it could not be renamed to
        raise DataError(f"{destination} is a mount point; give a new folder inside it")
    return there


@contextmanager
def _whole_folder(destination: Path) -> Iterator[Path]:
    """A temporary folder beside ``destination`` that takes its name once all went well."""
    make_folder(destination.parent)
    partial = destination.with_name(f".{uuid4().hex}.partial")
    partial.mkdir()
    try:
        yield partial
        if destination.exists():
            destination.rmdir()
        partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@_one_line()
def inspect_clip(clip: Path, trigger: Trigger, picture: Path) -> dict[str, Any]:
    """Trigger one clip in memory, draw it before and after, and measure the difference.

    The document holds ``imperceptibility``'s numbers: in windows, and over time. The picture is a
    .png file; one that is there already is replaced, anything else is refused.
    """
    _may_be_drawn(clip, picture)
    clean = video.read(clip)
    triggered = trigger(clean)
    found = {**_quality(clean, triggered), **_closely(clean.numpy(), triggered.numpy())}
    before, after = (frames.permute(0, 2, 3, 1).numpy() for frames in (clean, triggered))
    drawn = sheet(before, after, _headline(type(trigger).__name__, found))
    make_folder(picture.parent)
    with whole(picture) as partial:
        partial.write_bytes(drawn)
    frames, _, height, width = clean.shape
    describe = getattr(trigger, "describe", None)
    resolved = {} if describe is None else describe(Geometry(frames, height, width))
    return {
        "clip": _printable(str(clip)),
        "frames": frames,
        "height": height,
        "width": width,
        **resolved,
        **found,
        "picture": _printable(str(picture)),
    }


def _may_be_drawn(clip: Path, picture: Path) -> None:
    if picture.exists() and clip.exists() and picture.samefile(clip):
        raise DataError(f"--picture {picture} is the clip itself; choose another name")
    if picture.is_dir():
        raise DataError(f"--picture {picture} is a folder; give the name of a .png file")
    if picture.suffix.lower() != ".png":
        raise DataError(f"--picture {picture} is not named .png; end its name in .png")
    if picture.exists() and not _is_png(picture):
        raise DataError(f"--picture {picture} exists and is no PNG; choose another name")


def _is_png(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG


def _printable(text: str) -> str:
    """A file name whose bytes are not UTF-8, with these bytes spelt out."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _quality(clean: Any, triggered: Any) -> dict[str, float]:
    a, b = clean.numpy(), triggered.numpy()
    return {
        "psnr": metrics.psnr(a, b),
        "ssim": metrics.ssim(a, b),
        "bytes_changed": float((a != b).mean()),
    }


def _closely(clean: imperceptibility.Clip, triggered: imperceptibility.Clip) -> dict[str, float]:
    grids = {
        "psnr": imperceptibility.psnr_windows(clean, triggered),
        "ssim": imperceptibility.ssim_windows(clean, triggered),
    }
    return {
        **{
            f"{name}_windows_{statistic}": value
            for name, grid in grids.items()
            for statistic, value in imperceptibility.spread(grid).items()
        },
        "flicker": imperceptibility.flicker(clean, triggered),
        "relative_flicker": imperceptibility.relative_flicker(clean, triggered),
    }


def _headline(name: str, found: Mapping[str, float]) -> str:
    low, high = found["psnr_windows_min"], found["psnr_windows_max"]
    return (
        f"{name}: PSNR {found['psnr']:.1f} dB ({low:.1f} to {high:.1f} in windows), "
        f"SSIM {found['ssim']:.3f}, flicker {found['flicker']:.2f} grey levels"
    )
