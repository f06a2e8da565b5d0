"""Clips in folders, one folder for each class, with or without UCF-101 split files.

Where a split is named, its files decide, see ``ucf101``. Else the folders ``train`` and ``test``
decide; else a part of every class is held out. ``classInd.txt`` numbers the classes where there is
one. A clip is a video file or a folder of frames (``*.jpg``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidoor.data import _holdout, ucf101
from vidoor.data.layout import Clip, in_folder
from vidoor.data.layout import plain as plain
from vidoor.data.listing import FileSet, Listing, Part, clips_in, settle
from vidoor.data.listing import Reader as Reader  # offered here, with what it reads
from vidoor.data.lists import folders, joined
from vidoor.errors import DataError
from vidoor.registry import register

SPLIT_FOLDER = ucf101.LISTS.rstrip("/")
PLACES = ("", ucf101.LISTS)


@register("data", "folder")
@dataclass(frozen=True, kw_only=True)
class Folder(FileSet):
    """A data set of clips in folders.

    ``root`` holds one folder for each class, or the folders ``train`` and ``test`` that do.
    Classes are in the order of ``classInd.txt``, else of their names.
    """

    split: str | None = None
    """Names UCF-101 style split files ("01")."""

    holdout: float = 0.25
    """Without split files and without ``train`` and ``test``, this fraction of every class, chosen
    by the seed, is the test set (at least one clip; 0 holds out nothing)."""

    def __post_init__(self) -> None:
        _holdout.check("folder", self.holdout)
        super().__post_init__()

    @property
    def seeded(self) -> bool:
        """Does the seed change the clips? Only where some are drawn to be held out."""
        return bool(self.holdout) and self.listing().test is None

    def divide(self, clips: list[Clip], seed: int) -> tuple[list[Clip], list[Clip]]:
        """Hold out a part of every class."""
        return _holdout.hold_out(clips, self.holdout, seed)

    def scan(self, root: Path) -> Listing:
        """The clips of the split, or in the folders."""
        if self.split is not None:
            return ucf101.listing(root, self.split, "", PLACES, self.strict)
        files, classes = ucf101.numbered(root, PLACES)
        if (root / "train").is_dir() and (root / "test").is_dir():
            parts = [Part(part, _clips(root, f"{part}/")) for part in ("train", "test")]
            (train, test), reported = settle(root, parts, self.strict)
        else:
            train, test, reported = _clips(root, ""), None, []
        present = {clip.label for clip in [*train, *(test or ())]}
        if files and (strange := sorted(present.symmetric_difference(classes))):
            raise DataError(
                f"{root}: its folders and {files[0]} differ in class {', '.join(strange)}"
            )
        return Listing(classes or tuple(sorted(present)), train, test, files, reported)

    def layout(self) -> "ucf101.Layout | Layout":
        """The same folders, and the same lists where there are any."""
        root = self.folder()
        if self.split is not None:
            return ucf101.Layout("", ucf101.lists_of(root, self.split, PLACES), self.split)
        return Layout(tuple(ucf101.numbered(root, PLACES)[0]))


@dataclass(frozen=True, slots=True)
class Layout:
    """Class folders where they were, and ``classInd.txt`` if there is one."""

    files: tuple[str, ...] = ()

    def place(self, clip: str, label: str) -> str:
        """In the folder of the class, beside the one that it comes from."""
        folder = clip.rpartition("/")[0]
        return in_folder("".join(folder.rpartition("/")[:2]), clip, label)

    def lists(
        self, classes: Sequence[str], train: Sequence[Clip], test: Sequence[Clip]
    ) -> Mapping[str, bytes]:
        """``classInd.txt`` if it was there."""
        numbered = [f"{number} {name}" for number, name in enumerate(classes, start=1)]
        return {file: joined(numbered) for file in self.files}


def _clips(root: Path, part: str) -> list[Clip]:
    """All clips of the class folders in ``root / part``, as paths below ``root``."""
    classes = [folder for folder in folders(root / part) if folder.name != SPLIT_FOLDER]
    if not classes:
        raise DataError(
            f"{root / part} holds no clips and no class folders; give each class a folder of clips"
        )
    clips: list[Clip] = []
    for folder in classes:
        names = clips_in(folder)
        if not names:
            raise DataError(f"empty class: {folder} holds no clips; add some or remove the folder")
        clips += [Clip(f"{part}{folder.name}/{name}", folder.name) for name in names]
    return clips
