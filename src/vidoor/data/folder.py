"""Clips in folders, one folder for each class, with or without UCF-101 split files.

Where a split is named, its files decide: ``trainlist01.txt`` and ``testlist01.txt`` (UCF-101, also
used by others) list one clip a line as ``Class/clip.avi``, the first with the class number behind
it, and ``classInd.txt`` numbers the classes from 1. Else the folders ``train`` and ``test`` decide;
else a part of every class is held out.
"""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from vidoor.data import video
from vidoor.errors import DataError, unknown
from vidoor.registry import register
from vidoor.types import ClipSet, Frames, Geometry, Splits

SPLIT_FOLDER = "ucfTrainTestlist"
"""Where UCF-101 keeps its split files; they may lie beside the class folders as well."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads clip ``i`` of a list of files under ``root``."""

    root: Path
    ids: tuple[str, ...]
    geometry: Geometry

    def __call__(self, index: int) -> Frames:
        """Clip ``index``; ClipError if its file cannot be read."""
        return video.read(self.root / self.ids[index], self.geometry)


class _Listing(NamedTuple):
    """What lies in the folder: clips as paths below the root. ``test`` is None where not given."""

    classes: tuple[str, ...]
    train: list[str]
    test: list[str] | None
    files: list[str]  # the split files that say so


@register("data", "folder")
@dataclass(frozen=True, kw_only=True)
class Folder:
    """A data set of clips in folders.

    ``root`` holds one folder for each class, or the folders ``train`` and ``test`` that do.
    ``split`` names UCF-101 style split files ("01"). Without either, the fraction ``holdout`` of
    every class, chosen by the seed, is the test set (at least one clip; 0 holds out nothing).
    Clips have ``frames`` frames of ``size`` (height, width); see ``video.read``.

    Classes are in the order of ``classInd.txt``, else of their names. ``open`` raises DataError
    where the folder, a class or a split is not what it should be.
    """

    root: Path
    split: str | None = None
    holdout: float = 0.25
    frames: int = 16
    size: tuple[int, int] = (48, 48)

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise ValueError(f"folder: holdout is {self.holdout}; give 0 or more and less than 1")
        if self.frames < 1 or min(self.size) < 1:
            raise ValueError(f"folder: {self.frames} frames of {self.size}; give 1 or more of each")
        video.check_geometry("folder", self.frames, self.size)

    def open(self, seed: int) -> Splits:
        """List the clips without decoding them; ids are paths below ``root``."""
        found = self._listing()
        train, test = found.train, found.test
        if test is None:
            train, test = _hold_out(train, self.holdout, seed)
        if absent := sorted(set(found.classes) - {*map(_class_of, train)}):
            raise DataError(f"{self.root}: empty class: no training clip of {', '.join(absent)}")
        return Splits(self._set(train, found.classes), self._set(test, found.classes))

    @property
    def seeded(self) -> bool:
        """Does the seed change the clips? Only where some are drawn to be held out."""
        return bool(self.holdout) and self._listing().test is None

    def identity(self) -> dict[str, object]:
        """What results depend on: the options but for ``root``, and a hash of the files listed.

        Equal for two copies of the same data, wherever they lie. Reads every file; one that cannot
        be opened, and so will be left out of a run, counts by its name.
        """
        found = self._listing()
        digest = hashlib.sha256()
        for name in sorted([*found.train, *(found.test or ()), *found.files]):
            digest.update(_bytes(f"{name}\0{_content(self._root() / name)}\n"))
        options = {name: value for name, value in asdict(self).items() if name != "root"}
        return options | {"content": digest.hexdigest()}

    def _root(self) -> Path:
        if self.root == Path():  # what an empty option becomes; never the current folder by chance
            raise DataError("data.root is empty; give the full path of the folder with the clips")
        root = self.root.expanduser()
        if not root.is_dir():
            raise DataError(f"no folder {root}; set data.root to one with a folder for each class")
        return root

    def _listing(self) -> _Listing:
        root = self._root()
        found = self._found(root)
        inside = root.resolve()
        for name in (*found.train, *(found.test or ()), *found.files):
            if not (lies := (root / name).resolve()).is_relative_to(inside):
                raise DataError(
                    f"{root / name} is a link out of {root}, to {lies}; put a copy there"
                )
        return found

    def _found(self, root: Path) -> _Listing:
        if self.split is not None:
            return _split(root, self.split)
        numbered = _numbered(root)
        if (root / "train").is_dir() and (root / "test").is_dir():
            train, test = _clips(root, "train"), _clips(root, "test")
        else:
            train, test = _clips(root, ""), None
        present = {_class_of(clip) for clip in [*train, *(test or ())]}
        if numbered is None:
            return _Listing(tuple(sorted(present)), train, test, [])
        file, classes = numbered
        if strange := sorted(present.symmetric_difference(classes)):
            raise DataError(f"{root}: its folders and {file} differ in class {', '.join(strange)}")
        return _Listing(classes, train, test, [file])

    def _set(self, clips: list[str], classes: tuple[str, ...]) -> ClipSet:
        number = {name: index for index, name in enumerate(classes)}
        geometry = Geometry(self.frames, *self.size)
        return ClipSet(
            ids=tuple(clips),
            labels=tuple(number[_class_of(clip)] for clip in clips),
            classes=classes,
            geometry=geometry,
            read=Reader(self._root(), tuple(clips), geometry),
        )


