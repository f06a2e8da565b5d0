"""Writing clips as video files."""

import platform
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import av
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from vidoor.data._container import FAULTS, one_line
from vidoor.data._pixels import ALONE
from vidoor.errors import DataError
from vidoor.files import whole
from vidoor.types import Frames

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
STEADY = {"x264-params": "asm=sse4.2"} if platform.machine() in ("x86_64", "AMD64") else {}

_FORMATS: dict[str, _Format] = {
    # every frame stands alone (g), as one slice: more do not fit a frame one pixel wide
    "ffv1": _Format(
        "ffv1", "bgr0", (".mkv",), {"level": "3", "g": "1", "slices": "1", "slicecrc": "1"}
    ),
    "h264": _Format(
        "libx264",
        "yuv420p",
        (".mp4", ".mkv", ".mov"),
        {"crf": "{quality}", **STEADY},
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
        reformatter = VideoReformatter()
        for index, frame in enumerate(frames.permute(0, 2, 3, 1).contiguous().numpy()):
            picture = VideoFrame.from_ndarray(frame, format="rgb24")
            picture = reformatter.reformat(picture, format=pixels, **ALONE)
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
