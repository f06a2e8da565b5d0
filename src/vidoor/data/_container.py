"""What a video file says about itself: opening it, and counting its frames without decoding."""

import zlib
from array import array
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vidoor.data._gif import has_end
from vidoor.errors import ClipError

if TYPE_CHECKING:  # a generic class to type checkers alone
    from av.packet import Packet as _Packet

    Packet: TypeAlias = _Packet[VideoStream]
else:
    from av.packet import Packet

FAULTS = (av.FFmpegError, OSError, ValueError, RuntimeError, LookupError)
"""What PyAV raises on a file that it cannot use."""

SLOWEST, FASTEST = Fraction(1, 100), Fraction(1000)
"""Frame rates that every container of ours holds; Matroska counts milliseconds."""

LARGEST_PICTURE = 2**24
"""Pixels of a picture in a file: 4K and 5.7K are read, 8K is not."""

MOST_PICTURES = 10**6
"""Pictures in a file: nine hours at 30 a second."""

MOST_FRAMES, LONGEST_SIDE, MOST_PIXELS = 4096, 8192, 2**31
"""Of a clip that is held at once."""

HELD = 2**25
"""Bytes of packets that are kept between counting and decoding; a larger file is read twice."""

_IN_ORDER = ("ffv1", "mjpeg", "vp8", "vp9")  # show pictures in the order of the file
_NOT_CODED = 19  # bytes; an MPEG-4 packet up to this size may be a "same picture again" marker
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Census:
    """What a file announces: ``packets`` to be shown, how many of these may rightly be ``silent``.

    ``promised`` is the number of pictures, by the header where the packets end too early for it.
    ``failed`` counts the packets that fail the checksum which others of the file carry. ``whole``
    is False where the file has no end.
    """

    packets: int
    silent: int
    promised: int
    failed: int
    whole: bool
    times: Sequence[int] | None
    """When each packet is shown, in the order of the file; None where that is not told of all."""
    keys: Sequence[int]
    """Which packets the container marks as key frames."""
    held: Sequence[Packet] | None
    """The packets themselves, unless they are too large to be kept."""


class About(NamedTuple):
    """``rate`` in pictures a second, such that the clip keeps its duration, and any ``sound``."""

    rate: Fraction
    sound: bool


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its main video stream; whatever fails inside leaves as one ClipError."""
    try:
        if not path.is_file():
            raise ClipError(str(path), "is a folder" if path.is_dir() else "no such file")
        if path.stat().st_size == 0:
            raise ClipError(str(path), "empty file")
        with _container(path) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise ClipError(str(path), "no video stream")
            if not hasattr(stream.codec_context, "thread_count"):
                raise ClipError(str(path), "unreadable: no decoder for its video")
            stream.codec_context.thread_count = 1  # readers run side by side, one per process
            check_size(path, stream.codec_context.width, stream.codec_context.height)
            yield container, stream
    except MemoryError as fault:  # before the others: FFmpeg's is one of them too
        raise ClipError(str(path), "out of memory") from fault
    except FAULTS as fault:
        raise ClipError(str(path), f"unreadable: {one_line(fault)}") from fault


def _container(path: Path) -> InputContainer:
    name = str(path.absolute())  # never taken for an address, whatever colons it has
    try:
        return av.open(name)
    except UnicodeDecodeError:  # titles in an old code page are no reason to refuse the pictures
        return av.open(name, metadata_errors="replace")


def one_line(fault: Exception) -> str:
    """What went wrong, without the path."""
    text = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return " ".join(text.split())


def check_size(path: Path, width: int, height: int) -> None:
    """ClipError for a picture with more than ``LARGEST_PICTURE`` pixels."""
    if width * height > LARGEST_PICTURE:
        most = f"{LARGEST_PICTURE / 1e6:.1f} million pixels are"
        raise ClipError(str(path), f"too large: pictures of {width}×{height}, at most {most} read")


def check_count(path: Path, pictures: int) -> None:
    """ClipError for more than ``MOST_PICTURES`` pictures."""
    if pictures > MOST_PICTURES:
        most = f"at most {MOST_PICTURES} are read"
        raise ClipError(str(path), f"too large: {pictures} pictures or more, {most}")


def too_much(frames: int, size: tuple[int, int]) -> bool:
    """Whether a clip of ``frames`` of ``size`` (height, width) is too large to be held."""
    pixels = frames * size[0] * size[1]
    return frames > MOST_FRAMES or max(size) > LONGEST_SIDE or pixels > MOST_PIXELS


def check_extent(path: Path, frames: int, size: tuple[int, int]) -> None:
    """ClipError for a clip that is ``too_much``."""
    if too_much(frames, size):
        height, width = size
        raise ClipError(str(path), f"too large: {frames} frames of {width}×{height} at once")


def about(path: Path) -> About:
    """Frame rate and sound of a clip; ClipError if it cannot be opened.

    The rate is what the header states where that agrees with the times of the frames to within
    half a frame, else their mean rate: a variable one becomes constant. It lies between 1/100 and
    1000 and is 25 where the file does not tell.
    """
    with opened(path) as (container, stream):
        shown = (p for p in container.demux(stream) if p.size and not p.is_discard)
        both = [(p.pts, p.dts) for p in shown]
        times = [pts for pts, _ in both if pts is not None]
        if len(times) < len(both):  # an AVI with reordered frames has but the others
            times = [dts for _, dts in both if dts is not None]
        rate, tick = stream.average_rate or Fraction(0), stream.time_base or Fraction(0)
        span = (max(times, default=0) - min(times, default=0)) * tick
        steps = len(times) - 1
        if span and abs(span * rate - steps) > Fraction(1, 2):
            rate = (steps / span).limit_denominator(10_000)
        sound = bool(container.streams.audio)
    return About(rate if SLOWEST <= rate <= FASTEST else Fraction(25), sound)


@dataclass(slots=True)
class _Tally:
    """What the packets come to. ``reach``, ``step`` and ``length`` are in ticks of the stream."""

    total: int = 0
    hidden: int = 0
    silent: int = 0
    sealed: int = 0
    bytes: int = 0
    reach: int = 0
    step: int = 0
    length: int = 0
    first: int | None = None
    last: int | None = None
    times: MutableSequence[int] | None = field(default_factory=lambda: array("q"))
    keys: MutableSequence[int] = field(default_factory=lambda: array("l"))
    held: list[Packet] | None = field(default_factory=list)

    def add(self, packet: Packet, codec: str) -> None:
        self.silent += _may_be_silent(codec, packet)
        self.sealed += codec == "ffv1" and _is_sealed(bytes(packet))
        self.hidden += packet.is_discard
        self.length = packet.duration or 0
        self.reach = max(self.reach, (packet.pts or 0) + self.length)
        if packet.dts is not None:
            self.first = packet.dts if self.first is None else self.first
            self.step = max(
                self.step, packet.dts - (packet.dts if self.last is None else self.last)
            )
            self.last = packet.dts
        if packet.is_keyframe:
            self.keys.append(self.total)
        if packet.pts is None:
            self.times = None
        if self.times is not None and packet.pts is not None:
            self.times.append(packet.pts)
        self.bytes += packet.size
        if self.bytes > HELD:
            self.held = None
        if self.held is not None:
            self.held.append(packet)
        self.total += 1


def census(path: Path, container: InputContainer, stream: VideoStream) -> Census:
    """Count the packets and hold them against what the header states.

    Reads the file to its end. ClipError where there are more than ``MOST_PICTURES``.
    """
    check_count(path, stream.frames)
    tally, codec = _Tally(), stream.codec_context.name
    for packet in packets(container, stream):
        tally.add(packet, codec)
        check_count(path, tally.total)
    stated = _stated(tally, container, stream)
    return Census(
        packets=tally.total - tally.hidden,
        silent=tally.silent,
        promised=max(tally.total, stated) - tally.hidden,
        failed=tally.total - tally.sealed if tally.sealed else 0,
        whole=container.format.name != "gif" or has_end(path),
        times=tally.times if _tells_times(container, codec) and not tally.hidden else None,
        keys=tally.keys,
        held=tally.held,
    )


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """All that hold something; others are the demuxer's last word, or a dropped frame in an AVI."""
    return (packet for packet in container.demux(stream) if packet.size)


