"""HMDB-51 (Kuehne et al., 2011) as its archives unpack.

``hmdb51_org/<class>/<clip>.avi``; ``testTrainMulti_7030_splits/<class>_test_split1.txt`` has one
clip of the class a line, with 1 behind it for training, 2 for testing and 0 for neither.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidoor.data.layout import Clip, in_folder
from vidoor.data.listing import FileSet, Listing, Part, settle
from vidoor.data.lists import below, folders, home, joined, numbered_lines
from vidoor.errors import DataError, unknown
from vidoor.registry import register

LISTS = "testTrainMulti_7030_splits/"
"""Where the split files lie; they may lie in the root as well, or the folder beside the root."""

PLACES = (LISTS, "", f"../{LISTS}")
TRAIN, TEST, UNUSED = "1", "2", "0"
_FILE = re.compile(r"(.+)_test_split(\d+)\.txt", re.DOTALL)


@register("data", "hmdb51")
@dataclass(frozen=True, kw_only=True)
class HMDB51(FileSet):
    """HMDB-51: class folders, and for each class a list that tells training and test clips.

    ``root`` holds the class folders, or a folder with them such as ``hmdb51_org``; a class may lie
    in a folder within its own (``brush_hair/brush_hair``), as its archive unpacks. Classes are in
    alphabetical order, as everywhere for this set.
    """

    split: str = "1"
    """Split by its number: 1, 2 or 3."""

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether this looks like such a data set: a list for each class."""
        return bool(_splits(root))

    @staticmethod
    def splits_in(root: Path) -> list[str]:
        """Numbers of the splits that there are lists of."""
        return sorted(_splits(root))

    def scan(self, root: Path) -> Listing:
        """The clips of the split; DataError for a class without a list."""
        lists = _splits(root)
        if self.split not in lists:
            raise DataError(f"{root}: {unknown('split', self.split, sorted(lists))}")
        place, names = lists[self.split]
        at = home(root, names, depth=1)
        present = {folder.name for folder in folders(root / at)} - {LISTS.rstrip("/")}
        classes = tuple(sorted(names | present))
        parts: dict[str, list[Clip]] = {TRAIN: [], TEST: [], UNUSED: []}
        files = [f"{place}{name}_test_split{self.split}.txt" for name in classes]
        for name, file in zip(classes, files, strict=True):
            if name not in names:
                raise DataError(f"class {name} has no list: no {root / file}; add it")
            inner = f"{at}{name}/{name}/" if (root / at / name / name).is_dir() else f"{at}{name}/"
            for clip, use in listed(root, file):
                parts[use].append(Clip(inner + clip, name))
        sources = [
            Part(f"{place}*_test_split{self.split}.txt", parts[use]) for use in (TRAIN, TEST)
        ]
        (train, test), reported = settle(root, sources, self.strict)
        return Listing(classes, train, test, files, reported)

    def layout(self) -> "Layout":
        """The same folders and lists, with this split alone."""
        root = self.folder()
        place, names = _splits(root)[self.split]
        return Layout(home(root, names, depth=1), place.removeprefix("../"), self.split)


@dataclass(frozen=True, slots=True)
class Layout:
    """Class folders in ``home``, and the lists of one split in ``folder``."""

    home: str = ""
    folder: str = LISTS
    split: str = "1"

    def place(self, clip: str, label: str) -> str:
        """In the folder of the class."""
        return in_folder(self.home, clip, label)

    def lists(
        self, classes: Sequence[str], train: Sequence[Clip], test: Sequence[Clip]
    ) -> Mapping[str, bytes]:
        """One list for each class."""
        lines: dict[str, list[str]] = {name: [] for name in classes}
        for use, clips in ((TRAIN, train), (TEST, test)):
            for clip in clips:
                lines[clip.label].append(f"{clip.path.rpartition('/')[2]} {use}")
        return {
            f"{self.folder}{name}_test_split{self.split}.txt": joined(mine)
            for name, mine in lines.items()
        }


def _splits(root: Path) -> dict[str, tuple[str, set[str]]]:
    """For each split where its lists lie, and the classes that have one there."""
    found: dict[str, tuple[str, set[str]]] = {}
    for place in PLACES:
        for file in (root / place).glob("*_test_split*.txt"):
            if match := _FILE.fullmatch(file.name):
                _, classes = found.setdefault(match[2], (place, set()))
                if found[match[2]][0] == place:
                    classes.add(match[1])
    return found


def listed(root: Path, file: str) -> list[tuple[str, str]]:
    """Clips of a class, without its folder, and their use: 1, 2 or 0."""
    clips = []
    for at, line in numbered_lines(root / file):
        clip, _, use = line.rpartition(" ")
        clip = clip.rstrip()
        if use not in (TRAIN, TEST, UNUSED) or "/" in clip or not below(clip):
            raise DataError(
                f"{root / file}, line {at}: {line!r} is not of the form clip.avi N, with N 1 for "
                "training, 2 for testing, 0 for neither"
            )
        clips.append((clip, use))
    return clips
