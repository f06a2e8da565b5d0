"""What lies among the clips of an audit, looks like one, and is not judged: which, and why."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from vidoor.data.lists import below
from vidoor.data.video import VIDEO_SUFFIXES
from vidoor.types import Quarantined

UNNAMED = "in no class folder and on no list"
HIDDEN = "hidden"
NOWHERE = "a link to nothing"
NO_FRAMES = "a folder without frames"
NO_FILE = "no regular file"
NAME = "a backslash in its name: no list can hold it"
CLOSED = "a folder that cannot be read"


def strays(root: Path, known: Collection[str]) -> Iterator[Quarantined]:
    """Entries below ``root`` that are named as videos are and are not ``known``, in order of their
    paths, then folders that cannot be read. Clips that are folders of frames are not searched, nor
    are links to folders."""
    known = frozenset(known)
    closed: list[OSError] = []
    for place, folders, files in os.walk(root, onerror=closed.append):
        here = Path(place).relative_to(root)
        names = sorted([*folders, *files])
        folders[:] = sorted(name for name in folders if str(here / name) not in known)
        for name in names:
            path = str(here / name)
            if Path(name.lstrip(".")).suffix.lower() in VIDEO_SUFFIXES and path not in known:
                yield Quarantined(path, _why(root / path))
    yield from (Quarantined(os.path.relpath(one.filename, root), CLOSED) for one in closed)


def unlistable(paths: Collection[str]) -> Iterator[Quarantined]:
    """Those of ``paths`` that a table of clips cannot name, and so could not be kept or left."""
    return (Quarantined(path, NAME) for path in paths if not below(path))


def _why(path: Path) -> str:
    if not path.exists():
        return NOWHERE
    if path.is_dir():
        return NO_FRAMES
    if not path.is_file():
        return NO_FILE
    return HIDDEN if path.name.startswith(".") else UNNAMED
