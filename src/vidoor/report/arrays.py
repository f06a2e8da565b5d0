"""Reads scores.npz and frames.npz, and refuses arrays that cannot be drawn."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vidoor.errors import VidoorError

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

FORMS = {
    "ids": ("U", 1), "labels": ("U", 1), "scores": ("fiu", 1), "poisoned": ("b", 1),
    "clean": ("u", 5), "triggered": ("u", 5), "pattern": ("f", 3), "template": ("f", 3),
}  # fmt: skip
"""Kinds and dimensions by the last part of an array's name."""


UNREADABLE = (OSError, ValueError, EOFError, TypeError, RuntimeError, MemoryError)
"""What numpy raises for torn, foreign or encrypted files and for sizes that no file has."""


def read(path: Path) -> Arrays:
    """The arrays of an npz file by name, none if there is no file.

    VidoorError (one line) if it cannot be read, holds objects, or an array has not its form.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except FileNotFoundError:
        return {}
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        why = " ".join(str(error).split())
        raise VidoorError(
            f"{path} holds no plain arrays ({why}); run again or remove it"
        ) from error
    for name, array in arrays.items():
        if not _fits(name, array, arrays):
            form = f"{array.dtype} {list(array.shape)}"
            raise VidoorError(f"{path}: {name!a} is damaged ({form}); run again or remove it")
    return arrays


def _fits(name: str, array: NDArray[Any], arrays: Arrays) -> bool:
    group, dot, leaf = name.rpartition(".")
    kinds, dimensions = FORMS.get(leaf, ("", 0))
    if not kinds:
        return True
    if array.dtype.kind not in kinds or array.ndim != dimensions:
        return False
    if leaf in ("pattern", "template"):
        return array.size > 0
    first = arrays.get(f"{group}{dot}ids" if group else "clean", array)
    if leaf in ("clean", "triggered"):
        drawable = array.dtype == np.uint8 and array.shape[-1] == 3 and array.size > 0
        return drawable and array.shape == first.shape
    return first.ndim > 0 and len(array) == len(first)
