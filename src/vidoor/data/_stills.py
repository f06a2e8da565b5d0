"""A clip as a folder of pictures, one for each frame."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vidoor.data._container import check_size, one_line
from vidoor.data._pixels import Canvas
from vidoor.errors import ClipError

FRAME_SUFFIXES = frozenset((".jpeg", ".jpg", ".png"))
"""File names with one of these endings, in either case, are taken for frames."""

_MODES = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"))  # 8 bits or fewer
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_FAULTS = (OSError, SyntaxError, ValueError, LookupError, EOFError)  # what PIL raises


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorts numbers in names as numbers: ``2.jpg`` before ``10.jpg``."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], name


def take(folder: Path, names: Sequence[str], wanted: Sequence[int], canvas: Canvas) -> None:
    """Put the pictures ``wanted`` of the files ``names`` on the canvas.

    The header of every file is read, the pixels of those that are wanted. ClipError unless all are
    JPEG or PNG of one size and 8 bits a channel, the wanted ones are undamaged, and none is larger
    than we, or PIL, would read.
    """
    places = {index: at for at, index in enumerate(wanted)}
    size: tuple[int, int] | None = None
    for index, name in enumerate(names):
        with _opened(folder, name) as picture:
            check_size(folder, *picture.size)
            size = size or picture.size
            if picture.size != size:
                (wide, tall), (width, height) = picture.size, size
                sizes = f"{name} is {wide}×{tall}, {names[0]} is {width}×{height}"
                raise ClipError(str(folder), f"unreadable: frames of several sizes: {sizes}")
            if picture.mode not in _MODES:
                raise ClipError(str(folder), f"unreadable: {name} has more than 8 bits a channel")
            if index in places:
                canvas.paint(places[index], _rgb(picture))


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(folder / name, formats=("JPEG", "PNG")) as picture:
                yield picture
    except _TOO_LARGE:
        raise ClipError(str(folder), f"too large: {name} has more pixels than PIL reads") from None
    except UnidentifiedImageError:
        raise ClipError(str(folder), f"damaged: {name} is neither JPEG nor PNG") from None
    except MemoryError as fault:
        raise ClipError(str(folder), "out of memory") from fault
    except _FAULTS as fault:
        raise ClipError(str(folder), f"damaged: {name}: {one_line(fault)}") from fault


def _rgb(picture: Image.Image) -> np.ndarray:
    """H×W×3; a palette's transparency is dropped as an alpha channel is."""
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")
    return np.asarray(picture.convert("RGB"))
