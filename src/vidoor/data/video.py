"""Video files, and folders of frames, in and out.

A clip is read whole or not at all: a file that gives fewer pictures than it announces is refused
with one ``ClipError``, because a clip read short in silence would change statistics and verdicts
without a trace.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from av.video.stream import VideoStream

from vidoor.data import _stills
from vidoor.data._container import (
    LARGEST_PICTURE,
    LONGEST_SIDE,
    MOST_FRAMES,
    MOST_PICTURES,
    MOST_PIXELS,
    Census,
    Packet,
    about,
    census,
    check_count,
    check_extent,
    one_line,
    opened,
    packets,
    too_much,
)
from vidoor.data._decode import Taken, leaping, plan, straight
from vidoor.data._pixels import Canvas
from vidoor.data._write import Codec, write
from vidoor.errors import ClipError
from vidoor.types import Frames, Geometry

__all__ = [
    "LARGEST_PICTURE",
    "LONGEST_SIDE",
    "MOST_FRAMES",
    "MOST_PICTURES",
    "MOST_PIXELS",
    "REASONS",
    "VIDEO_SUFFIXES",
    "Codec",
    "about",
    "check_geometry",
    "find",
    "find_frames",
    "is_frames",
    "read",
    "sample",
    "write",
]

VIDEO_SUFFIXES = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".webm", ".wmv"),
    )
)
"""File names with one of these endings, in either case, are taken for clips."""

REASONS = (
    "no such file",
    "empty file",
    "no frames",
    "no video stream",
    "unreadable",
    "truncated",
    "damaged",
    "too short",
    "too large",
    "timeout",
    "out of memory",
    "crashed",
)
"""Every reason for which a clip is left out begins with one of these; details follow a colon. The
last three, but for memory, are ``data.guard``'s."""


def check_geometry(kind: str, frames: int, size: tuple[int, int]) -> None:
    """ValueError for clips too large to be held: one such tensor would fill the memory."""
    if too_much(frames, size):
        raise ValueError(
            f"{kind}: {frames} frames of {size}; give at most {MOST_FRAMES} frames, sides of at "
            f"most {LONGEST_SIDE} pixels and {MOST_PIXELS} pixels in all"
        )


def find(folder: Path) -> list[str]:
    """Names of the video files directly inside ``folder``, sorted; hidden ones are left out."""
    return sorted(_named(folder, VIDEO_SUFFIXES))


def find_frames(folder: Path) -> list[str]:
    """Names of the frames directly inside ``folder``: JPEG and PNG files, hidden ones left out.

    In natural order: numbers in names count as numbers, so that ``2.jpg`` comes before ``10.jpg``.
    """
    return sorted(_named(folder, _stills.FRAME_SUFFIXES), key=_stills.natural)


def is_frames(path: Path) -> bool:
    """Whether ``path`` is a folder that ``read`` takes for one clip: it holds frames."""
    return path.is_dir() and next(_named(path, _stills.FRAME_SUFFIXES), None) is not None


def _named(folder: Path, suffixes: frozenset[str]) -> Iterator[str]:
    return (
        entry.name
        for entry in folder.iterdir()
        if entry.suffix.lower() in suffixes and not entry.name.startswith(".") and entry.is_file()
    )


