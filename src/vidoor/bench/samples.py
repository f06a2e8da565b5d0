"""What is measured, and on what: the paper's triggers, and clips of the paper's size, embedded ones
or a user's own."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from vidoor.data import video
from vidoor.data.shapes import Shapes
from vidoor.data.subset import pick
from vidoor.errors import ClipError, DataError
from vidoor.registry import methods
from vidoor.types import ClipSet, Frames, Geometry, Quarantined, Trigger

PAPER = Geometry(32, 224, 224)
"""Clips of the paper's experiments (section 4.1)."""


FIRST = ("dft", "dct", "dwt", "rt", "badnet", "blend", "sig", "wanet", "fttrojan")
"""The paper's triggers as its tables have them."""


def published() -> dict[str, Trigger]:
    """Every registered trigger that has a preset ``paper``, in it, by kind; the paper's first."""
    known = methods("trigger")
    presets = {kind: getattr(known[kind], "presets", {}) for kind in (*FIRST, *known)}
    return {kind: known[kind](**of["paper"]) for kind, of in presets.items() if "paper" in of}


class Clips(Protocol):
    """Clips that are passed through one at a time, as often as needed; a list of them is one."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Frames]: ...


class Samples:
    """Clips read one after another, those that cannot be read left out and named in ``unread``."""

    def __init__(self, source: ClipSet) -> None:
        self.source = source
        self.unread: list[Quarantined] = []

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Frames]:
        """DataError once all were tried and none could be read."""
        self.unread = []
        for index, name in enumerate(self.source.ids):
            try:
                clip = self.source.read(index)
            except ClipError as error:
                self.unread.append(Quarantined(name, error.reason))
            else:
                yield clip
        if len(self.unread) == len(self):
            first = self.unread[0]
            raise DataError(
                f"none of {len(self)} clips can be read, first {first.id}: {first.reason}"
            )


def samples(place: Path | None, embedded: int, geometry: Geometry = PAPER) -> Samples:
    """All videos in the folder ``place`` and the folders in it, or the one video that it is.

    Without a ``place``, so many ``embedded`` clips (``shapes``, seed 0, one motion after another).
    DataError if there is no such place, or no video in it.
    """
    if place is None:
        frames, height, width = geometry
        shapes = Shapes(train=8, test=max(embedded, 8), frames=frames, size=(height, width))
        return Samples(pick(shapes.open(0).test, tuple(range(embedded))))
    if not place.exists():
        raise DataError(f"{place}: no such file or folder; give a video or a folder of videos")
    root = place if place.is_dir() else place.parent
    files = _videos(place) if place.is_dir() else [place]
    if not files:
        known = ", ".join(sorted(video.VIDEO_SUFFIXES))
        raise DataError(f"{place} holds no video; give a folder with {known} files")
    ids = tuple(file.relative_to(root).as_posix() for file in files)
    read = partial(_read, files, geometry)
    return Samples(ClipSet(ids, (0,) * len(ids), ("",), geometry, read))


def _read(files: Sequence[Path], geometry: Geometry, index: int) -> Frames:
    return video.read(files[index], geometry)


def _videos(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in video.VIDEO_SUFFIXES and path.is_file() and path.name[0] != "."
    )
