"""What ``vidoor embed`` and ``vidoor inspect`` do: triggers on files."""

from pathlib import Path
from typing import Any

from vidoor import metrics
from vidoor.bench.store import make_folder
from vidoor.data import video
from vidoor.data.folder import Folder
from vidoor.errors import DataError
from vidoor.poisoning.manifest import write_set
from vidoor.poisoning.poisoner import Poisoner, apply, preflight
from vidoor.recipe import digest, table
from vidoor.report.figures import sheet
from vidoor.types import Geometry, Trigger


def embed_file(source: Path, destination: Path, trigger: Trigger) -> dict[str, Any]:
    """Embed the trigger in one clip at its own length and size; what it cost in quality."""
    _apart(source, destination)
    clip = video.read(source)
    triggered = trigger(clip)
    make_folder(destination.parent)
    video.write(destination, triggered)
    return {"written": str(destination), **_quality(clip, triggered)}


def embed_folder(
    source: Path,
    destination: Path,
    trigger: Trigger,
    *,
    rate: float,
    target: int,
    seed: int,
    geometry: tuple[int, int, int],
    split: str | None,
) -> dict[str, Any]:
    """Write a poisoned copy of a folder of classes, with split files and manifest."""
    _apart(source, destination)
    if destination.exists() and any(destination.iterdir()):
        raise DataError(f"{destination} is not empty; give a new folder")
    frames, height, width = geometry
    poisoner = _valid(Poisoner, rate=rate, target=target)
    folder = _valid(
        Folder, root=source, split=split, holdout=0.0, frames=frames, size=(height, width)
    )
    splits = folder.open(seed)
    preflight(trigger, splits.train)
    plan = poisoner.plan(splits.train, seed)
    make_folder(destination)
    poisoned = apply(splits.train, plan, trigger)
    name = digest(table(trigger))
    return write_set(destination, splits.train, poisoned, plan, name, splits.test)


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


def inspect_clip(clip: Path, trigger: Trigger, picture: Path) -> dict[str, Any]:
    """Trigger one clip in memory, draw it before and after, and measure the difference."""
    clean = video.read(clip)
    triggered = trigger(clean)
    make_folder(picture.parent)
    picture.write_bytes(
        sheet(clean.permute(0, 2, 3, 1).numpy(), triggered.permute(0, 2, 3, 1).numpy())
    )
    frames, _, height, width = clean.shape
    describe = getattr(trigger, "describe", None)
    resolved = {} if describe is None else describe(Geometry(frames, height, width))
    return {
        "clip": str(clip),
        "frames": frames,
        "height": height,
        "width": width,
        **resolved,
        **_quality(clean, triggered),
        "picture": str(picture),
    }


def _quality(clean: Any, triggered: Any) -> dict[str, float]:
    a, b = clean.numpy(), triggered.numpy()
    return {
        "psnr": metrics.psnr(a, b),
        "ssim": metrics.ssim(a, b),
        "bytes_changed": float((a != b).mean()),
    }