def sample(count: int, frames: int) -> list[int]:
    """Which of ``count`` pictures make a clip of ``frames``: floor(linspace(0, count - 1, frames)).

    All of them where there are fewer. In whole numbers, so that no rounding moves an index.
    """
    if count <= frames:
        return list(range(count))
    return [i * (count - 1) // max(frames - 1, 1) for i in range(frames)]


def read(path: Path | str, geometry: Geometry | None = None, *, least: int = 1) -> Frames:
    """Read a clip as RGB uint8, T×C×H×W, contiguous, turned the way its rotation flag asks.

    ``path`` is a video file or a folder of frames (see ``find_frames``). With a ``geometry``, the
    frames ``sample`` names, scaled to cover height × width and cropped about the centre (a frame
    that has that size already keeps every byte); a clip with fewer frames is padded at the end with
    blank ones (the paper's footnote 1). Memory does not grow with the length of the file, but for
    16 bytes a frame. Without one, all frames at their own size.

    Frames are counted, not timed: those of a variable frame rate are all alike. Deeper pictures are
    brought to 8 bits, grey ones to three channels; alpha is dropped, not composited, so that the
    colours under it are seen. Pixels are taken as square.

    Raises ClipError, its reason one of ``REASONS``, when the clip cannot be read, has fewer than
    ``least`` frames, or is too large: more than ``LARGEST_PICTURE`` pixels a picture or
    ``MOST_PICTURES`` of them, or, without a geometry, more than ``check_geometry`` lets through. As
    far as headers tell of it, nothing is decoded first. A file that decodes to fewer frames than
    its packets or its header announce is always refused. Every packet is counted and, in FFV1,
    checked; every picture is decoded too, unless the frames asked for are so far apart that half of
    the decoding can be left out: then these are exact, and damage between them is not looked for.
    """
    path = Path(path)
    count, clip = (_read_folder if path.is_dir() else _read_file)(path, geometry)
    if count < least:
        raise ClipError(str(path), f"too short: frames: {count}, asked for: {least} or more")
    return clip


def _wanted(count: int, geometry: Geometry | None) -> Sequence[int]:
    return range(count) if geometry is None else sample(count, geometry.frames)


def _read_folder(folder: Path, geometry: Geometry | None) -> tuple[int, Frames]:
    """How many frames there are, and the clip."""
    try:
        names = find_frames(folder)
    except OSError as fault:
        raise ClipError(str(folder), f"unreadable: {one_line(fault)}") from fault
    if not names:
        raise ClipError(str(folder), "no frames: a folder without .jpg, .jpeg or .png files")
    check_count(folder, len(names))
    canvas = Canvas(folder, len(names), geometry)
    _stills.take(folder, names, _wanted(len(names), geometry), canvas)
    return len(names), canvas.clip()


def _read_file(path: Path, geometry: Geometry | None) -> tuple[int, Frames]:
    """How many frames there are, and the clip."""
    with opened(path) as (container, stream):
        announced = census(path, container, stream)
        count = announced.packets
        if geometry is None:
            check_extent(path, count, (stream.height, stream.width))
        with closing(_sources(path, stream, announced.held)) as sources:
            wanted = _wanted(count, geometry)
            if chosen := plan(announced, stream.codec_context.name, wanted):
                canvas = Canvas(path, count, geometry)
                if leaping(*next(sources), chosen, canvas):
                    return count, canvas.clip()
            canvas = Canvas(path, count, geometry)
            taken = straight(*next(sources), wanted, canvas)
            if flaw := _flaw(announced, taken):
                raise ClipError(str(path), flaw)
            if taken.seen != count:  # silent packets: only now is the number of pictures known
                count = taken.seen
                canvas = Canvas(path, count, geometry)
                straight(*next(sources), _wanted(count, geometry), canvas)
            return count, canvas.clip()


def _sources(
    path: Path, stream: VideoStream, held: Sequence[Packet] | None
) -> Generator[tuple[VideoStream, Iterable[Packet]], None, None]:
    """The packets as often as they are wanted, each time with a decoder that has seen none."""
    if held is not None:
        yield stream, held
    while True:
        with opened(path) as (container, stream):
            yield stream, packets(container, stream)


def _flaw(announced: Census, taken: Taken) -> str:
    """Why the clip cannot be used as it decoded; empty if it can."""
    if not announced.promised:
        return "no frames"
    cause = f" ({taken.fault})" if taken.fault else ""
    if not announced.whole:
        return f"truncated: its end is missing, {taken.seen} frames decode{cause}"
    if taken.seen < announced.promised - announced.silent:
        return f"truncated: {taken.seen} of {announced.promised} frames decode{cause}"
    if taken.fault or not taken.seen:
        return f"unreadable: {taken.fault or 'no frame decodes'}"
    if announced.failed:
        return f"damaged: {announced.failed} of {announced.packets} frames fail their checksum"
    if taken.corrupt is not None:
        return f"damaged: frame {taken.corrupt + 1} of {taken.seen} is corrupt"
    return ""