def _tells_times(container: InputContainer, codec: str) -> bool:
    """Whether the order in which packets are shown is known, not guessed as it is of an AVI."""
    return codec in _IN_ORDER or bool({"matroska", "mp4"} & {*container.format.name.split(",")})


def _stated(tally: _Tally, container: InputContainer, stream: VideoStream) -> int:
    """How many pictures the header states; 0 where the packets reach as far as it says."""
    if stream.frames:
        # An AVI may drop frames and an MP4 trim them: then the time is covered all the same.
        covered = (tally.last or 0) - (tally.first or 0) + tally.length
        short = stream.duration is None or covered + tally.length / 2 < stream.duration
        return stream.frames if short else 0
    end = _stated_end(container, stream)
    guess = tally.step or max(1, round(0.04 / float(stream.time_base or 1)))  # no length
    reach = tally.reach + (0 if tally.length else guess)
    short = tally.total > 0 and reach + max(guess, tally.length) / 2 < end
    return round(tally.total * end / reach) if short else 0


def _may_be_silent(codec: str, packet: Packet) -> bool:
    """Whether a sound decoder may give no picture for this packet.

    XviD marks an unchanged picture with a few bytes; VP8 stores references that are never shown.
    """
    if codec == "vp8":
        return not memoryview(packet)[0] & 0x10
    return codec == "mpeg4" and packet.size <= _NOT_CODED


def _is_sealed(packet: bytes) -> bool:
    """Whether an FFV1 packet has slice checksums and they hold; the decoder only logs it if not.

    RFC 9043, section 4.9.3: over a whole slice, and so over all of them, the CRC comes to 0. It
    starts from 0 and takes the bits of a byte from the other end than zlib's does.
    """
    return zlib.crc32(packet.translate(_MIRRORED), 0xFFFFFFFF) == 0xFFFFFFFF


def _stated_end(container: InputContainer, stream: VideoStream) -> float:
    """End of the video in ticks of ``stream`` as a Matroska header states it; 0 where it does not.

    Matroska has no count of frames. Other formats without one only guess their duration.
    """
    if "matroska" not in container.format.name or not stream.time_base:
        return 0.0
    seconds = 0.0
    if len(container.streams) == 1 and container.duration:
        seconds = container.duration / av.time_base
    try:
        hours, minutes, rest = stream.metadata.get("DURATION", "").split(":")
        seconds = int(hours) * 3600 + int(minutes) * 60 + float(rest)
    except ValueError:
        pass
    return seconds / float(stream.time_base)
