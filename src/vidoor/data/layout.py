"""How a data set lies on disk: where a clip of a class goes, and the lists that name the clips.

A layout is what a data set of files gives to those who write another one in the same form.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from vidoor.errors import DataError


class Clip(NamedTuple):
    """A clip as lists name it: its path below the root, with slashes, and its class."""

    path: str
    label: str


class Layout(Protocol):
    """The form of a data set on disk."""

    def place(self, clip: str, label: str) -> str:
        """Where a clip of this class goes, given the path that it comes from.

        In class folders the folder is the label, so a clip with a new label goes to another one;
        where a list says the label, a clip keeps its path. DataError for a class that cannot be
        written so.
        """
        ...

    def lists(
        self, classes: Sequence[str], train: Sequence[Clip], test: Sequence[Clip]
    ) -> Mapping[str, bytes]:
        """The lists of such a set, by their path below its root."""
        ...


def plain(name: str) -> bool:
    """Whether a class or a file may have this name: one step below a folder, on any system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def in_folder(home: str, clip: str, label: str) -> str:
    """``home``, the folder of the class, the name of the clip; DataError if it is no folder."""
    if not plain(label) or label != " ".join(label.splitlines()).strip():
        raise DataError(
            f"class {label!r} cannot be written: its name must be that of a folder, without "
            "separators, line breaks or spaces at its ends; rename it"
        )
    return f"{home}{label}/{clip.rpartition('/')[2]}"
