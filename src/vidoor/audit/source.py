"""The clips of an audit: what lies there, in which geometry it is looked at, and what can be read.

All clips are judged, those for training and those for testing; no list of the truth is opened.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vidoor.audit.strays import strays, unlistable
from vidoor.bench import sources
from vidoor.data import clipcache, quarantine, sameness, video
from vidoor.data.cache import store, stored
from vidoor.data.guard import guarded
from vidoor.data.layout import Clip, Layout
from vidoor.data.listed import Layout as Table
from vidoor.data.listing import FileSet, Listing, clips_in
from vidoor.data.lists import folders
from vidoor.data.quarantine import Kept
from vidoor.data.subset import pick
from vidoor.errors import DataError, RecipeError
from vidoor.options import build
from vidoor.registry import name_of
from vidoor.types import ClipSet, Geometry, Quarantined

UNLABELLED = "unlabelled"
"""The kind of a folder of clips that have no classes, and the name of the one class they get."""

USUAL = Geometry(32, 112, 112)
"""In what geometry clips are looked at that have none in common."""

PREPARED = Geometry(64, 224, 224)
"""Clips of one geometry up to this one were prepared for a model, and are looked at as they are."""

LEAST_FRAMES = 8
PIXELS = "clips.npy"
LOOKED_AT = 8
"""Clips, evenly spaced, whose size tells that of all."""


@dataclass(frozen=True, kw_only=True)
class Unlabelled(FileSet):
    """All clips below a folder, whatever their folders are called."""

    def __post_init__(self) -> None:
        if self.frames < 1 or min(self.size) < 1:
            raise ValueError(f"{self.frames} frames of {self.size}; give 1 or more of each")
        video.check_geometry(UNLABELLED, self.frames, self.size)

    def scan(self, root: Path) -> Listing:
        """Every clip, in one class."""
        clips = [Clip(path, UNLABELLED) for path in sorted(_below(root, ""))]
        if not clips:
            raise DataError(f"{root} holds no clips; give a folder of video files")
        return Listing((UNLABELLED,), clips, None, [])

    def layout(self) -> Layout:
        """A table: nothing else would say that they have no class."""
        return Table("clips.csv", divided=False)


@dataclass(frozen=True, slots=True)
class Source:
    """The clips that lie somewhere, not yet read."""

    kind: str
    root: Path
    """The folder that ids are paths below."""

    clips: ClipSet
    splits: tuple[str, ...]
    """``train`` or ``test`` for each clip."""

    reported: tuple[Quarantined, ...]
    strict: bool

    @property
    def labelled(self) -> bool:
        """Do the clips have classes?"""
        return self.kind != UNLABELLED

    def stamps(self) -> list[tuple[str, str | None]]:
        """Each clip's name and what tells that it is what it was, None if it cannot be looked at:
        what verdicts on record are believed by."""
        seen = (sameness.stamp(self.root / clip) for clip in self.clips.ids)
        told = (None if one is None else one.digest.hex() for one in seen)
        return list(zip(self.clips.ids, told, strict=True))


def find(
    path: Path, kind: str | None, options: Mapping[str, Any], usual: Geometry | None
) -> Source:
    """The clips in ``path``, recognised as ``vidoor embed`` does unless their ``kind`` is given.

    ``options`` are the data set's; without ``frames`` or ``size`` among them the geometry is
    ``usual``, else what the clips have in common. Files are listed, and a few looked at.
    VidoorError if there is nothing that can be audited.
    """
    if sources.is_clip(path):
        raise DataError(f"{path} is one file; an audit compares clips: give a folder of them")
    data = _data_set(path, kind, options)
    splits = data.open(0)
    ids = (*splits.train.ids, *splits.test.ids)
    nameless = {clip.id: clip for clip in unlistable(ids)}
    known = {*ids, *(clip.id for clip in splits.reported)}
    rows = [row for row, clip in enumerate(ids) if clip not in nameless]
    every = (*splits.train.labels, *splits.test.labels)
    read = replace(splits.train.read, ids=tuple(ids[row] for row in rows))
    clips = replace(splits.train, ids=read.ids, labels=tuple(every[row] for row in rows), read=read)
    geometry = _geometry(data, clips, options, usual)
    clips = replace(clips, geometry=geometry, read=replace(clips.read, geometry=geometry))
    return Source(
        kind=UNLABELLED if isinstance(data, Unlabelled) else name_of(data),
        root=data.folder().resolve(),
        clips=clips,
        splits=tuple("train" if row < len(splits.train) else "test" for row in rows),
        reported=(*splits.reported, *nameless.values(), *strays(data.folder(), known)),
        strict=data.strict,
    )


def _data_set(path: Path, kind: str | None, options: Mapping[str, Any]) -> Any:
    if kind == UNLABELLED or (kind is None and path.is_dir() and _is_flat(path)):
        return build(Unlabelled, {"root": str(path.resolve()), **options}, "data")
    # With the kind named, lists without numbers ask for no split: all clips are judged.
    data = sources.data_set(path, kind or sources.recognise(path), options, [UNLABELLED])
    if hasattr(data, "classes") and "classes" not in options:
        data = replace(data, classes=0)  # all of them, where others would draw some
    return data


def _is_flat(path: Path) -> bool:
    """Are there clips, and neither lists nor class folders?"""
    try:
        if not clips_in(path) or any(clips_in(folder) for folder in folders(path)):
            return False
        return sources.recognise(path) == sources.PLAIN
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _below(root: Path, part: str) -> Iterator[str]:
    here = set(clips_in(root / part))
    yield from (f"{part}{name}" for name in here)
    for folder in folders(root / part):
        if folder.name not in here and not folder.is_symlink():
            yield from _below(root, f"{part}{folder.name}/")


# ---- geometry ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    """Reads the frames, height and width of a clip as three numbers."""

    untrusted: ClassVar[bool] = True

    read: Any

    def __call__(self, index: int) -> Tensor:
        frames, _, height, width = video.read(self.read.path(index)).shape
        return torch.tensor([frames, height, width])


def _geometry(
    data: Any, clips: ClipSet, options: Mapping[str, Any], usual: Geometry | None
) -> Geometry:
    frames, size = options.get("frames"), options.get("size")
    if usual is None and (frames is None or size is None):
        usual = _in_common(clips)
    frames = usual.frames if frames is None and usual else frames
    size = [usual.height, usual.width] if size is None and usual else size
    try:
        asked = replace(data, frames=frames, size=tuple(size or ()))
    except ValueError as error:
        raise RecipeError(str(error)) from None
    return Geometry(asked.frames, *asked.size)


def _in_common(clips: ClipSet) -> Geometry:
    """What a few clips have in common; they are read guarded."""
    spread = torch.linspace(0, len(clips) - 1, min(LOOKED_AT, len(clips))).int().tolist()
    looks = guarded(_Look(clips.read), spread)
    return common(Geometry(*found.tolist()) for _, found in looks if isinstance(found, Tensor))


def common(seen: Iterable[Geometry]) -> Geometry:
    """The size that these share, if it is one that is made for a model, else the usual one.

    Scaling would smooth what is embedded; blank frames, put where a clip is too short, would be a
    pattern that clips share.
    """
    seen = list(seen)
    if not seen:
        return USUAL
    lengths, sizes = {look[0] for look in seen}, {look[1:] for look in seen}
    frames = min(USUAL.frames, max(LEAST_FRAMES, min(lengths)))
    if len(lengths) == 1 and max(lengths) <= PREPARED.frames:
        frames = max(lengths)
    (height, width) = min(sizes)
    if len(sizes) > 1 or height > PREPARED.height or width > PREPARED.width:
        height, width = USUAL[1:]
    return Geometry(frames, height, width)


# ---- reading -------------------------------------------------------------------------------------


def read(source: Source, folder: Path) -> tuple[Kept, tuple[Quarantined, ...]]:
    """Read every clip once, guarded: which can be read, and why the others cannot.

    What is read is kept in the clip cache, or in ``folder`` where that has no room. DataError if
    nothing can be read, or, of a ``strict`` set, not all.
    """
    listed, cache = _alike(source.clips), _cache(source.clips)
    if cache is not None:
        kept, left_out = cache.fill(listed, "clips")
    else:
        kept, left_out = store(listed, folder / PIXELS, "clips")
    if source.strict:
        quarantine.refuse_quarantined([*source.reported, *left_out], len(source.clips))
    return kept, left_out


def view(source: Source, folder: Path, kept: Kept) -> ClipSet:
    """The clips that ``read`` has found readable, from where it kept them."""
    cache = _cache(source.clips)
    if cache is not None:
        return pick(cache.view(source.clips), kept)
    return stored(source.clips, folder / PIXELS, kept)


def refresh(clips: ClipSet) -> None:
    """Read, guarded, what the cache no longer holds of clips that it had."""
    cache = _cache(clips)
    if cache is not None:
        cache.fill(_alike(clips), "clips")


def _alike(clips: ClipSet) -> ClipSet:
    """All in one class: that nothing of a class can be read is reported, and ends no audit."""
    return replace(clips, labels=(0,) * len(clips), classes=("clips",))


def _cache(clips: ClipSet) -> clipcache.Cache | None:
    """The clip cache, if it has room for all clips."""
    root = clipcache.usual()
    cache = None if root is None else clipcache.Cache(root)
    return cache if cache is not None and cache.takes(clips) else None