def plain(name: str) -> bool:
    """Whether a class or a file may have this name: one step below a folder, on any system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # file names need not be valid UTF-8


def _class_of(clip: str) -> str:
    """The class of a clip is the name of the folder that holds it."""
    return clip.split("/")[-2]


def _clips(root: Path, part: str) -> list[str]:
    """All clips of the class folders in ``root / part``, as paths below ``root``."""
    folders = sorted(
        entry
        for entry in (root / part).iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name != SPLIT_FOLDER
    )
    if not folders:
        raise DataError(f"{root / part} holds no class folders; give each class a folder of clips")
    clips: list[str] = []
    for folder in folders:
        names = video.find(folder)
        if not names:
            raise DataError(f"empty class: {folder} holds no clips; add some or remove the folder")
        clips += [(folder.relative_to(root) / name).as_posix() for name in names]
    return clips


def _hold_out(clips: list[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Training and test clips. The choice hangs on seed and names alone, on no random generator."""
    classes: dict[str, list[str]] = {}
    for clip in clips:
        classes.setdefault(_class_of(clip), []).append(clip)
    held: set[str] = set()
    for name, mine in classes.items() if fraction else ():
        if len(mine) < 2:
            raise DataError(f"class {name} has 1 clip: too few to hold out; set holdout = 0")
        mine.sort(key=lambda clip: hashlib.sha256(_bytes(f"{seed}/{clip}")).digest())
        held.update(mine[: min(max(1, round(fraction * len(mine))), len(mine) - 1)])
    return [clip for clip in clips if clip not in held], [clip for clip in clips if clip in held]


def _find(root: Path, name: str) -> str | None:
    """A split file, as a path below ``root``."""
    places = (name, f"{SPLIT_FOLDER}/{name}")
    return next((file for file in places if (root / file).is_file()), None)


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    lines = enumerate(text.split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _numbered(root: Path) -> tuple[str, tuple[str, ...]] | None:
    """``classInd.txt`` and the classes that it numbers from 1, if there is one."""
    file = _find(root, "classInd.txt")
    if file is None:
        return None
    lines = _lines(root / file)
    pairs = [line.split(maxsplit=1) for _, line in lines]
    names = tuple(pair[-1] for pair in pairs)
    for (number, _), name in zip(lines, names, strict=True):
        if not plain(name):
            raise DataError(
                f"{root / file}, line {number}: {name!r} cannot be a class; give a folder's name"
            )
    if [pair[0] for pair in pairs] != [str(i + 1) for i in range(len(pairs))] or (
        len(set(names)) < len(names) or any(len(pair) < 2 for pair in pairs)
    ):
        raise DataError(f"{root / file}: each line must be a number, from 1 on, and its class")
    return file, names


def _split(root: Path, split: str) -> _Listing:
    """The clips that the files of one split list, checked against what is there."""
    found = {name: _find(root, f"{name}{split}.txt") for name in ("trainlist", "testlist")}
    files = [file for file in found.values() if file]
    if len(files) < 2:
        raise DataError(f"{root}: {unknown('split', split, _splits(root))}")
    numbered = _numbered(root)
    classes = numbered[1] if numbered else tuple(sorted({*map(_class_of, _clips(root, ""))}))
    train, test = (_listed(root, file, classes) for file in files)
    if both := sorted(set(train) & set(test)):
        raise DataError(f"{len(both)} clips are in both {' and '.join(files)}, first {both[0]}")
    return _Listing(classes, train, test, files + ([numbered[0]] if numbered else []))


def _splits(root: Path) -> list[str]:
    """Names of the splits for which both files are there."""
    names = {
        file.stem.removeprefix("trainlist")
        for folder in (root, root / SPLIT_FOLDER)
        for file in folder.glob("trainlist*.txt")
    }
    return sorted(name for name in names if _find(root, f"testlist{name}.txt"))


def _listed(root: Path, file: str, classes: tuple[str, ...]) -> list[str]:
    """The clips that a split file lists: ``Class/clip.avi``, with or without the class number."""
    clips = []
    for at, line in _lines(root / file):
        clip, _, number = line.rpartition(" ")
        if not (clip and number.isdecimal()):
            clip, number = line, ""
        here, parts = f"{root / file}, line {at}", clip.split("/")
        if len(parts) != 2 or not all(map(plain, parts)):
            raise DataError(f"{here}: {clip!r} is not of the form Class/clip.avi")
        if parts[0] not in classes:
            raise DataError(f"{here}: {clip}: {unknown('class', parts[0], classes)}")
        if number and number.lstrip("0") != str(right := classes.index(parts[0]) + 1):
            raise DataError(f"{here}: {clip} is numbered {number}, its class is {right}")
        clips.append(clip)
    _present(root, file, clips)
    return clips


def _present(root: Path, file: str, clips: list[str]) -> None:
    if not clips:
        raise DataError(f"{root / file} lists no clips")
    if missing := [clip for clip in clips if not (root / clip).is_file()]:
        raise DataError(f"{root / file}: {len(missing)} clips are missing, first {missing[0]}")
    if twice := [clip for clip, count in Counter(clips).items() if count > 1]:
        raise DataError(f"{root / file}: {len(twice)} clips are listed twice, first {twice[0]}")
