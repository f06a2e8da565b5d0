"""UCF-101 (Soomro, Zamir and Shah, 2012) as its archives unpack, and its form of split files.

``UCF-101/<Class>/v_<Class>_g01_c01.avi``, and ``ucfTrainTestlist`` with ``classInd.txt``, which
numbers the classes from 1, and three splits: ``trainlist01.txt`` has one clip a line as
``Class/clip.avi`` and the class number behind it, ``testlist01.txt`` has no number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidoor.data.layout import Clip, in_folder, plain
from vidoor.data.listing import FileSet, Listing, Part, settle
from vidoor.data.lists import below, find, home, joined, numbered_lines
from vidoor.errors import DataError, unknown
from vidoor.registry import register

LISTS = "ucfTrainTestlist/"
"""Where the split files lie; they may lie in the root as well, or the folder beside the root."""

PLACES = ("", LISTS, f"../{LISTS}")
CLASSES = "classInd.txt"


@register("data", "ucf101")
@dataclass(frozen=True, kw_only=True)
class UCF101(FileSet):
    """UCF-101 and data sets in its form: class folders, numbered classes, train and test lists.

    ``root`` holds the class folders, or a folder with them such as ``UCF-101``. Classes have the
    order of ``classInd.txt``, so that index i is the official number i + 1.
    """

    split: str = "01"
    """Split by the end of its files' names: 01, 02 or 03."""

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether this looks like such a data set: numbered classes and lists."""
        return bool(find(root, CLASSES, PLACES) and splits(root, PLACES))

    @staticmethod
    def splits_in(root: Path) -> list[str]:
        """Names of the splits that there are lists of."""
        return splits(root, PLACES)

    def scan(self, root: Path) -> Listing:
        """The clips of the split; DataError for a split that is not there."""
        if find(root, CLASSES, PLACES) is None:
            raise DataError(f"{root}: no {CLASSES} in it or in {LISTS}; put the split files there")
        return listing(root, self.split, self._home(root), PLACES, self.strict)

    def layout(self) -> "Layout":
        """The same folders and lists, with this split alone."""
        root = self.folder()
        return Layout(self._home(root), lists_of(root, self.split, PLACES), self.split)

    def _home(self, root: Path) -> str:
        return home(root, set(numbered(root, PLACES)[1]), depth=1)


@dataclass(frozen=True, slots=True)
class Layout:
    """Class folders in ``home``, and the files of one split in ``folder``."""

    home: str = ""
    folder: str = LISTS
    split: str = "01"

    def place(self, clip: str, label: str) -> str:
        """In the folder of the class."""
        return in_folder(self.home, clip, label)

    def lists(
        self, classes: Sequence[str], train: Sequence[Clip], test: Sequence[Clip]
    ) -> Mapping[str, bytes]:
        """``classInd.txt`` and both lists of the split."""
        number = {name: index for index, name in enumerate(classes, start=1)}
        start = len(self.home)
        return {
            f"{self.folder}{CLASSES}": joined([f"{number[name]} {name}" for name in classes]),
            f"{self.folder}trainlist{self.split}.txt": joined(
                [f"{clip.path[start:]} {number[clip.label]}" for clip in train]
            ),
            f"{self.folder}testlist{self.split}.txt": joined([clip.path[start:] for clip in test]),
        }


def listing(root: Path, split: str, home: str, places: tuple[str, ...], strict: bool) -> Listing:
    """The clips that the files of one split list, checked against what is there."""
    files = [find(root, f"{name}{split}.txt", places) for name in ("trainlist", "testlist")]
    found = [file for file in files if file]
    if len(found) < 2 or not plain(split):
        raise DataError(f"{root}: {unknown('split', split, splits(root, places))}")
    numbers = numbered(root, places)
    classes = numbered_or_listed(root, numbers[1], found)
    parts = [Part(file, listed(root, file, home, classes)) for file in found]
    (train, test), reported = settle(root, parts, strict)
    return Listing(classes, train, test, found + numbers[0], reported)


def numbered_or_listed(root: Path, classes: tuple[str, ...], files: list[str]) -> tuple[str, ...]:
    """The numbered classes; where nothing numbers them, those that the lists name, sorted."""
    if classes:
        return classes
    lines = [line for file in files for _, line in numbered_lines(root / file)]
    return tuple(
        sorted({line.partition("/")[0] for line in lines if plain(line.partition("/")[0])})
    )


def lists_of(root: Path, split: str, places: tuple[str, ...]) -> str:
    """Folder of a split's lists, such as ``ucfTrainTestlist/``, as it is or comes to be inside."""
    file = find(root, f"trainlist{split}.txt", places) or ""
    return file.removeprefix("../")[: -len(f"trainlist{split}.txt")]


def numbered(root: Path, places: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """``classInd.txt``, if there is one, and the classes that it numbers from 1."""
    file = find(root, CLASSES, places)
    if file is None:
        return [], ()
    lines = numbered_lines(root / file)
    pairs = [line.split(maxsplit=1) for _, line in lines]
    names = tuple(pair[-1] for pair in pairs)
    for (number, _), name in zip(lines, names, strict=True):
        if not plain(name):
            raise DataError(
                f"{root / file}, line {number}: {name!r} cannot be a class; give a folder's name"
            )
    if [pair[0] for pair in pairs] != [str(i + 1) for i in range(len(pairs))] or (
        not names or len(set(names)) < len(names) or any(len(pair) < 2 for pair in pairs)
    ):
        raise DataError(f"{root / file}: each line must be a number, from 1 on, and its class")
    return [file], names


def splits(root: Path, places: tuple[str, ...]) -> list[str]:
    """Names of the splits for which both files are there."""
    names = {
        file.stem.removeprefix("trainlist")
        for place in places
        for file in (root / place).glob("trainlist*.txt")
    }
    return sorted(name for name in names if find(root, f"testlist{name}.txt", places))


def listed(root: Path, file: str, home: str, classes: Sequence[str]) -> list[Clip]:
    """The clips that a split file lists: ``Class/clip.avi``, with or without the class number."""
    number_of = {name: str(index) for index, name in enumerate(classes, start=1)}
    clips = []
    for at, line in numbered_lines(root / file):
        clip, _, number = line.rpartition(" ")
        if not (clip and number.isdecimal()):
            clip, number = line, ""
        here, label = f"{root / file}, line {at}", clip.partition("/")[0]
        if clip.count("/") != 1 or not below(clip):
            raise DataError(f"{here}: {clip!r} is not of the form Class/clip.avi")
        if label not in number_of:
            raise DataError(f"{here}: {clip}: {unknown('class', label, classes)}")
        if number and number.lstrip("0") != number_of[label]:
            raise DataError(f"{here}: {clip} is numbered {number}, its class is {number_of[label]}")
        clips.append(Clip(home + clip, label))
    return clips
