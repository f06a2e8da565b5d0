"""Is a file or a folder of frames what it was? By its looks, which cost nothing, and by content."""

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SETTLED = 2 * 10**9
"""ns after which another change of a file changes its times as well: clocks of file systems are
coarse."""


class Stamp(NamedTuple):
    """Tells that a file is what it was: a hash of its path, size, inode, device and both times.
    Whoever changes bytes and puts back the inode and both times (root can) is believed."""

    digest: bytes
    settled: bool
    """Whether it was left alone for so long that a later change will show."""


def stamp(path: Path) -> Stamp | None:
    """The stamp of a file or of a folder with all its files; None if it cannot be looked at."""
    try:
        files = list(_files(path))
    except (OSError, ValueError):
        return None
    facts = [
        (file.name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev)
        for file, s in files
    ]
    newest = max((max(s.st_mtime_ns, s.st_ctime_ns) for _, s in files), default=0)
    about = json.dumps([str(path.absolute()), facts])
    digest = hashlib.sha256(about.encode()).digest()
    return Stamp(digest, newest + SETTLED <= time.time_ns())


def is_still(path: Path, known: Stamp) -> bool:
    """Whether it has the stamp that is known of it."""
    now = stamp(path)
    return now is not None and now.digest == known.digest


def content(path: Path) -> bytes | None:
    """A hash of the file, or of the names and the bytes of all files in the folder; None if one of
    them cannot be read."""
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        whole = hashlib.sha256(b"folder")
        for each, _ in _files(path):
            with each.open("rb") as file:
                inner = hashlib.file_digest(file, "sha256").digest()
            whole.update(json.dumps(each.name).encode() + inner)
        return whole.digest()
    except OSError:
        return None


def _files(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The file, or all files in the folder; nothing that reading would wait for."""
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        entries = [(path, status)]
    else:
        entries = [(entry, entry.stat()) for entry in sorted(path.iterdir())]
    return ((entry, found) for entry, found in entries if stat.S_ISREG(found.st_mode))
