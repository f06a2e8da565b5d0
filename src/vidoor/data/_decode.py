"""Which packets are decoded, and what is made of the pictures.

Sampled frames of a long clip may lie far apart. Then only the groups of pictures that hold them are
decoded, each from its key frame on, and exactness is kept in three ways: the packets of the whole
file are counted first; only codecs whose key frames start afresh are read so; and at the slightest
surprise (an error, a picture that is marked as damaged, is missing or comes out of order) the file
is decoded from the first picture to the last, which also tells what is wrong with it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from typing import NamedTuple

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidoor.data._container import Census, Packet, one_line
from vidoor.data._pixels import Canvas

AFRESH = frozenset(("ffv1", "h264", "hevc", "mjpeg", "mpeg2video", "mpeg4", "vp8", "vp9"))
"""Codecs whose key frames need nothing from before. (Those of GIF, for one, do.)"""

_WORTHWHILE = 0.5  # of the packets; beyond that everything is decoded, and so everything checked

Run = tuple[int, int]
"""The first and the last of a series of packets; the first is a key frame."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The packets that are decoded, and which ``times`` of showing are wanted."""

    runs: Sequence[Run]
    starts: frozenset[int]
    """When the key frames that begin the runs are shown."""
    places: Mapping[int, int]
    """Where in the clip the picture of a time belongs."""


class Taken(NamedTuple):
    """What decoding gave: how many pictures there were, and what went wrong."""

    seen: int
    fault: str
    corrupt: int | None  # index of the first picture that the decoder marked as damaged


def straight(
    stream: VideoStream, source: Iterable[Packet], wanted: Sequence[int], canvas: Canvas
) -> Taken:
    """Decode everything and keep the pictures ``wanted``, by their indices in ascending order."""
    seen = kept = 0
    fault, corrupt = "", None
    try:
        for picture in _pictures(stream, source):
            canvas.check(picture)
            if picture.is_corrupt and corrupt is None:
                corrupt = seen
            if kept < len(wanted) and wanted[kept] == seen:
                canvas.put(kept, picture)
                kept += 1
            seen += 1
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        fault = one_line(error)
    return Taken(seen, fault, corrupt)


def _pictures(stream: VideoStream, source: Iterable[Packet]) -> Iterator[VideoFrame]:
    for packet in source:
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def plan(announced: Census, codec: str, wanted: Sequence[int]) -> Plan | None:
    """How the pictures ``wanted`` are got from few packets; None where all should be decoded."""
    times, count = announced.times, announced.packets
    complete = announced.promised == count and not (announced.silent or announced.failed)
    if not wanted or times is None or codec not in AFRESH or not complete:
        return None
    order = sorted(range(count), key=times.__getitem__)
    if any(times[a] == times[b] for a, b in pairwise(order)):
        return None
    latest = [*accumulate(times, max)]
    if any(key and latest[key - 1] > times[key] for key in announced.keys):
        return None  # groups overlap in time: who could say how many pictures come before one?
    runs = _runs(times, announced.keys, sorted(order[index] for index in wanted))
    if sum(last - first + 1 for first, last in runs) > _WORTHWHILE * count:
        return None
    starts = frozenset(times[first] for first, _ in runs)
    return Plan(runs, starts, {times[order[index]]: at for at, index in enumerate(wanted)})


def _runs(times: Sequence[int], keys: Sequence[int], wanted: Iterable[int]) -> list[Run]:
    """The packets to be decoded for those ``wanted``, which ascend.

    A picture that follows a key frame in the file and is shown before it may need the group before
    as well, and gets it. Pictures shown before a wanted one that follow it in the file are decoded
    too, so that their order can be seen to be what their times say.
    """
    runs: list[Run] = []
    for packet in wanted:
        after = bisect_right(keys, packet)
        key = after - 1
        while key >= 0 and times[keys[key]] > times[packet]:
            key -= 1
        first = keys[key] if key >= 0 else 0
        end = keys[after] if after < len(keys) else len(times)
        last = max(at for at in range(packet, end) if times[at] <= times[packet])
        while runs and first <= runs[-1][1] + 1:
            before = runs.pop()
            first, last = min(first, before[0]), max(last, before[1])
        runs.append((first, last))
    return runs


def leaping(stream: VideoStream, source: Iterable[Packet], plan: Plan, canvas: Canvas) -> bool:
    """Decode as planned; whether all went as it would from the first picture on."""
    starts, places = set(plan.starts), dict(plan.places)
    try:
        for run in _series(stream, source, plan.runs):
            before: int | None = None
            for picture in run:
                canvas.check(picture)
                if picture.pts is None or (before is not None and picture.pts <= before):
                    return False
                before = picture.pts
                starts.discard(before)
                if before in places:
                    if picture.is_corrupt or picture.interlaced_frame:  # half of it may be missing
                        return False
                    canvas.put(places.pop(before), picture)
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        return False
    return not (places or starts)  # a decoder leaves out key frames in name only


def _series(
    stream: VideoStream, source: Iterable[Packet], runs: Sequence[Run]
) -> Iterator[Iterator[VideoFrame]]:
    """The pictures of each run, by a decoder that has forgotten those before."""
    rest, at = iter(source), 0
    for first, last in runs:
        yield _pictures(stream, islice(rest, first - at, last + 1 - at))
        stream.codec_context.flush_buffers()
        at = last + 1
