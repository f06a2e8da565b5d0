"""What a video file says about itself: opening it, and counting its frames without decoding."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vidoor.errors import ClipError

FAULTS = (av.FFmpegError, OSError, ValueError, RuntimeError, LookupError)
"""What PyAV raises on a file that it cannot use."""

SLOWEST, FASTEST = Fraction(1, 100), Fraction(1000)
"""Frame rates that every container of ours holds; Matroska counts milliseconds."""

_NOT_CODED = 19  # bytes; an MPEG-4 packet up to this size may be a "same picture again" marker
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Census(NamedTuple):
    """What a file announces: ``packets`` to be shown, how many of these may rightly be ``silent``.

    ``promised`` is the number of pictures, by the header where the packets end too early for it.
    ``failed`` counts the packets that fail the checksum which others of the file carry.
    """

    packets: int
    silent: int
    promised: int
    failed: int


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
            yield container, stream
    except FAULTS as fault:
        raise ClipError(str(path), f"unreadable: {one_line(fault)}") from fault


def _container(path: Path) -> InputContainer:
    name = str(path.absolute())  # never taken for an address, whatever colons it has
    try:
        return av.open(name)
    except UnicodeDecodeError:  # titles in an old code page are no reason to refuse the pictures
        return av.open(name, metadata_errors="replace")


def one_line(fault: Exception) -> str:
    text = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return " ".join(text.split())


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


def census(path: Path) -> Census:
    """Count the packets and hold them against what the header states."""
    total = hidden = silent = sealed = reach = step = length = 0
    first = last = None
    with opened(path) as (container, stream):
        for packet in container.demux(stream):
            if not packet.size:  # the demuxer's last word, or a dropped frame in an AVI
                continue
            total, hidden = total + 1, hidden + packet.is_discard
            silent += _may_be_silent(stream.codec_context.name, bytes(packet))
            sealed += stream.codec_context.name == "ffv1" and _is_sealed(bytes(packet))
            length = packet.duration or 0
            reach = max(reach, (packet.pts or 0) + length)
            if packet.dts is not None:
                first = packet.dts if first is None else first
                step = max(step, packet.dts - (packet.dts if last is None else last))
                last = packet.dts
        if stream.frames:
            # An AVI may drop frames and an MP4 trim them: then the time is covered all the same.
            covered = (last or 0) - (first or 0) + length
            short = stream.duration is None or covered + length / 2 < stream.duration
            stated = stream.frames if short else 0
        else:
            end = _stated_end(container, stream)
            guess = step or max(1, round(0.04 / float(stream.time_base or 1)))  # no length
            reach += 0 if length else guess
            short = total > 0 and reach + max(guess, length) / 2 < end
            stated = round(total * end / reach) if short else 0
    failed = total - sealed if sealed else 0
    return Census(total - hidden, silent, max(total, stated) - hidden, failed)


def _may_be_silent(codec: str, packet: bytes) -> bool:
    """Whether a sound decoder may give no picture for this packet.

    XviD marks an unchanged picture with a few bytes; VP8 stores references that are never shown.
    """
    if codec == "vp8":
        return not packet[0] & 0x10
    return codec == "mpeg4" and len(packet) <= _NOT_CODED


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
