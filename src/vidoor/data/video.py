"""Video files in and out, through PyAV.

A clip is read whole or not at all: a file that gives fewer pictures than it announces is refused
with one ``ClipError``, because a clip read short in silence would change statistics and verdicts
without a trace.
"""

import platform
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
import torch
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from vidoor.data._container import FAULTS, Census, census, one_line, opened
from vidoor.data._container import about as about  # offered here, with read and write
from vidoor.errors import ClipError, DataError
from vidoor.files import whole
from vidoor.types import Frames, Geometry

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
)
"""File names with one of these endings, in either case, are taken for clips."""

MOST_FRAMES, LONGEST_SIDE, MOST_PIXELS = 4096, 8192, 2**31

Codec = Literal["ffv1", "h264", "mpeg4"]


class _Format(NamedTuple):
    """How one codec is written. ``quality`` is its range, best first; ``usual`` the default."""

    encoder: str
    pixels: str
    suffixes: tuple[str, ...]
    options: dict[str, str]
    quality: range = range(0)
    usual: int = 0


# x264's AVX-512 code for macroblock trees reads memory that nobody has written: the same pictures
# gave 80 different files in 150. With what every x86-64 has, they give one.
_STEADY = {"x264-params": "asm=sse4.2"} if platform.machine() in ("x86_64", "AMD64") else {}

_FORMATS: dict[str, _Format] = {
    # every frame stands alone (g), as one slice: more do not fit a frame one pixel wide
    "ffv1": _Format(
        "ffv1", "bgr0", (".mkv",), {"level": "3", "g": "1", "slices": "1", "slicecrc": "1"}
    ),
    "h264": _Format(
        "libx264",
        "yuv420p",
        (".mp4", ".mkv", ".mov"),
        {"crf": "{quality}", **_STEADY},
        range(52),
        23,
    ),
    "mpeg4": _Format(
        "mpeg4",
        "yuv420p",
        (".avi", ".mp4", ".mkv"),
        {"qmin": "{quality}", "qmax": "{quality}"},
        range(1, 32),
        3,
    ),
}


class _Taken(NamedTuple):
    """What decoding gave: the wanted pictures, how many there were, what went wrong."""

    clip: Frames
    seen: int
    fault: str
    corrupt: int | None  # index of the first picture that the decoder marked as damaged


def check_geometry(kind: str, frames: int, size: tuple[int, int]) -> None:
    """ValueError for clips too large to be held: one such tensor would fill the memory."""
    if frames > MOST_FRAMES or max(size) > LONGEST_SIDE or frames * size[0] * size[1] > MOST_PIXELS:
        raise ValueError(
            f"{kind}: {frames} frames of {size}; give at most {MOST_FRAMES} frames, sides of at "
            f"most {LONGEST_SIDE} pixels and {MOST_PIXELS} pixels in all"
        )


