"""Greek Sign Language, isolated signs (Adaloglou et al., 2022), as it is published.

``train_greek_iso.csv``, ``dev_greek_iso.csv`` and ``test_greek_iso.csv`` have one clip a line as
``police1_signer1_rep1_glosses/glosses0000|ΓΕΙΑ``: a folder of frames (``*.jpg``) below
``Greek_isolated/GSL_isol``, and its gloss. ``iso_classes.csv`` has one gloss a line, after
``blank``, which is no class.

The paper takes 50 of the 310 glosses at random and does not say which; here a seed of its own says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidoor.data import _holdout
from vidoor.data.layout import Clip
from vidoor.data.listing import FileSet, Listing, Part, settle
from vidoor.data.lists import below, find, home, joined, numbered_lines
from vidoor.errors import DataError
from vidoor.registry import register

PLACES = ("", "GSL_isolated/", "GSL_split/GSL_isolated/", "annotations/")
"""Where the lists may lie below the root."""

CLASSES, BLANK = "iso_classes.csv", "blank"


@register("data", "gsl")
@dataclass(frozen=True, kw_only=True)
class GSL(FileSet):
    """Greek Sign Language, isolated signs: lists of clips and their glosses.

    ``root`` holds the lists, and the folders that they name or a folder with these up to two below
    it. Classes are in the order of ``iso_classes.csv``, else sorted.
    """

    classes: int = 50
    """So many glosses, drawn at random (paper: 50); 0 takes all."""

    subset_seed: int = 0
    """Draws the glosses, apart from the seed of a run; fewer classes are a part of more."""

    test: Literal["test", "dev"] = "test"
    """Which list is tested on; the other one is left alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes < 0 or self.classes == 1:
            raise ValueError(f"gsl: classes is {self.classes}; give 2 or more, or 0 for all")

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether this looks like such a data set: its training list."""
        return find(root, _name("train"), PLACES) is not None

    def scan(self, root: Path) -> Listing:
        """The clips of the drawn glosses."""
        files = [_lists(root, name) for name in ("train", self.test)]
        every = _glosses(root)
        listed = [parsed(root, file, every) for file in files]
        numbered = [file] if (file := find(root, CLASSES, PLACES)) else []
        glosses = every or tuple(sorted({clip.label for clips in listed for clip in clips}))
        chosen = self._draw(root, glosses)
        at = home(root, {clip.path.partition("/")[0] for clip in listed[0]}, depth=2)
        parts = [
            Part(file, [Clip(at + path, gloss) for path, gloss in clips if gloss in chosen])
            for file, clips in zip(files, listed, strict=True)
        ]
        (train, test), reported = settle(root, parts, self.strict)
        classes = tuple(gloss for gloss in glosses if gloss in chosen)
        return Listing(classes, train, test, files + numbered, reported)

    def layout(self) -> "Layout":
        """The same paths and lists."""
        root = self.folder()
        train = _lists(root, "train")
        tops = {clip.path.partition("/")[0] for clip in parsed(root, train, ())}
        return Layout(home(root, tops, depth=2), train[: -len(_name("train"))], self.test)

    def _draw(self, root: Path, glosses: tuple[str, ...]) -> set[str]:
        if self.classes > len(glosses):
            raise DataError(
                f"{root}: {len(glosses)} glosses, and classes = {self.classes}; give at most that "
                "many, or 0 for all"
            )
        drawn = _holdout.shuffled(glosses, self.subset_seed)
        return set(drawn[: self.classes] if self.classes else drawn)


@dataclass(frozen=True, slots=True)
class Layout:
    """Clips in ``home`` under any name, and the lists in ``folder``."""

    home: str = ""
    folder: str = ""
    test: str = "test"

    def place(self, clip: str, label: str) -> str:
        """Where it was: the list says the gloss."""
        return clip

    def lists(
        self, classes: Sequence[str], train: Sequence[Clip], test: Sequence[Clip]
    ) -> Mapping[str, bytes]:
        """Both lists, and the glosses."""
        start = len(self.home)
        parts = {"train": train, self.test: test}
        return {
            f"{self.folder}{CLASSES}": joined([BLANK, *classes]),
            **{
                f"{self.folder}{_name(name)}": joined(
                    [f"{clip.path[start:]}|{clip.label}" for clip in clips]
                )
                for name, clips in parts.items()
            },
        }


def _name(part: str) -> str:
    return f"{part}_greek_iso.csv"


def _lists(root: Path, part: str) -> str:
    file = find(root, _name(part), PLACES)
    if file is None:
        raise DataError(f"{root}: no {_name(part)} in it or in its folders; put the lists there")
    return file


def _glosses(root: Path) -> tuple[str, ...]:
    """The glosses of ``iso_classes.csv``; none if it is not there."""
    file = find(root, CLASSES, PLACES)
    lines = numbered_lines(root / file) if file else []
    glosses = tuple(gloss for _, gloss in lines if gloss != BLANK)
    if len(set(glosses)) < len(glosses):
        twice = next(gloss for gloss in glosses if glosses.count(gloss) > 1)
        raise DataError(f"{root / str(file)}: gloss {twice} is there twice; keep one")
    return glosses


def parsed(root: Path, file: str, glosses: Sequence[str]) -> list[Clip]:
    """The clips that a list names, as ``path|gloss``; glosses must be valid, if any are given."""
    here, valid, clips = root / file, set(glosses), []
    for at, line in numbered_lines(here):
        path, _, gloss = (part.strip() for part in line.rpartition("|"))
        if not gloss or not below(path):
            raise DataError(f"{here}, line {at}: {line!r} is not of the form folder/clip|GLOSS")
        if valid and gloss not in valid:
            raise DataError(f"{here}, line {at}: gloss {gloss!r} is not in {CLASSES}; add it there")
        clips.append(Clip(path, gloss))
    return clips
