"""Lists of clips as text: lines, names, and where lists and class folders lie in a tree."""

from collections.abc import Iterator
from pathlib import Path

from vidoor.data.layout import plain


def encoded(text: str) -> bytes:
    """Text as the bytes of a list; file names need not be valid UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def joined(lines: list[str]) -> bytes:
    """The list that ``numbered_lines`` reads as these lines."""
    return encoded("".join(f"{line}\n" for line in lines))


def text_of(file: Path) -> str:
    """A list as text, with or without a byte order mark."""
    return file.read_bytes().decode("utf-8-sig", "surrogateescape")


def numbered_lines(file: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, without what surrounds them, and their numbers."""
    lines = enumerate(text_of(file).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def below(path: str) -> bool:
    """Whether a list may name this path: some steps below a folder, never out of it."""
    return all(map(plain, path.split("/")))


def find(root: Path, name: str, places: tuple[str, ...]) -> str | None:
    """The first of ``places`` (``""`` or folders that end in a slash) that holds the file."""
    return next((f"{place}{name}" for place in places if (root / place / name).is_file()), None)


def home(root: Path, names: set[str], depth: int) -> str:
    """Where most of these folders lie: ``""``, or a folder up to ``depth`` below, with a slash.

    Archives unpack into a folder of their own (``UCF-101``, ``hmdb51_org``), which people keep or
    leave out. ``""`` where nothing is found.
    """
    places = list(_places(root, depth))
    return max(places, key=lambda place: sum((root / place / name).is_dir() for name in names))


def _places(root: Path, depth: int) -> Iterator[str]:
    """Folders to look in, nearest first."""
    layer = [""]
    for below in range(depth + 1):
        yield from layer
        if below < depth:
            layer = [f"{at}{entry.name}/" for at in layer for entry in folders(root / at)]


def folders(folder: Path) -> list[Path]:
    """The folders in it, sorted; hidden ones are left out."""
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
