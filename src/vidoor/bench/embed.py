"""What ``vidoor embed`` and ``vidoor inspect`` do: triggers on files."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from vidoor import imperceptibility, metrics
from vidoor.bench import store
from vidoor.data import cache, clipcache, quarantine, video
from vidoor.document import digest
from vidoor.errors import DataError
from vidoor.files import make_folder, whole
from vidoor.options import SEEDS, table
from vidoor.poisoning.manifest import write_set
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.poisoning.publication import Publication
from vidoor.registry import name_of
from vidoor.report.sheet import sheet
from vidoor.types import Geometry, Quarantined, Trigger
from vidoor.wording import as_unicode

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
    return {"written": as_unicode(str(destination)), **sound, **_quality(clip, triggered)}


@_one_line()
def embed_set(
    data: Any,
    destination: Path,
    trigger: Trigger,
    poisoner: Poisoner,
    *,
    seed: int,
    codec: video.Codec = "ffv1",
    quality: int | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Write a poisoned copy of a data set in its own layout, with a manifest.

    ``data`` is a data set of files, see ``sources.data_set``; its training clips are poisoned, the
    others stay clean. ``poisoning.json`` in the copy says how it was made. Clips that cannot be
    read are left out before the plan is drawn; the document names them with those that the lists
    name wrongly (``"quarantined"``) and, where there are any, counts them by reason
    (``"left_out"``). A ``strict`` set must have none. The set appears under its name only when
    it is complete.

    DataError if the destination is not a new or empty folder apart from the source, the seed not
    in 0..2^63 - 1, or the quality none of the codec.
    """
    destination = _new_folder(data.root, destination)
    if seed not in SEEDS:
        raise DataError(f"seed is {seed}; give 0 to {SEEDS[-1]}")
    before = data.identity()
    splits = data.open(seed)
    layout = data.layout()
    if poisoner.codec is not None:
        raise DataError(
            f"poisoning.codec = {poisoner.codec} is for recipes; --codec says what files are "
            "written with"
        )
    poisoner.preflight(trigger, splits.train)
    poisoner.plan(splits.train, seed)  # what it refuses, it refuses before hours of reading
    Publication(codec=codec, quality=quality).check(splits.train.geometry)
    root = clipcache.usual()
    hold = partial(cache.hold, cache=None if root is None else clipcache.Cache(root))
    train, unread = hold(splits.train, "training clips")
    test, unread_test = hold(splits.test, "test clips") if splits.test.ids else (splits.test, ())
    left_out = (*splits.reported, *unread, *unread_test)
    if data.strict:
        quarantine.refuse_quarantined(left_out, len(splits.train) + len(splits.test))
    plan = poisoner.plan(train, seed)
    poisoned = apply(train, plan, trigger)
    about = {"trigger": table(trigger), "poisoning": table(poisoner), "seed": seed}
    written = {"codec": codec} if quality is None else {"codec": codec, "quality": quality}
    with _whole_folder(destination) as folder:
        store.write_json(folder / ATTACK, {**about, "kind": name_of(data), **written})
        counts = write_set(
            folder, train, poisoned, plan, digest(table(trigger)), test, layout,
            workers=workers, **written,
        )  # fmt: skip
        if data.identity() != before:  # large sets are read twice
            raise DataError("the clips changed while they were read; give the same command again")
    return {**counts, **_report(left_out)}


def _report(left_out: Sequence[Quarantined]) -> dict[str, Any]:
    clips = [{"id": as_unicode(clip.id), "reason": as_unicode(clip.reason)} for clip in left_out]
    counts = Counter(clip["reason"].partition(":")[0] for clip in clips)
    return {**({"left_out": dict(counts)} if counts else {}), "quarantined": clips}


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
    try:
        partial.mkdir()
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
        "clip": as_unicode(str(clip)),
        "frames": frames,
        "height": height,
        "width": width,
        **resolved,
        **found,
        "picture": as_unicode(str(picture)),
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