def find(folder: Path) -> list[str]:
    """Names of the video files directly inside ``folder``, sorted; hidden ones are left out."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.suffix.lower() in VIDEO_SUFFIXES
        and not entry.name.startswith(".")
        and entry.is_file()
    )


def sample(count: int, frames: int) -> list[int]:
    """Which of ``count`` pictures make a clip of ``frames``: floor(linspace(0, count - 1, frames)).

    All of them where there are fewer. In whole numbers, so that no rounding moves an index.
    """
    if count <= frames:
        return list(range(count))
    return [i * (count - 1) // max(frames - 1, 1) for i in range(frames)]


def read(path: Path | str, geometry: Geometry | None = None) -> Frames:
    """Read a clip as RGB uint8, T×C×H×W, contiguous, turned the way its rotation flag asks.

    With a ``geometry``, the frames ``sample`` names, scaled to cover height × width and cropped
    about the centre (a frame that has that size already keeps every byte); a clip with fewer
    frames is padded at the end with blank ones (the paper's footnote 1). Memory does not grow
    with the length of the file. Without one, all frames at their own size.

    Raises ClipError when the file cannot be read, holds no video, or decodes to fewer frames than
    its packets or its header announce. Pixels are taken as square.
    """
    path = Path(path)
    announced = census(path)
    taken = _take(path, announced.packets, geometry)
    if flaw := _flaw(announced, taken):
        raise ClipError(str(path), flaw)
    if taken.seen != announced.packets:  # silent packets: only now is the number of pictures known
        taken = _take(path, taken.seen, geometry)
    return taken.clip


def write(
    path: Path | str,
    frames: Frames,
    *,
    codec: Codec = "ffv1",
    fps: int | Fraction = 25,
    quality: int | None = None,
) -> None:
    """Write a clip; the file appears under its name only when it is complete.

    ``ffv1`` (in .mkv) gives back every byte. ``h264`` takes quality 0..51 (CRF, 23 if not given)
    and ``mpeg4`` 1..31 (quantiser, 3 if not given): smaller is better. H.264 keeps full colour
    resolution (yuv444p) where height or width is odd, because it cannot halve them. The same frames
    always give the same file on one machine type. Missing parent folders are made.

    Raises DataError for a suffix or quality that does not fit, or when the file cannot be written.
    """
    path = Path(path)
    assert frames.ndim == 4 and frames.shape[1] == 3 and len(frames) > 0 and fps > 0
    form = _FORMATS[codec]
    if path.suffix.lower() not in form.suffixes:
        raise DataError(f"{path}: {codec} is written to {' or '.join(form.suffixes)} files")
    if quality is not None and quality not in form.quality:
        span = f"{form.quality[0]}..{form.quality[-1]}" if form.quality else "none, it is lossless"
        raise DataError(f"{path}: quality {quality} does not fit {codec}; valid: {span}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as partial:
            _encode(partial, frames, form, fps, form.usual if quality is None else quality)
    except FAULTS as fault:
        raise DataError(f"{path}: cannot be written: {one_line(fault)}") from fault


def _encode(path: Path, frames: Frames, form: _Format, fps: int | Fraction, quality: int) -> None:
    height, width = frames.shape[2:]
    odd = height % 2 or width % 2
    pixels = "yuv444p" if odd and form.encoder == "libx264" else form.pixels
    options = {name: value.format(quality=quality) for name, value in form.options.items()}
    with av.open(str(path.absolute()), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(form.encoder, rate=fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.thread_count = 1  # x264's output depends on the number of threads
        for index, frame in enumerate(frames.permute(0, 2, 3, 1).contiguous().numpy()):
            picture = VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _take(path: Path, count: int, geometry: Geometry | None) -> _Taken:
    """Decode the whole file and keep the pictures that a clip of ``count`` frames wants."""
    wanted = range(count) if geometry is None else sample(count, geometry.frames)
    clip = np.zeros((0, 3, 0, 0) if geometry is None else (geometry.frames, 3, *geometry[1:]), "u1")
    seen = kept = 0
    fault, corrupt = "", None
    with opened(path) as (container, stream):
        try:
            for picture in container.decode(stream):
                if picture.is_corrupt and corrupt is None:
                    corrupt = seen
                if kept < len(wanted) and wanted[kept] == seen:
                    image = _upright(picture)
                    if geometry is not None:
                        image = _fit(image, geometry.height, geometry.width)
                    elif not kept:
                        clip = np.zeros((count, 3, *image.shape[:2]), "u1")
                    clip[kept] = image.transpose(2, 0, 1)
                    kept += 1
                seen += 1
        except av.FFmpegError as error:
            fault = one_line(error)
    return _Taken(torch.from_numpy(clip), seen, fault, corrupt)


def _flaw(announced: Census, taken: _Taken) -> str:
    """Why the clip cannot be used as it decoded; empty if it can."""
    if not announced.promised:
        return "no frames"
    if taken.seen < announced.promised - announced.silent:
        cause = f" ({taken.fault})" if taken.fault else ""
        return f"truncated: {taken.seen} of {announced.promised} frames decode{cause}"
    if taken.fault or not taken.seen:
        return f"unreadable: {taken.fault or 'no frame decodes'}"
    if announced.failed:
        return f"damaged: {announced.failed} of {announced.packets} frames fail their checksum"
    if taken.corrupt is not None:
        return f"damaged: frame {taken.corrupt + 1} of {taken.seen} is corrupt"
    return ""


def _upright(picture: VideoFrame) -> np.ndarray:
    """The picture as H×W×3 RGB, turned and mirrored as its display matrix says."""
    image = picture.to_ndarray(format="rgb24")
    data = picture.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return image
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # a quarter turn: rows become columns
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale to cover height × width, crop about the centre: one antialiased bilinear resampling."""
    tall, wide = image.shape[:2]
    if (tall, wide) == (height, width):
        return image
    scale = max(height / tall, width / wide)
    rows, columns = max(height, round(tall * scale)), max(width, round(wide * scale))
    top, left = (rows - height) // 2, (columns - width) // 2
    box = (
        left * wide / columns,
        top * tall / rows,
        (left + width) * wide / columns,
        (top + height) * tall / rows,
    )
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
