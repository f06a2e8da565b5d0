"""Files that appear under their name whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from vidoor.errors import DataError

PARTIAL = ".partial"
"""How the names of unfinished files begin; those of a process that was killed stay behind."""


_umask = os.umask(0o022)
os.umask(_umask)
_MODE = 0o666 & ~_umask


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A partial file in the same folder, which takes the place of ``path`` once all went well.

    A reader sees the old content or the new, never a part. Where writing fails nothing is left.
    """
    partial = path.with_name(f"{PARTIAL}-{uuid4().hex}{path.suffix}")
    try:
        yield partial
        partial.chmod(_MODE)  # some writers make files that their owner alone can read
        os.replace(partial, path)  # noqa: PTH105 - named for what it promises: atomic
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, fit to be written to; DataError if that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:  # a name with a null byte in it is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: cannot write here ({reason}); choose another folder with --out"
        ) from None
    return path
