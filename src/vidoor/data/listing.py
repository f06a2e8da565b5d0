"""What all data sets of files share: options, checks against what is there, content, reading."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from vidoor.data import video
from vidoor.data.layout import Clip, Layout
from vidoor.data.lists import encoded
from vidoor.errors import DataError
from vidoor.registry import name_of
from vidoor.types import ClipSet, Frames, Geometry, Quarantined, Splits

MISSING, TWICE, LEAKED = "missing", "listed twice", "in training and test"
"""What lists may get wrong. The first is left out, the second counted once, the third kept for
training and left out of the test, which it would flatter."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads clip ``i`` of a list of files under ``root``."""

    untrusted: ClassVar[bool] = True
    """Files may come from anyone: they are decoded in processes that can be ended."""

    version: ClassVar[int] = 1
    """To be raised when reading gives other pixels: clips that were kept are then read again."""

    root: Path
    ids: tuple[str, ...]
    geometry: Geometry

    def __call__(self, index: int) -> Frames:
        """Clip ``index``; ClipError if its file cannot be read."""
        return video.read(self.path(index), self.geometry)

    def path(self, index: int) -> Path:
        """The file, or the folder of frames, that clip ``index`` is read from."""
        return self.root / self.ids[index]


class Listing(NamedTuple):
    """What a data set holds. ``test`` is None where nothing says which clips are for testing."""

    classes: tuple[str, ...]
    train: list[Clip]
    test: list[Clip] | None
    files: list[str]  # the lists that say so
    reported: Sequence[Quarantined] = ()


class Part(NamedTuple):
    """The clips of one part of a split, as the list (or folder of lists) ``source`` has them."""

    source: str
    clips: list[Clip]


@dataclass(frozen=True, kw_only=True)
class FileSet(ABC):
    """A data set of clips in files; a subclass says where they are listed."""

    root: Path
    """Folder that holds it, clips and lists."""

    frames: int = 16
    """Frames of a clip, see ``video.read``."""

    size: tuple[int, int] = (48, 48)
    """Height and width of a clip in pixels."""

    strict: bool = False
    """Refuse lists that name missing clips, clips twice, or test clips that are also for training,
    and clips that cannot be read; else these are reported: all but the second are left out, the
    third of the test alone."""

    def __post_init__(self) -> None:
        kind = name_of(self)
        if self.frames < 1 or min(self.size) < 1:
            raise ValueError(f"{kind}: {self.frames} frames of {self.size}; give 1 or more of each")
        video.check_geometry(kind, self.frames, self.size)

    @abstractmethod
    def scan(self, root: Path) -> Listing:
        """The clips and lists below ``root``; DataError if it is not what it should be."""

    @abstractmethod
    def layout(self) -> Layout:
        """The form in which it lies on disk."""

    def divide(self, clips: list[Clip], seed: int) -> tuple[list[Clip], list[Clip]]:
        """Training and test clips where no list tells them apart."""
        return clips, []

    def open(self, seed: int) -> Splits:
        """List the clips without decoding them; ids are paths below ``root``.

        DataError where the folder, a class or a list is not what it should be.
        """
        found = self.listing()
        train, test = found.train, found.test
        if test is None:
            train, test = self.divide(train, seed)
        if absent := sorted(set(found.classes) - {clip.label for clip in train}):
            raise DataError(f"{self.root}: empty class: no training clip of {', '.join(absent)}")
        return Splits(
            self._set(train, found.classes),
            self._set(test, found.classes),
            tuple(found.reported),
        )

    @property
    def seeded(self) -> bool:
        """Does the seed change the clips?"""
        return False

    def identity(self) -> dict[str, object]:
        """What results depend on: the options but for ``root``, and a hash of the files listed.

        Equal for two copies of the same data, wherever they lie. Reads every file; one that cannot
        be opened, and so will be left out of a run, counts by its name.
        """
        found, root = self.listing(), self.folder()
        digest = hashlib.sha256()
        clips = (clip.path for clip in [*found.train, *(found.test or ())])
        for name in sorted([*clips, *found.files]):
            digest.update(encoded(f"{name}\0{_content(root / name)}\n"))
        options = {name: value for name, value in asdict(self).items() if name != "root"}
        return options | {"content": digest.hexdigest()}

    def folder(self) -> Path:
        """The root; DataError if there is no such folder."""
        if self.root == Path():  # what an empty option becomes; never the current folder by chance
            raise DataError("data.root is empty; give the full path of the folder with the clips")
        root = self.root.expanduser()
        if not root.is_dir():
            raise DataError(f"no folder {root}; set data.root to the folder of the data set")
        return root

    def listing(self) -> Listing:
        """What ``scan`` finds, all of it inside of the root."""
        root = self.folder()
        try:
            found = self.scan(root)
            clips = (clip.path for clip in [*found.train, *(found.test or ())])
            _inside(root, [*clips, *found.files])
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
        except RuntimeError as error:  # a link that leads to itself, before Python 3.13
            raise DataError(f"{root}: cannot be read ({error})") from None
        return found

    def _set(self, clips: list[Clip], classes: tuple[str, ...]) -> ClipSet:
        number = {name: index for index, name in enumerate(classes)}
        geometry = Geometry(self.frames, *self.size)
        ids = tuple(clip.path for clip in clips)
        return ClipSet(
            ids=ids,
            labels=tuple(number[clip.label] for clip in clips),
            classes=classes,
            geometry=geometry,
            read=Reader(self.folder(), ids, geometry),
        )


