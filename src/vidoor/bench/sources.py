"""Which data set lies in a folder: recognised by its lists, or named."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from vidoor.data import listed, ucf101
from vidoor.data.folder import PLACES
from vidoor.errors import DataError, RecipeError, unknown
from vidoor.options import component
from vidoor.registry import lookup, methods

PLAIN = "folder"
"""What a folder is taken for that holds no lists."""


def is_set(source: Path) -> bool:
    """Whether this is a data set, or the table of one, rather than a clip."""
    return source.is_dir() or source.suffix.lower() in listed.SUFFIXES


def is_clip(source: Path) -> bool:
    """Whether this is there, and no data set. DataError if it cannot be looked at."""
    try:
        return source.exists() and not is_set(source)
    except OSError as error:
        raise DataError(f"{str(source)[:100]}: {error.strerror}") from None


def recognise(source: Path) -> str:
    """The kind of data set that ``source`` is; DataError if its lists are those of several."""
    if source.is_file():
        return "manifest"
    kinds = methods("data").items()
    found = [kind for kind, cls in kinds if hasattr(cls, "recognises") and cls.recognises(source)]
    if len(found) > 1:
        raise DataError(f"{source} looks like {' and like '.join(found)}; say which with --kind")
    return found[0] if found else PLAIN


def _recognised(source: Path, options: Mapping[str, Any]) -> str:
    """The kind of the set; DataError where lists would be ignored, and test clips poisoned."""
    kind = recognise(source)
    lists = ucf101.splits(source, PLACES) if kind == PLAIN else []
    if lists and "split" not in options:
        raise DataError(
            f"{source} has lists of the splits {', '.join(lists)} and no classInd.txt; say which "
            f"split with --split {lists[0]}, or --kind folder to poison all clips"
        )
    return kind


def kinds() -> list[str]:
    """Kinds of data sets that lie in files."""
    return [name for name, cls in methods("data").items() if hasattr(cls, "layout")]


def data_set(
    source: Path, kind: str | None, options: Mapping[str, Any], others: Sequence[str] = ()
) -> Any:
    """The data set in ``source``, recognised unless its ``kind`` is given, no clip held out.

    ``source`` is its folder, or the table of a ``manifest``. Unless a split is named it is the only
    one that there is, or the kind's usual one. RecipeError for a kind that there is
    not (``others`` are kinds of the caller's own), or options that it does not have; DataError for
    one that cannot be written again.
    """
    if given := sorted({"kind", "root", "file"} & set(options)):
        raise RecipeError(
            f"data.{given[0]} is told by the source and --kind; leave it out of the options"
        )
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    kind = kind or _recognised(source, options)
    if kind not in methods("data"):
        raise RecipeError(unknown("data kind", kind, [*kinds(), *others]))
    cls = lookup("data", kind)
    if not hasattr(cls, "layout"):
        raise DataError(f"data of kind {kind} is not in files; valid: {', '.join(kinds())}")
    root = source.resolve()
    own: dict[str, Any] = {}
    if len(known := cls.splits_in(root) if hasattr(cls, "splits_in") else []) == 1:
        own["split"] = known[0]
    if "holdout" in {spec.name for spec in fields(cls)}:
        own["holdout"] = 0.0
    if source.is_file():
        own["file"], root = root.name, root.parent
    return replace(component("data", {"kind": kind, "root": ".", **own, **options}), root=root)