def settle(
    root: Path, parts: Sequence[Part], strict: bool
) -> tuple[list[list[Clip]], list[Quarantined]]:
    """The clips of each part that are there, each once and in one part, and what was wrong.

    The first part is for training: what it holds is left out of the others. DataError for a list
    of nothing, for a training list of which nothing is there, for a clip with two classes and, if
    ``strict``, for everything that would be reported.
    """
    kept: list[list[Clip]] = []
    reported: list[Quarantined] = []
    earlier: dict[str, str] = {}
    named: dict[str, str] = {}  # a link to a clip is that clip
    for source, clips in parts:
        mine: dict[str, str] = {}
        faults: dict[str, dict[str, None]] = {MISSING: {}, TWICE: {}, LEAKED: {}}
        for path, label in clips:
            at = lies(root, path)
            if at is None:
                faults[MISSING][path] = None
                continue
            at = named.setdefault(os.path.realpath(root / at), at)
            other = mine.get(at) or earlier.get(at) or label
            if other != label:
                raise DataError(
                    f"{root / source}: {at} is of class {other} and of class {label}; keep one"
                )
            if at in mine or at in earlier:
                faults[TWICE if at in mine else LEAKED][at] = None
            else:
                mine[at] = label
        _refuse(root / source, len(clips), faults, strict, nothing=not (mine or kept))
        reported += [Quarantined(clip, why) for why, found in faults.items() for clip in found]
        kept.append([Clip(*clip) for clip in mine.items()])
        earlier |= mine
    return kept, reported


def _refuse(
    source: Path, listed: int, faults: dict[str, dict[str, None]], strict: bool, nothing: bool
) -> None:
    if not listed:
        raise DataError(f"{source} lists no clips")
    if nothing:
        first = next(iter(faults[MISSING]))
        raise DataError(f"{source}: all {listed} clips are missing, first {first}; check data.root")
    for what, clips in faults.items():
        if clips and strict:
            first = next(iter(clips))
            raise DataError(f"{source}: {len(clips)} clips are {what}, first {first}")


def lies(root: Path, path: str) -> str | None:
    """The clip that a list means by ``path``: that file or folder of frames.

    Lists name the original files: frames extracted from ``clip.avi`` lie in the folder ``clip``,
    and the video of the frames in ``clip`` in a file of that name with an ending.
    """
    at = root / path
    if at.is_file() or video.is_frames(at):
        return path
    bare, dot, suffix = path.rpartition(".")
    if dot + suffix.lower() in video.VIDEO_SUFFIXES:
        return bare if video.is_frames(root / bare) else None
    videos = (path + suffix for suffix in sorted(video.VIDEO_SUFFIXES))
    return next((name for name in videos if (root / name).is_file()), None)


def clips_in(folder: Path) -> list[str]:
    """Names of the clips directly inside ``folder``, sorted: video files and folders of frames."""
    frames = [
        entry.name for entry in folder.iterdir() if entry.name[:1] != "." and video.is_frames(entry)
    ]
    return sorted([*video.find(folder), *frames])


def _inside(root: Path, names: Sequence[str]) -> None:
    """DataError if a clip, one of its frames, or a list is a link that leads out of ``root``.

    A list may lie beside the root, in a folder of its own; it then stays beside it.
    """
    fence = root.resolve()
    seen: set[Path] = set()
    for name in names:
        clip, limit = root / name, fence.parent if name.startswith("../") else fence
        links = _links(clip) if clip.is_dir() else []
        folder = [] if clip.parent in seen else [clip.parent]  # what it holds itself is no link
        seen.update(folder)
        for path in (*folder, *([clip] if clip.is_symlink() else []), *links):
            if not (place := path.resolve()).is_relative_to(limit):
                raise DataError(f"{path} is a link out of {root}, to {place}; put a copy there")


def _links(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(entry) for entry in entries if entry.is_symlink()]


def _content(path: Path) -> str:
    try:
        if path.is_dir():
            names = video.find_frames(path)
            frames = "".join(f"{name}\0{_content(path / name)}\n" for name in names)
            return hashlib.sha256(encoded(frames)).hexdigest()
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return "unreadable"
